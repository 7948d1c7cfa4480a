"""``score_subnets.py``: score architectures with the weights of one trained supernet, one job.

Every architecture is scored as it is and, if asked for, after its last layer was fine-tuned, on the
same rows. What has been scored is on disk at once: a job that is killed goes on behind it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from dnas.cli.flags import (
    ConfigFlags,
    early_value,
    flat,
    parse_flags,
    print_config,
    read_config_file,
)
from dnas.cli.identity import weights_identity
from dnas.cli.job import JobFlags, StopRequest, run_job
from dnas.cli.run import guarded
from dnas.cli.scoring import ScoringFlags, open_evaluations
from dnas.cli.supernet_files import load_supernet
from dnas.core import Architecture, ArchitectureRecord
from dnas.errors import ArchitectureError, ConfigError
from dnas.files import append_json_line, read_json, read_json_lines
from dnas.runs import SCORED, JobFolder
from dnas.spaces import SearchSpace, find_space, prepared_by, space_config, supernet_of
from dnas.strategies.evaluation_pool import Evaluations
from dnas.training.progress import Progress
from dnas.training.seeding import seed_everything
from dnas.training.task import Metrics
from dnas.training.world import World

logger = logging.getLogger(__name__)

#: How a score was got; keys of a result's scores.
AS_IS, FINETUNED = "as_is", "finetuned"


@dataclass(frozen=True, kw_only=True)
class SubnetFlags:
    """What to score. Space and data are those of the supernet."""

    supernet: str
    """Folder of the supernet's job, trained with --save_supernet_weights."""
    architectures: str
    """Folder of the architecture files (JSON) to score."""


def main(argv: Sequence[str] | None = None, *, program: str = "score_subnets.py") -> int:
    """Entry of ``score_subnets.py`` and ``dnas score``."""
    return guarded(lambda: _main(sys.argv[1:] if argv is None else argv, program))


def _main(argv: Sequence[str], program: str) -> int:
    parsed = parse_flags(
        argv,
        {"about": ConfigFlags, "job": JobFlags, "subnets": SubnetFlags, "scoring": ScoringFlags},
        program=program,
        description="Score architectures with the weights of a trained supernet.",
        file_values=read_config_file(early_value(argv, "config")),
    )
    if parsed.about.print_config:
        print_config(parsed)
        return 0
    return run_job(parsed.job, SCORED, flat(parsed), partial(run_scoring, parsed))


def run_scoring(parsed: Any, stop: StopRequest, world: World) -> dict[str, Any]:
    """The scoring itself; gives the fields of the result file."""
    if world.size > 1:
        raise ConfigError("scoring is one process; leave NUM_GPUS_PER_JOB out of its config")
    job: JobFlags = parsed.job
    flags: SubnetFlags = parsed.subnets
    supernet = JobFolder(Path(flags.supernet))
    records = _records(Path(flags.architectures))
    space, settings, config, data_config = supernet_setting(supernet)
    seed_everything(job.seed)
    data = prepared_by(space, data_config)
    _check(records, settings["search_space"], space, config, data.spec, supernet)
    super_net = supernet_of(space, config, data.spec)
    of_weights = weights_identity(space, config, data)
    load_supernet(super_net, supernet.supernet_weights, "--supernet", of_weights)
    architectures = [super_net.validate(record.architecture) for record in records.values()]
    ways = {AS_IS: replace(parsed.scoring, finetune_steps=0)}
    if (tuned := parsed.scoring.fine_tune(super_net)) is not None:
        ways[FINETUNED] = replace(parsed.scoring, finetune_steps=tuned.steps)
    scores: dict[str, list[Metrics]] = {}
    with Progress("scores", len(records) * len(ways), file=job.folder().progress) as progress:
        for how, scoring in ways.items():
            known = _Known(job.folder(), how, _fingerprint(scoring, job, supernet))
            with open_evaluations(
                space,
                config,
                data_config,
                data,
                scoring,
                super_net,
                seed=job.seed,
                device=job.device(),
                should_stop=stop,
            ) as evaluate:
                scores[how] = _score_all(architectures, evaluate, known, progress)
    return {
        "supernet": supernet.path.name,
        "search_space": settings["search_space"],
        "selection": space.task_of(config).selection,
        "scores": [
            {
                "file": file,
                "id": record.architecture.id,
                "canonical_id": record.canonical_id,
                **{how: dict(found[number]) for how, found in scores.items()},
            }
            for number, (file, record) in enumerate(records.items())
        ],
        "data": dict(data.record),
    }


def supernet_setting(supernet: JobFolder) -> tuple[SearchSpace, Mapping[str, Any], Any, Any]:
    """What a supernet job was told: its space, all flags, the space's and the data's settings.

    Raises:
        ConfigError: It is no supernet job, or one of a space that has changed.
    """
    if not supernet.config.exists():
        raise ConfigError(f"--supernet {supernet.path}: {supernet.config.name} is not there")
    settings = read_json(supernet.config)
    space = find_space(str(settings.get("search_space")))
    groups = {"space": space.config_class, "data": space.data_class}
    names = {entry.name for cls in groups.values() for entry in fields(cls)}
    parsed = parse_flags(
        [],
        groups,
        program="score_subnets.py",
        description="",
        file_values={
            name: value for name, value in settings.items() if name in names and value is not None
        },
    )
    return space, settings, parsed.space, parsed.data


def _records(folder: Path) -> dict[str, ArchitectureRecord]:
    """The architectures of a folder by file name."""
    files = sorted(folder.glob("[!.]*.json"))
    if not files:
        raise ConfigError(f"--architectures {folder}: there is no architecture file (JSON) in it")
    return {file.name: ArchitectureRecord.load(file) for file in files}


def _check(
    records: Mapping[str, ArchitectureRecord],
    name: str,
    space: SearchSpace,
    config: Any,
    spec: Any,
    supernet: JobFolder,
) -> None:
    """Refuse architectures of another space, or of the same in another setting.

    How they were judged in their search (``SearchSpace.judging_fields``) is no matter, nor how its
    supernet was trained (``SearchSpace.one_shot_fields``). What a file of an earlier version does
    not say has its default.
    """
    expected = vars(config)
    free = {*space.judging_fields, *space.one_shot_fields}
    for file, record in records.items():
        if record.space != name:
            raise ArchitectureError(
                f"{file} is of {record.space}, but the supernet {supernet.path.name} of {name}"
            )
        found = vars(space_config(space, record.space_config, file))
        other = [key for key in expected if key not in free and found[key] != expected[key]]
        if other:
            key = other[0]
            raise ArchitectureError(
                f"{file} is of {key}={found[key]}, but the supernet {supernet.path.name} of "
                f"{key}={expected[key]}"
            )
        if dict(record.data_spec) != dict(space.spec_to_json(spec)):
            raise ArchitectureError(
                f"{file} is of other data than the supernet {supernet.path.name}"
            )


class _Known:
    """Scores of one way that are on disk: those of an earlier attempt, and each new one.

    Args:
        folder: Of the job.
        how: The way.
        fingerprint: What scores depend on besides the architecture; others do not count.
    """

    def __init__(self, folder: JobFolder, how: str, fingerprint: str) -> None:
        self._file = folder.scores
        self._mark = {"how": how, "fingerprint": fingerprint}
        self.scores: dict[str, Metrics] = {
            line["id"]: line["metrics"]
            for line in read_json_lines(folder.scores, skip_damaged=True)
            if isinstance(line, dict) and self._mark.items() <= line.items()
        }
        if self.scores:
            logger.info("%d are scored already (%s)", len(self.scores), how)

    def add(self, architecture: Architecture, metrics: Metrics) -> None:
        """Write its metrics."""
        self.scores[architecture.id] = metrics
        line = {**self._mark, "id": architecture.id, "metrics": dict(metrics)}
        append_json_line(self._file, line)


def _score_all(
    architectures: Sequence[Architecture],
    evaluate: Evaluations,
    known: _Known,
    progress: Progress,
) -> list[Metrics]:
    """Metrics of all architectures, in order."""
    missing = [
        architecture for architecture in architectures if architecture.id not in known.scores
    ]
    for _ in range(len(architectures) - len(missing)):
        progress.advance("scores", 0.0)
    for architecture, metrics in zip(missing, evaluate(missing), strict=True):
        known.add(architecture, metrics)
        progress.advance("scores", 0.0)
    return [known.scores[architecture.id] for architecture in architectures]


def _fingerprint(scoring: ScoringFlags, job: JobFlags, supernet: JobFolder) -> str:
    """What scores depend on besides the architecture."""
    weights = supernet.supernet_weights.stat()
    return json.dumps(
        [supernet.path.name, weights.st_size, weights.st_mtime_ns, job.seed, scoring.fingerprint()]
    )


if __name__ == "__main__":
    sys.exit(main())
