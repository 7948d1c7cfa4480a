"""Answers to what people ask a live manager for: to cancel jobs, to try failed ones again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from dnas.jobs import requests
from dnas.jobs.executors.base import ask_by_file
from dnas.jobs.job import Job
from dnas.jobs.ledger import Ledger
from dnas.runs import RunFolder

logger = logging.getLogger(__name__)


class Answers:
    """Hears each request once.

    Args:
        run: The run folder, in which requests are files.
        cancel: Cancels a job; False if it runs and is not this session's.
        stop_grace_s: What a job of another session has to save a checkpoint.
    """

    def __init__(self, run: RunFolder, cancel: Callable[[Job], bool], stop_grace_s: float) -> None:
        self._run = run
        self._cancel = cancel
        self._stop_grace_s = stop_grace_s
        self._answered: set[Path] = set()  # requests whose files could not be removed

    def answer(self, ledger: Ledger) -> None:
        """Do what the requests ask for that are there."""
        for request in requests.pending(self._run):
            if request.file in self._answered:
                continue
            elsewhere: list[Job] = []
            for kind, name in request.jobs:
                job = ledger.named(kind, name)
                if job is None:
                    logger.warning("asked to %s %s: no such job here", request.action, name)
                elif request.action == requests.CANCEL:
                    elsewhere += [] if self._cancel(job) else [job]
                else:
                    ledger.ask_again(job)
            if request.file is not None:
                self._answered.add(request.file)
                # Until it is removed, which is tried again at the next start, it is heard once.
                with contextlib.suppress(OSError):
                    self._keep_for_others(elsewhere)
                    request.file.unlink(missing_ok=True)

    def _keep_for_others(self, jobs: Sequence[Job]) -> None:
        """Have their supervisors asked, and the session told that takes them in."""
        for job in jobs:
            ask_by_file(job.folder, job.attempts, kill=False, grace_s=self._stop_grace_s)
        if jobs:
            kept = [(job.kind, job.id) for job in jobs]
            self._answered.add(requests.ask(self._run, requests.CANCEL, kept))
