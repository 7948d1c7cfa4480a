"""What a manager hands back, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dnas.jobs.job import State
from dnas.jobs.verdict import TAIL_FOLLOWS

#: Failures shown in a summary; a sweep that fails as a whole must not flood the terminal.
_MOST_SHOWN = 50


@dataclass(frozen=True)
class Failure:
    """A job without a success."""

    kind: str
    job: str
    state: str
    reason: str
    log: Path


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    state: str
    """``finished`` (every job succeeded or was cancelled), ``failed`` or ``interrupted``."""
    exit_code: int
    """0, 1 if a job failed or launching was stopped, 128 + signal if interrupted."""
    run: Path
    """The run folder."""
    counts: Mapping[str, Mapping[str, int]]
    """Kind -> state -> number of jobs; states without a job are left out."""
    failures: tuple[Failure, ...] = ()
    reason: str = ""
    """Why launching stopped; empty if it did not."""
    problems: tuple[str, ...] = ()
    """What went wrong outside of jobs, e.g. in the report."""

    def num(self, kind: str, state: State = State.SUCCEEDED) -> int:
        """Number of jobs of ``kind`` in ``state``."""
        return self.counts.get(kind, {}).get(state, 0)

    def summary(self) -> str:
        """Counts, the reason if launching stopped, and a table of failures with their logs."""
        lines = [f"{self.run}: {self.state}"]
        for kind, states in self.counts.items():
            shown = ", ".join(f"{number} {state}" for state, number in states.items())
            lines.append(f"  {kind}: {shown}")
        if self.reason:
            lines.append(f"  {self.reason}")
        lines += [f"  {problem}" for problem in self.problems]
        if self.failures:
            lines += ["", f"{len(self.failures)} without success:"]
            for failure in self.failures[:_MOST_SHOWN]:
                lines.append(f"  {failure.kind}/{failure.job}")
                lines.append(f"    {failure.state}: {one_line(failure.reason)}")
                lines.append(f"    log: {failure.log}")
            if len(self.failures) > _MOST_SHOWN:
                lines.append(
                    f"  ... and {len(self.failures) - _MOST_SHOWN} more, each with its log"
                )
            lines += [
                "The same command does not try them again. Once the cause is mended:",
                f"  dnas retry {self.run} --failed   and then the same command",
            ]
        return "\n".join(lines) + "\n"


def duration(seconds: float) -> str:
    """Seconds for people: ``42 s``, ``3:05``, ``2:10:00``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s" if whole >= 10 else f"{seconds:.1f} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def one_line(reason: str) -> str:
    """A reason without the log lines that follow it, but for the last, which mostly says it all."""
    first, *tail = reason.splitlines() or [""]
    return f"{first.removesuffix(TAIL_FOLLOWS)}: {tail[-1].strip()}" if tail else first
