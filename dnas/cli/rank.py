"""``dnas rank``: how well do supernets order subnets? A study of rank correlation, on the queue."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from dnas.cli.experiments import readable_id, with_report
from dnas.cli.queue import add_queue_flags, executor_of, max_submitted_of, policy_of, wants_view
from dnas.cli.tune import conclude, logged
from dnas.cli.view import live_view
from dnas.errors import ConfigError, DnasError
from dnas.jobs.config import TuningConfig
from dnas.jobs.experiment import check_experiment_id
from dnas.jobs.job import JobSpec
from dnas.jobs.outcome import Outcome
from dnas.jobs.ranking import Draw, Study, load_configs, run_study, study_slots
from dnas.jobs.table import job_table
from dnas.jobs.tokens import EXPERIMENT_ID, GPU_ID_TOKENS, SAVE_METRICS_PARAM, fill
from dnas.runs import DRAWN, SAMPLED, SCORED, SUPERNET, RunFolder

_SEARCH_SCRIPT = "train_dnas.py"
#: Stands in for tokens while flags are checked before there is a job.
_PLACEHOLDERS = {EXPERIMENT_ID: "study", SAVE_METRICS_PARAM: "result.json"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``dnas rank``; returns its exit code."""
    draw = Draw()
    parser = argparse.ArgumentParser(
        prog="dnas rank",
        description="Train supernets, draw random subnets and train each from scratch, score all "
        "of them in every supernet, and report how well scores and ground truth agree. Started "
        "again with the same experiment id, it goes on where it was.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "supernets", metavar="SUPERNETS", help="config of the supernets, one for each strategy"
    )
    parser.add_argument(
        "subnets", metavar="SUBNETS", help="config that trains a subnet from scratch, with seeds"
    )
    parser.add_argument("scores", metavar="SCORES", help="config that scores all subnets")
    parser.add_argument(
        "--num_subnets", type=int, default=draw.num_subnets, help="random subnets (%(default)s)"
    )
    parser.add_argument(
        "--subnet_seed", type=int, default=draw.subnet_seed, help="of the draw (%(default)s)"
    )
    parser.add_argument(
        "--experiment_id",
        help="name of the run folder; default: from the first config's name and the content of all",
    )
    parser.add_argument("--runs_dir", default="runs", help="folder of run folders (%(default)s)")
    parser.add_argument("--dry_run", action="store_true", help="print the job table and stop")
    parser.add_argument("--no_report", action="store_true", help="run the jobs only")
    add_queue_flags(parser)
    options = parser.parse_args(argv)
    return logged(lambda: _rank(options))


def _rank(options: argparse.Namespace) -> int:
    draw = Draw(num_subnets=options.num_subnets, subnet_seed=options.subnet_seed)
    policy = policy_of(options)
    files = Path(options.supernets), Path(options.subnets), Path(options.scores)
    experiment_id = check_experiment_id(options.experiment_id or _default_id(files, draw))
    run = RunFolder(Path(options.runs_dir) / experiment_id)
    executor = executor_of(options, run, policy)
    configs, jobs = load_configs(*files, executor)
    study = plan_study(draw, configs, jobs)
    if options.dry_run:
        slots = study_slots(configs, executor, max_submitted_of(options))
        shown = {DRAWN: study.draws, **jobs}
        from_configs = {DRAWN: configs[SUPERNET], **configs}
        sys.stdout.write(job_table(shown, from_configs, slots, str(run.path)))
        sys.stdout.write(_totals(study))
        return 0
    with live_view(run, wanted=wants_view(options)) as show:
        outcome = run_study(
            study,
            configs,
            experiment_id,
            options.runs_dir,
            executor=executor,
            policy=policy,
            max_submitted=max_submitted_of(options),
            show=show,
        )
    if not options.no_report:
        outcome = _report(run, outcome)
    return conclude(outcome)


def plan_study(
    draw: Draw, configs: Mapping[str, TuningConfig], jobs: Mapping[str, Sequence[JobSpec]]
) -> Study:
    """Find the settings of the search space among the supernets, and a draw for each.

    The flags of every supernet job are checked on the way, before anything is started.

    Args:
        draw: How many subnets, and their seed.
        configs: As from ``load_configs``.
        jobs: Likewise.

    Raises:
        ConfigError: A supernet's flags are refused, it would not keep its weights, or supernets
            read different data.
    """
    config = configs[SUPERNET]
    parsed = [_parsed(spec, config) for spec in jobs[SUPERNET]]
    settings = list(dict.fromkeys((p.search.search_space, p.space) for p in parsed))
    if len({p.data for p in parsed}) > 1:
        raise ConfigError(
            f"{config.path}: its jobs read different data, but subnets are trained on one; give "
            "the same data flags to all of them"
        )
    differing = _differing(settings)
    draws = {
        (name, space): JobSpec(
            kind=DRAWN,
            argv=(
                *("python", "draw_subnets.py", f"--search_space={name}"),
                *_flags(space),
                *_flags(parsed[0].data),
                *(f"--{key}={value}" for key, value in asdict(draw).items()),
                *("--host_gpu_id=cpu", f"--experiment_id={EXPERIMENT_ID}"),
                f"--save_metrics_param={SAVE_METRICS_PARAM}",
            ),
            settings=tuple(
                (f"space.{key}", str(value).lower() if isinstance(value, bool) else str(value))
                for key, value in differing[name, space].items()
            ),
        )
        for name, space in settings
    }
    return Study(
        draw=draw,
        draws=tuple(draws.values()),
        supernets=tuple(
            (spec, draws[p.search.search_space, p.space])
            for spec, p in zip(jobs[SUPERNET], parsed, strict=True)
        ),
        subnets=tuple(jobs[SAMPLED]),
        scores=tuple(jobs[SCORED]),
    )


def _parsed(spec: JobSpec, config: TuningConfig) -> Any:
    """The flags of a supernet job, as its script will read them."""
    # Not at the top: it brings torch, which mistakes in a config need not wait for.
    from dnas.cli.search import parse_search

    where = f"{config.path}:{config.lines[0][0]}"
    scripts = [i for i, word in enumerate(spec.argv[:4]) if Path(word).name == _SEARCH_SCRIPT]
    if not scripts:
        raise ConfigError(
            f"{where}: the command is not {_SEARCH_SCRIPT}; subnets are drawn by its flags, so "
            "supernets of a study are trained by it"
        )
    values = _PLACEHOLDERS | dict.fromkeys(GPU_ID_TOKENS, "cpu")
    words = [fill(word, values) for word in spec.argv[scripts[0] + 1 :]]
    try:
        _, parsed = parse_search(words)
    except SystemExit:  # the parser has said why on standard error
        raise ConfigError(
            f"{where}: {_SEARCH_SCRIPT} refuses the flags of a job, see above"
        ) from None
    except DnasError as error:
        raise ConfigError(f"{where}: {error}") from None
    if not parsed.search.save_supernet_weights:
        raise ConfigError(
            f"{where}: subnets are scored with the trained supernet's weights, which are not kept; "
            "add --save_supernet_weights"
        )
    return parsed


def _differing(settings: Sequence[tuple[str, Any]]) -> dict[tuple[str, Any], dict[str, Any]]:
    """For each setting the fields, by name, in which it differs from another one."""
    flat = {(name, space): {"search_space": name, **asdict(space)} for name, space in settings}
    names = dict.fromkeys(key for values in flat.values() for key in values)
    absent = object()
    differing = [
        key for key in names if len({repr(values.get(key, absent)) for values in flat.values()}) > 1
    ]
    return {
        setting: {key: values[key] for key in differing if key in values}
        for setting, values in flat.items()
    }


def _flags(config: Any) -> list[str]:
    """The command-line words of a dataclass, without what is as by default."""
    words: list[str] = []
    for entry in fields(config):
        value = getattr(config, entry.name)
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        if value == default:
            continue
        if isinstance(value, bool):
            words.append(f"--{entry.name}" if value else f"--no_{entry.name}")
        elif isinstance(value, tuple):
            words += [f"--{entry.name}", *map(str, value)]
        else:
            words.append(f"--{entry.name}={value}")
    return words


def _totals(study: Study) -> str:
    """How many jobs follow from the draws, for ``--dry_run``."""
    subnets = study.draw.num_subnets * len(study.draws)
    return (
        f"\nin all: {subnets} subnets ({study.draw.num_subnets} for each of {len(study.draws)} "
        f"settings of the space), {subnets * len(study.subnets)} trainings from scratch, "
        f"{len(study.supernets)} supernets, {len(study.supernets) * len(study.scores)} scorings\n"
    )


def _default_id(files: Sequence[Path], draw: Draw) -> str:
    middle = f"rank{draw.num_subnets}-{draw.subnet_seed}-"
    return readable_id(files, middle, longest=60)


def _report(run: RunFolder, outcome: Outcome) -> Outcome:
    """Report what has been scored; a report that fails does not undo the jobs."""
    if outcome.num(SCORED) == 0 or outcome.state == "interrupted":
        return outcome
    from dnas.reporting import make_ranking_report

    return with_report(outcome, lambda: make_ranking_report(run))
