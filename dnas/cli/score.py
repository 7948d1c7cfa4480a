"""``score_subnets.py``: score architectures with the weights of one trained supernet, one job.

Every architecture is scored as it is and, if asked for, after its last layer was fine-tuned, on the
same rows. What has been scored is on disk at once: a job that is killed goes on behind it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from dnas.cli.flags import (
    ConfigFlags,
    early_value,
    flat,
    parse_flags,
    print_config,
    read_config_file,
)
from dnas.cli.job import JobFlags, StopRequest, evaluation_loader, run_job
from dnas.cli.run import guarded
from dnas.core import ArchitectureRecord, SuperNet
from dnas.data.first_rows import FirstRows
from dnas.errors import ArchitectureError, ConfigError, Preempted
from dnas.files import append_json_line, read_json, read_json_lines
from dnas.runs import SCORED, JobFolder
from dnas.spaces import Prepared, SearchSpace, find_space
from dnas.strategies.evaluator import SharedWeightsEvaluator
from dnas.strategies.fine_tune import FineTune
from dnas.training.progress import Progress
from dnas.training.seeding import derive_seed, seed_everything
from dnas.training.task import Metrics
from dnas.training.world import World

logger = logging.getLogger(__name__)

#: How a score was got; keys of a result's scores.
AS_IS, FINETUNED = "as_is", "finetuned"


@dataclass(frozen=True, kw_only=True)
class ScoreFlags:
    """Settings of the scoring. Space and data are those of the supernet."""

    supernet: str
    """Folder of the supernet's job, searched with --save_supernet_weights."""
    architectures: str
    """Folder of the architecture files (JSON) to score."""
    score_rows: int = 0
    """First rows of the validation split to score on; 0: all."""
    eval_batch_size: int = 4096
    """Rows of a batch without training."""
    finetune_steps: int = 0
    """Steps that the last layer is trained before a second score; 0: no second score."""
    finetune_batch_size: int = 256
    """Rows of such a step."""
    finetune_lr: float = 0.04
    """Largest learning rate of such a step."""
    finetune_rows: int = 0
    """Rows of the training split to fine-tune on; 0: one batch for each step."""

    def __post_init__(self) -> None:
        for name in ("score_rows", "finetune_steps", "finetune_rows"):
            if getattr(self, name) < 0:
                raise ConfigError(f"--{name} must not be negative, but got {getattr(self, name)}")
        size = self.eval_batch_size
        if size < 1:
            raise ConfigError(f"--eval_batch_size must be at least 1, but got {size}")

    @property
    def fine_tune(self) -> FineTune | None:
        """How to train the last layer; None: not at all."""
        if not self.finetune_steps:
            return None
        return FineTune(
            steps=self.finetune_steps, batch_size=self.finetune_batch_size, lr=self.finetune_lr
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``score_subnets.py`` and ``dnas score``."""
    return guarded(lambda: _main(sys.argv[1:] if argv is None else argv))


def _main(argv: Sequence[str]) -> int:
    parsed = parse_flags(
        argv,
        {"about": ConfigFlags, "job": JobFlags, "scoring": ScoreFlags},
        program="score_subnets.py",
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
    flags: ScoreFlags = parsed.scoring
    supernet = JobFolder(Path(flags.supernet))
    records = _records(Path(flags.architectures))
    space, settings, config, data_config = supernet_setting(supernet)
    seed_everything(job.seed)
    data = space.prepare(data_config)
    super_net = _trained(space, config, data, supernet)
    _check(records, settings["search_space"], config, space.spec_to_json(data.spec), supernet)
    score = _scorers(parsed, space, data, super_net)
    scores = _score_all(records, score, job.folder(), _fingerprint(flags, supernet), stop)
    return {
        "supernet": supernet.path.name,
        "search_space": settings["search_space"],
        "selection": space.task.selection,
        "scores": scores,
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


def _trained(space: SearchSpace, config: Any, data: Prepared, supernet: JobFolder) -> SuperNet:
    """The supernet with its trained weights."""
    super_net = space.make_supernet(config, data.spec)
    try:
        super_net.load_state_dict(load_file(supernet.supernet_weights))
    except FileNotFoundError:
        raise ConfigError(
            f"{supernet.supernet_weights}: there is no such file; train the supernet with "
            "--save_supernet_weights"
        ) from None
    except RuntimeError as error:
        raise ConfigError(f"{supernet.supernet_weights}: not of this supernet: {error}") from error
    return super_net


def _check(
    records: Mapping[str, ArchitectureRecord],
    name: str,
    config: Any,
    spec: Mapping[str, Any],
    supernet: JobFolder,
) -> None:
    """Refuse architectures of another space, or of the same in another setting."""
    expected = json.loads(json.dumps(vars(config)))
    for file, record in records.items():
        found = json.loads(json.dumps(dict(record.space_config)))
        other = [key for key in expected if found.get(key) != expected[key]]
        if record.space != name or other:
            what = f"{other[0]}={found.get(other[0])}" if record.space == name else record.space
            raise ArchitectureError(
                f"{file} is of {what}, but the supernet {supernet.path.name} of "
                + (f"{other[0]}={expected[other[0]]}" if record.space == name else name)
            )
        if dict(record.data_spec) != dict(spec):
            raise ArchitectureError(
                f"{file} is of other data than the supernet {supernet.path.name}"
            )


def _scorers(
    parsed: Any, space: SearchSpace, data: Prepared, super_net: SuperNet
) -> dict[str, Callable[..., Metrics]]:
    """The evaluators, by how they score."""
    flags: ScoreFlags = parsed.scoring
    device = parsed.job.device()
    validation = evaluation_loader(data, "validation", flags.eval_batch_size, device)
    rows = FirstRows(validation, flags.score_rows)
    found: dict[str, Callable[..., Metrics]] = {
        AS_IS: SharedWeightsEvaluator(super_net, space.task, rows, device=device)
    }
    if (fine_tune := flags.fine_tune) is not None:
        training = data.loader(
            "train",
            flags.eval_batch_size,
            shuffle=True,
            seed=derive_seed(parsed.job.seed, "finetune", "order"),
            drop_last=False,
            device=device,
            flag="--eval_batch_size",
        )
        wanted = flags.finetune_rows or fine_tune.steps * fine_tune.batch_size
        found[FINETUNED] = SharedWeightsEvaluator(
            super_net,
            space.task,
            rows,
            tuning_rows=FirstRows(training, wanted),
            fine_tune=fine_tune,
            device=device,
        )
    return found


def _score_all(
    records: Mapping[str, ArchitectureRecord],
    scorers: Mapping[str, Callable[..., Metrics]],
    folder: JobFolder,
    fingerprint: str,
    stop: StopRequest,
) -> list[dict[str, Any]]:
    """Scores of all architectures in order, those of an earlier attempt among them."""
    known = {
        line["file"]: line
        for line in read_json_lines(folder.scores, skip_damaged=True)
        if isinstance(line, dict) and line.get("fingerprint") == fingerprint
    }
    if known:
        logger.info("%d of %d are scored already", len(known), len(records))
    scores: list[dict[str, Any]] = []
    with Progress("scores", len(records), len(known), file=folder.progress) as progress:
        for file, record in records.items():
            line = known.get(file)
            if line is None or line.get("id") != record.architecture.id:
                if stop():
                    raise Preempted(f"stopped after {len(scores)} of {len(records)} architectures")
                line = {
                    "fingerprint": fingerprint,
                    "file": file,
                    "id": record.architecture.id,
                    "canonical_id": record.canonical_id,
                    **{how: dict(scorer(record.architecture)) for how, scorer in scorers.items()},
                }
                append_json_line(folder.scores, line)
                progress.advance("scores", 0.0)
            scores.append({key: value for key, value in line.items() if key != "fingerprint"})
    return scores


def _fingerprint(flags: ScoreFlags, supernet: JobFolder) -> str:
    """What scores depend on besides the architecture."""
    weights = supernet.supernet_weights.stat()
    changing = {"supernet", "architectures", "eval_batch_size"}
    kept = {e.name: getattr(flags, e.name) for e in fields(flags) if e.name not in changing}
    return json.dumps([supernet.path.name, weights.st_size, weights.st_mtime_ns, kept])


if __name__ == "__main__":
    sys.exit(main())
