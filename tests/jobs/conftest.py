"""A small program that ends in every way a job can end, managers for it, and readers of runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from dnas.files import read_json_lines
from dnas.jobs.attempt import claim
from dnas.jobs.job import JobSpec
from dnas.jobs.slots import SlotPool, Slots, devices
from dnas.runs import JobFolder

ROOT = Path(__file__).resolve().parents[2]

#: ``--do=ACTION``; ``+`` chains actions, and ``a%b`` does a in the first attempt and b afterwards.
_PROGRAM = """
import json, os, signal, subprocess, sys, time

options = dict(a[2:].split("=", 1) for a in sys.argv[1:] if a.startswith("--") and "=" in a)
result = options.get("save")
folder = os.environ["DNAS_JOB_FOLDER"]
with open(os.path.join(folder, "starts.txt"), "a") as handle:
    handle.write(f"{os.getpid()} {time.time()}\\n")
attempt = sum(1 for _ in open(os.path.join(folder, "starts.txt")))

def write(value):
    with open(result + ".tmp", "w") as handle:
        handle.write(value if isinstance(value, str) else json.dumps(value))
    os.replace(result + ".tmp", result)

actions = options.get("do", "ok").split("%")
for action in actions[min(attempt, len(actions)) - 1].split("+"):
    name, _, value = action.partition(":")
    if name == "ok":
        write({"status": "succeeded", "argv": sys.argv, "env": dict(os.environ),
               "cwd": os.getcwd(), "stdin": sys.stdin.read()})
    elif name == "arch":
        os.makedirs(os.path.join(folder, "architectures"), exist_ok=True)
        for number, canonical in enumerate(value.split(",")):
            with open(os.path.join(folder, "architectures", f"{number:04d}.json"), "w") as handle:
                json.dump({"id": f"{number}", "canonical_id": canonical}, handle)
    elif name == "sleep":
        time.sleep(float(value))
    elif name == "until":
        while not os.path.exists(value):
            time.sleep(0.01)
    elif name == "child":
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        with open(os.path.join(folder, "child.txt"), "w") as handle:
            handle.write(str(child.pid))
    elif name == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif name == "save_on_term":
        def stop(*_):
            write({"status": "preempted"})
            os._exit(75)
        signal.signal(signal.SIGTERM, stop)
    elif name == "say":
        print(value)
    elif name == "status":
        write({"status": value})
    elif name == "error":
        write({"status": "failed", "error": {"type": "DataError", "message": value}})
    elif name == "half":
        write('{"status": "succ')
    elif name == "raise":
        raise NotImplementedError("CUDA out of memory is not what this is")
    elif name == "kill":
        os.kill(os.getpid(), getattr(signal, value))
    elif name == "exit":
        os._exit(int(value))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with ``job.py``, which is made the current one."""
    (tmp_path / "job.py").write_text(_PROGRAM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def write_config(project: Path) -> Callable[..., Path]:
    """Write a tuning config for ``job.py``: ``write_config(arguments, gpu_ids="0,1")``."""

    def write(
        arguments: str, *, gpu_ids: str = "cpu", per_gpu: int = 1, name: str = "config"
    ) -> Path:
        path = project / name
        path.write_text(
            f"python -S job.py\n--save=SAVE_METRICS_PARAM {arguments}\n"
            f"GPU_IDS:{gpu_ids}\nNUM_JOBS_PER_GPU:{per_gpu}\n",
            encoding="utf-8",
        )
        return path

    return write


def specs(kind: str, count: int) -> list[JobSpec]:
    """Jobs for simulated executors."""
    return [JobSpec(kind=kind, argv=("env", str(n), "SAVE_METRICS_PARAM")) for n in range(count)]


def pool(**kinds: tuple[str, int]) -> SlotPool:
    """Devices by kind: ``pool(supernet=("0,1", 2))`` is two jobs on each of two GPUs."""
    return SlotPool(
        {
            kind: Slots(devices=devices(ids.split(",")), jobs_per_device=n)
            for kind, (ids, n) in kinds.items()
        }
    )


def write_attempt(folder: JobFolder, attempt: int, exit_code: int = 0, **more: object) -> None:
    """What a supervisor leaves whose job ended with ``exit_code``; for simulated executors."""
    record = {"state": "ended", "attempt": attempt, "end": "exited", "exit_code": exit_code}
    assert claim(folder.attempt(attempt), record | {"out_of_memory_kills": 0} | more)


class Seen:
    """What a run folder holds after, or during, a run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def statuses(self, kind: str = "supernet") -> list[dict]:
        """``status.json`` of each job, in order."""
        return [
            json.loads(p.read_text()) for p in sorted(self.path.glob(f"{kind}/[!.]*/status.json"))
        ]

    def states(self, kind: str = "supernet") -> list[str]:
        """State of each job, in order."""
        return [status["state"] for status in self.statuses(kind)]

    def num_starts(self, kind: str = "supernet") -> list[int]:
        """How often each job's program has really started."""
        folders = sorted(p for p in self.path.glob(f"{kind}/[!.]*") if p.is_dir())
        return [len(self._lines(folder / "starts.txt")) for folder in folders]

    def pids(self) -> list[int]:
        """Pids of all programs that were started, and of their children."""
        found = [
            int(line.split()[0])
            for p in self.path.glob("*/[!.]*/starts.txt")
            for line in self._lines(p)
        ]
        return found + [int(p.read_text()) for p in self.path.glob("*/[!.]*/child.txt")]

    def results(self, kind: str = "supernet") -> list[dict]:
        """``result.json`` of each job that has one, in order."""
        return [
            json.loads(p.read_text()) for p in sorted(self.path.glob(f"{kind}/[!.]*/result.json"))
        ]

    def events(self) -> list[dict]:
        """The lines of ``events.jsonl``."""
        return read_json_lines(self.path / "events.jsonl")

    def status(self) -> dict:
        """``status.json`` of the run."""
        return json.loads((self.path / "status.json").read_text())

    @staticmethod
    def _lines(path: Path) -> list[str]:
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def seen() -> type[Seen]:
    """Reader of run folders."""
    return Seen


class Managers:
    """Starts ``tuning.py CONFIG e1`` and makes sure that nothing outlives the test."""

    def __init__(self, config: Path, run: Any) -> None:
        self.config, self.run = config, run
        self.live: list[subprocess.Popen[str]] = []

    def start(self, *flags: str) -> subprocess.Popen[str]:
        manager = subprocess.Popen(
            [sys.executable, str(ROOT / "tuning.py"), str(self.config), "e1", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.live.append(manager)
        return manager

    def finish(self, manager: subprocess.Popen[str] | None = None) -> tuple[int, str]:
        """Exit code and output of a manager, a new one by default."""
        manager = manager or self.start()
        output, _ = manager.communicate(timeout=40)
        return manager.returncode, output

    def clean_up(self) -> None:
        for manager in self.live:
            manager.kill()
            manager.wait()
        for pid in self.run.pids():
            with contextlib.suppress(OSError):
                # Not by the pid alone: it may have become somebody else's.
                if str(self.run.path).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def managers(
    project: Path, write_config: Callable[..., Path], seen: Callable[[Path], Any]
) -> Iterator[Callable[..., Managers]]:
    made: list[Managers] = []

    def make(arguments: str, **keys: Any) -> Managers:
        made.append(Managers(write_config(arguments, **keys), seen(project / "runs" / "e1")))
        return made[-1]

    yield make
    for managers in made:
        managers.clean_up()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat[stat.rindex(")") + 2] not in "ZX"
    except FileNotFoundError:
        return False
    except OSError:
        os.kill(pid, 0)
        return True


@pytest.fixture
def no_hang() -> Iterator[None]:
    """A queue that hangs must fail, not stall the tests."""

    def fail(number: int, frame: FrameType | None) -> None:
        pytest.fail("the queue hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power cuts are not tested, and a busy disk would be most of what these tests wait for."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process runs."""
    return is_alive


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until a condition holds, and fail if it does not in time."""

    def wait(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not in {timeout_s} s: {what}"
            time.sleep(0.01)

    return wait
