"""``run_dnas_pipeline.py``: supernets, what they sampled, the best of that, and the report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dnas.cli.experiments import readable_id, with_report
from dnas.cli.queue import add_queue_flags, executor_of, max_submitted_of, policy_of, wants_view
from dnas.cli.tune import conclude, logged
from dnas.cli.view import live_view
from dnas.errors import ConfigError
from dnas.files import read_json
from dnas.jobs.config import expand
from dnas.jobs.experiment import check_experiment_id
from dnas.jobs.job import KINDS
from dnas.jobs.outcome import Outcome
from dnas.jobs.pipeline import run_pipeline
from dnas.jobs.stages import load_stages, slot_pool
from dnas.jobs.table import job_table
from dnas.runs import RunFolder

QUICKSTART_ID = "quickstart"
QUICKSTART_CONFIGS = ("quickstart_dnas_search", "quickstart_sampled_search")


def main(argv: Sequence[str] | None = None, *, program: str = "run_dnas_pipeline.py") -> int:
    """Run ``run_dnas_pipeline.py``; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Train supernets, train what they sampled, train the best of it as the final "
        "model if there is a third config, and report. Further configs each train the best of the "
        "stage before, as in successive halving. Without configs it runs the quick start. "
        "Started again with the same experiment id, it goes on where it was.",
        allow_abbrev=False,
    )
    parser.add_argument("dnas_config", metavar="DNAS_CONFIG", nargs="?", help="supernets' config")
    parser.add_argument(
        "sampled_config", metavar="SAMPLED_CONFIG", nargs="?", help="sampled architectures' config"
    )
    parser.add_argument(
        "final_configs",
        metavar="FINAL_CONFIG",
        nargs="*",
        help="final models' config: when all sampled jobs are over, the best architecture by "
        "validation is trained by these jobs; with more than one, each takes the best of the jobs "
        "of the one before",
    )
    parser.add_argument(
        "--experiment_id",
        help="name of the run folder; default: from name and content of the first two configs",
    )
    parser.add_argument("--runs_dir", default="runs", help="folder of run folders (%(default)s)")
    parser.add_argument("--dry_run", action="store_true", help="print the job table and stop")
    parser.add_argument("--no_report", action="store_true", help="train only")
    add_queue_flags(parser)
    # Whoever adds a stage may put its config at the end of the command, behind the flags.
    options = parser.parse_intermixed_args(argv)
    return logged(lambda: _pipeline(options))


def _pipeline(options: argparse.Namespace) -> int:
    dnas_config, sampled_config, quickstart = _configs(options)
    policy = policy_of(options)
    experiment_id = check_experiment_id(
        options.experiment_id
        or (QUICKSTART_ID if quickstart else _default_id(dnas_config, sampled_config))
    )
    run = RunFolder(Path(options.runs_dir) / experiment_id)
    executor = executor_of(options, run, policy)
    configs = load_stages(dnas_config, sampled_config, options.final_configs, executor)
    if options.dry_run:
        specs = {kind: expand(config, kind) for kind, config in configs.items()}
        slots = slot_pool(configs, executor, max_submitted_of(options))
        sys.stdout.write(job_table(specs, configs, slots, str(run.path)))
        return 0
    if quickstart and _is_finished(run):
        sys.stdout.write(
            f"The quick start has been run: its results are in {run.path}.\n"
            f"To run it again, give another name: --experiment_id {experiment_id}2\n"
            "To run your own: run_dnas_pipeline.py DNAS_CONFIG SAMPLED_CONFIG [FINAL_CONFIG ...]\n"
        )
        return 0
    with live_view(run, wanted=wants_view(options)) as show:
        outcome = run_pipeline(
            dnas_config,
            sampled_config,
            experiment_id,
            options.runs_dir,
            final_configs=options.final_configs,
            executor=executor,
            policy=policy,
            max_submitted=max_submitted_of(options),
            show=show,
        )
    if not options.no_report:
        outcome = _report(run, outcome)
    return conclude(outcome)


def quickstart_configs() -> tuple[Path, Path]:
    """The quick start's pair of configs, beside the scripts."""
    folder = Path(__file__).resolve().parents[2] / "configs"
    return folder / QUICKSTART_CONFIGS[0], folder / QUICKSTART_CONFIGS[1]


def _configs(options: argparse.Namespace) -> tuple[Path, Path, bool]:
    """Both config files, and whether they are the quick start's."""
    if options.dnas_config is None:
        return *quickstart_configs(), True
    if options.sampled_config is None:
        raise ConfigError(
            f"SAMPLED_CONFIG is missing after {options.dnas_config}; give both configs, or none "
            "for the quick start, or run one alone with tuning.py"
        )
    return Path(options.dnas_config), Path(options.sampled_config), False


def _default_id(dnas_config: Path, sampled_config: Path) -> str:
    """A readable name and a hash of both job lists: the same command goes on with its own run.

    A final stage is not in it, so that one can be added to a run that has none yet.
    """
    return readable_id((dnas_config, sampled_config))


def _is_finished(run: RunFolder) -> bool:
    return run.status.exists() and read_json(run.status).get("state") == "finished"


def _report(run: RunFolder, outcome: Outcome) -> Outcome:
    """Make the report for whatever succeeded; a report that fails does not undo the training."""
    if not any(outcome.num(kind) for kind in KINDS) or outcome.state == "interrupted":
        return outcome
    # Not at the top: it brings pandas and matplotlib, and the queue must start at once.
    from dnas.reporting import make_report

    return with_report(outcome, lambda: make_report(run))
