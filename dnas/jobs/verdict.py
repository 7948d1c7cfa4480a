"""How a job ended, read from its exit code and its result file, and from nothing else.

An exit code says that a process ended, the result file says what it found. A word such as "memory"
in a log decides nothing: out of memory is what the job itself says, by status or by exit code.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnas.errors import (
    EXIT_DIVERGED,
    EXIT_OUT_OF_MEMORY,
    EXIT_PREEMPTED,
    EXIT_USER_ERROR,
)

SUCCEEDED = "succeeded"
FAILED = "failed"
OUT_OF_MEMORY = "out_of_memory"
DIVERGED = "diverged"
PREEMPTED = "preempted"
_STATUSES = (SUCCEEDED, FAILED, OUT_OF_MEMORY, DIVERGED, PREEMPTED)

#: Exit codes with a meaning, as statuses of a result file.
_MEANING = {
    EXIT_OUT_OF_MEMORY: OUT_OF_MEMORY,
    EXIT_DIVERGED: DIVERGED,
    EXIT_PREEMPTED: PREEMPTED,
}
#: Ends the first line of a reason that goes on with lines of the log.
TAIL_FOLLOWS = "; last lines of its log:"
_TAIL_LINES = 6
_TAIL_BYTES = 8192


@dataclass(frozen=True)
class Verdict:
    """How one attempt ended."""

    outcome: str
    """One of ``succeeded``, ``failed``, ``out_of_memory``, ``diverged``, ``preempted``."""
    reason: str
    """For people; empty for a success."""
    cause: str = ""
    """Equal for failures that look like the same defect; empty if no defect is behind it."""
    user_error: bool = False
    """The job refused its settings or its data: trying others of the kind is of little use."""


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
    status = value.get("status", SUCCEEDED)
    if status not in _STATUSES:
        return f"status {status!r} is none of {', '.join(_STATUSES)}"
    return value


def judge(exit_code: int | None, result_path: Path, log_path: Path, log_offset: int = 0) -> Verdict:
    """How an attempt ended.

    Args:
        exit_code: Of the process, negative for a signal; None if it is not known, because another
            manager had started it.
        result_path: The job's result file.
        log_path: The job's log, for the last lines.
        log_offset: Bytes of the log that belong to earlier attempts.
    """
    result = read_result(result_path)
    said = result.get("status", SUCCEEDED) if isinstance(result, dict) else None
    tail = log_tail(log_path, log_offset)
    message = _error_message(result) if isinstance(result, dict) else ""

    if exit_code in (0, None):
        if said == SUCCEEDED:
            return Verdict(SUCCEEDED, "")
        if said is not None:
            return _bad_end(said, exit_code, message, tail)
        ended = "exited 0" if exit_code == 0 else "ended (exit code not known)"
        what = (
            f"{ended} but wrote no result file at {result_path}"
            if result is None
            else f"{ended} but its result file {result_path} is unusable: {result}"
        )
        cause = f"{ended}: {'no result' if result is None else 'unusable result'}"
        return Verdict(FAILED, _with_tail(what, tail), cause)
    assert exit_code is not None
    # What the job wrote is more precise than its exit code, unless it claims a success.
    outcome = said if said not in (None, SUCCEEDED) else _MEANING.get(exit_code, FAILED)
    assert outcome is not None
    return _bad_end(outcome, exit_code, message, tail)


def log_tail(path: Path, offset: int = 0) -> list[str]:
    """The last lines of a log that are not empty, of this attempt only."""
    try:
        with open(path, "rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(offset, size - _TAIL_BYTES))
            text = handle.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    lines = [line.rstrip()[:300] for line in re.split(r"[\r\n]+", text)]
    return [line for line in lines if line][-_TAIL_LINES:]


def describe_exit(exit_code: int | None) -> str:
    """An exit code in words."""
    if exit_code is None:
        return "ended (exit code not known)"
    if exit_code >= 0:
        return f"exited {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = (
        " (if nobody did that, the kernel may have: host memory full)" if name == "SIGKILL" else ""
    )
    return f"killed by {name}{hint}"


def _bad_end(outcome: str, exit_code: int | None, message: str, tail: Sequence[str]) -> Verdict:
    ended = describe_exit(exit_code)
    words = {
        OUT_OF_MEMORY: f"out of memory ({ended})",
        DIVERGED: f"diverged ({ended})",
        PREEMPTED: f"stopped for another attempt ({ended})",
    }.get(outcome, ended)
    reason = f"{words}: {message}" if message else _with_tail(words, tail)
    if outcome != FAILED:
        return Verdict(outcome, reason)
    user_error = exit_code == EXIT_USER_ERROR
    said = message or (tail[-1] if tail else "")
    return Verdict(FAILED, reason, f"{ended}: {_alike(said, user_error)}", user_error)


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
