"""Processes that somebody else started: which one it is, and the end of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

_PROC = Path("/proc")


def process_mark(pid: int) -> str | None:
    """When a live process started, as text to compare: pid and mark together are unique.

    Pids are used again; a pid with another mark is another process. None if there is no such
    process, or only its unreaped remains.
    """
    if _PROC.joinpath("self", "stat").exists():
        try:
            stat = _PROC.joinpath(str(pid), "stat").read_text(encoding="utf-8", errors="replace")
            boot = _PROC.joinpath("sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        except OSError:
            return None
        # The second field, the name, may hold spaces and brackets.
        fields = stat[stat.rindex(")") + 2 :].split()
        state, start_ticks = fields[0], fields[19]
        return None if state in "ZX" else f"{boot[:8]}:{start_ticks}"
    import subprocess  # not at the top: supervisors import this, and start thousands of times

    shown = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split(maxsplit=1)
    return shown[1].strip() if len(shown) == 2 and not shown[0].startswith("Z") else None


def kill_by_variables(variables: Mapping[str, str]) -> None:
    """SIGKILL every process of this user that was started with all of these in its environment.

    Only where ``/proc`` is; nothing happens elsewhere.
    """
    wanted = {f"{name}={value}".encode() for name, value in variables.items()}
    for folder in _PROC.glob("[0-9]*"):
        try:
            if wanted <= set(folder.joinpath("environ").read_bytes().split(b"\0")):
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue  # it ended, or belongs to somebody else
