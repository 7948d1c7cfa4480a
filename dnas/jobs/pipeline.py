"""The stages: supernets are trained, then what they sampled from scratch, then the best of that.

There is one queue. As soon as a supernet job has succeeded, its architectures become jobs of the
second stage, while other supernets still run. An architecture that another supernet (or the same
one) has sampled before is not trained twice: equal means an equal ``canonical_id``. Each stage that
follows begins when every job before it is over (:mod:`dnas.jobs.final`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from dnas.jobs.config import TuningConfig, expand
from dnas.jobs.executors import Executor
from dnas.jobs.experiment import check_experiment_id, record_experiment
from dnas.jobs.final import FinalJobs, jobs_of_earlier_choices, next_final_jobs
from dnas.jobs.job import Job
from dnas.jobs.manager import Manager
from dnas.jobs.outcome import Outcome
from dnas.jobs.policy import Policy
from dnas.jobs.sampled import SampledJobs
from dnas.jobs.stages import MAX_SUBMITTED, load_stages, slot_pool
from dnas.runs import FINALS, SAMPLED, SUPERNET, RunFolder

logger = logging.getLogger(__name__)


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
