"""What the Ray executor has run on the nodes: functions and a class that Ray sends by value.

They are made inside functions, so that Ray does not send them as names to be imported: a node needs
the project's files where the manager has them, and no dnas on its import path. For the same reason
they use nothing that is defined outside of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: Replaces itself by a program that is killed when the process with the given pid dies. Not done
#: between fork and exec of a Ray worker: that has many threads, whose locks nobody would open.
_FOLLOW = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit("the Ray worker has gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


def make_seat() -> type[Any]:
    """The class of the actors: a place on a node for one supervisor, from its start to its end."""
    follow = _FOLLOW

    class Supervised:
        """Starts a command when it is made, with the devices that Ray has set aside for it.

        Args:
            command: The supervisor's.
            log: Where it says why it could not work, should that be so.
        """

        def __init__(self, command: list[str], log: str) -> None:
            import importlib
            import os
            import subprocess
            import threading

            ray = importlib.import_module("ray")
            context = ray.get_runtime_context()
            # A job that uses Ray itself is a driver like any other, and no part of this worker.
            environment = {
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("RAY_", "SPT_"))
                and not (name == "PYTHONBREAKPOINT" and value.startswith("ray."))
            }
            # GPU numbers as Ray and nvidia-smi count them; CUDA's own order is by speed.
            environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            if not context.get_accelerator_ids().get("GPU"):
                environment["CUDA_VISIBLE_DEVICES"] = ""  # else it would see them all
            with open(log, "ab") as errors:
                self._supervisor = subprocess.Popen(
                    [command[0], "-I", "-S", "-c", follow, str(os.getpid()), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env=environment,
                    # Ctrl-C at a terminal in which Ray was started is none of its business.
                    start_new_session=True,
                )
            actor = context.current_actor

            def leave() -> None:
                # Not exit_actor(): that waits for calls which nobody may answer any more.
                self._supervisor.wait()
                ray.kill(actor)

            # No manager is needed for that: no device is held without a job.
            threading.Thread(target=leave, daemon=True).start()

        def stay(self) -> None:
            """Until the supervisor ends; if the actor has left before that is said, it fails."""
            self._supervisor.wait()

    return Supervised


def make_call() -> Callable[[list[str]], int]:
    """A function that runs a command to its end."""

    def call(command: list[str]) -> int:
        import subprocess

        return subprocess.run(command, check=False).returncode

    return call


def clear_command(variables: Mapping[str, str]) -> list[str]:
    """The command that kills all processes of a host with these environment variables."""
    root = str(Path(__file__).resolve().parents[3])
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from dnas.jobs.processes import kill_by_variables;"
        "kill_by_variables(dict(word.split('=', 1) for word in sys.argv[2:]))"
    )
    words = [f"{name}={value}" for name, value in variables.items()]
    return [sys.executable, "-I", "-S", "-c", program, root, *words]
