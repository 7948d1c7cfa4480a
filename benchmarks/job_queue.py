"""What the queue itself costs: starts, waiting, coming back.

- *launches*: jobs that do nothing, on 1, 2 and more slots, started cold and from a nursery: the
  seconds between the last line of a job and the start of the next one on its slot, with all that
  the manager does in between (*queue*), or its first line of Python (*gap*), and jobs per second.
  ``job_start.py`` has the executor's part alone.
- *idle*: a manager with a long queue whose devices are busy: the part of a core that it takes, and
  that its supervisors take.
- *restart*: a manager that comes back to a long queue of which most has ended: seconds from its
  start to its first log line and to the next job's start, and where they go.

    python benchmarks/job_queue.py --json job_queue.json
    python benchmarks/job_queue.py --only idle --jobs 10000 --devices 64
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from dnas.files import read_json, write_json
from dnas.jobs import LocalExecutor
from dnas.jobs.config import expand, load_config
from dnas.jobs.job import State
from dnas.jobs.manager import Manager
from dnas.jobs.stages import slot_pool
from dnas.runs import SUPERNET, RunFolder
from dnas.testing.simulation import Fate, SimulatedExecutor

ROOT = Path(__file__).resolve().parent.parent
#: Says when it began and ended, by the clock that all processes share.
NOTHING = """
import time
first = time.monotonic()
import json, os, sys
folder = os.environ["DNAS_JOB_FOLDER"]
with open(os.path.join(folder, "result.json"), "w") as file:
    file.write("{}")
with open(os.path.join(folder, "times.json"), "w") as file:
    json.dump([first, time.monotonic(), os.path.basename(folder)], file)
"""
SLEEP = "import time\ntime.sleep(3600)\n"
WAYS: dict[str, Callable[[], LocalExecutor]] = {
    "cold": lambda: LocalExecutor(warm=False),
    "nursery": lambda: LocalExecutor(),
}
#: The restart in steps, each with the time at which it was over; the manager is stopped when it
#: hands out the first job.
STEPS = """
import sys, time, json, os, signal
times = {"python": time.monotonic()}
from dnas.cli.tune import main
from dnas.jobs.config import load_config, expand
from dnas.jobs.executors import DebugExecutor
from dnas.jobs.manager import Manager
from dnas.jobs.stages import slot_pool
from dnas.runs import RunFolder, SUPERNET
from pathlib import Path
times["import"] = time.monotonic()
class Stop(DebugExecutor):
    def submit(self, orders):
        times["take in"] = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        raise OSError("enough")
config = load_config(sys.argv[1])
specs = expand(config)
times["config"] = time.monotonic()
with Manager(RunFolder(Path(sys.argv[2])), slot_pool({SUPERNET: config}),
             executor=Stop(lambda folder, order: 0)) as manager:
    times["read"] = time.monotonic()
    manager.add(specs)
    manager.run()
print(json.dumps(times))
"""
#: Steps in order.
STEP_NAMES = ("python", "import", "config", "read", "take in")


def write_config(folder: Path, program: str, jobs: int, gpu_ids: str) -> Path:
    """A tuning config for ``jobs`` jobs, in two brace lists if they are many."""
    script = folder / "job.py"
    script.write_text(program, encoding="utf-8")
    columns = 100 if jobs > 100 else 1
    numbers = [",".join(str(n) for n in range(count)) for count in (jobs // columns, columns)]
    config = folder / "config"
    config.write_text(
        f"python {script}\n--save=SAVE_METRICS_PARAM --a={{{numbers[0]}}} --b={{{numbers[1]}}}\n"
        f"GPU_IDS:{gpu_ids}\n",
        encoding="utf-8",
    )
    return config


def launches(slots: int, jobs: int, way: str) -> dict[str, float]:
    """Jobs that do nothing, as fast as they go."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = load_config(write_config(folder, NOTHING, jobs, ",".join(["cpu"] * slots)))
        run = RunFolder(folder / "run")
        manager = Manager(run, slot_pool({SUPERNET: config}), executor=WAYS[way]())
        manager.add(expand(config))
        outcome = manager.run()
        assert outcome.exit_code == 0, outcome.summary()
        found: dict[str, list[tuple[float, float, float]]] = {}
        for job in run.jobs(SUPERNET):
            first, last, _ = read_json(job.path / "times.json")
            # Supervisors note the time of day, jobs that of the monotonic clock.
            claimed = read_json(job.attempt(1))["started"] - (time.time() - time.monotonic())
            found.setdefault(read_json(job.status)["slot"][0], []).append((first, last, claimed))
    gaps, own = [], []
    for times in found.values():
        times.sort()
        gaps += [after[0] - before[1] for before, after in pairwise(times)]
        own += [after[2] - before[1] for before, after in pairwise(times)]
    ends = [last for times in found.values() for _, last, _ in times]
    begins = [first for times in found.values() for first, _, _ in times]
    return {
        "queue_s": statistics.median(own),
        "gap_s": statistics.median(gaps),
        "gap_90_s": statistics.quantiles(gaps, n=10)[-1],
        "jobs_per_s": len(ends) / (max(ends) - min(begins)),
    }


def measure_launches(settings: argparse.Namespace) -> list[dict[str, Any]]:
    """All ways and numbers of slots in turn."""
    cases = [(slots, way) for slots in settings.slots for way in WAYS]
    found: dict[tuple[int, str], list[dict[str, float]]] = {case: [] for case in cases}
    for _ in range(settings.rounds):
        for slots, way in cases:
            jobs = settings.launches * max(1, slots // 2)
            found[slots, way].append(launches(slots, jobs, way))
    rows = [
        {"slots": slots, "way": way, **medians(values)} for (slots, way), values in found.items()
    ]
    print_table("launches", rows)
    return rows


@contextmanager
def tuning(config: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """``tuning.py`` on a config; stopped with its jobs when the block ends."""
    command = [
        *(sys.executable, str(ROOT / "tuning.py"), str(config), "run"),
        *("--runs_dir", str(folder), "--stop_grace_s", "5"),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=folder
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)


def measure_idle(settings: argparse.Namespace) -> list[dict[str, Any]]:
    """A manager that waits."""
    rows = [idle(devices, settings.jobs, settings.idle_s) for devices in settings.devices]
    print_table("idle", rows)
    return rows


def idle(devices: int, jobs: int, idle_s: float) -> dict[str, Any]:
    """A manager that waits for so many devices."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_config(folder, SLEEP, jobs, ",".join(["cpu"] * devices))
        with tuning(config, folder) as process:
            drain(process, folder / "log.txt")
            wait_until(lambda: all_running(folder, devices, jobs))
            time.sleep(2.0)
            manager = psutil.Process(process.pid)
            children = manager.children(recursive=True)
            before, begun = (seconds([manager]), seconds(children)), time.monotonic()
            time.sleep(idle_s)
            wall = time.monotonic() - begun
            return {
                "devices": devices,
                "jobs": jobs,
                "manager_percent": 100 * (seconds([manager]) - before[0]) / wall,
                "children_percent": 100 * (seconds(children) - before[1]) / wall,
                "manager_mib": manager.memory_info().rss / (1 << 20),
            }


def drain(process: subprocess.Popen[str], log: Path) -> None:
    """Let the process write as much as it wants: nobody reads it."""
    assert process.stderr is not None
    subprocess.Popen(["cat"], stdin=process.stderr, stdout=log.open("w"))


def all_running(folder: Path, devices: int, jobs: int) -> bool:
    """Whether all devices are busy and all jobs taken in."""
    status = RunFolder(folder / "run").status
    if not status.exists():
        return False
    counts = read_json(status)["jobs"].get(SUPERNET, {})
    return counts.get("running") == devices and counts.get("queued") == jobs - devices


def measure_restart(settings: argparse.Namespace) -> list[dict[str, Any]]:
    """A manager that comes back."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_config(folder, SLEEP, settings.jobs, "0")
        prepare(config, RunFolder(folder / "run"), settings.jobs * 99 // 100)
        rounds = []
        for _ in range(settings.rounds):
            row: dict[str, float] = {}
            begun = time.monotonic()
            with tuning(config, folder) as process:
                assert process.stderr is not None
                process.stderr.readline()
                row["first_line"] = time.monotonic() - begun
                while "started on" not in (line := process.stderr.readline()):
                    assert line, "tuning.py has ended"
                row["first_start"] = time.monotonic() - begun
            rounds.append(row | steps(config, folder))
    rows = [{"jobs": settings.jobs, **medians(rounds)}]
    print_table("restart", rows)
    return rows


def prepare(config_file: Path, run: RunFolder, ended: int) -> None:
    """A run folder of whose jobs so many have succeeded, as if its manager had been stopped."""
    config = load_config(config_file)
    starts = 0

    def fate(name: str, attempt: int) -> Fate:
        nonlocal starts
        starts += 1
        if starts > ended:
            os.kill(os.getpid(), signal.SIGTERM)
        return Fate(1.0)

    manager = Manager(run, slot_pool({SUPERNET: config}), executor=SimulatedExecutor(fate))
    manager.add(expand(config))
    # What is being prepared need not survive a power cut.
    with mock.patch("os.fsync"):
        outcome = manager.run()
    assert outcome.counts[SUPERNET][State.SUCCEEDED] >= ended, outcome.summary()


def steps(config: Path, folder: Path) -> dict[str, float]:
    """Seconds of each step of a restart."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", STEPS, str(config), str(folder / "run")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    times = [begun, *(json.loads(done.stdout)[name] for name in STEP_NAMES)]
    return {
        name: after - before
        for name, (before, after) in zip(STEP_NAMES, pairwise(times), strict=True)
    }


def seconds(processes: Iterable[psutil.Process]) -> float:
    """Time of the processor that they have taken."""
    times = [process.cpu_times() for process in processes]
    return sum(float(found.user + found.system) for found in times)


def wait_until(condition: Callable[[], bool], timeout_s: float = 300.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


def medians(values: list[dict[str, float]]) -> dict[str, float]:
    """The median of each number."""
    return {name: statistics.median(value[name] for value in values) for name in values[0]}


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Rows as a Markdown table."""
    sys.stdout.write(f"\n{title}\n\n| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]))
    sys.stdout.write("|\n")
    for row in rows:
        shown = (f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values())
        sys.stdout.write("| " + " | ".join(shown) + " |\n")
    sys.stdout.flush()


MEASUREMENTS = {
    "launches": measure_launches,
    "idle": measure_idle,
    "restart": measure_restart,
}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0], allow_abbrev=False)
    parser.add_argument("--only", choices=MEASUREMENTS, nargs="+", default=list(MEASUREMENTS))
    parser.add_argument("--rounds", type=int, default=5, help="of launches and restarts")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 8], help="of launches")
    parser.add_argument("--launches", type=int, default=40, help="jobs of a round, at least")
    parser.add_argument("--jobs", type=int, default=10_000, help="in the queue, idle and restart")
    parser.add_argument("--devices", type=int, nargs="+", default=[2, 64], help="of idle")
    parser.add_argument("--idle_s", type=float, default=30.0, help="how long to look at it")
    parser.add_argument("--json", help="file for the numbers")
    settings = parser.parse_args()
    logging.getLogger("dnas").setLevel(logging.ERROR)
    found = {name: MEASUREMENTS[name](settings) for name in settings.only}
    if settings.json:
        write_json(settings.json, found)


if __name__ == "__main__":
    main()
