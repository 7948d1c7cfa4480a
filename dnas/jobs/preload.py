"""Importing ahead of the jobs that will need it, and whether the process can still be forked."""

from __future__ import annotations

import ast
import functools
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Packages whose import neither draws random numbers nor looks at what the process is for.
KNOWN = ("dnas", "numpy", "torch")
#: Slow to import, and known to start no threads.
_TRUSTED = ("numpy", "torch", "torch._dynamo")
#: Importing must end within this time, or the process does.
_LOAD_S = 300


@functools.cache
def modules_for(script: str) -> tuple[str, ...]:
    """What a script imports itself of the packages that are safe to import ahead.

    Heavy ones come first: what is tried in a fork before then need not import them a second time.
    """
    try:
        tree = ast.parse(Path(script).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ()
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    known = [name for name in names if name.partition(".")[0] in KNOWN]
    heavy = ["torch"] if any(name.startswith(("dnas.cli", "torch")) for name in known) else []
    if any(name.startswith("dnas.cli") for name in known):
        # The first optimizer that a job makes imports it, which takes a second.
        heavy.append("torch._dynamo")
    return tuple(dict.fromkeys(heavy + known))


def threads() -> list[str]:
    """Names of this process's threads."""
    tasks = Path("/proc/self/task")
    return sorted(task.joinpath("comm").read_text().strip() for task in tasks.iterdir())


def obstacle() -> str:
    """Why this process must not be forked to run jobs; empty if it may."""
    if len(names := threads()) > 1:
        return f"it has {len(names)} threads ({', '.join(names)})"
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "CUDA is initialised"
    return ""


def load(names: Sequence[str]) -> dict[str, str]:
    """Import what leaves this process fit to be forked.

    Returns:
        The names left out, each with the reason. What an import has done cannot be undone, so each
        is tried in a fork before.
    """
    left_out = {}
    signal.alarm(_LOAD_S)
    for name in names:
        if name not in _TRUSTED and (reason := _try(name)):
            left_out[name] = reason
            continue
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            left_out[name] = str(error)
    signal.alarm(0)
    return left_out


def _try(name: str) -> str:
    """Import a module in a fork of this process; gives what is wrong with that, or ``""``."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(_LOAD_S)  # a fork has none
        try:
            importlib.import_module(name)
            reason = obstacle()
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
        os.write(write, reason.encode(errors="replace")[:4096])
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        reason = pipe.read().decode(errors="replace")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return reason or (f"importing it ended the process with {status}" if status else "")


def open_files() -> set[int]:
    """File descriptors of this process beyond the three standard ones."""
    with os.scandir("/proc/self/fd") as entries:
        found = {int(entry.name) for entry in entries}
    # One of them was that of the search itself, and is closed by now.
    return {handle for handle in found if handle > 2 and os.path.exists(f"/proc/self/fd/{handle}")}
