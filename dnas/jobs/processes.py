"""Facts about processes that the manager did not start itself."""

from __future__ import annotations

import os
import subprocess
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
    shown = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split(maxsplit=1)
    return shown[1].strip() if len(shown) == 2 and not shown[0].startswith("Z") else None


def find_by_variable(name: str, value: str) -> int | None:
    """Pid of the oldest live process that leads its group and was started with NAME=value.

    Only where ``/proc`` is; None elsewhere and if there is none.
    """
    wanted = f"{name}={value}".encode()
    for folder in sorted(_PROC.glob("[0-9]*"), key=lambda path: int(path.name)):
        pid = int(folder.name)
        try:
            if wanted not in folder.joinpath("environ").read_bytes().split(b"\0"):
                continue
            if os.getpgid(pid) == pid and process_mark(pid) is not None:
                return pid
        except OSError:
            continue  # it ended, or belongs to somebody else
    return None
