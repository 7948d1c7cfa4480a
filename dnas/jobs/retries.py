"""What follows from the end of an attempt: another one, or the job's last state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from dnas.errors import ConfigError
from dnas.jobs.job import State
from dnas.jobs.verdict import Ending, Verdict

_LAST_STATE = {
    Ending.OUT_OF_MEMORY: State.OUT_OF_MEMORY,
    Ending.TIMED_OUT: State.TIMED_OUT,
    Ending.LOST: State.LOST,
    Ending.CANCELLED: State.CANCELLED,
}


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often a job is queued again, for each class of failure.

    A job that diverged or refused its settings is never tried again: it would do the same.
    """

    out_of_memory: int = 2
    """Alone on a device."""
    preempted: int = 100
    lost: int = 10
    """Killed from outside, or its host has gone."""
    disk_full: int = 10
    """Once there is room again."""
    crashed: int = 0
    timed_out: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ConfigError(f"retries: {field.name}={getattr(self, field.name)} is negative")

    @classmethod
    def parse(cls, text: str) -> Retries:
        """Read ``lost=3,crashed=1``; what is not named keeps its default.

        Raises:
            ConfigError: A name or a number is wrong.
        """
        names = [field.name for field in fields(cls)]
        given: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, number = (word.strip() for word in part.partition("="))
            if name not in names or not number.isdecimal():
                raise ConfigError(
                    f"--retries {text}: {part!r} is not NAME=NUMBER with NAME one of "
                    f"{', '.join(names)}"
                )
            given[name] = int(number)
        return cls(**given)

    def limit(self, ending: Ending) -> int:
        """Most retries after ``ending``."""
        return int(getattr(self, ending.value, 0))


@dataclass(frozen=True)
class Decision:
    """What happens to a job after an attempt without success."""

    again: bool
    state: State
    """Its last state, or ``QUEUED``."""
    reason: str


def decide(verdict: Verdict, retries: Retries, used: Mapping[str, int]) -> Decision:
    """Whether there is another attempt.

    Args:
        verdict: Of an attempt that did not succeed.
        retries: The limits.
        used: How often the job was queued again before, by class.
    """
    ending = verdict.ending
    count, limit = used.get(ending.value, 0), retries.limit(ending)
    if count < limit:
        alone = ", alone on a device" if ending is Ending.OUT_OF_MEMORY else ""
        note = f"retry {count + 1} of {limit}{alone}"
        first, *rest = verdict.reason.split("\n", 1)
        return Decision(True, State.QUEUED, "\n".join([f"{note}; {first}", *rest]))
    times = f"{count + 1} times " if count else ""
    return Decision(False, _LAST_STATE.get(ending, State.FAILED), times + verdict.reason)
