"""The end of a job that runs in a fork of a nursery: an interpreter's end without its last part.

Exit handlers, messages, tracebacks and exit codes are the interpreter's own doing. Taking down all
modules afterwards is not worth its time here, 0.2 s with torch: what a job shares with the nursery
is left to the kernel, and only the job's own modules are emptied, so that files which nobody closed
are written and destructors run.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import signal
import sys
import weakref
from types import ModuleType, TracebackType
from typing import Any

_OTHER_FAILURE = 1
_CANNOT_FLUSH = 120
_shared: frozenset[str] = frozenset()
_status: int | None = None
"""Exit code of the job, or minus the signal that ends it; None while this is no job's process."""


def come_last() -> None:
    """Have :func:`_leave` called after all other exit handlers: they run from the newest on."""
    atexit.register(_leave)


def share_modules() -> None:
    """Remember which modules are the nursery's."""
    global _shared
    _shared = frozenset(sys.modules)


def succeeded() -> None:
    """The script has come to its end."""
    global _status
    _status = 0


def failed(error: BaseException, frame: Any) -> None:
    """The script has raised ``error``, which goes on to the interpreter.

    Args:
        error: Whatever it is, SystemExit included.
        frame: Code object whose frame, and all around it, no traceback shall show.
    """
    global _status
    if isinstance(error, SystemExit):
        _status = _exit_code(error)
    else:
        _status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else _OTHER_FAILURE
        sys.excepthook = _Hook(sys.excepthook, frame)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if not isinstance(error.code, int):
        return _OTHER_FAILURE
    return error.code & 0xFF if -(2**63) <= error.code < 2**63 else 0xFF


class _Hook:
    """Shows one exception by the hook that was there, without the frames that are not the job's."""

    def __init__(self, hook: Any, frame: Any) -> None:
        self._hook, self._frame = hook, frame

    def __call__(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        global _status
        sys.excepthook = self._hook
        while trace is not None and trace.tb_frame.f_code is not self._frame:
            trace = trace.tb_next
        own = None if trace is None else trace.tb_next
        try:
            self._hook(kind, error.with_traceback(own), own)
        except SystemExit as leaves:
            _status = _exit_code(leaves)
            raise


def _leave() -> None:
    # Threads that still run would see modules become empty: the interpreter knows how to stop them.
    if _status is None or len(sys._current_frames()) > 1:
        return
    code = _status
    _empty_modules()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except Exception:
            code = _CANNOT_FLUSH
    ctypes.CDLL(None).fflush(None)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _empty_modules() -> None:
    """As the interpreter would: forget the job's modules, then empty those that somebody holds."""
    names = [name for name in sys.modules if name not in _shared or name == "__main__"]
    modules = [
        weakref.ref(module)
        for module in [sys.modules.pop(name) for name in names]
        if isinstance(module, ModuleType)
    ]
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        sys.__dict__.pop(name, None)  # frames hold what their functions used
    gc.collect()
    for held in [module for module in (reference() for reference in reversed(modules)) if module]:
        content = held.__dict__
        for name in sorted(content, key=lambda name: not name.startswith("_")):
            if name != "__builtins__":
                content[name] = None
    gc.collect()
