"""The job queue: tuning configs, run folders, executors and the manager. Knows nothing of torch."""

from dnas.jobs.config import TuningConfig, expand, load_config, parse_config
from dnas.jobs.executors import DebugExecutor, Executor, Handle, LocalExecutor, Order
from dnas.jobs.job import Job, JobSpec, State
from dnas.jobs.manager import Manager
from dnas.jobs.outcome import Failure, Outcome
from dnas.jobs.pipeline import run_pipeline
from dnas.jobs.slots import Device, SlotPool, devices

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
