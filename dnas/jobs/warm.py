"""A job that is a Python script, run in a fork of a process that has imported its modules.

To the script it is a new interpreter: its environment, arguments, ``__main__``, signals and
streams, and at its end the interpreter's own, with exit handlers, tracebacks and exit codes. What
differs: modules are in ``sys.modules`` that it did not import, hash seeds are the same for all jobs
of a nursery, what the imports printed has gone, and at its end (:mod:`dnas.jobs.leaving`) nothing
is destroyed of what the nursery had imported.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from dnas.jobs import leaving
from dnas.jobs.attempt import JOB_ATTEMPT_VARIABLE, JOB_FOLDER_VARIABLE
from dnas.jobs.preload import open_files
from dnas.jobs.supervisor import JobBegins, execute

#: Held free among the variables that the kernel shows, for those of a job.
_ROOM_VARIABLE = "DNAS_JOB_ROOM"
_ROOM_BYTES = 8192
#: Read when libraries are loaded; torch and OpenBLAS can be told afterwards.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
_BLAS_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads",
)

_room: tuple[int, int] = (0, 0)  # address and size
_arguments: tuple[int, int] = (0, 0)


class Start:
    """What a supervisor's fork does to begin a warm job.

    Args:
        base: The environment that the modules were imported in.
    """

    def __init__(self, base: Mapping[str, str]) -> None:
        self._base = base

    def __call__(self, order: Mapping[str, Any], environment: dict[str, str]) -> None:
        argv = list(order["argv"])
        try:
            shown = _shown_variables(environment)
            if len(shown) > _room[1] or not os.access(argv[1], os.R_OK):
                execute(order, environment)
            os.environ.clear()
            os.environ.update(environment)
            _write(_room, shown)
            show_arguments(argv)
            _set_threads(self._base, environment)
            _draw_new_seeds()
            # The last one tells the supervisor that all went well.
            os.closerange(3, max(open_files(), default=2) + 1)
        except Exception:  # a library that has been replaced on disk, for one
            execute(order, environment)
        raise JobBegins(argv)


def run_script(argv: list[str]) -> None:
    """Run ``python script.py arguments`` in this process, whose stack must be the program's alone.

    Returns at the end of the script; what it raises, the interpreter shows and obeys as usual.
    """
    script = argv[1]
    sys.orig_argv = list(argv)
    sys.argv = list(argv[1:])
    # A module of its own, made after the fork: what was made before is never collected.
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__dict__.update(
        __loader__=SourceFileLoader("__main__", script),
        __annotations__={},
        __builtins__=builtins,
        __file__=script,
        __cached__=None,
    )
    gc.enable()
    try:
        source = Path(script).read_bytes()
        exec(compile(source, script, "exec", dont_inherit=True), main.__dict__)
    except BaseException as error:
        leaving.failed(error, run_script.__code__)
        raise
    leaving.succeeded()


# ---- what the kernel shows of the process -----------------------------------------------------


def room() -> dict[str, str]:
    """A variable to start a nursery with, so that its jobs can show their own.

    Whoever looks for what a job has left (:func:`dnas.jobs.processes.kill_by_variables`) reads the
    variables that a process was started with, and a fork has those of the nursery.
    """
    return {_ROOM_VARIABLE: " " * _ROOM_BYTES}


def take_room() -> None:
    """Remember where that variable and the command lie; nothing refers to them afterwards."""
    global _room, _arguments
    os.environ.pop(_ROOM_VARIABLE, None)
    stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
    fields = [int(word) for word in stat[stat.rindex(")") + 4 :].split()[44:48]]
    start, end, variables, variables_end = fields
    if not start or not variables:
        return  # hidden by this kernel
    _arguments = start, end - start
    text = ctypes.string_at(variables, variables_end - variables)
    name = f"{_ROOM_VARIABLE}=".encode()
    if (position := text.find(name)) >= 0:
        _room = variables + position, len(name) + _ROOM_BYTES


def show_arguments(argv: Sequence[str]) -> None:
    """Be seen in process lists as this command, as far as there is room."""
    _write(_arguments, b"".join(os.fsencode(word) + b"\0" for word in argv))


def missing(manager: int) -> str:
    """What this process lacks to run jobs, besides what its modules do; empty if nothing.

    Args:
        manager: The one file descriptor that may be open.
    """
    if not _room[1]:
        return "this kernel does not say where a process has its variables"
    if left := open_files() - {manager}:
        return f"what was imported holds the file descriptors {sorted(left)}"
    return ""


def _shown_variables(environment: Mapping[str, str]) -> bytes:
    names = (JOB_FOLDER_VARIABLE, JOB_ATTEMPT_VARIABLE)
    words = [f"{name}={environment[name]}" for name in names if name in environment]
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _write(place: tuple[int, int], text: bytes) -> None:
    address, size = place
    if size:
        ctypes.memmove(address, text[: size - 1].ljust(size, b"\0"), size)


# ---- what libraries read when they are loaded -------------------------------------------------


def _set_threads(base: Mapping[str, str], environment: Mapping[str, str]) -> None:
    torch: Any = sys.modules.get("torch")
    wanted = [environment.get(name) for name in THREAD_VARIABLES]
    if torch is not None and wanted != [base.get(name) for name in THREAD_VARIABLES]:
        torch.set_num_threads(int(wanted[0] or 1))
    found = (environment.get(name, "") for name in _BLAS_VARIABLES)
    number = next((int(v) for v in found if v.isdigit() and int(v)), len(os.sched_getaffinity(0)))
    if number == 1:
        return
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    for path in {line.split(maxsplit=5)[5] for line in lines if "openblas" in line}:
        library = ctypes.CDLL(path)
        for setter in _BLAS_SETTERS:
            with contextlib.suppress(AttributeError):
                getattr(library, setter)(number)
                break


def _draw_new_seeds() -> None:
    """As importing does; the standard library's generator does so in every fork by itself."""
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.default_generator.seed()
