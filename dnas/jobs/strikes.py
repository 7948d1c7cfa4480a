"""Failures in a row with one cause: a sign that the next jobs would fail of it too."""

from __future__ import annotations

from dnas.jobs.verdict import Ending, Verdict

#: A job that refuses its settings or data does so at once; two of them are enough.
_USER_ERRORS = 2


class Strikes:
    """Counts them. Running out of memory, divergence and time-outs do not count: they say something
    about one job's settings only.

    Args:
        most: So many in a row are too many, or 2 if the job refused its settings or data. 0 never
            is.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._cause = ""
        self.count = 0

    def success(self) -> None:
        """A job succeeded: whatever failed before is not the cause of all."""
        self._cause, self.count = "", 0

    def failure(self, verdict: Verdict) -> bool:
        """Count a job's last failure; gives whether it is one too many."""
        if not verdict.cause:
            return False
        self.count = self.count + 1 if verdict.cause == self._cause else 1
        self._cause = verdict.cause
        most = min(_USER_ERRORS, self._most) if verdict.ending is Ending.USER_ERROR else self._most
        return 0 < most <= self.count
