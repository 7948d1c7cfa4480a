"""Kills, damaged files, a full disk, a jumping clock: every job still has exactly one result."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.chaos import Chaos

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A folder on a file system of its own of 48 MB; None where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        yield None
        return
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def survive(chaos: Chaos, *, kills: int, every_s: float, at_most_s: float) -> None:
    """Let misfortunes happen until there were enough, then let the queue finish, and look."""
    deadline = time.monotonic() + at_most_s
    try:
        chaos.start()
        while chaos.kills() < kills:
            assert time.monotonic() < deadline, f"only {chaos.done} so far"
            time.sleep(every_s)
            chaos.misfortune()
        left_s = deadline - time.monotonic()
        assert chaos.finish(max(left_s, 1.0)) == 0
        # Results that were damaged after their end are found by the next start.
        assert chaos.finish(60) == 0
        chaos.check()
    except BaseException:
        log = chaos.folder.parent / f"{chaos.folder.name}.log"
        print(chaos.done, log.read_text()[-6000:])
        raise
    finally:
        with contextlib.suppress(Exception):
            chaos.finish(0)
        for pid in chaos.processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def test_a_bad_minute(tmp_path: Path, small_disk: Path | None) -> None:
    folder = small_disk or tmp_path / "disk"
    chaos = Chaos(folder, seed=1, num_jobs=30, may_fill_disk=small_disk is not None)
    survive(chaos, kills=20, every_s=0.1, at_most_s=100)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_bad_week(tmp_path: Path, small_disk: Path | None) -> None:
    folder = small_disk or tmp_path / "disk"
    chaos = Chaos(folder, seed=2, num_jobs=120, may_fill_disk=small_disk is not None)
    survive(chaos, kills=80, every_s=0.05, at_most_s=400)
    quiet = Chaos(tmp_path, seed=0, num_jobs=120, step_s=0.0)
    assert quiet.finish(120) == 0
    quiet.check()
    assert quiet.results() == chaos.results()
