"""What the kernel says about memory: kills by its out-of-memory killer, and what is available."""

from __future__ import annotations

from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def num_out_of_memory_kills() -> int:
    """Processes that the kernel has killed for lack of memory so far, in this container or host.

    The difference of two readings tells whether a SIGKILL between them may have been the kernel's.
    """
    counts = [_field(Path("/proc/vmstat"), "oom_kill")]
    counts += [_field(folder / "memory.events", "oom_kill") for folder in _cgroup_folders()]
    return sum(counts)


def available_memory_bytes() -> int | None:
    """Memory that new processes can use without swapping: the host's, or less in a container."""
    found = [_field(Path("/proc/meminfo"), "MemAvailable:") * 1024]
    for folder in _cgroup_folders():
        limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
        if limit is not None and used is not None:
            # Page cache counts as used there, and is given back when it is needed.
            found.append(limit - used + _field(folder / "memory.stat", "inactive_file"))
    return min((value for value in found if value > 0), default=None)


def _cgroup_folders() -> list[Path]:
    """Folders of this process's group and those above it, in the unified hierarchy."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    folder = _CGROUPS / own.lstrip("/")
    return [place for place in (folder, *folder.parents) if place.is_relative_to(_CGROUPS)]


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
