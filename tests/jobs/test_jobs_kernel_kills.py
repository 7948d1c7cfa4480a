"""The kernel's out-of-memory killer, really at work on a job."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_ROOTS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "tasks"),
    (Path("/sys/fs/cgroup"), "memory.max", "cgroup.procs"),
)
_LIMIT_BYTES = 60_000_000

#: Puts itself into a group of little memory in its first attempt, and asks for more.
_HOG = """
import json, os, sys
options = dict(a[2:].split("=", 1) for a in sys.argv[1:])
if os.environ["DNAS_JOB_ATTEMPT"] == "1":
    open(options["group"], "w").write(str(os.getpid()))
    hoard = []
    while True:
        hoard.append(bytearray(1 << 20))
open(options["save"], "w").write("{}")
"""


@pytest.fixture
def small_group() -> Iterator[Path]:
    """File of a control group that a process joins by writing its pid."""
    for root, limit, members in _ROOTS:
        group = root / f"dnas-test-{uuid.uuid4().hex[:8]}"
        with contextlib.suppress(OSError):
            group.mkdir()
            try:
                (group / limit).write_text(str(_LIMIT_BYTES))
                yield group / members
                return
            finally:
                os.rmdir(group)
    pytest.skip("no control group of little memory can be made here (needs root)")


def test_a_job_killed_for_memory_is_tried_again_alone(
    small_group: Path, managers: Callable[..., Any], project: Path
) -> None:
    (project / "job.py").write_text(_HOG)
    m = managers(f"--group={small_group}", gpu_ids="0", per_gpu=2)
    code, output = m.finish()
    assert code == 0, output
    states = [event["state"] for event in m.run.events() if event["job"]]
    assert states == ["queued", "running", "out_of_memory", "queued", "running", "succeeded"]
    assert "by the kernel: host memory was full" in json.dumps(m.run.events())
    assert m.run.statuses()[0]["retries"] == {"out_of_memory": 1}
