"""What is read from the kernel's files about memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dnas.jobs.kernel import available_memory_bytes, num_out_of_memory_kills

GIB = 1 << 30


@pytest.fixture
def kernel(tmp_path: Path) -> Callable[..., Path]:
    """Write a kernel's files and give their root: ``kernel({"proc/meminfo": "..."})``."""

    def make(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


def test_kills_are_those_of_the_host_and_of_every_group_above(
    kernel: Callable[..., Path],
) -> None:
    assert num_out_of_memory_kills(kernel({})) == 0
    files = {
        "proc/vmstat": "nr_free_pages 7\noom_kill 3\noom_kill_other 50\n",
        "proc/self/cgroup": "1:name=systemd:/old\n0::/a/b\n",
        "sys/fs/cgroup/memory.events": "oom 9\noom_kill 10\noom_group_kill 0\n",
        "sys/fs/cgroup/a/memory.events": "low 0\noom_kill 200\n",
        "sys/fs/cgroup/a/b/memory.events": "oom_kill 4000\n",
        "sys/fs/cgroup/a/c/memory.events": "oom_kill 70000\n",
        "sys/fs/memory.events": "oom_kill 900000\n",
    }
    assert num_out_of_memory_kills(kernel(files)) == 4213


@pytest.mark.parametrize("text", ["", "oom_kill", "oom_kill many", "\0\0\0"])
def test_files_of_another_form_count_nothing(kernel: Callable[..., Path], text: str) -> None:
    root = kernel({"proc/vmstat": text, "proc/meminfo": text, "proc/self/cgroup": text})
    assert num_out_of_memory_kills(root) == 0
    assert available_memory_bytes(root) is None


def test_a_host_alone_says_what_is_available(kernel: Callable[..., Path]) -> None:
    files = {"proc/meminfo": "MemTotal: 64 kB\nMemAvailable:    2097152 kB\nMemFree: 1 kB\n"}
    assert available_memory_bytes(kernel(files)) == 2 * GIB


def group(limit: object, used: int, cache: int, name: str = "") -> dict[str, str]:
    return {
        f"sys/fs/cgroup{name}/memory.max": f"{limit}\n",
        f"sys/fs/cgroup{name}/memory.current": f"{used}\n",
        f"sys/fs/cgroup{name}/memory.stat": f"anon 5\ninactive_file {cache}\nactive_file 9\n",
    }


HOST = {"proc/meminfo": f"MemAvailable: {8 * GIB // 1024} kB\n", "proc/self/cgroup": "0::/a\n"}


def test_the_tightest_of_host_and_containers_counts(kernel: Callable[..., Path]) -> None:
    files = HOST | group(10 * GIB, 4 * GIB, 1 * GIB, "/a")  # page cache is given back
    assert available_memory_bytes(kernel(files)) == 7 * GIB
    assert available_memory_bytes(kernel(group(6 * GIB, 4 * GIB, 0))) == 2 * GIB
    assert available_memory_bytes(kernel(group("max", 4 * GIB, 0))) == 7 * GIB
    assert available_memory_bytes(kernel(group("max", 4 * GIB, 0, "/a"))) == 8 * GIB


def test_a_container_that_is_full_has_nothing_and_not_what_the_host_has(
    kernel: Callable[..., Path],
) -> None:
    assert available_memory_bytes(kernel(HOST | group(GIB, GIB, 0, "/a"))) == 0
    # A limit that was lowered under what is used.
    assert available_memory_bytes(kernel(HOST | group(GIB, 2 * GIB, 0, "/a"))) == 0


def test_this_machine() -> None:
    available = available_memory_bytes()
    assert available is None or 0 <= available < 1 << 50
    assert num_out_of_memory_kills() >= 0
