"""How an attempt ended, from what its supervisor, its result file and its engine say of it.

The supervisor's record says that the process ended, and how; the result file says what the job
found. A word such as "memory" in a log decides nothing: out of memory is what the job itself says,
by status or exit code, or what the kernel says of the process that it killed.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from dnas.errors import (
    EXIT_DIVERGED,
    EXIT_OUT_OF_MEMORY,
    EXIT_PREEMPTED,
    EXIT_USER_ERROR,
)
from dnas.jobs import attempt as attempts


class Ending(StrEnum):
    """The class of an attempt's end; :mod:`dnas.jobs.retries` says what follows from each."""

    SUCCEEDED = "succeeded"
    OUT_OF_MEMORY = "out_of_memory"
    """The job says so, or the kernel killed it for lack of memory."""
    DIVERGED = "diverged"
    """NaN, infinity or an absurd loss."""
    USER_ERROR = "user_error"
    """The job refused its settings or its data: trying others of the kind is of little use."""
    CRASHED = "crashed"
    """Anything else that went wrong inside the job."""
    PREEMPTED = "preempted"
    """It was asked to stop, or stopped by itself for another attempt."""
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """Its process is gone and nobody in the job wanted that: killed, or its host has gone."""
    DISK_FULL = "disk_full"
    CANCELLED = "cancelled"
    """Somebody ended it with the engine's own means, such as scancel."""


#: What a result file may say of itself.
STATUSES = ("succeeded", "failed", "out_of_memory", "diverged", "preempted")
_BY_STATUS = {
    "out_of_memory": Ending.OUT_OF_MEMORY,
    "diverged": Ending.DIVERGED,
    "preempted": Ending.PREEMPTED,
}
_BY_EXIT_CODE = {
    EXIT_OUT_OF_MEMORY: Ending.OUT_OF_MEMORY,
    EXIT_DIVERGED: Ending.DIVERGED,
    EXIT_PREEMPTED: Ending.PREEMPTED,
    EXIT_USER_ERROR: Ending.USER_ERROR,
}
_BY_ENGINE = {
    "cancelled": Ending.CANCELLED,
    "out_of_memory": Ending.OUT_OF_MEMORY,
    "timed_out": Ending.TIMED_OUT,
}
#: Signals that come from outside; a program that is at fault itself dies of others.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_DISK_FULL = ("No space left on device", "Disk quota exceeded")
#: With less than this left, writing is what went wrong.
_NEXT_TO_NOTHING_BYTES = 1 << 16
#: Ends the first line of a reason that goes on with lines of the log.
TAIL_FOLLOWS = "; last lines of its log:"
_TAIL_LINES = 6
_TAIL_BYTES = 1 << 15
#: torchrun's own report of a worker's end, which comes after all that the worker said.
_TORCHRUN = re.compile(r"[A-Z]\d{4} .*torch/distributed/elastic/")
_ROOT_CAUSE = re.compile(r"Root Cause.*?exitcode\s*:\s*(-?\d+)", re.DOTALL)


@dataclass(frozen=True)
class Verdict:
    """How one attempt ended."""

    ending: Ending
    reason: str
    """For people; empty for a success."""
    cause: str = ""
    """Equal for failures that look like the same defect; empty if no defect is behind it."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known of an attempt that is over."""

    record: Mapping[str, Any] | None
    """The attempt's file; None if it never began."""
    result: Path
    """The job's result file."""
    log: Path
    log_offset: int = 0
    """Bytes of the log that belong to earlier attempts."""
    engine_word: str = ""
    """``Handle.ending``."""
    engine_reason: str = ""


def judge(evidence: Evidence) -> Verdict:
    """How an attempt ended."""
    record = evidence.record or {}
    if record.get("state") == attempts.REVOKED:
        return Verdict(Ending.PREEMPTED, "it was taken back before it began")
    ended = record.get("state") == attempts.ENDED
    text = _log_end(evidence.log, evidence.log_offset)
    exit_code = record.get("exit_code")
    if exit_code == 1 and (root := _ROOT_CAUSE.search(text)) is not None:
        exit_code = int(root[1])  # torchrun's own is always 1
    result = read_result(evidence.result)
    said = result.get("status", "succeeded") if isinstance(result, dict) else None
    if said == "succeeded" and (not ended or exit_code == 0):
        return Verdict(Ending.SUCCEEDED, "")
    tail = _last_lines(text)
    if record.get("start_error"):
        error = f"it could not be started: {record['start_error']}"
        return Verdict(Ending.CRASHED, error, error)
    if evidence.engine_word in _BY_ENGINE and said in (None, "succeeded", "preempted"):
        ending = _BY_ENGINE[evidence.engine_word]
        return Verdict(ending, evidence.engine_reason or ending.value.replace("_", " "))
    if not ended and said is None:
        why = evidence.engine_reason or "its process has gone and left neither result nor word"
        return Verdict(Ending.LOST, why)
    message = _error_message(result) if isinstance(result, dict) else ""
    if ended and exit_code == 0 and said is None:
        return _no_result(evidence.result, result, tail)
    ending = _ending(record, said, exit_code, result, tail)
    words = _in_words(ending, record, exit_code)
    reason = f"{words}: {message}" if message else _with_tail(words, tail)
    if ending not in (Ending.CRASHED, Ending.USER_ERROR):
        return Verdict(ending, reason)
    detail = message or (tail[-1] if tail else "")
    exactly = ending is Ending.USER_ERROR
    return Verdict(ending, reason, f"{describe_exit(exit_code)}: {_alike(detail, exactly)}")


def read_result(path: Path) -> dict[str, Any] | str | None:
    """A result file's content, a text that says why it is unusable, or None if it is absent."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return f"not whole JSON ({error})"
    if not isinstance(value, dict):
        return f"JSON of type {type(value).__name__} where an object is needed"
    status = value.get("status", "succeeded")
    if status not in STATUSES:
        return f"status {status!r} is none of {', '.join(STATUSES)}"
    return value


def log_tail(path: Path, offset: int = 0) -> list[str]:
    """The last lines of a log that are not empty, of this attempt only, and the job's own."""
    return _last_lines(_log_end(path, offset))


def _log_end(path: Path, offset: int) -> str:
    try:
        with open(path, "rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(offset, size - _TAIL_BYTES))
            return handle.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _last_lines(text: str) -> list[str]:
    lines = []
    for line in re.split(r"[\r\n]+", text):
        if _TORCHRUN.match(line):
            break
        if line.strip() and not line.startswith("=== "):
            lines.append(line.rstrip()[:300])
    return lines[-_TAIL_LINES:]


def describe_exit(exit_code: int | None) -> str:
    """An exit code in words."""
    if exit_code is None:
        return "ended (exit code not known)"
    if exit_code >= 0:
        return f"exited {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


def _ending(
    record: Mapping[str, Any],
    said: str | None,
    exit_code: int | None,
    result: object,
    tail: Sequence[str],
) -> Ending:
    """The class of a bad end."""
    if said in _BY_STATUS:
        # What the job wrote is more precise than its exit code, unless it claims a success.
        return _BY_STATUS[said]
    by_signal = _signal_of(exit_code)
    if by_signal == signal.SIGKILL and record.get("out_of_memory_kills", 0) > 0:
        return Ending.OUT_OF_MEMORY
    if record.get("end") == attempts.TIMED_OUT:
        return Ending.TIMED_OUT
    if record.get("end") == attempts.STOPPED:
        return Ending.PREEMPTED
    if said != "failed" and by_signal in _FROM_OUTSIDE:
        return Ending.LOST
    free = record.get("free_disk_bytes")
    if (free is not None and free < _NEXT_TO_NOTHING_BYTES) or any(
        words in line for line in tail for words in _DISK_FULL
    ):
        return Ending.DISK_FULL
    if isinstance(result, dict) and result.get("user_error"):
        return Ending.USER_ERROR
    return _BY_EXIT_CODE.get(exit_code or 0, Ending.CRASHED)


def _signal_of(exit_code: int | None) -> int | None:
    """The signal behind an exit code, also as a shell reports that of its child (128 + n)."""
    if exit_code is None:
        return None
    if exit_code < 0:
        return -exit_code
    return exit_code - 128 if exit_code - 128 in (signal.SIGKILL, signal.SIGTERM) else None


def _in_words(ending: Ending, record: Mapping[str, Any], exit_code: int | None) -> str:
    ended = describe_exit(exit_code)
    if ending is Ending.OUT_OF_MEMORY and record.get("out_of_memory_kills", 0) > 0:
        return f"out of memory ({ended} by the kernel: host memory was full)"
    return {
        Ending.OUT_OF_MEMORY: f"out of memory ({ended})",
        Ending.DIVERGED: f"diverged ({ended})",
        Ending.PREEMPTED: f"stopped for another attempt ({ended})",
        Ending.TIMED_OUT: f"its time was over after {record.get('seconds', 0):.0f} s ({ended})",
        Ending.LOST: f"{ended} from outside",
        Ending.DISK_FULL: f"the disk was full ({ended})",
    }.get(ending, ended)


def _no_result(path: Path, result: object, tail: Sequence[str]) -> Verdict:
    what = (
        f"exited 0 but wrote no result file at {path}"
        if result is None
        else f"exited 0 but its result file {path} is unusable: {result}"
    )
    cause = f"exited 0: {'no result' if result is None else 'unusable result'}"
    return Verdict(Ending.CRASHED, _with_tail(what, tail), cause)


def _error_message(result: dict[str, Any]) -> str:
    error = result.get("error")
    if isinstance(error, dict):
        return ": ".join(str(error[k]) for k in ("type", "message") if error.get(k))
    return str(error) if error else ""


def _alike(message: str, exactly: bool) -> str:
    """The message without what differs from job to job though the defect is the same."""
    # Job folders have names like 0003-weights_lr=0.5-ab12cd34.
    message = re.sub(r"\S*\d{4,}-\S*[0-9a-f]{8}\S*", "<job>", message)
    # Addresses, pids, steps. A refused setting keeps its number: another value may be accepted.
    return message if exactly else re.sub(r"0x[0-9a-f]+|\d+", "#", message)


def _with_tail(what: str, tail: Sequence[str]) -> str:
    return what if not tail else what + TAIL_FOLLOWS + "\n  " + "\n  ".join(tail)
