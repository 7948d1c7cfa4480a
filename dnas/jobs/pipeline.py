"""The two stages: supernets are trained, and what they sampled is trained from scratch.

There is one queue. As soon as a supernet job has succeeded, its architectures become jobs of the
second stage, while other supernets still run. An architecture that another supernet (or the same
one) has sampled before is not trained twice: equal means an equal ``canonical_id``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dnas.errors import ConfigError, DnasError, JobError
from dnas.files import read_json
from dnas.jobs.command import check_programs
from dnas.jobs.config import (
    SAMPLED_ARCH_PARAM,
    TuningConfig,
    expand,
    has_token,
    load_config,
)
from dnas.jobs.executors import Executor
from dnas.jobs.experiment import check_experiment_id, record_duplicates, record_experiment
from dnas.jobs.job import Job, JobSpec
from dnas.jobs.manager import Manager
from dnas.jobs.outcome import Outcome
from dnas.jobs.slots import Device, SlotPool, check_visible, devices
from dnas.runs import SAMPLED, SUPERNET, JobFolder, RunFolder

logger = logging.getLogger(__name__)


def run_pipeline(
    dnas_config: str | Path,
    sampled_config: str | Path,
    experiment_id: str,
    runs_dir: str | Path = "runs",
    *,
    executor: Executor | None = None,
) -> Outcome:
    """Run or go on with both stages of an experiment.

    Args:
        dnas_config: Tuning config of the supernets.
        sampled_config: Tuning config of the sampled architectures; names ``SAMPLED_ARCH_PARAM``.
        experiment_id: Name of the run folder in ``runs_dir``.
        runs_dir: Folder of run folders.
        executor: What runs the jobs; default processes of this machine.

    Raises:
        ConfigError: A config is wrong; no job was started.
        JobError: The run folder belongs to other configs or to a live manager.
    """
    configs = load_pair(dnas_config, sampled_config)
    run = RunFolder(Path(runs_dir) / check_experiment_id(experiment_id))
    sampled = SampledJobs(run, expand(configs[SAMPLED], SAMPLED))
    manager = Manager(
        run,
        slot_pool(configs),
        executor=executor,
        on_finished=sampled.after,
        experiment_id=experiment_id,
    )
    with manager:
        record_experiment(run, experiment_id, configs)
        sampled.remember(manager.earlier_jobs)
        manager.add(expand(configs[SUPERNET], SUPERNET))
        return manager.run()


def load_pair(dnas_config: str | Path, sampled_config: str | Path) -> dict[str, TuningConfig]:
    """Read and check both configs; nothing is written.

    Raises:
        ConfigError: A mistake in one of them, a missing script, or the two swapped.
    """
    configs = {SUPERNET: load_config(dnas_config), SAMPLED: load_config(sampled_config)}
    for kind, config in configs.items():
        check_config(config, kind, needs_architecture=kind == SAMPLED)
    return configs


def check_config(config: TuningConfig, kind: str, *, needs_architecture: bool) -> list[JobSpec]:
    """Check a parsed config for its use as ``kind`` and return its jobs.

    Args:
        config: A parsed config.
        kind: ``SUPERNET`` or ``SAMPLED``.
        needs_architecture: Whether ``SAMPLED_ARCH_PARAM`` must be in it.

    Raises:
        ConfigError: A token in the wrong place, a missing script, or a GPU this shell may not use.
    """
    line = config.lines[0][0]
    token_line = config.line_of(SAMPLED_ARCH_PARAM)
    if kind == SUPERNET and token_line is not None:
        raise ConfigError(
            f"{config.path}:{token_line}: {SAMPLED_ARCH_PARAM} stands for what supernets have "
            "sampled and cannot be in their own config; are the two configs swapped?"
        )
    specs = expand(config, kind)
    if needs_architecture or token_line is not None:
        for spec in specs:
            if not any(has_token(word, SAMPLED_ARCH_PARAM) for word in spec.argv):
                chosen = ", ".join(f"{name}={value}" for name, value in spec.settings)
                where = f" from the job with {chosen}" if chosen else ""
                raise ConfigError(
                    f"{config.path}:{line}: {SAMPLED_ARCH_PARAM} is missing{where}; the training "
                    f"script needs the architecture, e.g. --architecture={SAMPLED_ARCH_PARAM}"
                )
    check_programs(specs, config.path, line)
    try:
        check_visible(config.gpu_ids, os.environ.get("CUDA_VISIBLE_DEVICES"))
    except ConfigError as error:
        raise ConfigError(f"{config.path}:{config.gpu_ids_line}: {error}") from None
    return specs


def slot_pool(configs: dict[str, TuningConfig]) -> SlotPool:
    """The devices of the configs, shared where both name the same."""
    slots: dict[str, tuple[tuple[Device, ...], int]] = {
        kind: (devices(config.gpu_ids), config.num_jobs_per_gpu) for kind, config in configs.items()
    }
    return SlotPool(slots)


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
        """Jobs that follow from a job that succeeded: none from a sampled one.

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
        found = [(file.absolute(), _canonical_id(file)) for file in files]
        specs: list[JobSpec] = []
        for file, canonical_id in found:
            first = self._trained.setdefault(canonical_id, file)
            if not _same_place(first, file):
                self._duplicates[self._name(file)] = {
                    "architecture": self._name(file),
                    "canonical_id": canonical_id,
                    "same_as": self._name(first),
                }
                logger.info(
                    "%s equals %s (%s): not trained twice",
                    self._name(file),
                    self._name(first),
                    canonical_id,
                )
                continue
            self._trained[canonical_id] = file
            specs += [
                replace(template, architecture=str(file), canonical_id=canonical_id)
                for template in self._templates
            ]
        record_duplicates(self._run, [self._duplicates[key] for key in sorted(self._duplicates)])
        return specs

    def _name(self, file: Path) -> str:
        """The file's path from the run folder, which stays true when the folder is moved."""
        return Path(os.path.relpath(file, self._run.path)).as_posix()


def _same_place(first: Path, second: Path) -> bool:
    """Whether two paths name one architecture file of a run that may have been moved meanwhile."""
    return first.parts[-4:] == second.parts[-4:]


def _canonical_id(file: Path) -> str:
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
    return canonical_id
