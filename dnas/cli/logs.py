"""``dnas logs RUN JOB``: the end of a job's log, or all of it as it grows."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from dnas.cli.ask import job_states
from dnas.cli.run import guarded
from dnas.errors import JobError
from dnas.jobs import requests
from dnas.jobs.job import State
from dnas.runs import RunFolder

_BLOCK_BYTES = 1 << 16
_LOOK_S = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Print a job's log; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="dnas logs", description="Print a job's log.", allow_abbrev=False
    )
    parser.add_argument("run_folder", type=Path, help="such as runs/<experiment>")
    parser.add_argument("job", help="a job's id or the start of it: 0003, sampled/0003")
    parser.add_argument(
        "-n", "--lines", type=int, default=50, help="last lines to print; 0 for all (%(default)s)"
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on printing until the job has ended"
    )
    options = parser.parse_args(argv)
    return guarded(lambda: _logs(options))


def _logs(options: argparse.Namespace) -> int:
    run = RunFolder(options.run_folder)
    if options.lines < 0:
        raise JobError(f"--lines {options.lines}: a number of 0 or more is needed")
    ((kind, name),) = requests.select([options.job], job_states(run))
    log = run.job(kind, name).log
    if not log.exists() and not options.follow:
        state = job_states(run)[kind, name]
        raise JobError(f"{kind}/{name} has no log yet; it is {state}")
    try:
        if options.follow:
            _follow(run, kind, name, options.lines)
        else:
            with open(log, "rb") as handle:
                handle.seek(start_of_last_lines(log, options.lines))
                _copy(handle)
    except KeyboardInterrupt:
        return 130
    return 0


def start_of_last_lines(path: Path, lines: int) -> int:
    """Byte at which the last ``lines`` lines of a file begin; 0 for all of it."""
    if lines == 0:
        return 0
    with open(path, "rb") as handle:
        position = handle.seek(0, 2)
        handle.seek(max(0, position - 1))
        wanted = lines + (handle.read(1) == b"\n")
        while position > 0:
            size = min(_BLOCK_BYTES, position)
            position -= size
            handle.seek(position)
            block = handle.read(size)
            found = block.count(b"\n")
            if found >= wanted:
                for _ in range(wanted):
                    size = block.rindex(b"\n", 0, size)
                return position + size + 1
            wanted -= found
    return 0


def _follow(run: RunFolder, kind: str, name: str, lines: int) -> None:
    """Print what a log holds and what comes, until the job has ended."""
    log, handle = run.job(kind, name).log, None
    try:
        while True:
            # The state before the read: what a job wrote last is there once its end is known.
            state = job_states(run)[kind, name]
            if handle is None and log.exists():
                handle = open(log, "rb")  # noqa: SIM115
                handle.seek(start_of_last_lines(log, lines))
            if handle is not None:
                _copy(handle)
            if state not in (State.QUEUED, State.RUNNING, "unknown"):
                return
            time.sleep(_LOOK_S)
    finally:
        if handle is not None:
            handle.close()


def _copy(handle: IO[bytes]) -> None:
    """Print the rest of a file, byte for byte."""
    sys.stdout.flush()
    while block := handle.read(_BLOCK_BYTES):
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()
