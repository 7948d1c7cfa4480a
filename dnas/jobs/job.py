"""What a job is: a :class:`JobSpec` says what to run, a :class:`Job` adds where it stands."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from dnas.runs import DRAWN, FINALS, SAMPLED, SCORED, SUPERNET, JobFolder

#: The kinds of job in the order in which they are served.
KINDS = (DRAWN, SUPERNET, SAMPLED, *FINALS, SCORED)

#: Longest readable part of a job's name; index and hash come on top.
_LONGEST_LABEL = 80


class State(StrEnum):
    """Where a job stands; the value is what ``status.json`` holds."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether the manager is done with the job, unless somebody asks for it again."""
        return self not in (State.QUEUED, State.RUNNING)

    @property
    def failed(self) -> bool:
        """Whether it ended without a result, and nobody wanted that."""
        return self.ended and self not in (State.SUCCEEDED, State.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One job to run. Two equal identities are the same job, also after a restart."""

    kind: str
    """One of :data:`KINDS`: the queue it stands in and the folder it goes to."""
    argv: tuple[str, ...]
    """The command, word by word, tokens such as ``GPU_ID_PARAM`` not yet filled in."""
    settings: tuple[tuple[str, str], ...] = ()
    """What the brace lists chose for this job: (flag name without dashes, value)."""
    architecture: str | None = None
    """Path of the architecture file that its kind's token stands for."""
    canonical_id: str | None = None
    """Canonical id of that architecture."""
    inputs: tuple[tuple[str, str], ...] = ()
    """What other jobs of the run have made for it: (token, path inside the run folder)."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} is not one of {', '.join(KINDS)}")
        if not self.argv:
            raise ValueError("argv is empty: a job needs a command")

    @cached_property
    def identity(self) -> str:
        """Hash of everything that makes this job another job, the architecture's path left out."""
        return _hash([self.kind, list(self.argv), [list(s) for s in self.settings], *self._made])

    @property
    def template_hash(self) -> str:
        """Eight hex digits of the command template and of what it is for."""
        return _hash([list(self.argv), *self._made])[:8]

    @property
    def _made(self) -> list[object]:
        """What other jobs have made for it, without the paths that change when a run is moved."""
        architecture: list[object] = [] if self.canonical_id is None else [self.canonical_id]
        return architecture + [list(pair) for pair in self.inputs]

    def name(self, index: int) -> str:
        """A readable and unique folder name, e.g. ``0003-weights_lr=0.5-ab12cd34``.

        Args:
            index: Position of the job among those of its kind.
        """
        parts = [f"{name}={value}" for name, value in self.settings]
        if self.canonical_id is not None:
            parts.insert(0, f"arch={self.canonical_id[:12]}")
        label = re.sub(r"[^A-Za-z0-9._=+-]+", "_", "-".join(parts))[:_LONGEST_LABEL].strip("-_.")
        return "-".join(part for part in (f"{index:04d}", label, self.template_hash) if part)


@dataclass(kw_only=True, eq=False)
class Job:
    """A job in a run folder and where it stands; compared by identity, changed by the manager."""

    spec: JobSpec
    id: str
    """Name of its folder."""
    folder: JobFolder
    state: State = State.QUEUED
    reason: str = ""
    """Why it is in this state, for people."""
    attempts: int = 0
    """How often it was started, over all restarts of the manager."""
    retries: dict[str, int] = field(default_factory=dict)
    """How often it was queued again, by class of failure; over all restarts too."""
    token: dict[str, Any] = field(default_factory=dict)
    """How the executor finds the running attempt again."""
    slot: tuple[str, ...] = ()
    """Names of the devices it runs on, or ran on last, e.g. ``("gpu 0",)``."""
    pid: int | None = None
    """Of the supervisor, on ``host``."""
    host: str | None = None
    started: float | None = None
    """Unix time of the last start."""
    ended: float | None = None
    """Unix time of the last end."""
    seconds: float | None = None
    """How long the last attempt took, by a clock that does not jump."""
    exit_code: int | None = None
    log_offset: int = 0
    """Bytes of the log that belong to earlier attempts."""
    cancel_reason: str = ""
    """Why it is being ended on request; not saved, for it ends or is asked again."""

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`."""
        return self.spec.kind

    @property
    def alone(self) -> bool:
        """Whether it needs a device of its own, because it ran out of memory sharing one."""
        return self.retries.get("out_of_memory", 0) > 0

    @property
    def place(self) -> str:
        """Its devices as people read them, e.g. ``gpu 0`` or ``gpu 0 + gpu 1``."""
        return " + ".join(self.slot)

    def description(self) -> dict[str, object]:
        """Content of ``job.json``; ``template`` is what a restart compares."""
        return {
            "id": self.id,
            "kind": self.kind,
            "argv": list(self.spec.argv),
            "settings": dict(self.spec.settings),
            "architecture": self.spec.architecture,
            "canonical_id": self.spec.canonical_id,
            "inputs": dict(self.spec.inputs),
            "identity": self.spec.identity,
        }

    def status(self) -> dict[str, object]:
        """Content of ``status.json``."""
        return {
            "state": str(self.state),
            "reason": self.reason,
            "attempts": self.attempts,
            "retries": self.retries,
            "slot": list(self.slot),
            "token": self.token,
            "pid": self.pid,
            "host": self.host,
            "started": self.started,
            "ended": self.ended,
            "seconds": self.seconds,
            "exit_code": self.exit_code,
            "log_offset": self.log_offset,
        }

    def recall(self, status: Mapping[str, Any]) -> None:
        """Take over what ``status.json`` holds.

        Raises:
            TypeError, ValueError, AttributeError: The content is not that of a status file.
        """
        self.state = State(status["state"])
        self.reason = str(status.get("reason") or "")
        self.attempts = int(status.get("attempts") or 0)
        self.retries = {str(k): int(v) for k, v in (status.get("retries") or {}).items()}
        self.token = dict(status.get("token") or {})
        self.slot = tuple(str(name) for name in status.get("slot") or ())
        self.pid, self.host = status.get("pid"), status.get("host")
        self.started, self.ended = status.get("started"), status.get("ended")
        self.seconds, self.exit_code = status.get("seconds"), status.get("exit_code")
        self.log_offset = int(status.get("log_offset") or 0)


def spec_from_description(description: Mapping[str, object]) -> JobSpec:
    """Read a spec back from the content of ``job.json``.

    Raises:
        KeyError, TypeError, ValueError: The content is not that of a job file.
    """
    argv, settings = description["argv"], description["settings"]
    if not isinstance(argv, list) or not isinstance(settings, dict):
        raise TypeError("argv must be a list and settings an object")
    architecture, canonical = description.get("architecture"), description.get("canonical_id")
    inputs = description.get("inputs") or {}
    if not isinstance(inputs, dict):
        raise TypeError("inputs must be an object")
    return JobSpec(
        kind=str(description["kind"]),
        argv=tuple(str(word) for word in argv),
        settings=tuple((str(name), str(value)) for name, value in settings.items()),
        architecture=None if architecture is None else str(architecture),
        canonical_id=None if canonical is None else str(canonical),
        inputs=tuple((str(token), str(path)) for token, path in inputs.items()),
    )


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
