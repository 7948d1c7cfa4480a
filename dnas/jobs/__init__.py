"""The job queue: tuning configs, run folders, executors and the manager. Knows nothing of torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnas.jobs.config import TuningConfig, expand, load_config, parse_config
    from dnas.jobs.executors import DebugExecutor, Executor, Handle, LocalExecutor, Order
    from dnas.jobs.job import Job, JobSpec, State
    from dnas.jobs.manager import Manager
    from dnas.jobs.outcome import Failure, Outcome
    from dnas.jobs.pipeline import run_pipeline
    from dnas.jobs.slots import Device, SlotPool, devices

# Imported at first use: a supervisor imports this package, and needs almost none of it.
_HOMES = {
    "dnas.jobs.config": ("TuningConfig", "expand", "load_config", "parse_config"),
    "dnas.jobs.executors": ("DebugExecutor", "Executor", "Handle", "LocalExecutor", "Order"),
    "dnas.jobs.job": ("Job", "JobSpec", "State"),
    "dnas.jobs.manager": ("Manager",),
    "dnas.jobs.outcome": ("Failure", "Outcome"),
    "dnas.jobs.pipeline": ("run_pipeline",),
    "dnas.jobs.slots": ("Device", "SlotPool", "devices"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DebugExecutor",
    "Device",
    "Executor",
    "Failure",
    "Handle",
    "Job",
    "JobSpec",
    "LocalExecutor",
    "Manager",
    "Order",
    "Outcome",
    "SlotPool",
    "State",
    "TuningConfig",
    "devices",
    "expand",
    "load_config",
    "parse_config",
    "run_pipeline",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'dnas.jobs' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
