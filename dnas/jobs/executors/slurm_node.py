"""What submitit runs on the node: it starts a supervisor and waits for it.

Goes to the node inside submitit's pickle, class and all, so that the node's Python need not find
this package; it therefore uses nothing of it.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from typing import Any

#: Tells :class:`Supervise` that Slurm will end the job soon. Slurm sends it to every process of a
#: job, the user's program too, which must not die of it: of the signals that are ignored unless
#: somebody waits for them, this is the one that Slurm can send.
WARNING_SIGNAL = "URG"


class Supervise:
    """Supervises one attempt, and hands it back to Slurm's queue when Slurm wants the node back.

    Args:
        command: The supervisor's, without the last two words, which only the node knows: the
            engine's name for the job, and how often it has started it before.
    """

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self._pid: int | None = None

    def __call__(self) -> None:
        slurm_id = os.environ["SLURM_JOB_ID"]
        if "SLURM_ARRAY_JOB_ID" in os.environ:
            slurm_id = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
        restart = os.environ.get("SLURM_RESTART_COUNT", "0")
        supervisor = subprocess.Popen([*self.command, f"slurm {slurm_id}", restart])
        self._pid = supervisor.pid
        self._wait()
        self._pid = None
        # Not returned: Slurm then says of a job that failed that it did.
        sys.exit(supervisor.wait())

    def checkpoint(self) -> Any:
        """Have the job save and end; called by submitit at :data:`WARNING_SIGNAL`.

        Returns:
            What to run when Slurm starts the job again.
        """
        helpers = importlib.import_module("submitit.helpers")
        if self._pid is not None:
            os.kill(self._pid, signal.SIGTERM)
            self._wait()
        return helpers.DelayedSubmission(Supervise(self.command))

    def _wait(self) -> None:
        """Until the supervisor has ended; it is not reaped, for ``checkpoint`` interrupts this."""
        assert self._pid is not None
        os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
