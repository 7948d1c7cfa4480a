"""How long does a device wait between two jobs, and what does keeping processes ready save?

One job after the other, in turn with each way to start them: cold, from a light nursery, which only
makes supervisors cheap, and warm, from one that has imported torch. Seconds from the last line of
a job to the first line of the next, and to the line after its imports; medians.

    python benchmarks/job_start.py --json job_start.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dnas.files import read_json_lines, write_json
from dnas.jobs import LocalExecutor, Order
from dnas.jobs.attempt import JOB_ATTEMPT_VARIABLE, JOB_FOLDER_VARIABLE
from dnas.runs import JobFolder

#: The monotonic clock is one for all processes of a machine.
PROGRAM = """
import time
first = time.monotonic()
{imports}
imported = time.monotonic()
import json, sys
with open(sys.argv[1], "a") as file:
    file.write(json.dumps([first, imported, time.monotonic()]) + "\\n")
"""
JOBS = {"nothing": "", "torch": "import torch"}
WAYS: dict[str, Callable[[], LocalExecutor]] = {
    "cold": lambda: LocalExecutor(warm=False),
    "light": lambda: LocalExecutor(preload=()),
    "warm": lambda: LocalExecutor(preload=("torch",)),
}
#: A nursery is ready after this time, also on a busy machine.
READY_S = 15.0


class Lane:
    """Jobs of one kind, started in one way, one after the other."""

    def __init__(self, folder: Path, job: str, way: str) -> None:
        self._folder, self._way = folder, way
        folder.mkdir()
        self._script = folder / "job.py"
        self._script.write_text(PROGRAM.format(imports=JOBS[job]), encoding="utf-8")
        self._executor = WAYS[way]()
        self._number = 0

    def run(self) -> float:
        """Run a job; gives the seconds that ``submit`` took."""
        self._number += 1
        folder = JobFolder(self._folder / f"{self._number}")
        folder.path.mkdir()
        order = Order(
            argv=(sys.executable, str(self._script), str(self._folder / "times.jsonl")),
            variables={
                JOB_FOLDER_VARIABLE: str(folder.path),
                JOB_ATTEMPT_VARIABLE: "1",
                "OMP_NUM_THREADS": "1",
            },
            cwd=os.getcwd(),
            attempt=1,
        )
        order.write(folder)
        begun = time.monotonic()
        self._executor.submit([(folder, order)])
        took = time.monotonic() - begun
        while not self._executor.poll(60):
            pass
        return took

    def measure(self) -> dict[str, float]:
        """Two jobs, and what lay between them."""
        self.run()
        submit = self.run()
        (_, _, ended), (first, imported, _) = read_json_lines(self._folder / "times.jsonl")[-2:]
        return {"first_line": first - ended, "imported": imported - ended, "submit": submit}

    def close(self) -> None:
        """End what was kept ready."""
        self._executor.close()


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each lane")
    parser.add_argument("--json", help="file for the numbers")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lanes = {
            (job, way): Lane(Path(folder) / f"{job}_{way}", job, way)
            for job in JOBS
            for way in WAYS
        }
        for lane in lanes.values():
            lane.run()
        time.sleep(READY_S)
        found: dict[tuple[str, str], list[dict[str, float]]] = {key: [] for key in lanes}
        for _ in range(settings.rounds):
            for key, lane in lanes.items():
                found[key].append(lane.measure())
        for lane in lanes.values():
            lane.close()
    rows = [
        {
            "job": job,
            "way": way,
            **{
                name: round(statistics.median(value[name] for value in values), 4)
                for name in values[0]
            },
        }
        for (job, way), values in found.items()
    ]
    sys.stdout.write(
        f"{'job imports':<12} {'way':<6} {'first line s':>13} {'imported s':>11} {'submit s':>9}\n"
    )
    for row in rows:
        sys.stdout.write(
            f"{row['job']:<12} {row['way']:<6} {row['first_line']:>13.3f} {row['imported']:>11.3f} "
            f"{row['submit']:>9.3f}\n"
        )
    if settings.json:
        write_json(settings.json, {"rounds": settings.rounds, "medians": rows})


if __name__ == "__main__":
    main()
