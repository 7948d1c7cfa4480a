"""From the words of a job to the command that is run: interpreter, script, tokens, environment."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dnas.errors import ConfigError
from dnas.jobs.attempt import JOB_ATTEMPT_VARIABLE, JOB_FOLDER_VARIABLE
from dnas.jobs.job import Job, JobSpec
from dnas.jobs.slots import Device, Slots
from dnas.jobs.tokens import (
    ARCHITECTURE_TOKENS,
    EXPERIMENT_ID,
    GPU_ID_TOKENS,
    SAVE_METRICS_PARAM,
    fill,
)

_PYTHONS = ("python", "python3")
#: Python options that take the next word as their value.
_PYTHON_OPTIONS_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")


def script_folders() -> list[Path]:
    """Where scripts named in configs are looked for: the current folder, then the project's."""
    return [Path.cwd(), Path(__file__).resolve().parents[2]]


def resolve_program(argv: Sequence[str], folders: Sequence[Path] | None = None) -> list[str]:
    """Make program and script of a command absolute, so that it runs from any folder.

    ``python`` and ``python3`` become the running interpreter. A Python script is looked for in
    ``folders``, one after the other; any other program as a shell would.

    Args:
        argv: The command, word by word.
        folders: Where to look for scripts, default :func:`script_folders`.

    Raises:
        ConfigError: The program or the script does not exist.
    """
    words = list(argv)
    folders = script_folders() if folders is None else folders
    if words[0] in _PYTHONS:
        words[0] = sys.executable
    else:
        program = shutil.which(os.path.expanduser(words[0]))
        if program is None:
            raise ConfigError(
                f"{words[0]!r} is not a program that can be run; name one on the PATH or give its "
                "path, and check that it is executable"
            )
        words[0] = os.path.abspath(program)
    position = _script_position(words)
    if position is None:
        return words
    script = words[position]
    for folder in folders:
        if (folder / script).is_file():
            words[position] = str((folder / script).resolve())
            return words
    places = " or ".join(str(folder) for folder in folders)
    raise ConfigError(f"there is no script {script!r} in {places}; correct its path")


def _script_position(words: Sequence[str]) -> int | None:
    """Where the script stands in ``python [options] script.py``; None for -m, -c and non-Python."""
    if not Path(words[0]).name.startswith("python"):
        return None
    position = 1
    while position < len(words) and words[position].startswith("-"):
        if words[position] in ("-c", "-m", "-"):
            return None
        position += 2 if words[position] in _PYTHON_OPTIONS_WITH_VALUE else 1
    return position if position < len(words) else None


def check_programs(specs: Sequence[JobSpec], origin: str, line: int | None = None) -> None:
    """Check that every job's program and script exist, before any of them starts.

    Args:
        specs: The jobs.
        origin: The config file, for the message.
        line: Line of the command in it.

    Raises:
        ConfigError: One does not exist.
    """
    where = origin if line is None else f"{origin}:{line}"
    seen: set[tuple[str, ...]] = set()
    for spec in specs:
        position = _script_position(spec.argv)
        program = spec.argv[: 1 if position is None else position + 1]
        if program in seen:
            continue
        seen.add(program)
        try:
            resolve_program(spec.argv)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None


def job_tokens(job: Job, experiment_id: str) -> dict[str, str]:
    """Token -> text for what is known before a device is chosen."""
    values = {
        EXPERIMENT_ID: experiment_id,
        SAVE_METRICS_PARAM: str(job.folder.result.absolute()),
    }
    if job.spec.architecture is not None:
        path = str(Path(job.spec.architecture).absolute())
        values |= dict.fromkeys(ARCHITECTURE_TOKENS.values(), path)
    run = job.folder.path.absolute().parents[1]
    return values | {token: str(run / path) for token, path in job.spec.inputs}


def command(job: Job, experiment_id: str, slots: Slots, on_gpu: bool) -> list[str]:
    """The argument list that is run for ``job``.

    A job of several devices is started by torchrun, one process for each of them.

    Args:
        job: The job.
        experiment_id: What ``EXPERIMENT_ID`` becomes.
        slots: What jobs of its kind may use.
        on_gpu: Whether it sees GPUs; ``GPU_ID_PARAM`` becomes 0, the first it can see, or ``cpu``.

    Raises:
        ConfigError: Its program or script has gone.
    """
    values = job_tokens(job, experiment_id)
    values |= dict.fromkeys(GPU_ID_TOKENS, "0" if on_gpu else "cpu")
    words = resolve_program(job.spec.argv)
    if slots.num_processes > 1:
        words = with_torchrun(words, slots.num_processes)
    return [fill(word, values) for word in words]


def with_torchrun(words: Sequence[str], num_processes: int) -> list[str]:
    """The command that runs a Python script in several processes that find each other.

    Raises:
        ConfigError: The command is no Python script.
    """
    position = _script_position(words)
    if position is None:
        raise ConfigError(
            f"NUM_GPUS_PER_JOB:{num_processes} needs a Python script that torchrun can start, as "
            f"in python train_dnas.py ..., not {words[0]!r}"
        )
    launcher = ["-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", str(num_processes)]
    return [*words[:position], *launcher, *words[position:]]


def variables(
    job: Job,
    devices: Sequence[Device] | None,
    threads: int,
    inherited: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Environment variables of a job: it sees its devices alone and uses its share of the cores.

    Args:
        job: The job.
        devices: Where it runs; None if an engine chooses, and then sets what is visible.
        threads: Threads that each of its processes may use; what the user has set in the
            environment goes before.
        inherited: The environment that they come on top of, default the manager's own.
    """
    before = os.environ if inherited is None else inherited
    found = {
        JOB_FOLDER_VARIABLE: str(job.folder.path.absolute()),
        JOB_ATTEMPT_VARIABLE: str(job.attempts),
        # So that the log shows where a job is, not where its last 8 kB ended.
        "PYTHONUNBUFFERED": before.get("PYTHONUNBUFFERED", "1"),
    }
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        found[name] = before.get(name, str(threads))
    if devices is not None:
        found["CUDA_VISIBLE_DEVICES"] = ",".join(d.visible for d in devices if d.visible)
        # GPU numbers as nvidia-smi counts them; CUDA's own order is by speed.
        found["CUDA_DEVICE_ORDER"] = before.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return found
