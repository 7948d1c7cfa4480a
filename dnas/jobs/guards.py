"""Reasons not to start a job now, though a device is free: memory and disk of this host."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dnas.jobs.kernel import available_memory_bytes

#: A job that is younger has not yet taken the memory it will take.
_SETTLED_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Guards:
    """Limits below which nothing more is started.

    The memory guard expects of a job what the largest job of its kind has taken so far. It always
    lets one job run: a manager that starts nothing at all would wait for ever.
    """

    min_free_memory_bytes: int = 1 << 30
    min_free_disk_bytes: int = 64 << 20

    def why_no_disk(self, folder: Path) -> str:
        """Why there is too little disk for another job, or ``""``."""
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            return f"{folder} cannot be read: {error.strerror}"
        if free >= self.min_free_disk_bytes:
            return ""
        return (
            f"the disk of {folder} has {mib(free)} free, and {mib(self.min_free_disk_bytes)} are "
            "wanted before a job starts (--min_free_disk_gb)"
        )

    def why_no_memory(self, expected_bytes: int, running: Iterable[tuple[float, int]]) -> str:
        """Why there is too little host memory for another job, or ``""``.

        Args:
            expected_bytes: What the job is expected to take, 0 if nothing is known yet.
            running: For each running job, when it started (monotonic seconds) and what it is
                expected to take.
        """
        ages = [(time.monotonic() - started_s, expected) for started_s, expected in running]
        available = available_memory_bytes()
        if not ages or available is None:
            return ""
        still_to_come = sum(expected for age_s, expected in ages if age_s < _SETTLED_S)
        left = available - still_to_come - expected_bytes
        if left >= self.min_free_memory_bytes:
            return ""
        return (
            f"host memory: {mib(available)} available, {mib(still_to_come)} still to be taken by "
            f"jobs that have just started, {mib(expected_bytes)} expected for this one, and "
            f"{mib(self.min_free_memory_bytes)} are to stay free (--min_free_memory_gb)"
        )


def mib(num_bytes: int) -> str:
    """Bytes for people."""
    return f"{num_bytes / (1 << 20):,.0f} MiB"
