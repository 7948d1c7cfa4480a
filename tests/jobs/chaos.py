"""Everything that can happen to a queue in a bad week, in a minute and by seed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from dnas.files import read_json

ROOT = Path(__file__).resolve().parents[2]
STEPS = 8

#: A job that works in steps, saves after each, goes on where it was, and stops when it is asked to.
JOB = f"""
import fcntl, hashlib, json, os, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from dnas.files import write_json

options = dict(a[2:].split("=", 1) for a in sys.argv[1:])
folder = os.environ["DNAS_JOB_FOLDER"]
alone = os.open(os.path.join(folder, "alone"), os.O_RDWR | os.O_CREAT)
try:
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open(os.path.join(folder, "RAN_TWICE_AT_ONCE"), "w").close()
    sys.exit(1)
with open(os.path.join(folder, "starts.txt"), "a") as starts:
    starts.write(os.environ["DNAS_JOB_ATTEMPT"] + "\\n")
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
checkpoint = os.path.join(folder, "checkpoint.json")
step, value = 0, options["n"]
try:
    saved = json.load(open(checkpoint))
    if hashlib.sha256(repr((saved["step"], saved["value"])).encode()).hexdigest() == saved["sum"]:
        step, value = saved["step"], saved["value"]
except (OSError, ValueError, KeyError, TypeError):
    pass
while step < {STEPS}:
    time.sleep(float(options["step_s"]))
    step, value = step + 1, hashlib.sha256(value.encode()).hexdigest()
    total = hashlib.sha256(repr((step, value)).encode()).hexdigest()
    write_json(checkpoint, {{"step": step, "value": value, "sum": total}}, durable=False)
    if stop:
        sys.exit(75)
write_json(options["save"], {{"status": "succeeded", "value": value}}, durable=False)
"""

#: ``tuning.py`` under a clock that jumps as a file says.
MANAGER = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
real = time.time
def jumping():
    try:
        return real() + float(open(sys.argv[1]).read())
    except (OSError, ValueError):
        return real()
time.time = jumping
from dnas.cli.tune import main
sys.exit(main(sys.argv[2:]))
"""


def expected_value(n: int) -> str:
    """What a job gives that nobody disturbs."""
    value = str(n)
    for _ in range(STEPS):
        value = hashlib.sha256(value.encode()).hexdigest()
    return value


@dataclass
class Chaos:
    """One experiment and all that is done to it.

    Args:
        folder: Where it is; on a disk of its own that may be filled, if ``may_fill_disk``.
        seed: Of what happens and when.
        num_jobs: Jobs of the queue.
        step_s: Seconds of one of a job's steps.
        may_fill_disk: Whether the disk is small and nobody else's.
    """

    folder: Path
    seed: int
    num_jobs: int
    step_s: float = 0.02
    may_fill_disk: bool = False
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._manager: subprocess.Popen[bytes] | None = None
        self.run = self.folder / "runs" / "e1"
        self._clock = self.folder / "clock"
        (self.folder / "job.py").write_text(JOB)
        (self.folder / "manager.py").write_text(MANAGER)
        numbers = ",".join(map(str, range(self.num_jobs)))
        (self.folder / "config").write_text(
            f"python -S job.py --save=SAVE_METRICS_PARAM --step_s={self.step_s} --n={{{numbers}}}\n"
            "GPU_IDS:0,1,2,3\n"
        )

    # ---- the manager --------------------------------------------------------------------------

    def start(self) -> None:
        """Start a manager."""
        with open(self.folder.parent / f"{self.folder.name}.log", "ab") as log:
            self._manager = subprocess.Popen(
                [
                    sys.executable, "manager.py", str(self._clock), "config", "e1",
                    "--retries=lost=1000,disk_full=1000,preempted=1000,crashed=1000",
                    "--max_same_failures=0", "--min_free_disk_gb=0.0005", "--stop_grace_s=20",
                    "--min_free_memory_gb=0",
                ],
                cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def is_running(self) -> bool:
        """Whether the manager lives."""
        return self._manager is not None and self._manager.poll() is None

    def finish(self, timeout_s: float) -> int:
        """Let a manager, a new one if there is none, come to its end undisturbed."""
        if not self.is_running():
            self.start()
        assert self._manager is not None
        return self._manager.wait(timeout_s)

    # ---- what happens -------------------------------------------------------------------------

    def kills(self) -> int:
        """How many processes have been killed."""
        return sum(number for what, number in self.done.items() if what.startswith("kill"))

    def misfortune(self) -> None:
        """Let one thing happen."""
        if not self.is_running():
            self.start()
        deeds = [
            (6, self._kill_job),
            (3, self._kill_supervisor),
            (2, self._kill_manager),
            (2, self._damage_a_file),
            (1, self._jump_in_time),
            (1, self._interrupt_manager),
        ]
        if self.may_fill_disk:
            deeds.append((1, self._fill_disk))
        weights, choices = zip(*deeds, strict=True)
        self._chance.choices(choices, weights)[0]()

    def _kill_job(self) -> None:
        self._kill_one("kill job", [p for p in self.processes() if self._is_job(p)])

    def _kill_supervisor(self) -> None:
        self._kill_one("kill supervisor", [p for p in self.processes() if not self._is_job(p)])

    def _kill_one(self, what: str, pids: list[int]) -> None:
        if not pids:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._chance.choice(sorted(pids)), signal.SIGKILL)
            self.done[what] += 1

    def _kill_manager(self) -> None:
        self._stop_manager("kill manager", signal.SIGKILL)

    def _interrupt_manager(self) -> None:
        self._stop_manager("interrupt manager", signal.SIGINT)

    def _stop_manager(self, what: str, number: signal.Signals) -> None:
        if self._manager is not None and self._manager.poll() is None:
            self._manager.send_signal(number)
            self.done[what] += 1
            self._manager.wait(30)

    def _damage_a_file(self) -> None:
        """Cut a file short, or write nonsense into it, as a dying disk or a careless hand does."""
        files = [p for p in self.run.rglob("*") if p.is_file() and p.suffix in (".json", ".jsonl")]
        if not files:
            return
        path = self._chance.choice(sorted(files))
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            cut = self._chance.randrange(len(content) + 1)
            nonsense = self._chance.randbytes(self._chance.choice([0, 0, 7, 300]))
            path.write_bytes(content[:cut] + nonsense)
            self.done[f"damage {path.name.split('.')[0]}"] += 1

    def _jump_in_time(self) -> None:
        self._clock.write_text(str(self._chance.uniform(-1, 1) * 10**7))
        self.done["clock jump"] += 1

    def _fill_disk(self) -> None:
        filler = self.folder / "filler"
        with open(filler, "wb", buffering=0) as handle:
            try:
                while True:
                    handle.write(bytes(1 << 16))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        time.sleep(self._chance.uniform(0.1, 0.5))
        filler.unlink()
        self.done["disk full"] += 1

    # ---- what is left -------------------------------------------------------------------------

    def processes(self) -> list[int]:
        """All live processes of the experiment but the manager: supervisors and jobs."""
        here = str(self.run).encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = folder.joinpath("cmdline").read_bytes()
                told = folder.joinpath("environ").read_bytes()
            except OSError:
                continue
            if here in words or b"DNAS_JOB_FOLDER=" + here in told:
                found.append(int(folder.name))
        return [pid for pid in found if pid != (self._manager.pid if self._manager else 0)]

    def _is_job(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return b"job.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
        return False

    def results(self) -> dict[int, bytes]:
        """The content of every job's result file."""
        found = {}
        for folder in (self.run / "supernet").iterdir():
            number = int(read_json(folder / "job.json")["settings"]["n"])
            assert number not in found, f"two folders for job {number}"
            found[number] = (folder / "result.json").read_bytes()
        return found

    def check(self) -> None:
        """What must be true at the end, whatever has happened."""
        folders = [path for path in (self.run / "supernet").iterdir() if path.is_dir()]
        numbers = []
        for folder in folders:
            assert not (folder / "RAN_TWICE_AT_ONCE").exists(), folder
            number = int(read_json(folder / "job.json")["settings"]["n"])
            numbers.append(number)
            result = read_json(folder / "result.json")
            assert result == {"status": "succeeded", "value": expected_value(number)}, folder
            assert read_json(folder / "status.json")["state"] == "succeeded", folder
            starts = (folder / "starts.txt").read_text().split()
            assert len(starts) == len(set(starts)), f"{folder}: an attempt began twice: {starts}"
        assert sorted(numbers) == list(range(self.num_jobs))
        assert self.processes() == []
        left = [str(p) for p in self.run.rglob(".*") if p.is_file()]
        assert left == []
        assert json.loads((self.run / "status.json").read_text())["state"] == "finished"
