"""The small process that runs one attempt of a job, on whatever host it is.

Every executor starts the same supervisor; it starts the job, and from then on needs nobody. It

* claims the attempt, so that no other supervisor runs it (:mod:`dnas.jobs.attempt`);
* gives the job a process group, its log and its environment, and sees that the job dies with it;
* beats, which is how managers on other hosts know that it lives;
* passes on SIGTERM, SIGINT, SIGHUP and SIGUSR1, and requests that come as a file (``stop.json``);
  SIGUSR2 kills the job at once; a job that ignores a request is killed after its grace;
* ends a job whose time is over, by the monotonic clock;
* ends itself with its job when a newer attempt has been ordered: a host that was given up for lost
  and comes back must not write into a job that runs elsewhere;
* kills whatever the job leaves behind, and writes how it ended, with the kernel's word on memory.

It is started with ``python -I -S`` and imports the standard library only: 10 MB and a few
hundredths of a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dnas.errors import EXIT_PREEMPTED
from dnas.files import write_json
from dnas.jobs import attempt as attempts
from dnas.jobs.kernel import num_out_of_memory_kills
from dnas.jobs.processes import process_mark
from dnas.runs import JobFolder

#: Exit code of a supervisor that found its attempt taken or out of date, and ran nothing.
EXIT_SUPERSEDED = 76
#: Seconds between two looks at what may have been asked by file.
_LOOK_S = 1.0
_RETRY_WRITE_S = 1.0
#: An engine that signals every process of a job may reach the job a moment before its supervisor.
_LATE_SIGNAL_S = 0.5
#: Passed on to the job; SIGUSR2 is a request to kill it.
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_WAITED_FOR = frozenset((*_PASSED_ON, signal.SIGUSR2, signal.SIGCHLD))
#: Those, and the one that ends waiting.
_BLOCKED = _WAITED_FOR | {signal.SIGALRM}

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

#: Runs the job in the forked child: it never returns, but may raise :class:`JobBegins`.
Run = Callable[["Mapping[str, Any]", "dict[str, str]"], None]


class JobBegins(BaseException):
    """Leaves the supervisor's stack in the forked child, for a job that is no program of its own.

    Args:
        argv: Command of the job.
    """

    def __init__(self, argv: list[str]) -> None:
        super().__init__(argv)
        self.argv = argv


def execute(order: Mapping[str, Any], environment: dict[str, str]) -> None:
    """Become the job's program."""
    argv = list(order["argv"])
    os.execvpe(argv[0], argv, environment)


class Supervisor:
    """Runs one attempt.

    Args:
        folder: The job's.
        attempt: Number of the attempt, which must be the one that ``order.json`` is for.
        engine: Who started the supervisor and under which name, e.g. ``slurm 1234``.
        restart: How often the engine has started this same attempt before, for engines that
            requeue by themselves once the earlier one is dead.
        run: What the forked child does.
    """

    def __init__(
        self,
        folder: JobFolder,
        attempt: int,
        engine: str = "local",
        restart: int = 0,
        run: Run = execute,
    ) -> None:
        self._folder, self._attempt = folder, attempt
        self._file = folder.attempt(attempt)
        self._run = run
        self._record: dict[str, Any] = {
            "state": attempts.RUNNING,
            "attempt": attempt,
            "engine": engine,
            "restart": restart,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "mark": process_mark(os.getpid()),
            "beat": 0,
            "started": time.time(),
        }
        self._pid = 0  # of the job
        self._end = attempts.EXITED
        self._kill_at: float | None = None  # monotonic
        self._only_sigterm = False
        self._superseded = False
        self._earlier_s = 0.0  # that earlier starts of this attempt have run

    def supervise(self) -> int:
        """Run the attempt to its end.

        Returns:
            Exit code of the supervisor: the job's (128 + signal if a signal ended it), or
            :data:`EXIT_SUPERSEDED`.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        order = self._order()
        if order is None or not self._claim():
            return EXIT_SUPERSEDED
        self._only_sigterm = bool(order.get("only_sigterm"))
        begun = time.monotonic()
        kills = num_out_of_memory_kills()
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._write_log(
            f"=== attempt {self._attempt}, {time.strftime('%Y-%m-%d %H:%M:%S')}, "
            f"{self._record['host']}, {order.get('place', '')}: {shlex.join(order['argv'])}\n"
        )
        error = self._start(order)
        status = self._watch(order, begun) if not error else None
        _kill_descendants()
        self._record |= {
            "state": attempts.ENDED,
            "end": self._end,
            "exit_code": None if status is None else os.waitstatus_to_exitcode(status),
            "start_error": error,
            "out_of_memory_kills": num_out_of_memory_kills() - kills,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
            "free_disk_bytes": _free_bytes(self._folder.path),
            "seconds": self._earlier_s + time.monotonic() - begun,
            "ended": time.time(),
        }
        self._write_end()
        code = 127 if status is None else os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _order(self) -> Mapping[str, Any] | None:
        """The order, if it is (still) this attempt's."""
        try:
            order = json.loads(self._folder.order.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        fits = isinstance(order, dict) and order.get("attempt") == self._attempt
        return order if fits else None

    def _claim(self) -> bool:
        if attempts.claim(self._file, self._record):
            return True
        found = attempts.read_attempt(self._file) or {}
        # The engine itself has requeued this attempt: it answers for the earlier one being dead. A
        # job that ended by itself, or whose time is over, is judged by now and not run again.
        if (
            (
                found.get("state") == attempts.RUNNING
                or (found.get("state") == attempts.ENDED and found.get("end") == attempts.STOPPED)
            )
            and found.get("engine") == self._record["engine"] != "local"
            and found.get("restart", 0) < self._record["restart"]
        ):
            self._earlier_s = _seconds_of(found)
            self._record |= {"beat": found.get("beat", 0) + 1, "earlier_seconds": self._earlier_s}
            write_json(self._file, self._record)
            return True
        return False

    # ---- the job's process --------------------------------------------------------------------

    def _start(self, order: Mapping[str, Any]) -> str:
        """Fork the job; gives the reason if it could not be started."""
        log = os.open(self._folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        failed, fail = os.pipe()  # closed on exec: whoever reads nothing knows that it went well
        environment = {**os.environ, **order["variables"]}
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setpgid(0, 0)
                _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(1)
                for target, source in enumerate((nothing, log, log)):
                    os.dup2(source, target)
                os.chdir(order["cwd"])
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
                self._run(order, environment)
            except OSError as error:
                os.write(fail, f"{error.strerror}: {error.filename or order['argv'][0]}".encode())
                os._exit(127)
            except JobBegins:
                raise
            except BaseException:
                os._exit(127)
            os._exit(127)
        for handle in (log, nothing, fail):
            os.close(handle)
        with contextlib.suppress(OSError):
            os.setpgid(self._pid, self._pid)  # whoever comes first
        self._record["job_pid"] = self._pid
        with open(failed, "rb") as pipe:
            reason = pipe.read().decode(errors="replace")
        if reason:
            os.waitpid(self._pid, 0)
        return reason

    def _watch(self, order: Mapping[str, Any], begun: float) -> int:
        """Until the job ends; gives its wait status."""
        timeout_s, grace_s = order.get("timeout_s"), float(order["stop_grace_s"])
        deadline = None if timeout_s is None else begun + float(timeout_s) - self._earlier_s
        heartbeat_s = float(order.get("heartbeat_s", attempts.HEARTBEAT_S))
        next_beat = next_look = begun
        while True:
            now = time.monotonic()
            if now >= next_beat:
                self._beat()
                next_beat = now + heartbeat_s
            if now >= next_look:
                next_look = now + min(_LOOK_S, heartbeat_s)
                self._look(now)
            if deadline is not None and now >= deadline and self._end == attempts.EXITED:
                self._ask(signal.SIGTERM, attempts.TIMED_OUT, now + grace_s)
            if self._kill_at is not None and now >= self._kill_at:
                self._signal(signal.SIGKILL)
            wakes = [next_beat, next_look]
            wakes += [t for t in (deadline, self._kill_at) if t is not None and t > now]
            caught = _wait_for(_WAITED_FOR, min(wakes) - time.monotonic())
            if (status := self._reap()) is not None:
                self._note_why(status, caught)
                return status
            if caught is not None:
                self._obey(caught, grace_s)

    def _note_why(self, status: int, caught: int | None) -> None:
        """Was the job that has just ended asked to, together with its supervisor?"""
        if self._end != attempts.EXITED:
            return
        asked = caught not in (None, signal.SIGCHLD)
        if not asked and os.waitstatus_to_exitcode(status) in (
            EXIT_PREEMPTED,
            *(-number for number in _PASSED_ON),
        ):
            asked = _wait_for(frozenset(_PASSED_ON), _LATE_SIGNAL_S) is not None
        if asked:
            self._end = attempts.STOPPED

    def _obey(self, number: int, grace_s: float) -> None:
        now = time.monotonic()
        if number == signal.SIGUSR2:
            self._ask(signal.SIGKILL, attempts.STOPPED, now)
        elif number in _PASSED_ON:
            # Asked twice, the first grace counts.
            number = signal.SIGTERM if self._only_sigterm else number
            self._ask(number, attempts.STOPPED, now + grace_s)

    def _look(self, now: float) -> None:
        """Was the job asked to stop by file, or a newer attempt ordered?"""
        try:
            asked = json.loads(self._folder.stop.read_text(encoding="utf-8"))
            if asked["attempt"] == self._attempt:
                kill = bool(asked.get("kill"))
                if kill or self._end == attempts.EXITED:
                    wait_s = 0.0 if kill else float(asked.get("grace_s", 0.0))
                    self._ask(
                        signal.SIGKILL if kill else signal.SIGTERM, attempts.STOPPED, now + wait_s
                    )
        except (OSError, ValueError, KeyError, TypeError):
            pass
        try:
            newer = json.loads(self._folder.order.read_text(encoding="utf-8"))["attempt"]
        except (OSError, ValueError, KeyError, TypeError):
            return
        if newer != self._attempt:
            self._ask(signal.SIGKILL, attempts.STOPPED, now)

    def _ask(self, number: int, why: str, kill_at: float) -> None:
        if self._end == attempts.EXITED:
            self._end = why
        self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)
        self._signal(number)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)

    def _reap(self) -> int | None:
        """The job's wait status, if it has ended; orphans of the job are reaped on the way."""
        ended = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if pid == 0:
                return ended
            if pid == self._pid:
                self._signal(signal.SIGKILL)  # what is left of its group
                ended = status

    # ---- files --------------------------------------------------------------------------------

    def _beat(self) -> None:
        found = attempts.read_attempt(self._file) or {}
        if found.get("restart", 0) > self._record["restart"]:
            # The engine took this host for dead, and has started the attempt elsewhere.
            self._superseded = True
            self._ask(signal.SIGKILL, attempts.STOPPED, time.monotonic())
            return
        self._record["beat"] += 1
        self._record["beat_time"] = time.time()
        # A beat that cannot be written is missed; the next one may be.
        with contextlib.suppress(OSError):
            if not self._is_deleted():
                write_json(self._file, self._record, durable=False)

    def _write_end(self) -> None:
        """Write how it ended, however long the disk is full: nobody else knows it."""
        if self._superseded:
            return
        told = False
        while not self._is_deleted():
            try:
                # Not forced to the disk: after a power cut the job's result, which is, tells.
                write_json(self._file, self._record, durable=False)
                return
            except OSError as error:
                if not told:
                    self._write_log(f"=== how the job ended cannot be written yet: {error}\n")
                    told = True
                if _wait_for(_WAITED_FOR, _RETRY_WRITE_S) == signal.SIGUSR2:
                    return

    def _is_deleted(self) -> bool:
        """Whether somebody has removed the job's folder, which is not to be made again."""
        try:
            os.stat(self._folder.path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return False

    def _write_log(self, line: str) -> None:
        with contextlib.suppress(OSError), open(self._folder.log, "a", encoding="utf-8") as log:
            log.write(line)


def supervisor_command(folder: JobFolder, attempt: int, engine: str, restart: int = 0) -> list[str]:
    """The command that supervises an attempt, for any engine that can start a process."""
    root = str(Path(__file__).resolve().parents[2])
    # By path, and not -m: neither the current folder nor site-packages may decide what is run.
    program = "import sys; sys.path.insert(0, sys.argv[1]); "
    program += "import dnas.jobs.supervisor as s; s.main()"
    words = [root, str(folder.path.absolute()), str(attempt), engine, str(restart)]
    return [sys.executable, "-I", "-S", "-c", program, *words]


def main() -> None:
    """Entry of the process that :func:`supervisor_command` describes."""
    folder, attempt, engine, restart = sys.argv[2:6]
    sys.exit(Supervisor(JobFolder(Path(folder)), int(attempt), engine, int(restart)).supervise())


def _wait_for(numbers: frozenset[signal.Signals], timeout_s: float) -> int | None:
    """The next of these blocked signals, or None after ``timeout_s``.

    Not ``signal.sigtimedwait``: stopped and continued after its time is over, it makes up a signal.
    """
    deadline = time.monotonic() + timeout_s
    while not signal.sigpending() & numbers:
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        signal.setitimer(signal.ITIMER_REAL, left)
        caught = signal.sigwaitinfo(numbers | {signal.SIGALRM}).si_signo
        signal.setitimer(signal.ITIMER_REAL, 0)
        if caught != signal.SIGALRM:
            return caught
    return signal.sigwaitinfo(numbers).si_signo


def _kill_descendants() -> None:
    """Kill and reap all that the job has left behind, in whatever group or session it is."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        try:
            pids = [int(pid) for pid in children.read_text().split()]
        except OSError:  # no such file on this kernel
            return
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)  # its own children come to us, and the loop sees them


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _seconds_of(record: Mapping[str, Any]) -> float:
    """How long the start that ``record`` tells of ran, and those before it, as far as it says."""
    if "seconds" in record:
        return float(record["seconds"])
    last = float(record.get("beat_time", record["started"])) - float(record["started"])
    return float(record.get("earlier_seconds", 0.0)) + max(0.0, last)


def _free_bytes(path: Path) -> int | None:
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
