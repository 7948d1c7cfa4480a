"""A small process that is ready before the jobs are: it forks a supervisor for each order.

A supervisor that is started anew costs an interpreter's start, and a job that imports torch a
second or two on top. A nursery has paid for both already. The manager asks it over a socket, one
JSON line for each order; the process it forks answers with its pid, becomes the supervisor, and
then knows neither the nursery nor the manager. There are two kinds:

* a light one imports nothing more than supervisors need, and its jobs are programs as ever;
* a warm one has imported what its jobs will (:mod:`dnas.jobs.preload`), and its jobs run in a fork
  of it (:mod:`dnas.jobs.warm`). Code that is edited during a run is what it was when the nursery
  began: switch warm starts off (``LocalExecutor(warm=False)``) while editing.

Forking is safe because a nursery has one thread: it counts them after it has imported, and runs
nothing if there are more. It ends when the manager's side of the socket closes, however that came.
Whoever asks and gets no answer shuts the socket: a process that cannot answer any more does not
become a supervisor, so that an order without an answer has not been started and never will be.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, TypedDict

from dnas.jobs import leaving, warm
from dnas.jobs.preload import load, obstacle
from dnas.jobs.processes import process_mark
from dnas.jobs.supervisor import JobBegins, Supervisor, execute, supervisor_command
from dnas.runs import JobFolder

#: Says how many threads OpenBLAS starts when it is loaded, and a nursery may have one.
BLAS_VARIABLE = "OPENBLAS_NUM_THREADS"


class Plan(TypedDict):
    """What a nursery imports; light if that is nothing."""

    modules: list[str]
    path: str
    """Folder of the script, first on ``sys.path`` as it is for the script itself."""
    blas: str | None
    """What the jobs have for :data:`BLAS_VARIABLE`."""


def nursery_command(modules: list[str], path: str, handle: int, blas: str | None) -> list[str]:
    """The command of a nursery that is asked through file descriptor ``handle``.

    Args:
        modules: What it imports.
        path: Folder of the jobs' script.
        handle: Its end of the socket.
        blas: What the jobs have for :data:`BLAS_VARIABLE`.
    """
    root = str(Path(__file__).resolve().parents[2])
    program = "import sys; sys.path.insert(0, sys.argv[1]); import dnas.jobs.nursery as n; n.main()"
    # A warm one must find modules exactly as its jobs would.
    options = [] if modules else ["-I", "-S"]
    plan = json.dumps(Plan(modules=modules, path=path, blas=blas))
    return [sys.executable, *options, "-c", program, root, plan, str(handle)]


def nursery_environment(environment: dict[str, str]) -> dict[str, str]:
    """The environment that a warm nursery is started with, for jobs of this one."""
    return {**environment, BLAS_VARIABLE: "1", **warm.room()}


def main() -> None:
    """Serve until the manager has gone; in a job's process, run the job and return at its end."""
    plan: Plan = json.loads(sys.argv[2])
    manager = socket.socket(fileno=int(sys.argv[3]))
    manager.set_inheritable(False)
    state: dict[str, Any] = {"obstacle": "", "left_out": {}}
    warm.take_room()
    if plan["modules"]:
        leaving.come_last()
        state["left_out"] = _load(plan)
        state["obstacle"] = obstacle() or warm.missing(manager.fileno())
        leaving.share_modules()
    gc.disable()  # a collection touches every page, and would copy it in every fork
    gc.freeze()
    # The kernel reaps our children; only now, because imports may wait for theirs.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    argv = _serve(manager, state, bool(plan["modules"]))
    if argv is not None:
        warm.run_script(argv)


def _load(plan: Plan) -> dict[str, str]:
    """Import the modules, as the jobs would; gives those left out, and why."""
    # As in a new interpreter that starts the script: no module of ours, the script's folder first.
    del sys.path[0 : 1 if sys.flags.safe_path else 2]
    if not sys.flags.safe_path:
        sys.path.insert(0, plan["path"])
    for name in [name for name in sys.modules if name.partition(".")[0] == "dnas"]:
        del sys.modules[name]
    left_out = load(plan["modules"])
    os.environ.pop(BLAS_VARIABLE)
    if plan["blas"] is not None:
        os.environ[BLAS_VARIABLE] = plan["blas"]
    sys.stdout.flush()
    sys.stderr.flush()
    return left_out


def _serve(manager: socket.socket, state: dict[str, Any], is_warm: bool) -> list[str] | None:
    """Fork a supervisor for each line; gives the job's command in the process that runs it."""
    base = dict(os.environ)
    with manager, manager.makefile("rb") as lines:
        manager.sendall(json.dumps(state).encode() + b"\n")
        for line in lines:
            request = json.loads(line)
            if os.fork() == 0:
                break
        else:
            return None
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        answer = {"pid": os.getpid(), "mark": process_mark(os.getpid()) or ""}
        try:
            manager.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            os._exit(1)  # whoever asked has given up
    return _supervise(request, warm.Start(base) if is_warm else execute)


def _supervise(request: dict[str, Any], run: Any) -> list[str]:
    os.environ.clear()
    os.environ.update(request["environment"])
    folder = JobFolder(Path(request["folder"]))
    warm.show_arguments(supervisor_command(folder, request["attempt"], request["engine"]))
    try:
        code = Supervisor(folder, request["attempt"], request["engine"], run=run).supervise()
    except JobBegins as begins:
        return begins.argv
    except BaseException:
        os._exit(1)
    # Neither the exit handlers of what was imported nor their buffers are the supervisor's.
    os._exit(code)
