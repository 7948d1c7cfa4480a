"""One manager for each run folder, by a lock that the kernel takes back when the manager dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from types import TracebackType
from typing import Self

from dnas.errors import JobError
from dnas.runs import RunFolder


class RunLock:
    """Context manager that holds a run folder.

    Args:
        run: The run folder; it is made if it is not there.

    Raises:
        JobError: On entering: another live manager has it; the message names pid and host.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._handle: int | None = None

    def __enter__(self) -> Self:
        self._run.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._run.lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(handle)
            os.close(handle)
            raise JobError(
                f"{self._run.path}: {holder} is working on this experiment; wait for it, stop it, "
                "or choose another experiment id"
            ) from None
        mine = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        os.ftruncate(handle, 0)
        os.pwrite(handle, (json.dumps(mine) + "\n").encode(), 0)
        self._handle = handle
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handle is not None:
            # The file stays: removing it would let two managers lock two files of one name.
            os.close(self._handle)
            self._handle = None


def _holder(handle: int) -> str:
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
        return f"a manager with pid {holder['pid']} on host {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another manager"
