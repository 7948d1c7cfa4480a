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

from dnas.jobs import warm
from dnas.jobs.preload import load, lazily, obstacle
from dnas.jobs.processes import process_mark
from dnas.jobs.supervisor import JobBegins, Supervisor, execute
from dnas.runs import JobFolder

#: Importing must end within this time, or the nursery does.
_LOAD_S = 300
#: Threads of OpenBLAS start when it is loaded, and a nursery may have none.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}


class Plan(TypedDict):
    """What a nursery imports; light if that is nothing."""

    modules: list[str]
    path: str
    """Folder of the script, first on ``sys.path`` as it is for the script itself."""
    avoided: dict[str, str]
    """Modules that an earlier try had to do without, and why."""
    blas: str | None
    """What the jobs' environment has for OPENBLAS_NUM_THREADS."""


def nursery_command(modules: list[str], path: str, handle: int) -> list[str]:
    """The command of a nursery that is asked through file descriptor ``handle``."""
    plan = Plan(
        modules=modules, path=path, avoided={}, blas=os.environ.get("OPENBLAS_NUM_THREADS")
    )
    return _command(plan, handle)


def nursery_environment(environment: dict[str, str]) -> dict[str, str]:
    """The environment that a warm nursery is started with, for jobs of this one."""
    return {**environment, **_ONE_THREAD, **warm.room()}


def _command(plan: Plan, handle: int) -> list[str]:
    root = str(Path(__file__).resolve().parents[2])
    program = "import sys; sys.path.insert(0, sys.argv[1]); import dnas.jobs.nursery as n; n.main()"
    # A warm one must find modules exactly as its jobs would.
    options = [] if plan["modules"] else ["-I", "-S"]
    return [sys.executable, *options, "-c", program, root, json.dumps(plan), str(handle)]


def main() -> None:
    """Serve until the manager has gone; in a job's process, run the job and return at its end."""
    plan: Plan = json.loads(sys.argv[2])
    manager = socket.socket(fileno=int(sys.argv[3]))
    manager.set_inheritable(False)
    state: dict[str, Any] = {"ready": True, "obstacle": "", "avoided": plan["avoided"]}
    if plan["modules"]:
        state["obstacle"] = _load(plan, manager)
    gc.disable()  # a collection touches every page, and would copy it in every fork
    gc.freeze()
    # The kernel reaps our children; only now, because imports may wait for theirs.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    argv = _serve(manager, state, bool(plan["modules"]))
    if argv is not None:
        warm.run_script(argv)


def _load(plan: Plan, manager: socket.socket) -> str:
    """Import the modules; gives why jobs cannot run here, if they cannot."""
    # As in a new interpreter that starts the script: no module of ours, the script's folder first.
    del sys.path[0 : 1 if sys.flags.safe_path else 2]
    if not sys.flags.safe_path:
        sys.path.insert(0, plan["path"])
    for name in [name for name in sys.modules if name.partition(".")[0] == "dnas"]:
        del sys.modules[name]
    warm.take_room()
    signal.alarm(_LOAD_S)
    with lazily():
        for name in plan["modules"]:
            try:
                load(name)
            except Exception as error:
                plan["avoided"][name] = f"{type(error).__name__}: {error}"
                continue
            if (found := obstacle()) and len(plan["modules"]) > 1:
                # What is loaded stays loaded: begin again without it.
                plan["avoided"][name] = found
                plan["modules"].remove(name)
                manager.set_inheritable(True)
                command = _command(plan, manager.fileno())
                os.execve(command[0], command, nursery_environment(dict(os.environ)))
    signal.alarm(0)
    os.environ.pop("OPENBLAS_NUM_THREADS")
    if plan["blas"] is not None:
        os.environ["OPENBLAS_NUM_THREADS"] = plan["blas"]
    sys.stdout.flush()
    sys.stderr.flush()
    return obstacle() or warm.missing(manager.fileno())


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
    try:
        code = Supervisor(folder, request["attempt"], request["engine"], run=run).supervise()
    except JobBegins as begins:
        return begins.argv
    except BaseException:
        os._exit(1)
    # Neither the exit handlers of what was imported nor their buffers are the supervisor's.
    os._exit(code)
