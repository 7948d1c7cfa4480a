"""From an architecture file to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from dnas.core import Architecture, ArchitectureRecord, SuperNet
from dnas.errors import ArchitectureError, JobError
from dnas.files import read_json
from dnas.runs import JobFolder
from dnas.spaces.base import SearchSpace
from dnas.spaces.registry import find_space


def make_record(
    space: SearchSpace,
    space_name: str,
    config: Any,
    spec: Any,
    super_net: SuperNet,
    architecture: Architecture,
    provenance: Mapping[str, Any],
) -> ArchitectureRecord:
    """All that is needed to build ``architecture`` again, with its costs.

    ``space_name`` is the name by which the user found the space, which may be
    ``package.module:SPACE``; that is how it will be found again.
    """
    return ArchitectureRecord(
        architecture=architecture,
        space=space_name,
        space_config=asdict(config),
        data_spec=space.spec_to_json(spec),
        canonical_id=super_net.canonical(architecture).id,
        costs=super_net.cost(architecture),
        provenance=provenance,
    )


def space_config(space: SearchSpace, values: Mapping[str, Any], source: str) -> Any:
    """The space's configuration from JSON values; lists become tuples.

    Raises:
        ArchitectureError: Keys do not fit the configuration class.
    """
    try:
        return space.config_class(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        )
    except TypeError as error:
        raise ArchitectureError(
            f"{source}: space_config does not fit search space {space.name!r}: {error}"
        ) from error


def build_model(record: ArchitectureRecord, source: str = "architecture") -> nn.Module:
    """The plain module of an architecture file, freshly initialised."""
    space = find_space(record.space)
    config = space_config(space, record.space_config, source)
    spec = space.spec_from_json(record.data_spec)
    return space.make_model(config, spec, record.architecture)


def load_architecture(path: str | Path) -> nn.Module:
    """Read an architecture file and build its model, freshly initialised::

        model = load_architecture("runs/kdd/supernet/0000-.../architectures/0000.json")

    Raises:
        DnasError: The file is missing, damaged, or of an unknown search space.
    """
    return build_model(ArchitectureRecord.load(path), str(path))


def load_model(job: str | Path) -> nn.Module:
    """The model that a job of the sampled or a final stage has trained, in evaluation mode::

        model = load_model("runs/kdd/final/0000-seed=1-1f0e8a52")

    Its weights are those of the best epoch in validation, on the CPU. Its architecture is that of
    the job's result, which can be larger than the sampled one (``--space_overrides``).

    Args:
        job: The job's folder, or another that ``--save_metrics_param`` made.

    Raises:
        DnasError: There is no training that succeeded in it, or one of its files is damaged.
    """
    folder = JobFolder(Path(job))
    for file in (folder.result, folder.model):
        if not file.exists():
            raise JobError(
                f"{file}: there is no such file; give the folder of a training that succeeded, "
                "such as runs/EXPERIMENT/sampled/JOB"
            )
    result = read_json(folder.result)
    if not isinstance(result, dict) or not isinstance(result.get("architecture"), dict):
        raise JobError(f"{folder.result}: no architecture in it: the training did not succeed")
    source = str(folder.result)
    model = build_model(ArchitectureRecord.from_json(result["architecture"], source), source)
    try:
        model.load_state_dict(load_file(folder.model))
    except (SafetensorError, RuntimeError) as error:
        raise JobError(
            f"{folder.model}: not the weights of the architecture in {folder.result.name}: {error}"
        ) from error
    return model.eval()
