"""The jobs of a study of rank correlation (docs/ranking.md), on the one queue.

::

    drawn      draws N random subnets of a search space                 one job for each setting
    supernet   trains a supernet                                        one for each strategy ...
    sampled    trains a subnet from scratch: the ground truth           subnets x seeds
    scored     scores all subnets with the weights of one supernet      one for each supernet

A *setting* is a configuration of the search space. Supernets of two settings (another interaction,
say) share no subnets, since the same decisions are other networks, so each setting has a draw and
ground truth of its own. Jobs follow as soon as what they need is there, and all of this is found
again by a manager that is started after another was killed: which jobs follow depends on nothing
but the jobs that have succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dnas.errors import ConfigError, JobError
from dnas.files import read_json, write_json
from dnas.jobs.config import TuningConfig, load_config
from dnas.jobs.executors import Executor
from dnas.jobs.experiment import check_experiment_id, record_experiment
from dnas.jobs.job import Job, JobSpec
from dnas.jobs.manager import Manager
from dnas.jobs.outcome import Outcome
from dnas.jobs.policy import Policy
from dnas.jobs.sampled import identity_of
from dnas.jobs.slots import SlotPool
from dnas.jobs.stages import MAX_SUBMITTED, check_config, slot_pool
from dnas.jobs.tokens import ARCHITECTURES_PARAM, SUPERNET_PARAM, has_token
from dnas.runs import DRAWN, SAMPLED, SCORED, SUPERNET, RunFolder

#: In ``study.json``.
FORMAT = "dnas.study/1"
#: The kinds that have a config of their own; subnets are drawn on the devices of the supernets.
CONFIGURED = (SUPERNET, SAMPLED, SCORED)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How many subnets a study draws, and from which seed."""

    num_subnets: int = 100
    """Of each setting; all of them different networks."""
    subnet_seed: int = 1
    """Of the draws; settings with the same decisions draw the same ones."""

    def __post_init__(self) -> None:
        if self.num_subnets < 3:
            raise ConfigError(
                f"--num_subnets {self.num_subnets}: an order needs at least 3 subnets, and a "
                "narrow interval about 100"
            )


@dataclass(frozen=True, kw_only=True)
class Study:
    """All that is known of a study's jobs before the first of them runs."""

    draw: Draw
    draws: tuple[JobSpec, ...]
    """The ``DRAWN`` job of each setting; its settings tell it from the others."""
    supernets: tuple[tuple[JobSpec, JobSpec], ...]
    """Each ``SUPERNET`` job with the draw whose subnets it is to order."""
    subnets: tuple[JobSpec, ...]
    """``SAMPLED`` templates, ``SAMPLED_ARCH_PARAM`` not yet filled in."""
    scores: tuple[JobSpec, ...]
    """``SCORED`` templates, without their inputs."""


def load_configs(
    supernets: str | Path,
    subnets: str | Path,
    scores: str | Path,
    executor: Executor | None = None,
) -> tuple[dict[str, TuningConfig], dict[str, list[JobSpec]]]:
    """Read and check the three configs for use with ``executor``; nothing is written.

    Returns:
        Config and jobs of each kind of :data:`CONFIGURED`.

    Raises:
        ConfigError: A mistake in one of them, or two of them swapped.
    """
    paths = dict(zip(CONFIGURED, (supernets, subnets, scores), strict=True))
    configs = {kind: load_config(path) for kind, path in paths.items()}
    jobs = {
        kind: check_config(config, kind, needs_architecture=kind == SAMPLED, executor=executor)
        for kind, config in configs.items()
    }
    for spec in jobs[SCORED]:
        for token in (SUPERNET_PARAM, ARCHITECTURES_PARAM):
            if not any(has_token(word, token) for word in spec.argv):
                config = configs[SCORED]
                raise ConfigError(
                    f"{config.path}:{config.lines[0][0]}: {token} is missing; the scoring script "
                    f"needs it, e.g. --supernet={SUPERNET_PARAM} "
                    f"--architectures={ARCHITECTURES_PARAM}; are the configs swapped?"
                )
    return configs, jobs


def run_study(
    study: Study,
    configs: Mapping[str, TuningConfig],
    experiment_id: str,
    runs_dir: str | Path = "runs",
    *,
    executor: Executor | None = None,
    policy: Policy | None = None,
    max_submitted: int = MAX_SUBMITTED,
    show: Callable[[dict[str, object]], None] | None = None,
) -> Outcome:
    """Run or go on with a study; the arguments are those of ``run_pipeline``.

    Args:
        study: Its jobs.
        configs: As from :func:`load_configs`.
        experiment_id: Name of the run folder in ``runs_dir``.
        runs_dir: Folder of run folders.
        executor: What runs the jobs; default processes of this machine.
        policy: Retries, limits and times.
        max_submitted: Jobs that a cluster's engine is given at a time.
        show: For a live view, see :class:`Manager`.

    Raises:
        JobError: The run folder belongs to another study or to a live manager.
    """
    run = RunFolder(Path(runs_dir) / check_experiment_id(experiment_id))
    manager = Manager(
        run,
        study_slots(configs, executor, max_submitted),
        executor=executor,
        on_finished=FollowingJobs(study).after,
        experiment_id=experiment_id,
        policy=policy,
        show=show,
    )
    with manager:
        # First what may be refused, so that nothing is written into another study's folder.
        check_study(run, study.draw)
        record_experiment(run, experiment_id, configs)
        write_json(run.study, {"format": FORMAT, **asdict(study.draw)})
        manager.add(study.draws)
        manager.add(spec for spec, _ in study.supernets)
        return manager.run()


def study_slots(
    configs: Mapping[str, TuningConfig],
    executor: Executor | None = None,
    max_submitted: int = MAX_SUBMITTED,
) -> SlotPool:
    """The devices of the three configs; subnets are drawn where supernets are trained."""
    supernets = configs[SUPERNET]
    single = replace(supernets, num_gpus_per_job=min(supernets.num_gpus_per_job, 1))
    return slot_pool({**configs, DRAWN: single}, executor, max_submitted)


def check_study(run: RunFolder, draw: Draw) -> None:
    """Refuse to go on with a study that was started with other numbers.

    Raises:
        JobError: ``study.json`` says otherwise, or the folder is that of a pipeline.
    """
    if not run.study.exists():
        if (run.path / SAMPLED).is_dir():
            raise JobError(
                f"{run.path} holds jobs that are not those of a study of rank correlation; choose "
                "another --experiment_id"
            )
        return
    known = read_json(run.study)
    for name, value in asdict(draw).items():
        if isinstance(known, dict) and known.get(name, value) != value:
            raise JobError(
                f"{run.path} was started with --{name} {known[name]}, now it is {value}; nothing "
                "was overwritten: choose another --experiment_id, or give the old value"
            )


class FollowingJobs:
    """Which jobs follow from a job of a study that has succeeded.

    Args:
        study: Its jobs.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._draw_of = {spec.identity: draw.identity for spec, draw in study.supernets}
        self._drawn: dict[str, Job] = {}  # identity of a draw -> its job
        self._trained: list[Job] = []

    def after(self, job: Job) -> list[JobSpec]:
        """Jobs for which ``job`` was the last thing to wait for.

        Raises:
            JobError: It left no architectures, or a damaged one.
        """
        if job.kind == DRAWN:
            specs = self._subnets(job)
            self._drawn[job.spec.identity] = job
            for supernet in self._trained:
                if self._draw_of[supernet.spec.identity] == job.spec.identity:
                    specs += self._scores(supernet, job)
            return specs
        if job.kind == SUPERNET:
            # One that another config has left in the folder is none of this study's.
            if (wanted := self._draw_of.get(job.spec.identity)) is None:
                return []
            self._trained.append(job)
            return self._scores(job, self._drawn[wanted]) if wanted in self._drawn else []
        return []

    def _subnets(self, job: Job) -> list[JobSpec]:
        files = job.folder.architecture_files()
        if not files:
            raise JobError(f"it succeeded but left no architecture in {job.folder.architectures}")
        found: dict[str, Path] = {}
        for file in files:
            found.setdefault(identity_of(file)[0], file)
        return [
            replace(
                template,
                settings=(*job.spec.settings, *template.settings),
                architecture=str(file.absolute()),
                canonical_id=canonical_id,
            )
            for canonical_id, file in found.items()
            for template in self._study.subnets
        ]

    def _scores(self, supernet: Job, drawn: Job) -> list[JobSpec]:
        chosen = tuple((f"{SUPERNET}.{name}", value) for name, value in supernet.spec.settings)
        inputs = (
            (SUPERNET_PARAM, f"{SUPERNET}/{supernet.id}"),
            (ARCHITECTURES_PARAM, f"{DRAWN}/{drawn.id}/{drawn.folder.architectures.name}"),
        )
        return [
            replace(template, settings=(*chosen, *template.settings), inputs=inputs)
            for template in self._study.scores
        ]
