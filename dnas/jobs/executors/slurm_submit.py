"""Getting jobs into Slurm's queue through submitit, as arrays of those that need the same."""

from __future__ import annotations

import importlib
import math
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnas.errors import ConfigError, DnasError
from dnas.files import append_json_line, read_json_lines
from dnas.jobs.executors import slurm_node
from dnas.jobs.executors.base import Order
from dnas.jobs.supervisor import supervisor_command
from dnas.runs import JobFolder

#: Sizes of arrays are limited (``MaxArraySize``), on a cluster that says nothing to 1000.
_MAX_ARRAY = 1000
#: submitit counts restarts and gives up; here the manager and its users do.
_MAX_RESTARTS = 100_000
#: Seconds between the warning and the end of the time limit that are not the job's, to save.
_MARGIN_S = 30
#: Options of sbatch on which this module itself depends.
_RESERVED = ("array", "job-name", "no-requeue", "output", "requeue", "signal", "time")
#: Prefixes of environment variables by which Slurm and submitit tell a job what it is, and those
#: among them that are for Slurm's commands.
_TOLD = ("SLURM_", "SUBMITIT_")
_NOT_TOLD = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
#: What sbatch says when the same command may succeed later.
_LATER = re.compile(
    "contact slurm controller|timed out|connect|temporarily|try again|zero bytes|backup"
    "|submit limit|max\\w*submit|maxjobs",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Submitted:
    """A job in Slurm's queue."""

    slurm_id: str
    name: str
    """Of its sbatch, as ``squeue`` shows it."""
    index: int
    """Its place in the array."""
    since_s: float
    """Just before Slurm had it (monotonic)."""


@dataclass(frozen=True)
class _Needs:
    """What one sbatch is for."""

    num_gpus: int
    num_cpus: int
    time_min: int
    warning_s: int


class SlurmSubmitter:
    """Calls sbatch; :class:`~dnas.jobs.executors.slurm.SlurmExecutor` says what the arguments are.

    Raises:
        DnasError: submitit or Slurm's commands are not installed.
        ConfigError: An option is reserved.
    """

    def __init__(
        self,
        folder: Path,
        *,
        partition: str | None,
        time_min: int,
        array_parallelism: int,
        options: Mapping[str, str | bool],
    ) -> None:
        _import_submitit()
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise DnasError(
                "--executor slurm: sbatch and srun are not on the PATH; start this on a machine "
                "from which jobs of the cluster can be submitted"
            )
        self._options = {key.replace("_", "-"): value for key, value in options.items()}
        if taken := sorted(set(self._options) & set(_RESERVED)):
            raise ConfigError(
                f"--slurm_option {taken[0]}={self._options[taken[0]]}: this option of sbatch is "
                "set by the queue itself; leave it out"
            )
        self._folder = folder
        self._batches = folder / "batches.jsonl"
        self._partition, self._time_min = partition, time_min
        self._array_parallelism = array_parallelism

    def submit(
        self, orders: Sequence[tuple[JobFolder, Order]]
    ) -> Iterator[tuple[list[int], list[Submitted]]]:
        """Submit, array by array; gives the places in ``orders`` that each array is for.

        Raises:
            OSError: Slurm takes nothing at the moment.
            ConfigError: Slurm, or this class, will never take this.
        """
        places: dict[_Needs, list[int]] = {}
        for place, (_, order) in enumerate(orders):
            places.setdefault(self._needs(order), []).append(place)
        for needs, group in places.items():
            for start in range(0, len(group), _MAX_ARRAY):
                part = group[start : start + _MAX_ARRAY]
                yield part, self._sbatch(needs, [orders[place] for place in part])

    def find(self, folder: JobFolder, attempt: int) -> tuple[str, int] | None:
        """Name and place of an attempt for which sbatch was called, or was about to be."""
        wanted = [_key(folder), attempt]
        for batch in reversed(read_json_lines(self._batches)):
            if wanted in batch["jobs"]:
                return batch["name"], batch["jobs"].index(wanted)
        return None

    def _needs(self, order: Order) -> _Needs:
        if order.num_gpus != int(order.num_gpus):
            raise ConfigError(
                f"num_gpus={order.num_gpus}: Slurm gives whole GPUs to jobs; write "
                "NUM_JOBS_PER_GPU:1 into the tuning config, or use another --executor"
            )
        time_min = self._time_min
        if order.timeout_s is not None:
            # The supervisor ends the job; Slurm's limit only has to come later.
            time_min = min(time_min, math.ceil((order.timeout_s + order.stop_grace_s) / 60) + 2)
        warning_s = min(math.ceil(order.stop_grace_s) + _MARGIN_S, time_min * 30)
        return _Needs(int(order.num_gpus), order.num_cpus, time_min, warning_s)

    def _sbatch(self, needs: _Needs, orders: list[tuple[JobFolder, Order]]) -> list[Submitted]:
        submitit = _import_submitit()
        run = re.sub(r"[^\w.-]", "_", self._folder.parent.name, flags=re.ASCII)
        name = f"dnas-{run}-{uuid.uuid4().hex[:12]}"
        executor = submitit.SlurmExecutor(self._folder, max_num_timeout=_MAX_RESTARTS)
        executor.update_parameters(
            job_name=name,
            partition=self._partition,
            time=needs.time_min,
            cpus_per_task=needs.num_cpus,
            gres=f"gpu:{needs.num_gpus}" if needs.num_gpus else None,
            array_parallelism=self._array_parallelism,
            stderr_to_stdout=True,
            wckey=None,
            setup=[f"export SUBMITIT_PREEMPT_SIGNAL={slurm_node.WARNING_SIGNAL}"],
            # Since 22.05 srun does not take this over from sbatch.
            srun_args=[f"--cpus-per-task={needs.num_cpus}"],
            additional_parameters={
                "requeue": True,
                "signal": f"{slurm_node.WARNING_SIGNAL}@{needs.warning_s}",
                **self._options,
            },
        )
        # Before Slurm has them: a manager that is killed in between finds its jobs by this.
        self._folder.mkdir(parents=True, exist_ok=True)
        keys = [[_key(folder), order.attempt] for folder, order in orders]
        append_json_line(self._batches, {"name": name, "jobs": keys})
        calls = [slurm_node.Supervise(_open_command(folder, order)) for folder, order in orders]
        since_s = time.monotonic()
        try:
            with _outside_of_jobs():
                jobs = executor.submit_array(calls)
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as e:
            raise _refusal(str(e)) from e
        return [Submitted(job.job_id, name, index, since_s) for index, job in enumerate(jobs)]


def _import_submitit() -> Any:
    try:
        submitit = importlib.import_module("submitit")
    except ImportError:
        raise DnasError(
            "--executor slurm needs submitit, which is not installed: pip install 'dnas[slurm]'"
        ) from None
    # With submitit comes cloudpickle; the class travels inside the pickle, see slurm_node.
    importlib.import_module("cloudpickle").register_pickle_by_value(slurm_node)
    return submitit


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide what Slurm told a manager that itself runs in a job; jobs would take it for theirs."""
    told = {name: value for name, value in os.environ.items() if name.startswith(_TOLD)}
    for name in set(told) - set(_NOT_TOLD):
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(told)


def _refusal(said: str) -> Exception:
    """Why sbatch took nothing: an OSError if it may do so later."""
    lines = [line for line in said.splitlines() if "sbatch:" in line] or said.splitlines()[-1:]
    words = " ".join(" ".join(lines).split())
    if _LATER.search(words):
        return OSError(f"Slurm takes no jobs at the moment: {words}")
    return ConfigError(f"Slurm refuses the jobs: {words}; mend the --slurm_* flags")


def _open_command(folder: JobFolder, order: Order) -> list[str]:
    """The supervisor's command without the words that only the node knows."""
    return supervisor_command(folder, order.attempt, engine="", restart=0)[:-2]


def _key(folder: JobFolder) -> str:
    """Kind and id: a job's name in its run, wherever that is moved."""
    return "/".join(folder.path.absolute().parts[-2:])
