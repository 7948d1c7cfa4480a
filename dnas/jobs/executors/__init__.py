"""Engines that run jobs; :mod:`dnas.jobs.executors.base` says how to write another."""

from dnas.jobs.executors.base import Executor, Handle, Order
from dnas.jobs.executors.debug import DebugExecutor
from dnas.jobs.executors.local import LocalExecutor

__all__ = ["DebugExecutor", "Executor", "Handle", "LocalExecutor", "Order"]
