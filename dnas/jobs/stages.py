"""The configs of a run's stages: read, checked for their place, and the devices they ask for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

from dnas.errors import ConfigError
from dnas.jobs.command import check_programs, with_torchrun
from dnas.jobs.config import TuningConfig, expand, load_config
from dnas.jobs.executors import Executor
from dnas.jobs.job import JobSpec
from dnas.jobs.slots import SlotPool, Slots, check_visible, devices, engine_slots
from dnas.jobs.tokens import (
    ARCHITECTURE_TOKENS,
    BEST_ARCH_PARAM,
    INPUT_TOKENS,
    SAMPLED_ARCH_PARAM,
    has_token,
)
from dnas.runs import FINALS, SAMPLED, SCORED, SUPERNET

#: Jobs that a cluster's engine is given at a time; the others wait in the run folder.
MAX_SUBMITTED = 1000


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
