"""From the words of a job to the command that is run: interpreter, script, tokens, environment."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dnas.errors import ConfigError
from dnas.jobs.config import (
    EXPERIMENT_ID,
    GPU_ID_TOKENS,
    SAMPLED_ARCH_PARAM,
    SAVE_METRICS_PARAM,
    fill,
)
from dnas.jobs.job import Job, JobSpec
from dnas.jobs.slots import Device

#: Set for every job: the absolute path of its folder. A manager that was killed between starting a
#: process and noting its pid finds the process again by this.
JOB_FOLDER_VARIABLE = "DNAS_JOB_FOLDER"

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
        values[SAMPLED_ARCH_PARAM] = str(Path(job.spec.architecture).absolute())
    return values


def command(job: Job, experiment_id: str, device: Device) -> list[str]:
    """The argument list that is run for ``job`` on ``device``.

    Raises:
        ConfigError: Its program or script has gone.
    """
    values = job_tokens(job, experiment_id)
    values |= dict.fromkeys(GPU_ID_TOKENS, device.id_inside_job)
    return [fill(word, values) for word in resolve_program(job.spec.argv)]


def environment(
    job: Job, device: Device, threads: int, inherited: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Environment of a job: it sees its device alone and its share of the cores.

    Args:
        job: The job.
        device: Where it runs.
        threads: Threads it may use; what the user has set in the environment goes before.
        inherited: The environment to start from, default the manager's own.
    """
    variables = dict(os.environ if inherited is None else inherited)
    variables["CUDA_VISIBLE_DEVICES"] = device.visible
    variables[JOB_FOLDER_VARIABLE] = str(job.folder.path.absolute())
    # GPU numbers as nvidia-smi counts them; CUDA's own order is by speed.
    variables.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        variables.setdefault(name, str(threads))
    # So that the log shows where a job is, not where its last 8 kB ended.
    variables.setdefault("PYTHONUNBUFFERED", "1")
    return variables
