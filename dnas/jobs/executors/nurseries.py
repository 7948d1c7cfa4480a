"""The manager's side of nurseries (:mod:`dnas.jobs.nursery`): which to ask for an order, and how.

Nurseries are a convenience. Whatever is wrong with one, the order is started the plain way: a cold
start is always right. The first job waits for the first warm nursery, because nothing is won by
starting it meanwhile: both would import the same, and share the cores. Later, when one has died,
the loop that asks has other jobs to watch, and no job waits.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dnas.errors import JobError
from dnas.jobs.attempt import JOB_ATTEMPT_VARIABLE, JOB_FOLDER_VARIABLE
from dnas.jobs.executors.base import Order
from dnas.jobs.nursery import BLAS_VARIABLE, nursery_command, nursery_environment
from dnas.jobs.preload import modules_for
from dnas.jobs.warm import THREAD_VARIABLES
from dnas.runs import JobFolder

logger = logging.getLogger(__name__)

#: A nursery that has not answered after this time hangs; a fork takes milliseconds.
_ANSWER_S = 5.0
#: The first job waits no longer than this.
_FIRST_WAIT_S = 10.0
#: So many in a row that die without starting anything are enough.
_MAX_DEATHS = 3
#: Differ between jobs, and are not read before a program's own first line.
_OF_JOBS = (
    JOB_FOLDER_VARIABLE,
    JOB_ATTEMPT_VARIABLE,
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
)


@dataclass(frozen=True)
class Birth:
    """The process that a nursery has made for an order."""

    pid: int
    mark: str


@dataclass(frozen=True)
class Surroundings:
    """What a job finds when it starts, apart from what is its own; a nursery has it for good."""

    path: str
    """The script's folder."""
    cwd: str
    environment: Mapping[str, str]
    threads: tuple[str | None, ...]

    def fit(self, job: Surroundings) -> bool:
        """Whether a job cannot tell a fork of a process with these from a new interpreter."""
        same = (self.path, self.cwd, self.environment) == (job.path, job.cwd, job.environment)
        number = job.threads[0] or ""
        can_be_set = number.isdigit() and int(number) > 0 and set(job.threads) == {number}
        return same and (self.threads == job.threads or can_be_set)


class NurseryLost(JobError):
    """A nursery has died or hangs; the order that it was asked for has not been started."""


class Nursery:
    """One nursery process.

    Args:
        modules: To import; none for a light one.
        surroundings: Of its jobs; a light one needs none.
    """

    def __init__(
        self, modules: Sequence[str] = (), surroundings: Surroundings | None = None
    ) -> None:
        self.surroundings = surroundings
        self.state: dict[str, Any] = {}
        self._received = b""
        self._socket, theirs = socket.socketpair()
        environment = dict(os.environ)
        if surroundings is not None:
            threads = zip(THREAD_VARIABLES, surroundings.threads, strict=True)
            set_threads = {name: value for name, value in threads if value is not None}
            environment = {**surroundings.environment, **set_threads}
        with theirs:
            try:
                self._process = subprocess.Popen(
                    nursery_command(
                        list(modules),
                        "" if surroundings is None else surroundings.path,
                        theirs.fileno(),
                        environment.get(BLAS_VARIABLE),
                    ),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=nursery_environment(environment) if modules else environment,
                    cwd=None if surroundings is None else surroundings.cwd,
                    # Ctrl-C at the terminal is the manager's.
                    start_new_session=True,
                )
            except OSError:
                self._socket.close()
                raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_closed(self) -> bool:
        """Whether it has been ended, by whomever."""
        return self._socket.fileno() < 0

    def is_ready(self, timeout_s: float = 0.0) -> bool:
        """Whether it can be asked, now or within ``timeout_s``.

        Raises:
            NurseryLost: It has died.
        """
        if not self.state:
            waiter = select.poll()
            waiter.register(self._socket, select.POLLIN)
            if not waiter.poll(timeout_s * 1000):
                return False  # its end would be seen there too
            self.state = self._read()
        return True

    def ask(self, folder: JobFolder, attempt: int, engine: str) -> Birth:
        """Have the supervisor of an attempt forked.

        Raises:
            NurseryLost: It has died or hangs; nothing has been started.
        """
        request = {
            "folder": str(folder.path.absolute()),
            "attempt": attempt,
            "engine": engine,
            "environment": dict(os.environ),
        }
        try:
            self._socket.settimeout(_ANSWER_S)
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            self.close()
            raise NurseryLost(f"nursery {self.pid}: {error}") from None
        answer = self._read()
        return Birth(answer["pid"], answer["mark"])

    def close(self) -> None:
        """End it; what it has started goes on."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._socket.close()

    def _read(self) -> dict[str, Any]:
        """The next line; if there is none in time, the end of the nursery."""
        why = "it has ended"
        try:
            self._socket.settimeout(_ANSWER_S)
            while b"\n" not in self._received:
                if not (part := self._socket.recv(65536)):
                    break
                self._received += part
        except OSError as error:
            why = f"no answer in {_ANSWER_S} s ({error})"
        if b"\n" not in self._received:
            self._process.kill()
            # From here on no fork of it can answer, and one that cannot does not go on.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)
                self._received += self._socket.recv(65536)
            self.close()
        line, _, self._received = self._received.partition(b"\n")
        try:
            return dict(json.loads(line))
        except ValueError:
            raise NurseryLost(f"nursery {self.pid}: {why}") from None


class Nurseries:
    """A light nursery and a warm one, started when first needed and again when they die.

    Args:
        preload: Modules for the warm one; none for no warm one; None for those that the program of
            the first job imports and that are known to allow it.
    """

    def __init__(self, preload: Sequence[str] | None) -> None:
        self._preload = preload
        self._light: Nursery | None = None
        self._warm: Nursery | None = None
        self._warm_works = True
        self._deaths = 0
        self._first_wait_s = _FIRST_WAIT_S

    def start(self, folder: JobFolder, order: Order, engine: str) -> Birth | None:
        """Have an order's supervisor forked; None if it must be started otherwise."""
        if self._deaths >= _MAX_DEATHS:
            return None
        try:
            nursery = self._choose(order)
            is_warm = nursery.surroundings is not None
            wait_s = self._first_wait_s if is_warm else 0.0
            if is_warm:
                self._first_wait_s = 0.0
            if not nursery.is_ready(wait_s) or (is_warm and not self._accept(nursery.state)):
                return None
            birth = nursery.ask(folder, order.attempt, engine)
        except (NurseryLost, OSError) as error:
            self._deaths += 1
            self._forget_dead()
            logger.info("%s; jobs are started without it meanwhile", error)
            if self._deaths == _MAX_DEATHS:
                logger.warning(
                    "%d nurseries have died in a row (%s): jobs start slower, without them",
                    self._deaths,
                    error,
                )
            return None
        self._deaths = 0
        return birth

    def close(self) -> None:
        """End them."""
        for nursery in (self._light, self._warm):
            if nursery is not None:
                nursery.close()
        self._light = self._warm = None

    def _choose(self, order: Order) -> Nursery:
        job = _surroundings(order)
        if job is not None and self._warm_works:
            modules = modules_for(order.argv[1]) if self._preload is None else self._preload
            if self._warm is None and modules:
                self._warm = Nursery(modules, job)
            if self._warm is not None:
                assert self._warm.surroundings is not None
                if self._warm.surroundings.fit(job):
                    return self._warm
        if self._light is None:
            self._light = Nursery()
        return self._light

    def _accept(self, state: Mapping[str, Any]) -> bool:
        """Look at what a warm nursery says of itself, once."""
        if state["obstacle"]:
            assert self._warm is not None
            logger.warning(
                "jobs start cold, each importing for itself: after importing %s, %s",
                ", ".join(self._preload or ("their modules",)),
                state["obstacle"],
            )
            self._warm_works = False
            self._warm.close()
            self._warm = None
            return False
        for name, why in state["left_out"].items():
            logger.info("%s is not imported ahead of the jobs: %s", name, why)
        state["left_out"].clear()
        return True

    def _forget_dead(self) -> None:
        if self._light is not None and self._light.is_closed:
            self._light = None
        if self._warm is not None and self._warm.is_closed:
            self._warm = None


def _surroundings(order: Order) -> Surroundings | None:
    """What a job finds at its start, if it is a script of this interpreter without options."""
    argv = order.argv
    if len(argv) < 2 or argv[0] != sys.executable or sys.platform != "linux":
        return None
    script = argv[1]
    if not (os.path.isabs(script) and script.endswith(".py") and os.path.isfile(script)):
        return None
    environment = {**os.environ, **order.variables}
    threads = tuple(environment.get(name) for name in THREAD_VARIABLES)
    for name in (*_OF_JOBS, *THREAD_VARIABLES):
        environment.pop(name, None)
    path = os.path.dirname(os.path.realpath(script))
    return Surroundings(path, order.cwd, environment, threads)
