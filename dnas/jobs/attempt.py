"""One attempt to run a job, as a file that exactly one process may own.

``attempt.N.json`` comes into being once, by a hard link, which either makes the name or fails: on a
local disk, on NFS, whoever asks first. A supervisor that made it owns attempt N and alone writes
it from then on: it says who runs the job, shows by a counting ``beat`` that it lives, and at the
end how the job ended. A manager that no longer wants an attempt, because its start was lost sight
of, makes the file itself: the attempt is then revoked, and a supervisor that comes later finds the
name taken and runs nothing. So no attempt runs twice, whichever of them died in between.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Set for every job: the absolute path of its folder, and which attempt it is.
JOB_FOLDER_VARIABLE = "DNAS_JOB_FOLDER"
JOB_ATTEMPT_VARIABLE = "DNAS_JOB_ATTEMPT"

#: States of an attempt's file.
RUNNING = "running"
ENDED = "ended"
REVOKED = "revoked"

#: How an attempt ended: by itself, because somebody asked, or because its time was over.
EXITED = "exited"
STOPPED = "stopped"
TIMED_OUT = "timed_out"

#: Seconds between two beats of a supervisor.
HEARTBEAT_S = 10.0
#: A beat that has not changed for so long, by the watcher's own clock, is that of a dead one.
LOST_AFTER_S = 60.0


def claim(path: Path, record: Mapping[str, Any]) -> bool:
    """Make an attempt's file with ``record``; False if somebody else has made it.

    Raises:
        OSError: The file cannot be written; nothing is left.
    """
    text = json.dumps(record) + "\n"
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def revoke(path: Path) -> bool:
    """Take an attempt away before anybody has begun it; False if somebody has."""
    return claim(path, {"state": REVOKED})


def read_attempt(path: Path) -> dict[str, Any] | None:
    """The content of an attempt's file: None if there is none, empty if it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
