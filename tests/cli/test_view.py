"""The live view: what it draws in how many columns, and that a terminal is left as it was."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dnas.cli import view
from dnas.cli.queue import add_queue_flags, wants_view
from dnas.cli.view import live_view, picture
from dnas.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]
LONG = "0012-weights_lr=0.5-arch_params_lr=0.01-seed=3-ab12cd34"
STATUS: dict[str, Any] = {
    "experiment_id": "demo",
    "state": "running",
    "seconds": 743.2,
    "seconds_left": 7260.0,
    "slots": [
        {"slot": "gpu 0", "load": 1.0},
        {"slot": "gpu 1", "load": 0.5},
        {"slot": "gpu 2", "load": 0.0},
    ],
    "jobs": {
        "supernet": {"queued": 26, "running": 2, "succeeded": 11, "failed": 1},
        "sampled": {"queued": 2, "running": 1, "timed_out": 3, "lost": 1, "cancelled": 3},
    },
    "running": [
        {"kind": "supernet", "job": LONG, "slot": ["gpu 0"], "attempt": 1, "started": 100.0,
         "waits_for": ""},
        {"kind": "supernet", "job": "0013-b-ab12cd34", "slot": ["gpu 1"], "attempt": 3,
         "started": 900.0, "waits_for": ""},
        {"kind": "sampled", "job": "0001-x", "slot": ["gpu 2"], "attempt": 1, "started": None,
         "waits_for": "its turn"},
    ],
    "waiting": [{"for": "host memory: 500 MiB available", "jobs": 27}, {"for": "x", "jobs": 1}],
    "failures": [
        {"kind": "supernet", "job": "0003-a", "state": "failed",
         "reason": "exited 1; last lines of its log:\n  Traceback\n  ValueError: no file"},
        {"kind": "sampled", "job": "0004-a", "state": "timed_out", "reason": "its time was over"},
    ],
    "num_failures": 4,
}  # fmt: skip
PROGRESS = {
    LONG: {"step": 1200, "total_steps": 2400, "phase": "weights", "metric": {"loss": 0.4512345}},
    "0013-b-ab12cd34": {"step": 2399, "total_steps": 2400, "metric": {"loss": "bad"}},
}


def drawn(status: Mapping[str, Any], width: int, **console: Any) -> str:
    out = io.StringIO()
    picture_of = picture(status, lambda kind, job: PROGRESS.get(job, {}), width, now=1000.0)
    Console(file=out, width=width, **console).print(picture_of)
    return out.getvalue()


def test_a_wide_terminal_shows_it_all() -> None:
    lines = [line.rstrip() for line in drawn(STATUS, 110).splitlines()]
    assert lines == [
        "demo: running, 12:23 so far, about 2:01:00 left, 1.5 of 3 devices taken",
        "supernet ━━━━╌╌╌╌╌╌╌╌╌╌╌╌ 12/40  26 queued  2 running  11 succeeded  1 failed",
        "sampled  ━━━━━━━━━━━╌╌╌╌╌ 7/10  2 queued  1 running  3 timed out  1 lost  3 cancelled",
        "gpu 0  supernet 0012-weights_lr=0.5-…0.01-seed=3-ab12cd34  15:00  "
        "━━━━╌╌╌╌ 1,200/2,400 weights  loss 0.45123",
        "gpu 1  supernet 0013-b-ab12cd34 (attempt 3)                1:40   ━━━━━━━╌ 2,399/2,400",
        "gpu 2  sampled 0001-x                                             waits for its turn",
        "27 jobs waiting: host memory: 500 MiB available",
        "1 job waiting: x",
        "failed: supernet 0003-a: exited 1: ValueError: no file",
        "timed out: sampled 0004-a: its time was over",
        "and 2 that failed before; dnas status lists them",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_every_line_fits_and_says_what_matters(width: int) -> None:
    lines = [line.rstrip() for line in drawn(STATUS, width).splitlines()]
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("demo: running, 12:23 so far")
    assert any(re.match(r"gpu 0  super.* 15:00  (50 %|━━━━╌╌╌╌ 1,200)", line) for line in lines)
    assert any(re.match(r"gpu 1 .* 1:40 +(99 %|━━━━━━━╌)", line) for line in lines)
    assert any(line.startswith("failed: supernet 0003-a: ") for line in lines)
    text = " ".join(" ".join(lines).split())
    # Folded, not cut: failures are named last.
    for words in ("11 succeeded", "1 failed", "3 timed out", "1 lost", "3 cancelled"):
        assert words in text
    if 60 <= width <= 100:
        assert re.search(r"supernet 00\S*…\S*34 ", text), "number and hash are at the ends"
    if width >= 60:
        assert "loss 0.4" in text


def test_many_jobs_and_failures_are_counted() -> None:
    job = {"kind": "supernet", "slot": ["gpu 0"], "attempt": 1, "started": 1.0, "waits_for": ""}
    failure = {"kind": "supernet", "state": "lost", "reason": "gone"}
    status = STATUS | {
        "running": [job | {"job": f"{n:04d}"} for n in range(64)],
        "failures": [failure | {"job": f"{n:04d}"} for n in range(50)],
        "num_failures": 70,
        "slots": [],
        "waiting": [],
    }
    lines = [line.rstrip() for line in drawn(status, 80).splitlines()]
    assert len(lines) == 3 + 20 + 1 + 5 + 1
    assert lines[23] == "and 44 more"
    assert lines[24] == "lost: supernet 0045: gone"
    assert lines[-1] == "and 65 that failed before; dnas status lists them"


def test_a_run_without_jobs_is_one_line() -> None:
    empty = {"experiment_id": "demo", "state": "running", "seconds": 0.4, "seconds_left": None,
             "jobs": {}, "running": [], "slots": [], "waiting": [], "failures": []}  # fmt: skip
    assert drawn(empty, 60) == "demo: running, 0.4 s so far\n"


def test_colours_are_for_terminals() -> None:
    assert "\x1b" not in drawn(STATUS, 80)
    coloured = drawn(STATUS, 80, force_terminal=True, color_system="standard")
    assert "\x1b[31m  1 failed" in coloured
    assert "\x1b[32m  11 succeeded" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == drawn(STATUS, 80)


def test_there_is_none_without_a_terminal_or_for_jobs_in_this_process(tmp_path: Path) -> None:
    with live_view(RunFolder(tmp_path)) as show:
        assert show is None
    import argparse

    parser = argparse.ArgumentParser()
    add_queue_flags(parser)
    assert wants_view(parser.parse_args([]))
    assert not wants_view(parser.parse_args(["--no_live"]))
    assert not wants_view(parser.parse_args(["--executor=debug"]))


def test_a_view_that_breaks_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    drawings = []

    def broken(*arguments: Any) -> str:
        drawings.append(arguments)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(view, "picture", broken)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with caplog.at_level(logging.WARNING), live_view(RunFolder(tmp_path)) as show:
        assert show is not None
        show(STATUS)
        show(STATUS)
    assert len(drawings) == 1
    assert "the live view has ended: OSError: [Errno 5] Input/output error" in caplog.text


# ---- on a terminal ----------------------------------------------------------------------------


class Screen:
    """What a terminal shows, of the few control sequences that are used."""

    def __init__(self, output: str) -> None:
        self.lines, self.row, self.column = [""], 0, 0
        self.cursor_shown = True
        for part in re.findall(r"\x1b\[\??[0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+|\x1b", output):
            self._take(part)

    def _take(self, part: str) -> None:
        if part == "\r":
            self.column = 0
        elif part == "\n":
            self.row += 1
            self.lines += [""] * (self.row + 1 - len(self.lines))
        elif part[0] != "\x1b":
            # A long line stays one here, though a terminal would show it on two.
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + part + line[self.column + len(part) :]
            self.column += len(part)
        elif part[-1] == "A":
            self.row = max(0, self.row - int(part[2:-1] or 1))
        elif part == "\x1b[2K":
            self.lines[self.row] = ""
        elif part in ("\x1b[?25l", "\x1b[?25h"):
            self.cursor_shown = part[-1] == "h"
        else:
            assert part[-1] == "m", f"{part!r} is not known here"


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, argv: list[str], cwd: Path, columns: int = 100) -> None:
        self.output = ""
        self.code: int | None = None
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            # Made anew: readline, which pytest imports, sets COLUMNS behind Python's back.
            hidden = ("COLUMNS", "LINES", "NO_COLOR", "CI")
            kept = {name: value for name, value in os.environ.items() if name not in hidden}
            os.execve(argv[0], argv, kept | {"TERM": "xterm-256color"})

    def read_until(self, condition: Callable[[str], object], timeout_s: float = 40.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition(self.output):
            assert time.monotonic() < deadline, self.output[-3000:]
            if select.select([self.handle], [], [], 0.2)[0]:
                try:
                    self.output += os.read(self.handle, 65536).decode()
                except OSError:  # the program has ended
                    break

    def finish(self) -> int:
        self.read_until(lambda output: False)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def close(self) -> None:
        if self.code is None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        os.close(self.handle)


_JOB = """
import json, os, sys, time
save, number = sys.argv[1:3]
def stop(*_):
    os._exit(75)
import signal
signal.signal(signal.SIGTERM, stop)
with open(os.path.join(os.environ["DNAS_JOB_FOLDER"], "progress.json"), "w") as file:
    json.dump({"step": 3, "total_steps": 4, "phase": "theta", "metric": {"loss": 0.25}}, file)
while number == "2" and not os.path.exists("go"):
    time.sleep(0.02)
with open(save, "w") as file:
    file.write("{}")
sys.exit(int(number == "3"))
"""


@pytest.fixture
def tuning(tmp_path: Path) -> Any:
    """Start ``tuning.py`` with three jobs on one device: the second waits, the third fails."""
    (tmp_path / "job.py").write_text(_JOB)
    (tmp_path / "config").write_text("python -S job.py SAVE_METRICS_PARAM {1, 2, 3}\nGPU_IDS:cpu\n")
    started: list[Terminal] = []

    def start(*flags: str) -> Terminal:
        argv = [sys.executable, str(ROOT / "tuning.py"), "config", "e1", *flags]
        started.append(Terminal(argv, tmp_path))
        return started[-1]

    yield start
    for terminal in started:
        terminal.close()


def test_the_view_is_drawn_below_the_log_and_goes_in_the_end(tuning: Any, tmp_path: Path) -> None:
    terminal = tuning()
    terminal.read_until(lambda output: "3/4 theta" in output and "1/3" in output)
    shown = [line.rstrip() for line in Screen(terminal.output).lines]
    (tmp_path / "go").touch()
    assert terminal.finish() == 1
    assert any(line.startswith("e1: running") for line in shown)
    assert any(
        re.match(r"cpu 0  supernet 0001-\S+ .*━━━━━━╌╌ 3/4 theta  loss 0.25$", line)
        for line in shown
    ), shown
    log = [i for i, line in enumerate(shown) if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert max(log) < next(i for i, line in enumerate(shown) if line.startswith("e1: running"))
    end = Screen(terminal.output)
    assert end.cursor_shown
    lines = [line.rstrip() for line in end.lines]
    # Every line of the log once and whole, then the summary, and nothing of the view.
    assert sum("started on cpu 0" in line for line in lines) == 3
    assert not any("━" in line or line.startswith("e1: ") for line in lines)
    begin = lines.index("runs/e1: failed")
    assert lines[begin + 1] == "  supernet: 2 succeeded, 1 failed"
    assert all(re.match(r"\d\d:\d\d:\d\d |$", line) for line in lines[:begin]), lines[:begin]


def test_the_cursor_is_back_after_ctrl_c(tuning: Any) -> None:
    terminal = tuning("--stop_grace_s=20")
    terminal.read_until(lambda output: "3/4 theta" in output and "1/3" in output)
    assert not Screen(terminal.output).cursor_shown
    os.write(terminal.handle, b"\x03")
    assert terminal.finish() == 130
    end = Screen(terminal.output)
    assert end.cursor_shown
    lines = [line.rstrip() for line in end.lines]
    assert "runs/e1: interrupted" in lines
    assert any("stopped by SIGINT" in line for line in lines)
    assert not any("━" in line or "Traceback" in line for line in lines)


def test_plain_lines_on_request(tuning: Any, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    terminal = tuning("--no_live")
    assert terminal.finish() == 1
    assert "\x1b" not in terminal.output
    assert "[3/3 ended, 0 running]" in terminal.output


def test_a_status_is_watched_in_place(tuning: Any, tmp_path: Path) -> None:
    manager = tuning("--no_live")
    manager.read_until(lambda output: output.count("started on") == 2)
    watcher = Terminal([sys.executable, "-m", "dnas.cli.main", "status", "--watch",
                        str(tmp_path / "runs/e1")], ROOT)  # fmt: skip
    try:
        watcher.read_until(lambda output: "3/4 theta" in output)
        (tmp_path / "go").touch()
        assert manager.finish() == 1
        assert watcher.finish() == 0
        end = Screen(watcher.output)
        assert end.cursor_shown
        lines = [line.rstrip() for line in end.lines]
        assert sum(line.startswith("experiment e1") for line in lines) == 1
        assert "supernet  3 jobs: 2 succeeded, 1 failed" in lines
    finally:
        watcher.close()
