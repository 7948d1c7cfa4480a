"""Jobs on a Ray cluster, each in an actor of its own that outlives the manager.

The actor holds the job's share of GPUs and CPUs on whatever node Ray chose, starts the supervisor
there as its child, and leaves when that has ended. Orders and results are files: every node must
see the run folder, the project and the Python interpreter under the same paths.

Actors and not tasks, because a task dies with the driver that submitted it: every restart of a
manager would throw away hours of training on every node. An actor that is *detached* belongs to
the cluster, and has a name, made of the run folder, the job and the attempt. So a manager that is
started again finds its jobs by name and waits for them, as it does with processes of its own host;
the name is taken by one actor only; and an actor that still waited for a GPU begins when there is
one, whether or not a manager is there. (A manager that is killed in the milliseconds in which Ray
hands a new actor on leaves none behind; the next one notices, and queues the job again.) No actor
holds a device without a job: it leaves by itself when its supervisor ends. Ray restarts none of
them, for the manager queues lost jobs again, as a new attempt.

The supervisor dies with its Ray worker, and the job with it: what Ray thinks is dead is dead.
A cluster that this process has started itself (``address="local"``) dies with it, jobs included.
When Ray's head node dies, Ray ends this process a minute later, while jobs on other nodes may go
on. All is on disk, so start the manager again when there is a cluster: jobs that the new one knows
nothing of are watched through their files, and queued again when they have stood still.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dnas.errors import DnasError
from dnas.jobs import attempt as attempts
from dnas.jobs.executors.base import Executor, Handle, Order, ask_by_file
from dnas.jobs.executors.ray_node import clear_command, make_call, make_seat
from dnas.jobs.executors.ray_words import first_sentence, needs, why_gone, why_waiting
from dnas.jobs.executors.watch import Watcher
from dnas.jobs.processes import kill_by_variables, process_mark
from dnas.jobs.supervisor import supervisor_command
from dnas.runs import JobFolder

_NAMESPACE = "dnas"
#: How often to look at what is no event of Ray's.
_LOOK_S = 1.0
#: How often to ask what the cluster has and what of it is free.
_RESOURCES_S = 3.0
#: How long a supervisor may take to kill its job before its Ray worker is killed.
_KILL_WAIT_S = 5.0
_CLEAR_WAIT_S = 30.0
_REACH_S = 10.0
#: Which devices a job sees is Ray's to say.
_VISIBLE_DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


@dataclass(eq=False)
class _Seated(Handle):
    actor: Any = None
    ended: Any = None
    """Object reference that is ready when the actor is gone; None until it is asked for again."""
    ask_at: float = 0.0
    needs: dict[str, float] = field(default_factory=dict)
    """Resource -> how much, in Ray's names."""
    stop_grace_s: float = 0.0
    kill_at: float | None = None


class RayExecutor(Executor):
    """Starts supervisors on the nodes of a Ray cluster; it connects when it is first needed.

    Args:
        address: The cluster's, as ``ray.init`` takes it: ``auto`` for the one that runs here,
            ``local`` for a new one of this machine, None for the first of the two that works.
        lost_after_s: A job of an earlier manager that Ray knows nothing of is given up when its
            beat has stood still for so long.
        init: Further arguments of ``ray.init``.
    """

    name = "ray"
    places_jobs = True

    def __init__(
        self,
        address: str | None = "auto",
        *,
        lost_after_s: float = attempts.LOST_AFTER_S,
        **init: Any,
    ) -> None:
        self._address, self._init = address, init
        self._ray: Any = None
        self._connected_here = False
        self._seat: Any = None
        self._seated: list[_Seated] = []
        self._watcher = Watcher(lost_after_s, stop_grace_s=0.0)
        self._nodes: list[dict[str, float]] = []
        self._free: dict[str, float] = {}
        self._asked_resources_s = -math.inf

    # ---- the executor's interface -------------------------------------------------------------

    def submit(self, orders: Sequence[tuple[JobFolder, Order]]) -> list[Handle]:
        self._connect()
        handles: list[Handle] = []
        for folder, order in orders:
            try:
                handle = self._start(folder, order)
            except self._ray.exceptions.RayError as error:
                if not handles:
                    raise OSError(f"Ray: {first_sentence(str(error))}") from error
                attempts.revoke(folder.attempt(order.attempt))
                handle = _Seated(folder, order.attempt, ending="lost", ending_reason=str(error))
            self._seated.append(handle)
            handles.append(handle)
        return handles

    def adopt(self, folder: JobFolder, attempt: int, token: Mapping[str, Any]) -> Handle | None:
        ray = self._connect()
        record = attempts.read_attempt(folder.attempt(attempt)) or {}
        if record.get("state") in (attempts.ENDED, attempts.REVOKED):
            return None  # though its actor may take another moment to leave
        name = _actor_name(folder, attempt)
        try:
            actor = ray.get_actor(name, namespace=_NAMESPACE)
        except ValueError:
            return self._adopt_unknown(folder, attempt, record)
        handle = self._sit(folder, attempt, name, actor, _read_order(folder))
        self._seated.append(handle)
        return handle

    def poll(self, timeout_s: float) -> list[Handle]:
        deadline = time.monotonic() + timeout_s
        while True:
            ended = self._watcher.poll() + self._collect()
            left = deadline - time.monotonic()
            if ended or left <= 0:
                break
            self._wait(min(left, _LOOK_S))
        for handle in self._seated:
            if not handle.started:
                self._look_whether_started(handle)
        return ended

    def cancel(self, handle: Handle, *, kill: bool = False) -> None:
        if self._watcher.watches(handle):
            grace_s = float(_read_order(handle.folder).get("stop_grace_s", 0.0))
            ask_by_file(handle.folder, handle.attempt, kill=kill, grace_s=grace_s)
            return
        if not isinstance(handle, _Seated) or handle not in self._seated or handle.actor is None:
            return
        if attempts.revoke(handle.folder.attempt(handle.attempt)):
            # Not begun, and no supervisor can begin it from now on.
            handle.ending_reason = "it was taken back before it began"
            self._ray.kill(handle.actor)
            return
        ask_by_file(handle.folder, handle.attempt, kill=kill, grace_s=handle.stop_grace_s)
        if kill and handle.kill_at is None:
            handle.kill_at = time.monotonic() + _KILL_WAIT_S

    def clear(self, folder: JobFolder, attempt: int, record: Mapping[str, Any]) -> None:
        variables = {
            attempts.JOB_FOLDER_VARIABLE: str(folder.path.absolute()),
            attempts.JOB_ATTEMPT_VARIABLE: str(attempt),
        }
        if (host := record.get("host")) is None:
            return
        if host == socket.gethostname():
            kill_by_variables(variables)
            return
        ray = self._connect()
        node = next(
            (n["NodeID"] for n in ray.nodes() if n["Alive"] and n["NodeManagerHostname"] == host),
            None,
        )
        if node is None:
            return  # nothing runs on a node that is dead
        there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        call = ray.remote(make_call()).options(num_cpus=0, scheduling_strategy=there)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(call.remote(clear_command(variables)), timeout=_CLEAR_WAIT_S)

    def close(self) -> None:
        """Disconnect; jobs go on, save on a cluster that was started here, which is shut down."""
        if self._connected_here:
            self._ray.shutdown()
        self._ray, self._seat, self._connected_here = None, None, False
        self._seated.clear()

    # ---- the cluster --------------------------------------------------------------------------

    def _connect(self) -> Any:
        """The module ``ray``, connected to the cluster.

        Raises:
            DnasError: Ray is not installed, or there is no cluster.
        """
        if self._ray is not None:
            return self._ray
        try:
            ray: Any = importlib.import_module("ray")
            importlib.import_module("ray.util.scheduling_strategies")
        except ImportError as error:
            raise DnasError(
                f"the executor ray needs Ray, which cannot be imported ({error}); "
                "pip install 'dnas[ray]'"
            ) from None
        if not ray.is_initialized():
            settings: dict[str, Any] = {
                "namespace": _NAMESPACE,
                "log_to_driver": False,
                "logging_level": logging.WARNING,
                **self._init,
            }
            try:
                _reach(self._address)
                with _undisturbed():
                    ray.init(address=self._address, **settings)
            except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise DnasError(
                    f"no Ray cluster at the address {self._address!r}: "
                    f"{first_sentence(str(error))}. Start one with ray start --head, and on other "
                    "nodes with ray start --address=HOST:6379, or name the address of one that runs"
                ) from error
            self._connected_here = True
        self._ray = ray
        return ray

    def _look_whether_started(self, handle: _Seated) -> None:
        handle.started = handle.folder.attempt(handle.attempt).exists()
        handle.waits_for = "" if handle.started else self._why_waiting(handle.needs)

    def _why_waiting(self, wanted: Mapping[str, float]) -> str:
        if time.monotonic() - self._asked_resources_s > _RESOURCES_S:
            self._nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._free = self._ray.available_resources()
            self._asked_resources_s = time.monotonic()
        return why_waiting(wanted, self._nodes, self._free)

    # ---- actors -------------------------------------------------------------------------------

    def _start(self, folder: JobFolder, order: Order) -> _Seated:
        if not order.variables.keys().isdisjoint(_VISIBLE_DEVICES):
            variables = {k: v for k, v in order.variables.items() if k not in _VISIBLE_DEVICES}
            order = replace(order, variables=variables)
            order.write(folder)
        name = _actor_name(folder, order.attempt)
        self._seat = self._seat or self._ray.remote(make_seat())
        wanted = needs(order.num_gpus, order.num_cpus)
        try:
            actor = self._seat.options(
                name=name,
                namespace=_NAMESPACE,
                lifetime="detached",
                num_gpus=wanted["GPU"],
                num_cpus=wanted["CPU"],
                max_restarts=0,
                max_task_retries=0,
            ).remote(
                supervisor_command(folder, order.attempt, f"{self.name} {name}"),
                str(folder.log.absolute()),
            )
        except ValueError:
            # There is one by this name: the attempt was submitted before, and cannot run twice.
            actor = self._ray.get_actor(name, namespace=_NAMESPACE)
        return self._sit(folder, order.attempt, name, actor, vars(order))

    def _sit(
        self, folder: JobFolder, attempt: int, name: str, actor: Any, order: Mapping[str, Any]
    ) -> _Seated:
        handle = _Seated(
            folder,
            attempt,
            {"actor": name},
            started=False,
            actor=actor,
            ended=actor.stay.remote(),
            needs=needs(order.get("num_gpus", 0), order.get("num_cpus", 0)),
            stop_grace_s=float(order.get("stop_grace_s", 0.0)),
        )
        self._look_whether_started(handle)
        return handle

    def _collect(self) -> list[Handle]:
        """Those whose actor is gone."""
        now = time.monotonic()
        for handle in self._seated:
            if handle.ended is None and handle.actor is not None and now >= handle.ask_at:
                handle.ended = handle.actor.stay.remote()
            if handle.kill_at is not None and now >= handle.kill_at:
                self._ray.kill(handle.actor)
                handle.kill_at = None
                handle.ending_reason = "its supervisor did not obey and was killed with it"
        ready = set(self._wait(0.0, every=True))
        ended: list[Handle] = []
        for handle in list(self._seated):
            if handle.actor is None or (handle.ended in ready and self._is_gone(handle)):
                self._seated.remove(handle)
                ended.append(handle)
        return ended

    def _wait(self, timeout_s: float, *, every: bool = False) -> list[Any]:
        """References that are ready: as soon as there is one, or ``every`` one of this moment."""
        waiting = [handle.ended for handle in self._seated if handle.ended is not None]
        if not waiting:
            time.sleep(timeout_s)
            return []
        most = len(waiting) if every else 1
        ready, _ = self._ray.wait(waiting, num_returns=most, timeout=timeout_s, fetch_local=False)
        return list(ready)

    def _is_gone(self, handle: _Seated) -> bool:
        errors = self._ray.exceptions
        error: Exception | str = ""
        try:
            self._ray.get(handle.ended)
        except errors.ActorUnavailableError:
            # The network, perhaps. Ray will know later whether the actor is dead.
            handle.ended, handle.ask_at = None, time.monotonic() + _LOOK_S
            return False
        except errors.RayError as found:
            error = found
        record = attempts.read_attempt(handle.folder.attempt(handle.attempt)) or {}
        if record.get("state") in (attempts.RUNNING, None):
            is_memory = isinstance(error, errors.OutOfMemoryError)
            handle.ending = "out_of_memory" if is_memory else "lost"
            handle.ending_reason = handle.ending_reason or why_gone(str(error), handle.folder.log)
        return True

    def _adopt_unknown(
        self, folder: JobFolder, attempt: int, record: Mapping[str, Any]
    ) -> Handle | None:
        """An attempt that this cluster does not have: perhaps another has, perhaps it is dying."""
        if record.get("state") != attempts.RUNNING:
            return None
        host = record.get("host")
        if host == socket.gethostname() and process_mark(record["pid"]) != record.get("mark"):
            return None
        return self._watcher.adopt(
            folder, attempt, f"{host}, of which this Ray cluster knows nothing"
        )


def _actor_name(folder: JobFolder, attempt: int) -> str:
    """One name for one attempt, in a cluster that several runs share."""
    path = folder.path.absolute()
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    return f"{path.name}-{digest}-attempt-{attempt}"


def _read_order(folder: JobFolder) -> dict[str, Any]:
    try:
        order = json.loads(folder.order.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return order if isinstance(order, dict) else {}


def _reach(address: str | None) -> None:
    """Try whether anybody listens there; Ray itself would try for many minutes, deaf to signals.

    Raises:
        OSError: Nobody does.
    """
    if address in (None, "auto"):
        address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = str(address).removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Undo what connecting to Ray does to this process.

    Ray takes SIGTERM for itself, at which a manager has to let its jobs save, and has
    ``breakpoint()`` wait for a Ray debugger.
    """
    name = "PYTHONBREAKPOINT"
    before = os.environ.get(name)
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if in_main_thread and handler is not None:
            signal.signal(signal.SIGTERM, handler)
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
