"""``tuning.py``: run the jobs of one tuning config."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dnas.cli.queue import add_queue_flags, executor_of, max_submitted_of, policy_of, wants_view
from dnas.cli.run import guarded
from dnas.cli.view import live_view
from dnas.errors import JobError
from dnas.jobs.config import TuningConfig, load_config
from dnas.jobs.experiment import check_experiment_id, record_experiment
from dnas.jobs.final import FinalJobs
from dnas.jobs.job import Job, JobSpec, State
from dnas.jobs.manager import Manager
from dnas.jobs.outcome import Outcome
from dnas.jobs.sampled import SampledJobs
from dnas.jobs.stages import check_config, slot_pool
from dnas.jobs.table import job_table
from dnas.jobs.tokens import BEST_ARCH_PARAM, SAMPLED_ARCH_PARAM
from dnas.runs import FINALS, SAMPLED, SUPERNET, RunFolder, stage_before


def main(argv: Sequence[str] | None = None, *, program: str = "tuning.py") -> int:
    """Run ``tuning.py``; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Run every job of a tuning config so that all its devices stay busy. Started "
        "again with the same experiment id, it goes on where it was.",
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="CONFIG", help="tuning config file; it is only read")
    parser.add_argument(
        "experiment_id", metavar="EXPERIMENT_ID", help="name of the run folder in --runs_dir"
    )
    parser.add_argument("--runs_dir", default="runs", help="folder of run folders (%(default)s)")
    parser.add_argument(
        "--kind",
        choices=(SUPERNET, SAMPLED, *FINALS),
        help=f"what the jobs train; default: final if the config has {BEST_ARCH_PARAM}, sampled "
        f"if it has {SAMPLED_ARCH_PARAM} or the script is train_sampled.py, else supernet",
    )
    parser.add_argument("--dry_run", action="store_true", help="print the job table and stop")
    add_queue_flags(parser)
    options = parser.parse_args(argv)
    return logged(lambda: _tune(options))


def _tune(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    kind = options.kind or config.kind
    experiment_id = check_experiment_id(options.experiment_id)
    run = RunFolder(Path(options.runs_dir) / experiment_id)
    policy = policy_of(options)
    executor = executor_of(options, run, policy)
    specs = check_config(config, kind, needs_architecture=False, executor=executor)
    configs = {kind: config}
    slots = slot_pool(configs, executor, max_submitted_of(options))
    if options.dry_run:
        sys.stdout.write(job_table({kind: specs}, configs, slots, str(run.path)))
        return 0
    with (
        live_view(run, wanted=wants_view(options)) as show,
        Manager(
            run, slots, executor=executor, experiment_id=experiment_id, policy=policy, show=show
        ) as manager,
    ):
        record_experiment(run, experiment_id, configs)
        if config.wants_architecture and kind in FINALS:
            specs = _for_best_architectures(run, config, kind, manager)
        elif config.wants_architecture:
            specs = _for_sampled_architectures(run, specs, manager.earlier_jobs)
        manager.add(specs)
        outcome = manager.run()
    return conclude(outcome)


def _for_sampled_architectures(
    run: RunFolder, templates: list[JobSpec], jobs: Sequence[Job]
) -> list[JobSpec]:
    """One job for each template and distinct architecture that this run's supernets sampled."""
    sampled = SampledJobs(run, templates)
    sampled.remember(jobs)
    done = [job for job in jobs if job.kind == SUPERNET and job.state is State.SUCCEEDED]
    if not done:
        raise JobError(
            f"{run.path}: {SAMPLED_ARCH_PARAM} stands for the architectures of this experiment's "
            f"supernets, but no job in {run.path / SUPERNET} has succeeded; run their config with "
            f"this experiment id first, or both with run_dnas_pipeline.py ({SAMPLED} follows)"
        )
    return [spec for job in done for spec in sampled.from_folder(job.folder)]


def _for_best_architectures(
    run: RunFolder, config: TuningConfig, kind: str, manager: Manager
) -> list[JobSpec]:
    """The jobs of a final stage's config, for the best architectures that this run has trained."""
    own_and_later = FINALS[FINALS.index(kind) :]
    jobs = [job for job in manager.earlier_jobs if job.kind not in own_and_later]
    going_on = [f"{job.kind}/{job.id}" for job in jobs if not job.state.ended]
    if going_on or not any(job.kind == stage_before(kind) for job in jobs):
        what = (
            f"{len(going_on)} jobs are not over yet ({', '.join(going_on[:3])}, ...)"
            if going_on
            else f"there is no job in {run.path / stage_before(kind)}"
        )
        raise JobError(
            f"{run.path}: {BEST_ARCH_PARAM} stands for the best of the architectures that this "
            f"experiment has trained, but {what}; run the earlier stages' configs with this "
            "experiment id first, or all of them with run_dnas_pipeline.py"
        )
    return FinalJobs(run, config, kind).after(jobs, manager.note)


def conclude(outcome: Outcome) -> int:
    """Show how a run ended and return its exit code."""
    sys.stdout.write("\n" + outcome.summary())
    sys.stdout.flush()
    return outcome.exit_code


def logged(body: Callable[[], int]) -> int:
    """Run a script's body with its progress on stderr; mistakes end in a message, not a trace."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger("dnas")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        return guarded(body)
    except KeyboardInterrupt:
        # Only before the first job and after the last one: while jobs run the manager takes it.
        sys.stderr.write("stopped by SIGINT\n")
        return 130
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
