"""Every error this library raises on purpose.

A :class:`DnasError` is something a person can mend: its message names the file, the field or flag
and the value, and says what to do. Scripts print the message alone, without a traceback, and exit
with :data:`EXIT_USER_ERROR`; anything else is a defect and keeps its traceback.
"""

from __future__ import annotations

__all__ = [
    "EXIT_CRASH",
    "EXIT_DIVERGED",
    "EXIT_OUT_OF_MEMORY",
    "EXIT_PREEMPTED",
    "EXIT_USER_ERROR",
    "ArchitectureError",
    "ConfigError",
    "CostError",
    "DataError",
    "DivergenceError",
    "DnasError",
    "JobError",
    "NoExpectationError",
    "Preempted",
]

#: A defect; its traceback is printed.
EXIT_CRASH = 1
#: Something a person can mend: the message of a :class:`DnasError` is printed.
EXIT_USER_ERROR = 2
#: The device had too little memory.
EXIT_OUT_OF_MEMORY = 3
#: Training diverged, see :class:`DivergenceError`.
EXIT_DIVERGED = 4
#: ``EX_TEMPFAIL`` of sysexits.h: stopped on request, the checkpoint is good, run me again.
EXIT_PREEMPTED = 75


class DnasError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(DnasError):
    """A flag, a config file or an argument is wrong, or two of them contradict each other."""


class DataError(DnasError):
    """A data file, a schema or a data store cannot be used as it is."""


class ArchitectureError(DnasError):
    """An architecture does not fit the search space it is used with."""


class UnknownChoiceError(ArchitectureError, KeyError):
    """A sample has no weights for a choice; a KeyError too, as of every mapping."""

    __str__ = Exception.__str__  # a KeyError's would put the message into quotes


class CostError(DnasError):
    """A measured cost is missing, or was measured under other conditions than are asked for."""


class NoExpectationError(CostError):
    """A cost is known of single architectures and not in expectation over them."""


class JobError(DnasError):
    """A run folder, a tuning config or a job is in a state that forbids what was asked."""


class DivergenceError(DnasError):
    """Training produced NaN, infinity or an absurd loss.

    Args:
        message: What happened.
        step: Global step at which it was first seen.
        last_good: The last finite values seen before it, by name.
    """

    def __init__(self, message: str, *, step: int, last_good: dict[str, float]) -> None:
        super().__init__(message)
        self.step = step
        self.last_good = last_good


class Preempted(DnasError):
    """Training was asked to stop and has saved a checkpoint from which it can go on."""
