"""How fast do shuffled batches come from a store, and what does another job on the host cost?

A store of random rows in the shape of Criteo's: 13 numbers, 26 categories. First the speed of whole
epochs in one process with one thread: rows in their order; the shuffle within windows; a full
permutation; some scattered rows; and the windows again when nothing is in the system's memory.
Then 1, 2, 3 and 8 processes read epochs at the same time, and the kernel is asked what memory is
theirs: their shares of the store's pages, and what each has for itself, beyond what it had before
it opened the store.

    python benchmarks/data_reading.py --rows 6000000 --json data_reading.json
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dnas.data import DataSpec, Store, StoreLoader
from dnas.data.splits import Indices
from dnas.data.store import DENSE, IDS, LABELS
from dnas.data.store_writer import StoreWriter
from dnas.files import write_json

N_DENSE, N_SPARSE, VALUES = 13, 26, 1000
JOBS = (1, 2, 3, 8)
BLOCK_ROWS = 500_000


def make_store(folder: Path, rows: int) -> Store:
    """A store of random rows."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    spec = DataSpec(
        tuple(f"I{i + 1}" for i in range(N_DENSE)),
        tuple(f"C{i + 1}" for i in range(N_SPARSE)),
        (VALUES,) * N_SPARSE,
    )
    writer = StoreWriter(folder, n_dense=N_DENSE, n_sparse=N_SPARSE, has_parts=False)
    for start in range(0, rows, BLOCK_ROWS):
        count = min(BLOCK_ROWS, rows - start)
        writer.append(
            rng.integers(2, size=count, dtype=np.uint8),
            rng.random((count, N_DENSE), dtype=np.float32),
            rng.integers(VALUES, size=(count, N_SPARSE), dtype=np.int32),
        )
    writer.finish(data_set="random", spec=spec, identity={})
    return Store.open(folder)


def make_loader(
    store: Store, indices: Indices, batch: int, *, shuffle: bool = True, window: int | None = None
) -> StoreLoader:
    """A loader as the training loops make them."""
    return StoreLoader(
        store, indices, batch, shuffle=shuffle, seed=1, drop_last=True, window_rows=window
    )


def read(loader: StoreLoader, start: int, stop: int) -> float:
    """Seconds for some batches, each of which is touched."""
    begun = time.perf_counter()
    for batch in loader.batches(start, stop):
        batch.labels.sum()
    return time.perf_counter() - begun


def forget(store: Store) -> None:
    """Have the system drop the store's pages; those that are mapped stay."""
    for name in (LABELS, DENSE, IDS):
        file = os.open(store.path / name, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def speeds(folder: Path, batch: int, rounds: int) -> list[dict[str, float | str]]:
    """Rows a second of each way to read."""
    store = Store.open(folder)
    every = range(store.rows)
    scattered = np.sort(np.random.default_rng(2).permutation(store.rows)[: store.rows // 5])
    ways = {
        "in order": make_loader(store, every, batch, shuffle=False),
        "windows": make_loader(store, every, batch),
        "full permutation": make_loader(store, every, batch, window=store.rows),
        "windows, a fifth of the rows": make_loader(store, scattered, batch, window=1 << 18),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for loader in ways.values():
        read(loader, 0, len(loader))
    for epoch in range(1, rounds + 1):
        for name, loader in ways.items():
            steps = len(loader)
            found[name].append(steps * batch / read(loader, epoch * steps, (epoch + 1) * steps))
    return [{"way": name, "rows_per_second": statistics.median(v)} for name, v in found.items()]


def cold(folder: Path, batch: int, announced: bool) -> dict[str, float | str]:
    """Rows a second of the first epoch, with nothing of the store in memory."""
    store = Store.open(folder)
    forget(store)
    loader = make_loader(store, range(store.rows), batch)
    if not announced:
        loader._announce = lambda epoch, place: None  # type: ignore[method-assign]
    steps = len(loader)
    speed = steps * batch / read(loader, 0, steps)
    return {
        "way": f"windows, cold{'' if announced else ', not announced'}",
        "rows_per_second": speed,
    }


def job(folder: str, batch: int) -> None:
    """Read an epoch, then wait to be looked at; for each line of input once."""
    torch.set_num_threads(1)
    loader: StoreLoader | None = None
    for epoch, _ in enumerate(sys.stdin):
        if epoch > 0:
            if loader is None:
                store = Store.open(folder)
                loader = make_loader(store, range(store.rows), batch)
            steps = len(loader)
            read(loader, epoch * steps, (epoch + 1) * steps)
        sys.stdout.write("ready\n")
        sys.stdout.flush()


def memory(process: int, folder: Path) -> dict[str, float]:
    """MiB: shares of the store's pages, all pages of a process by itself, shares of all."""
    text = Path(f"/proc/{process}/smaps").read_text(encoding="utf-8")
    sums = {"store_pss": 0, "private": 0, "pss": 0}
    of_store = False
    for line in text.splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            of_store = str(folder) in line
            continue
        name, value, *_ = line.split()
        if name == "Pss:":
            sums["pss"] += int(value)
            sums["store_pss"] += int(value) if of_store else 0
        elif name in ("Private_Clean:", "Private_Dirty:") and not of_store:
            sums["private"] += int(value)
    return {name: value / 1024 for name, value in sums.items()}


def share(folder: Path, batch: int, jobs: int) -> dict[str, float]:
    """What some processes have in memory after reading an epoch each, at the same time."""
    command = [sys.executable, __file__, "--job", str(folder), "--batch_size", str(batch)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(jobs)
    ]

    def look() -> list[dict[str, float]]:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        return [memory(process.pid, folder) for process in processes]

    before, after = look(), look()
    for process in processes:
        process.communicate()
    private = [b["private"] - a["private"] for a, b in zip(before, after, strict=True)]
    return {
        "jobs": jobs,
        "store_mib": sum(one["store_pss"] for one in after),
        "store_mib_per_job": statistics.mean(one["store_pss"] for one in after),
        "private_mib_per_job": max(private),
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--batch_size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3, help="epochs read in each way")
    parser.add_argument("--folder", help="where the store is written; default /tmp")
    parser.add_argument("--json", help="file for the numbers")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.job:
        job(settings.job, settings.batch_size)
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=settings.folder) as name:
        folder = Path(name) / "store"
        size = sum(make_store(folder, settings.rows).manifest.file_bytes().values()) / 2**20
        shares = [share(folder, settings.batch_size, jobs) for jobs in JOBS]
        first = [cold(folder, settings.batch_size, announced) for announced in (True, False)]
        rates = speeds(folder, settings.batch_size, settings.rounds) + first
    sys.stdout.write(f"{settings.rows} rows, {size:.0f} MiB, batches of {settings.batch_size}\n\n")
    sys.stdout.write(f"{'order':<32}{'rows/s':>12}\n")
    for row in rates:
        sys.stdout.write(f"{row['way']:<32}{row['rows_per_second']:>12.0f}\n")
    sys.stdout.write(
        f"\n{'jobs':>4}{'store MiB, all':>16}{'share of a job':>16}{'its own MiB':>13}\n"
    )
    for one in shares:
        sys.stdout.write(
            f"{one['jobs']:>4}{one['store_mib']:>16.1f}{one['store_mib_per_job']:>16.1f}"
            f"{one['private_mib_per_job']:>13.1f}\n"
        )
    if settings.json:
        write_json(settings.json, {"store_mib": size, "speeds": rates, "sharing": shares})


if __name__ == "__main__":
    main()
