"""What the kernel says about memory: kills by its out-of-memory killer, and what is available."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/")


def num_out_of_memory_kills(root: Path = _ROOT) -> int:
    """Processes that the kernel has killed for lack of memory so far, in this container or host.

    The difference of two readings tells whether a SIGKILL between them may have been the kernel's.

    Args:
        root: Where ``proc`` and ``sys`` are; for tests.
    """
    counts = [_field(root / "proc/vmstat", "oom_kill")]
    counts += [_field(folder / "memory.events", "oom_kill") for folder in _cgroup_folders(root)]
    return sum(counts)


def available_memory_bytes(root: Path = _ROOT) -> int | None:
    """Memory that new processes can use without swapping: the host's, or less in a container.

    Args:
        root: Where ``proc`` and ``sys`` are; for tests.

    Returns:
        Bytes, or None if this kernel does not say.
    """
    found = []
    if host_kib := _field(root / "proc/meminfo", "MemAvailable:"):
        found.append(host_kib * 1024)
    for folder in _cgroup_folders(root):
        limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
        if limit is not None and used is not None:
            # Page cache counts as used there, and is given back when it is needed.
            left = limit - used + _field(folder / "memory.stat", "inactive_file")
            found.append(max(0, left))
    return min(found, default=None)


def _cgroup_folders(root: Path) -> list[Path]:
    """Folders of this process's group and those above it, in the unified hierarchy."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    top = root / "sys/fs/cgroup"
    folder = top / own.lstrip("/")
    return [place for place in (folder, *folder.parents) if place.is_relative_to(top)]


def _field(path: Path, name: str) -> int:
    """The number after ``name`` in a file of such lines, 0 if there is none."""
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == name:
                return int(words[1])
    except (OSError, ValueError):
        pass
    return 0


def _number(path: Path) -> int | None:
    """A file's one number; None if there is no such file or no limit (``max``)."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
