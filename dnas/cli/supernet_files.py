"""What searches leave beside their results: supernets' weights, and architectures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file

from dnas.core import Architecture, SuperNet
from dnas.errors import ConfigError
from dnas.runs import JobFolder
from dnas.spaces import SearchSpace, make_record


class Found(Protocol):
    """An architecture that a search gives."""

    @property
    def architecture(self) -> Architecture:
        """The architecture."""

    def provenance(self) -> Mapping[str, Any]:
        """Its kind and what else is to be remembered of where it came from."""


def load_supernet(super_net: SuperNet, weights: Path, flag: str) -> None:
    """Load a supernet's weights, as saved by ``--save_supernet_weights``.

    Args:
        super_net: Gets them.
        weights: The file.
        flag: Which flag named it.

    Raises:
        ConfigError: There is no such file, or it is not of this supernet.
    """
    try:
        super_net.load_state_dict(load_file(weights))
    except FileNotFoundError:
        raise ConfigError(
            f"{flag} {weights}: there is no such file; search with --save_supernet_weights"
        ) from None
    except (RuntimeError, SafetensorError) as error:
        raise ConfigError(f"{flag} {weights}: not of this supernet: {error}") from error


def write_architectures(
    found: Iterable[Found],
    folder: JobFolder,
    space: SearchSpace,
    space_name: str,
    config: Any,
    spec: Any,
    super_net: SuperNet,
) -> list[str]:
    """Write ``architectures/NNNN.json``; gives their paths in the folder.

    Args:
        found: In the order of their numbers.
        folder: Of the search job, whose name they remember.
        space: What they belong to.
        space_name: How the user found the space.
        config: The space's configuration.
        spec: What the space was told about the data.
        super_net: Knows costs and canonical forms.
    """
    paths = []
    for number, entry in enumerate(found):
        path = folder.architectures / f"{number:04d}.json"
        provenance = {"job": folder.path.name, **entry.provenance()}
        make_record(
            space, space_name, config, spec, super_net, entry.architecture, provenance
        ).save(path)
        paths.append(str(path.relative_to(folder.path)))
    return paths
