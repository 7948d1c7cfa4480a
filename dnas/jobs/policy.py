"""How a manager treats its jobs."""

from __future__ import annotations

from dataclasses import dataclass, field

from dnas.jobs.attempt import HEARTBEAT_S, LOST_AFTER_S
from dnas.jobs.guards import Guards
from dnas.jobs.retries import Retries


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a manager treats its jobs."""

    retries: Retries = field(default_factory=Retries)
    guards: Guards = field(default_factory=Guards)
    timeout_s: float | None = None
    """Longest time for one attempt; None for no limit."""
    max_same_failures: int = 5
    """So many failures in a row with one cause stop launching; 2 do if the job refused its settings
    or data. 0 never stops."""
    stop_grace_s: float = 120.0
    """Seconds between asking a job to stop, for which it may save a checkpoint, and killing it."""
    heartbeat_s: float = HEARTBEAT_S
    lost_after_s: float = LOST_AFTER_S
    """A job on another host whose beat has stood still for so long is lost."""
