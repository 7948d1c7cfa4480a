"""One manager for each run folder: a lock that dies with its holder, and a lease across hosts.

On one host, and on file systems that share locks, the kernel decides and takes the lock back when
the manager dies. Where locks are not shared between hosts, the holder also counts a beat into the
lock file: a manager on another host that finds a foreign name there waits whether the beat changes
before it takes over. So nobody ever removes a lock by hand.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from dnas.errors import JobError
from dnas.runs import RunFolder

logger = logging.getLogger(__name__)

#: Seconds between two beats of a manager.
_BEAT_S = 5.0
#: A foreign beat that has stood still for so long is that of a dead manager.
_LEASE_S = 30.0
#: A command that asks whether the folder is held holds it for a moment itself.
_TRIES = 3
_TRY_AGAIN_S = 0.1
#: What flock says where somebody else has the lock, and not that there are no locks.
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class RunLock:
    """Context manager that holds a run folder.

    Args:
        run: The run folder; it is made if it is not there.
        wait: What passes the time while a foreign beat is watched; for tests.

    Raises:
        JobError: On entering: another live manager has it, and the message names pid and host; or
            it cannot be written or locked.
    """

    def __init__(self, run: RunFolder, wait: Callable[[float], None] = time.sleep) -> None:
        self._run = run
        self._wait = wait
        self._handle: int | None = None
        self._mine: dict[str, Any] = {}
        self._beat_s = 0.0

    def __enter__(self) -> Self:
        try:
            self._run.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._run.lock, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise JobError(
                f"{self._run.path}: cannot be a run folder: {error.strerror} "
                f"({error.filename}); choose another --runs_dir"
            ) from None
        try:
            if not _lock(handle):
                raise self._refusal(_holder(handle))
        except BaseException:
            os.close(handle)
            raise
        self._mine = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.time(),
            "beat": 0,
            "released": False,
        }
        try:
            self._watch_foreign(handle)
            self._handle = handle
            self._write()
        except BaseException:
            os.close(handle)
            self._handle = None
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handle is not None:
            if self.is_mine():
                self._mine["released"] = True
                self._write()
            # The file stays: removing it would let two managers lock two files of one name.
            os.close(self._handle)
            self._handle = None

    def beat(self) -> None:
        """Show that the holder lives; to be called often, writes every few seconds.

        Raises:
            JobError: Another manager has taken over, because this one showed no life for long.
        """
        now = time.monotonic()
        if self._handle is None or now - self._beat_s < _BEAT_S:
            return
        self._beat_s = now
        if not self.is_mine():
            raise self._refusal(_holder(self._handle), "has taken over")
        self._mine["beat"] += 1
        self._write()

    def is_mine(self) -> bool:
        """Whether this manager has the run folder and no other one has taken it over."""
        if self._handle is None:
            return False
        holder = _holder(self._handle)
        # A lock file that was damaged or emptied names nobody else.
        return not holder or all(holder.get(k) == self._mine[k] for k in ("pid", "host"))

    def _watch_foreign(self, handle: int) -> None:
        """Wait until a manager of another host that is named there is certainly dead."""
        first = _holder(handle)
        if first.get("released", True) or first.get("host") == self._mine["host"]:
            return
        logger.warning(
            "%s was last held by %s; watching for %.0f s whether it lives",
            self._run.path,
            _shown(first),
            _LEASE_S,
        )
        until = time.monotonic() + _LEASE_S
        while time.monotonic() < until:
            self._wait(1.0)
            if (now := _holder(handle)).get("beat") != first.get("beat"):
                if now.get("released"):
                    return
                raise self._refusal(now)

    def _write(self) -> None:
        assert self._handle is not None
        text = json.dumps(self._mine) + "\n"
        try:
            # One write of one size, in place: a reader sees the old line or the new one.
            os.pwrite(self._handle, text.ljust(256).encode(), 0)
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._run.lock, error)

    def _refusal(
        self, holder: dict[str, Any], does: str = "is working on this experiment"
    ) -> JobError:
        return JobError(
            f"{self._run.path}: {_shown(holder)} {does}; wait for it, stop it, or choose another "
            "experiment id"
        )


def is_held(run: RunFolder) -> bool:
    """Whether a live manager of this host (or of one that shares locks) has the run folder."""
    try:
        handle = os.open(run.lock, os.O_RDONLY)  # also of a run that belongs to somebody else
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _HELD
    finally:
        os.close(handle)
    return False


def is_worked_on(run: RunFolder) -> bool | None:
    """Whether a manager works on a run; None if one of another host, unseen from here, may."""
    if is_held(run):
        return True
    try:
        holder = json.loads(run.lock.read_bytes())
        foreign = holder["host"] != socket.gethostname() and not holder["released"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return None if foreign else False


def _lock(handle: int) -> bool:
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_TRY_AGAIN_S)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in _HELD:
                raise JobError(
                    f"files cannot be locked there (flock: {error.strerror}), so that two managers "
                    "could work on one run; choose a --runs_dir on a file system with locks (of "
                    "Lustre: mounted with -o flock)"
                ) from None
    return False


def _holder(handle: int) -> dict[str, Any]:
    try:
        value = json.loads(os.pread(handle, 4096, 0))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _shown(holder: dict[str, Any]) -> str:
    if not holder:
        return "another manager"
    return f"a manager with pid {holder.get('pid')} on host {holder.get('host')}"
