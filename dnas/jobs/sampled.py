"""The second stage: a job for each architecture that a supernet sampled, and for each setting."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dnas.errors import DnasError, JobError
from dnas.files import read_json
from dnas.jobs.choice import path_in_run
from dnas.jobs.experiment import record_duplicates
from dnas.jobs.job import Job, JobSpec
from dnas.runs import SUPERNET, JobFolder, RunFolder

logger = logging.getLogger(__name__)


class SampledJobs:
    """Turns the architectures of finished supernet jobs into jobs of the second stage.

    Args:
        run: The run folder.
        templates: The jobs of the sampled config, ``SAMPLED_ARCH_PARAM`` not yet filled in.
    """

    def __init__(self, run: RunFolder, templates: Iterable[JobSpec]) -> None:
        self._run = run
        self._templates = list(templates)
        self._trained: dict[str, Path] = {}  # canonical id -> architecture file
        self._duplicates: dict[str, dict[str, str]] = {}  # architecture file -> record

    def remember(self, jobs: Iterable[Job]) -> None:
        """Note which file stands for which architecture already, so that a restart agrees."""
        for job in jobs:
            spec = job.spec
            if spec.canonical_id is not None and spec.architecture is not None:
                self._trained.setdefault(spec.canonical_id, Path(spec.architecture))

    def after(self, job: Job) -> list[JobSpec]:
        """Jobs that follow from a job that succeeded: none from others than supernets.

        Raises:
            JobError: A supernet job left no architecture, or a damaged one.
        """
        if job.kind != SUPERNET:
            return []
        return self.from_folder(job.folder)

    def from_folder(self, folder: JobFolder) -> list[JobSpec]:
        """Jobs for the architectures in a supernet's folder that are not trained yet.

        Raises:
            JobError: There is none, or one is damaged.
        """
        files = folder.architecture_files()
        if not files:
            raise JobError(
                f"it succeeded but sampled no architecture: {folder.architectures} has no JSON "
                "file; check its sampling schedule (epochs at which to sample, how many)"
            )
        # All are read before any is used: a damaged one must not leave half of a supernet's jobs.
        found = [(file.absolute(), *identity_of(file)) for file in files]
        specs: list[JobSpec] = []
        for file, canonical_id, origin in found:
            first = self._trained.setdefault(canonical_id, file)
            if not _same_place(first, file):
                name, same = path_in_run(self._run, file), path_in_run(self._run, first)
                self._duplicates[name] = {
                    "architecture": name,
                    "canonical_id": canonical_id,
                    "same_as": same,
                    "origin": origin,
                }
                logger.info("%s equals %s (%s): not trained twice", name, same, canonical_id)
                continue
            self._trained[canonical_id] = file
            specs += [
                replace(template, architecture=str(file), canonical_id=canonical_id)
                for template in self._templates
            ]
        record_duplicates(self._run, [self._duplicates[key] for key in sorted(self._duplicates)])
        return specs


def _same_place(first: Path, second: Path) -> bool:
    """Whether two paths name one architecture file of a run that may have been moved meanwhile."""
    return first.parts[-4:] == second.parts[-4:]


def identity_of(file: Path) -> tuple[str, str]:
    """The canonical id in an architecture file, and how it came about (empty if it does not say).

    Raises:
        JobError: It is damaged, or says none; worded as the end of the job that left it.
    """
    try:
        value = read_json(file)
    except DnasError as error:
        raise JobError(f"it succeeded but left a damaged architecture: {error}") from None
    canonical_id = value.get("canonical_id") if isinstance(value, dict) else None
    if not isinstance(canonical_id, str) or not canonical_id:
        raise JobError(
            f"it succeeded but left an architecture without a canonical_id: {file}; write one, "
            "equal for architectures that are the same network"
        )
    provenance = value.get("provenance")
    origin = provenance.get("kind") if isinstance(provenance, dict) else None
    return canonical_id, origin if isinstance(origin, str) else ""
