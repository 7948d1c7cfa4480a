"""How fast does raw text become a finished store, and in how much memory?

Generated lines in the format of Criteo: 13 integers and 26 categories of 8 hexadecimal digits, with
as many values and missing fields as the Kaggle data have; a category of rank r comes about 1/r as
often as the first. Each way to make ids builds a store in a process of its own, with hashes of the
content and everything on the disk. Medians over rounds, and the largest memory.

    python benchmarks/data_parsing.py --rows 5000000 --json data_parsing.json
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnas.data import DataConfig
from dnas.data.build import open_or_build
from dnas.data.prepare import make_source
from dnas.files import read_json, write_json

#: Values of the 26 categories in the Kaggle data, and how often they are missing.
VALUES = (
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194),
    *(27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572),
)
MISSING_CATEGORY = dict.fromkeys((2, 3, 11, 15, 20, 23), 0.03) | {5: 0.12, 21: 0.76}
MISSING_CATEGORY |= dict.fromkeys((18, 19, 24, 25), 0.44)
#: How often the 13 numbers are missing.
MISSING_NUMBER = (0.45, 0, 0.21, 0.22, 0.03, 0.22, 0.04, 0.0005, 0.04, 0.45, 0.04, 0.77, 0.22)
#: Rows that are drawn; further blocks are these, put together anew.
BLOCK_ROWS = 200_000
#: The ranks that all blocks share; those behind them differ from block to block.
HEAD = 1000
DIGITS = np.array([f"{byte:02x}".encode() for byte in range(256)], dtype="S2").view(np.uint16)
WAYS: dict[str, dict[str, Any]] = {
    "hash": {"ids": "hash", "max_ind_range": 1_000_000},
    "vocabulary": {"ids": "vocabulary"},
    "min_count 10": {"ids": "vocabulary", "min_count": 10},
}


@dataclass(frozen=True)
class Drawn:
    """The rows that blocks are put together from; each column by itself."""

    labels: np.ndarray
    numbers: list[np.ndarray]  # 13 of (rows, 6) characters
    ranks: list[np.ndarray]
    missing: list[np.ndarray]


def draw(rng: np.random.Generator) -> Drawn:
    """Columns of :data:`BLOCK_ROWS` rows."""
    numbers = []
    for column, missing in enumerate(MISSING_NUMBER):
        values = np.exp(rng.random(BLOCK_ROWS) * (2 + column % 5 * 2.2)).astype(np.int64) - 1
        texts = (values - 2 * (column == 1)).astype("S6")  # I2 of Criteo has negative numbers
        texts[rng.random(BLOCK_ROWS) < missing] = b""
        numbers.append(texts.view(np.uint8).reshape(BLOCK_ROWS, 6))
    return Drawn(
        labels=(rng.random(BLOCK_ROWS) < 0.256) + np.uint8(ord("0")),
        numbers=numbers,
        ranks=[(n ** rng.random(BLOCK_ROWS)).astype(np.uint32) - 1 for n in VALUES],
        missing=[
            rng.random(BLOCK_ROWS) < MISSING_CATEGORY.get(column, 0)
            for column in range(len(VALUES))
        ],
    )


def mix(values: np.ndarray) -> np.ndarray:
    """uint32 to uint32, one to one, without pattern."""
    values = values * np.uint32(0x9E3779B1)
    for shift, factor in ((15, 0x85EBCA6B), (13, 0xC2B2AE35)):
        values = (values ^ (values >> np.uint32(shift))) * np.uint32(factor)
    return values ^ (values >> np.uint32(16))


def lines(rows: int, seed: int) -> Iterator[bytes]:
    """Blocks of lines."""
    rng = np.random.default_rng(seed)
    drawn = draw(rng)
    for block, start in enumerate(range(0, rows, BLOCK_ROWS)):
        # Fields of fixed width; the characters that are not used are 0 and taken out at the end.
        text = np.zeros((BLOCK_ROWS, 1 + 7 * 13 + 9 * 26 + 1), dtype=np.uint8)
        text[:, 0] = drawn.labels
        text[:, -1] = ord("\n")
        position = 1
        for characters in drawn.numbers:
            text[:, position] = ord("\t")
            turned = np.roll(characters, rng.integers(BLOCK_ROWS), axis=0)
            text[:, position + 1 : position + 7] = turned
            position += 7
        for column, values in enumerate(VALUES):
            turn = rng.integers(BLOCK_ROWS)
            ranks = np.roll(drawn.ranks[column], turn)
            if values > HEAD:
                other = (ranks.astype(np.int64) * 7919 + block * 15485863) % (values - HEAD) + HEAD
                ranks = np.where(ranks < HEAD, ranks, other.astype(np.uint32))
            keys = mix(ranks + np.uint32(column * 0x1000193))
            digits = DIGITS[keys.view(np.uint8)].view(np.uint8).reshape(BLOCK_ROWS, 8)
            digits[np.roll(drawn.missing[column], turn)] = 0
            text[:, position] = ord("\t")
            text[:, position + 1 : position + 9] = digits
            position += 9
        used = text[: rows - start].reshape(-1)
        yield used[used != 0].tobytes()


def build(raw: str, cache: str, way: str, report: str) -> None:
    """Build one store; in a process of its own, for the memory it took."""
    config = DataConfig(
        data_set="criteo_kaggle", raw_data=raw, data_cache=cache, split="random", **WAYS[way]
    )
    source, _ = make_source(config)
    start, cpu = time.monotonic(), time.process_time()
    store = open_or_build(source, cache)
    seconds = time.monotonic() - start
    write_json(
        report,
        {
            "rows": store.rows,
            "seconds": seconds,
            "cpu_seconds": time.process_time() - cpu,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "ids": sum(store.spec.cardinalities),
        },
    )


def measure(raw: Path, folder: Path, way: str) -> dict[str, float]:
    """Build one store in a new process, and delete it."""
    cache, report = folder / "cache", folder / "report.json"
    command = [sys.executable, __file__, "--build", str(raw), str(cache), way, str(report)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    shutil.rmtree(cache)
    found = read_json(report)
    assert isinstance(found, dict)
    return found


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="stores built in each way")
    parser.add_argument("--folder", help="where the text and the stores are written; default /tmp")
    parser.add_argument("--seed", type=int, default=1, help="of the generated lines")
    parser.add_argument("--json", help="file for the numbers")
    parser.add_argument("--build", nargs=4, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.build:
        build(*settings.build)
        return
    with tempfile.TemporaryDirectory(dir=settings.folder) as name:
        folder = Path(name)
        raw = folder / "raw.tsv"
        with raw.open("wb") as file:
            for block in lines(settings.rows, settings.seed):
                file.write(block)
            os.fsync(file.fileno())  # the disk must not be busy with it later
        mib = raw.stat().st_size / 2**20
        rounds: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(settings.rounds):
            for way, found in rounds.items():
                found.append(measure(raw, folder, way))
    sys.stdout.write(
        f"{settings.rows} rows, {mib:.0f} MiB of text\n"
        f"{'ids':<14}{'rows/s':>10}{'MiB/s':>8}{'seconds':>9}{'of a core':>11}{'peak MiB':>10}"
        f"{'distinct':>12}\n"
    )
    rows = []
    for way, found in rounds.items():
        middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
        middle["rows_per_second"] = middle["rows"] / middle["seconds"]
        middle["peak_mib"] = max(one["peak_mib"] for one in found)
        rows.append({"way": way, **middle, "rounds": found})
        sys.stdout.write(
            f"{way:<14}{middle['rows_per_second']:>10.0f}{mib / middle['seconds']:>8.0f}"
            f"{middle['seconds']:>9.2f}{middle['cpu_seconds']:>11.2f}{middle['peak_mib']:>10.0f}"
            f"{middle['ids']:>12.0f}\n"
        )
    if settings.json:
        write_json(settings.json, {"text_mib": mib, "ways": rows})


if __name__ == "__main__":
    main()
