"""The stages: supernets are trained, then what they sampled from scratch, then the best of that.

There is one queue. As soon as a supernet job has succeeded, its architectures become jobs of the
second stage, while other supernets still run. An architecture that another supernet (or the same
one) has sampled before is not trained twice: equal means an equal ``canonical_id``. Each stage that
follows begins when every job before it is over (:mod:`dnas.jobs.final`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

from dnas.errors import ConfigError, DnasError, JobError
from dnas.files import read_json
from dnas.jobs.choice import path_in_run
from dnas.jobs.command import check_programs, with_torchrun
from dnas.jobs.config import TuningConfig, expand, load_config
from dnas.jobs.executors import Executor
from dnas.jobs.experiment import check_experiment_id, record_duplicates, record_experiment
from dnas.jobs.final import FinalJobs, jobs_of_earlier_choices, next_final_jobs
from dnas.jobs.job import Job, JobSpec
from dnas.jobs.manager import Manager
from dnas.jobs.outcome import Outcome
from dnas.jobs.policy import Policy
from dnas.jobs.slots import SlotPool, Slots, check_visible, devices, engine_slots
from dnas.jobs.tokens import (
    ARCHITECTURE_TOKENS,
    BEST_ARCH_PARAM,
    INPUT_TOKENS,
    SAMPLED_ARCH_PARAM,
    has_token,
)
from dnas.runs import FINALS, SAMPLED, SCORED, SUPERNET, JobFolder, RunFolder

logger = logging.getLogger(__name__)

#: Jobs that a cluster's engine is given at a time; the others wait in the run folder.
MAX_SUBMITTED = 1000


def run_pipeline(
    dnas_config: str | Path,
    sampled_config: str | Path,
    experiment_id: str,
    runs_dir: str | Path = "runs",
    *,
    final_configs: Sequence[str | Path] = (),
    executor: Executor | None = None,
    policy: Policy | None = None,
    max_submitted: int = MAX_SUBMITTED,
    show: Callable[[dict[str, object]], None] | None = None,
) -> Outcome:
    """Run or go on with the stages of an experiment.

    Args:
        dnas_config: Tuning config of the supernets.
        sampled_config: Tuning config of the sampled architectures; names ``SAMPLED_ARCH_PARAM``.
        experiment_id: Name of the run folder in ``runs_dir``.
        runs_dir: Folder of run folders.
        final_configs: Tuning configs that train the best of the stage before, each; they name
            ``BEST_ARCH_PARAM``. The last makes the final models.
        executor: What runs the jobs; default processes of this machine.
        policy: Retries, limits and times.
        max_submitted: Jobs that a cluster's engine is given at a time.
        show: For a live view, see :class:`Manager`.

    Raises:
        ConfigError: A config is wrong; no job was started.
        JobError: The run folder belongs to other configs or to a live manager.
    """
    configs = load_stages(dnas_config, sampled_config, final_configs, executor)
    run = RunFolder(Path(runs_dir) / check_experiment_id(experiment_id))
    sampled = SampledJobs(run, expand(configs[SAMPLED], SAMPLED))
    finals = {kind: FinalJobs(run, configs[kind], kind) for kind in FINALS if kind in configs}
    manager = Manager(
        run,
        slot_pool(configs, executor, max_submitted),
        executor=executor,
        on_finished=sampled.after,
        on_all_ended=lambda: next_final_jobs([*finals.values()], manager.jobs, manager.note),
        experiment_id=experiment_id,
        policy=policy,
        show=show,
    )
    with manager:
        record_experiment(run, experiment_id, configs)
        sampled.remember(manager.earlier_jobs)
        manager.add(expand(configs[SUPERNET], SUPERNET))
        # What an earlier session began may still run, on devices that are not free then.
        manager.add(jobs_of_earlier_choices(run, finals))
        _name_left_out(manager.earlier_jobs, configs)
        return manager.run()


def _name_left_out(jobs: Iterable[Job], configs: Mapping[str, TuningConfig]) -> None:
    """Say so if jobs of an earlier session wait or run in stages that this one does not have."""
    for kind in FINALS:
        waiting = [job.id for job in jobs if job.kind == kind and not job.state.ended]
        if waiting and kind not in configs:
            logger.warning(
                "%s jobs of an earlier session are not over (%d, first %s) and are left alone: "
                "their config is not among those of this command",
                kind,
                len(waiting),
                waiting[0],
            )


def load_stages(
    dnas_config: str | Path,
    sampled_config: str | Path,
    final_configs: Sequence[str | Path] = (),
    executor: Executor | None = None,
) -> dict[str, TuningConfig]:
    """Read and check the config of each stage, for use with ``executor``; nothing is written.

    Raises:
        ConfigError: A mistake in one of them, a missing script, two of them swapped, or more of
            them than there can be.
    """
    if len(final_configs) > len(FINALS):
        raise ConfigError(
            f"{len(final_configs)} configs follow that of the sampled architectures, first "
            f"{final_configs[0]}; give {len(FINALS)} at most"
        )
    configs = {SUPERNET: load_config(dnas_config), SAMPLED: load_config(sampled_config)}
    configs |= {kind: load_config(path) for kind, path in zip(FINALS, final_configs, strict=False)}
    for kind, config in configs.items():
        check_config(config, kind, needs_architecture=kind != SUPERNET, executor=executor)
    return configs


def check_config(
    config: TuningConfig,
    kind: str,
    *,
    needs_architecture: bool,
    executor: Executor | None = None,
) -> list[JobSpec]:
    """Check a parsed config for its use as ``kind`` and return its jobs.

    Args:
        config: A parsed config.
        kind: What its jobs are, such as ``SUPERNET``.
        needs_architecture: Whether its token for an architecture must be in it.
        executor: What is to run the jobs; default processes of this machine.

    Raises:
        ConfigError: A token in the wrong place, a missing script, a GPU this shell may not use, or
            a setting that this executor would ignore.
    """
    line = config.lines[0][0]
    _check_stage(config, kind)
    specs = expand(config, kind)
    token = ARCHITECTURE_TOKENS.get(kind)
    if token is not None and (needs_architecture or config.line_of(token) is not None):
        for spec in specs:
            if not any(has_token(word, token) for word in spec.argv):
                chosen = ", ".join(f"{name}={value}" for name, value in spec.settings)
                where = f" from the job with {chosen}" if chosen else ""
                raise ConfigError(
                    f"{config.path}:{line}: {token} is missing{where}; the training "
                    f"script needs the architecture, e.g. --sampled_arch={token}"
                )
    check_programs(specs, config.path, line)
    _check_devices(config, executor)
    if config.num_gpus_per_job > 1:
        _check_torchrun(config, specs)
    return specs


def _check_stage(config: TuningConfig, kind: str) -> None:
    """Refuse what belongs into another stage's config."""
    meanings = {
        SAMPLED_ARCH_PARAM: "stands for what supernets have sampled",
        BEST_ARCH_PARAM: "stands for the best of the architectures that earlier jobs have trained",
    }
    for token, meaning in meanings.items():
        line = config.line_of(token)
        if token != ARCHITECTURE_TOKENS.get(kind) and line is not None:
            own = f" (here {ARCHITECTURE_TOKENS[kind]} does)" if kind in ARCHITECTURE_TOKENS else ""
            raise ConfigError(
                f"{config.path}:{line}: {token} {meaning} and cannot be in the config of "
                f"{kind} jobs{own}; are the two configs swapped?"
            )
    for token in INPUT_TOKENS:
        if kind != SCORED and (line := config.line_of(token)) is not None:
            raise ConfigError(
                f"{config.path}:{line}: {token} is only known in the third config of dnas rank, "
                "which scores subnets"
            )
    if kind not in FINALS and "NUM_BEST_ARCHS" in config.key_lines:
        raise ConfigError(
            f"{config.path}:{config.key_lines['NUM_BEST_ARCHS']}: NUM_BEST_ARCHS would be ignored: "
            f"it is for the config of a final stage, and these are {kind} jobs"
        )


def slot_pool(
    configs: Mapping[str, TuningConfig],
    executor: Executor | None = None,
    max_submitted: int = MAX_SUBMITTED,
) -> SlotPool:
    """The devices of the configs, shared where both name the same.

    Args:
        configs: The config of each kind of job.
        executor: What runs the jobs; default processes of this machine.
        max_submitted: Jobs that a cluster's engine is given at a time.
    """
    return SlotPool(
        {kind: _slots(config, executor, max_submitted) for kind, config in configs.items()}
    )


def _slots(config: TuningConfig, executor: Executor | None, max_submitted: int) -> Slots:
    if executor is not None and executor.places_jobs:
        gpus = Fraction(config.num_gpus_per_job, config.num_jobs_per_gpu)
        return engine_slots(executor.name, gpus, max_submitted, config.num_cpus_per_job)
    return Slots(
        devices=devices(config.gpu_ids),
        jobs_per_device=config.num_jobs_per_gpu,
        devices_per_job=config.num_gpus_per_job,
        cpus_per_job=config.num_cpus_per_job,
    )


def _check_devices(config: TuningConfig, executor: Executor | None) -> None:
    """Refuse device settings that are missing, impossible, or would be ignored."""

    def refuse(key: str, message: str) -> NoReturn:
        line = config.key_lines.get(key, config.lines[-1][0])
        raise ConfigError(f"{config.path}:{line}: {message}")

    if executor is not None and executor.places_jobs:
        if config.gpu_ids:
            refuse(
                "GPU_IDS",
                f"GPU_IDS would be ignored: with --executor {executor.name} the cluster chooses "
                "the devices; remove the line, and say with NUM_GPUS_PER_JOB how many a job needs "
                "(0 for a CPU job)",
            )
        return
    if not config.gpu_ids:
        refuse("", "GPU_IDS is missing; add a line such as GPU_IDS:0,1 or GPU_IDS:cpu")
    try:
        check_visible(config.gpu_ids, os.environ.get("CUDA_VISIBLE_DEVICES"))
    except ConfigError as error:
        refuse("GPU_IDS", str(error))
    number, per_job = len(config.gpu_ids), config.num_gpus_per_job
    if per_job == 0:
        refuse("NUM_GPUS_PER_JOB", "NUM_GPUS_PER_JOB:0 is for clusters; here, say GPU_IDS:cpu")
    if number % per_job:
        refuse(
            "NUM_GPUS_PER_JOB",
            f"NUM_GPUS_PER_JOB:{per_job} does not divide the {number} devices of GPU_IDS, so that "
            f"{number % per_job} of them would never be used; change one of the two",
        )
    kinds = {gpu_id == "cpu" for gpu_id in config.gpu_ids}
    if per_job > 1 and len(kinds) > 1:
        refuse("GPU_IDS", "a job of several devices needs them of one sort: all GPUs, or all cpu")


def _check_torchrun(config: TuningConfig, specs: Iterable[JobSpec]) -> None:
    for spec in specs:
        try:
            with_torchrun(spec.argv, config.num_gpus_per_job)
        except ConfigError as error:
            line = config.key_lines["NUM_GPUS_PER_JOB"]
            raise ConfigError(f"{config.path}:{line}: {error}") from None


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
