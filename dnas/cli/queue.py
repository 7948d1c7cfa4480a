"""Flags that ``tuning.py`` and ``run_dnas_pipeline.py`` share: where jobs run, and how they are
treated."""

from __future__ import annotations

import argparse
import math
from typing import Any

from dnas.errors import ConfigError
from dnas.jobs.executors import Executor, LocalExecutor
from dnas.jobs.guards import Guards
from dnas.jobs.policy import Policy
from dnas.jobs.retries import Retries
from dnas.jobs.stages import MAX_SUBMITTED
from dnas.runs import RunFolder

_EXECUTORS = ("local", "ray", "slurm", "debug")
#: Flags that only some executors have; given with another one they would be ignored.
_ONLY_FOR = {
    "ray_address": ("ray",),
    "slurm_partition": ("slurm",),
    "slurm_option": ("slurm",),
    "slurm_time_min": ("slurm",),
    "max_submitted": ("ray", "slurm"),
    "cold_start": ("local",),
    "timeout_s": ("local", "ray", "slurm"),
    "stop_grace_s": ("local", "ray", "slurm"),
    "lost_after_s": ("local", "ray", "slurm"),
    "min_free_memory_gb": ("local",),
}


def add_queue_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags; those that are not given stay None."""
    policy, retries = Policy(), Retries()
    where = parser.add_argument_group("where jobs run")
    where.add_argument(
        "--executor",
        choices=_EXECUTORS,
        default="local",
        help="local: processes on the devices of GPU_IDS; ray, slurm: a cluster, on a file system "
        "that all its hosts share; debug: one after the other inside this process",
    )
    where.add_argument("--ray_address", metavar="ADDRESS", help="of a Ray cluster (default auto)")
    where.add_argument("--slurm_partition", metavar="NAME", help="default: the cluster's own")
    where.add_argument(
        "--slurm_time_min",
        type=int,
        metavar="MIN",
        help="time limit of one start of a job; one that needs longer saves a checkpoint before it "
        "and goes on in its next start (default 1440)",
    )
    where.add_argument(
        "--slurm_option",
        metavar="NAME[=VALUE]",
        action="append",
        help="another option of sbatch, e.g. account=ranking or exclusive; may be given several "
        "times",
    )
    where.add_argument(
        "--max_submitted",
        type=int,
        metavar="N",
        help=f"jobs that the cluster is given at a time (default {MAX_SUBMITTED})",
    )
    where.add_argument(
        "--cold_start",
        action="store_true",
        default=None,
        help="start a fresh Python for each job instead of forking one that has torch imported",
    )
    how = parser.add_argument_group("how jobs are treated")
    how.add_argument(
        "--timeout_s", type=float, metavar="S", help="longest time for one attempt (default none)"
    )
    how.add_argument(
        "--retries",
        metavar="CLASS=N,...",
        help="how often a job is tried again after each class of failure; default "
        + ",".join(f"{name}={value}" for name, value in vars(retries).items()),
    )
    how.add_argument(
        "--max_same_failures",
        type=int,
        metavar="N",
        help="stop starting jobs after so many failures in a row with one cause, 2 for refused "
        f"settings; 0 never stops (default {policy.max_same_failures})",
    )
    how.add_argument(
        "--stop_grace_s",
        type=float,
        metavar="S",
        help="seconds that a job gets to save a checkpoint when it is asked to stop (default "
        f"{policy.stop_grace_s:g})",
    )
    how.add_argument(
        "--lost_after_s",
        type=float,
        metavar="S",
        help="a job on another host without a heartbeat for so long is lost and queued again "
        f"(default {policy.lost_after_s:g})",
    )
    how.add_argument(
        "--min_free_memory_gb",
        type=float,
        metavar="GB",
        help="start nothing that would leave less host memory (default "
        f"{policy.guards.min_free_memory_bytes / (1 << 30):g})",
    )
    how.add_argument(
        "--min_free_disk_gb",
        type=float,
        metavar="GB",
        help="start nothing while the run folder's disk has less room (default "
        f"{policy.guards.min_free_disk_bytes / (1 << 30):g})",
    )
    how.add_argument(
        "--no_live", action="store_true", help="plain lines on a terminal too, no live view"
    )


def policy_of(options: argparse.Namespace) -> Policy:
    """The policy that the flags describe.

    Raises:
        ConfigError: A value is out of range, or a flag would be ignored.
    """
    for name, executors in _ONLY_FOR.items():
        if getattr(options, name) is not None and options.executor not in executors:
            raise ConfigError(
                f"--{name} would be ignored with --executor {options.executor}; it is for "
                f"--executor {' or '.join(executors)}"
            )
    guards = {
        f"{name}_bytes": int(_positive(options, f"{name}_gb", zero=True) * (1 << 30))
        for name in ("min_free_memory", "min_free_disk")
        if getattr(options, f"{name}_gb") is not None
    }
    times = {
        name: _positive(options, name)
        for name in ("timeout_s", "stop_grace_s", "lost_after_s")
        if getattr(options, name) is not None
    }
    changed: dict[str, Any] = {"guards": Guards(**guards), **times}
    if options.retries is not None:
        changed["retries"] = Retries.parse(options.retries)
    if options.max_same_failures is not None:
        changed["max_same_failures"] = int(_positive(options, "max_same_failures", zero=True))
    return Policy(**changed)


def executor_of(
    options: argparse.Namespace, run: RunFolder, policy: Policy | None = None
) -> Executor:
    """The executor that the flags name; nothing is started yet.

    Args:
        options: The parsed flags.
        run: The run folder; an engine may keep its own logs in it.
        policy: How jobs are treated, default as ever.

    Raises:
        ConfigError: Its package is not installed.
    """
    if options.executor == "ray":
        from dnas.jobs.executors.ray import RayExecutor

        return RayExecutor(
            options.ray_address or "auto", lost_after_s=(policy or Policy()).lost_after_s
        )
    if options.executor == "slurm":
        from dnas.jobs.executors.slurm import SlurmExecutor

        limits = {} if options.slurm_time_min is None else {"time_min": options.slurm_time_min}
        return SlurmExecutor(
            run.slurm,
            partition=options.slurm_partition,
            options=_slurm_options(options.slurm_option or []),
            **limits,
        )
    if options.executor == "debug":
        from dnas.jobs.executors.debug import DebugExecutor, run_here

        return DebugExecutor(run_here)
    return LocalExecutor(warm=not options.cold_start)


def wants_view(options: argparse.Namespace) -> bool:
    """Whether there may be a live view; jobs inside this process need the terminal themselves."""
    return not options.no_live and options.executor != "debug"


def max_submitted_of(options: argparse.Namespace) -> int:
    """How many jobs a cluster is given at a time."""
    if options.max_submitted is None:
        return MAX_SUBMITTED
    return int(_positive(options, "max_submitted"))


def _slurm_options(words: list[str]) -> dict[str, str | bool]:
    found: dict[str, str | bool] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name.strip("-"):
            raise ConfigError(f"--slurm_option {word}: NAME or NAME=VALUE is needed")
        found[name.lstrip("-").replace("-", "_")] = value if equals else True
    return found


def _positive(options: argparse.Namespace, name: str, *, zero: bool = False) -> float:
    value = float(getattr(options, name))
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        least = "0 or more" if zero else "more than 0"
        raise ConfigError(f"--{name} {value:g}: a number of {least} is needed")
    return value
