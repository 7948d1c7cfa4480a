"""Attempts that no executor of this manager can reach, watched through their files alone.

A job that a manager on another host started, or one that belongs to an engine which is not in use
now, still beats into its attempt's file. While the beat changes, the job lives; once it has stood
still for long enough, by this host's own monotonic clock, the job is lost.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from dnas.jobs import attempt as attempts
from dnas.jobs.executors.base import Handle, ask_by_file
from dnas.runs import JobFolder

#: Seconds between two looks.
_LOOK_S = 1.0


@dataclass(eq=False)
class _Watched(Handle):
    beat: Any = None
    changed_s: float = 0.0
    where: str = ""


class Watcher:
    """Watches attempts by their files.

    Args:
        lost_after_s: A beat that has not changed for so long is a dead one's.
        stop_grace_s: What a job that is asked to stop gets to save a checkpoint.
    """

    def __init__(self, lost_after_s: float, stop_grace_s: float) -> None:
        self._lost_after_s = lost_after_s
        self._stop_grace_s = stop_grace_s
        self._watched: list[_Watched] = []
        self._looked_s = -_LOOK_S

    def adopt(self, folder: JobFolder, attempt: int, where: str) -> Handle:
        """Watch an attempt; ``where`` names its host or engine, for messages."""
        handle = _Watched(folder, attempt, changed_s=time.monotonic(), where=where)
        self._watched.append(handle)
        return handle

    def poll(self) -> list[Handle]:
        """The handles that ended since the last call; looks at most once a second."""
        now = time.monotonic()
        if not self._watched or now - self._looked_s < _LOOK_S:
            return []
        self._looked_s = now
        ended = [handle for handle in self._watched if self._has_ended(handle, now)]
        for handle in ended:
            self._watched.remove(handle)
        return list[Handle](ended)

    def watches(self, handle: Handle) -> bool:
        """Whether the handle is one of these."""
        return handle in self._watched

    def cancel(self, handle: Handle, *, kill: bool = False) -> None:
        """Ask its supervisor, by file, to end the job."""
        ask_by_file(handle.folder, handle.attempt, kill=kill, grace_s=self._stop_grace_s)

    def _has_ended(self, handle: _Watched, now: float) -> bool:
        record = attempts.read_attempt(handle.folder.attempt(handle.attempt)) or {}
        if record.get("state") == attempts.ENDED:
            return True
        if (beat := record.get("beat")) != handle.beat:
            handle.beat, handle.changed_s = beat, now
        if now - handle.changed_s < self._lost_after_s:
            return False
        handle.ending = "lost"
        handle.ending_reason = f"no sign of life from {handle.where} for {self._lost_after_s:.0f} s"
        return True
