"""``experiment.json``: what an experiment is, so that its id cannot come to mean something else."""

from __future__ import annotations

import difflib
import logging
import platform
import re
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from dnas.errors import ConfigError, DnasError, JobError
from dnas.files import read_json, write_json
from dnas.jobs.config import TuningConfig, template_hash
from dnas.runs import RunFolder

logger = logging.getLogger(__name__)

_FORMAT = "dnas.experiment/1"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,99}")
#: Packages whose versions can change results.
_PACKAGES = ("dnas", "torch", "numpy", "pandas", "polars", "pyarrow")


def check_experiment_id(experiment_id: str) -> str:
    """Return ``experiment_id``; it becomes a folder's name.

    Raises:
        ConfigError: It cannot be one.
    """
    if not _ID.fullmatch(experiment_id):
        raise ConfigError(
            f"experiment id {experiment_id!r}: use letters, digits and any of . _ = + - , starting "
            "with a letter or digit, at most 100 characters"
        )
    return experiment_id


def record_experiment(
    run: RunFolder, experiment_id: str, configs: Mapping[str, TuningConfig]
) -> None:
    """Write ``experiment.json``, or check that it says the same. To be called under the lock.

    The job lists must be the same; devices and layout of the files may change between restarts.

    Args:
        run: The run folder.
        experiment_id: The experiment's id.
        configs: The tuning config of each kind of job that is to run now.

    Raises:
        JobError: The folder belongs to another config of this kind; the message shows the line.
    """
    known = _known(run)
    kept = dict(known.get("configs", {}))
    for kind, config in configs.items():
        if kind in kept and kept[kind]["hash"] != template_hash(config):
            raise JobError(_difference(run, experiment_id, kind, kept[kind], config))
        kept[kind] = {
            "path": config.path,
            "hash": template_hash(config),
            "lines": [[number, text] for number, text in config.lines],
            "gpu_ids": list(config.gpu_ids),
            "num_jobs_per_gpu": config.num_jobs_per_gpu,
            "num_gpus_per_job": config.num_gpus_per_job,
            "num_cpus_per_job": config.num_cpus_per_job,
            "epoch_eval_freq": config.epoch_eval_freq and list(config.epoch_eval_freq),
        }
    value = {
        "format": _FORMAT,
        "experiment_id": experiment_id,
        "created": known.get("created", time.time()),
        "configs": kept,
        "versions": _versions(),
        "duplicates": known.get("duplicates", []),
    }
    if value != known:
        write_json(run.experiment, value)


def record_duplicates(run: RunFolder, duplicates: list[dict[str, str]]) -> None:
    """Set the list of architectures that were not trained because an equal one is.

    Args:
        run: The run folder.
        duplicates: For each, ``architecture`` (its file), ``canonical_id``, ``same_as`` (the file
            that is trained) and ``origin`` (how it came about; empty if its file does not say).
    """
    value = _known(run) or {"format": _FORMAT}
    if value.get("duplicates") != duplicates:
        write_json(run.experiment, value | {"duplicates": duplicates})


def other_origins(run: RunFolder) -> dict[str, set[str]]:
    """Canonical id -> how the architectures came about that were not trained a second time."""
    found: dict[str, set[str]] = {}
    for duplicate in _known(run).get("duplicates", []):
        found.setdefault(duplicate["canonical_id"], set()).add(duplicate.get("origin", ""))
    return found


def _known(run: RunFolder) -> dict[str, Any]:
    """The content of ``experiment.json``; a damaged one is set aside and written anew."""
    if not run.experiment.exists():
        return {}
    try:
        value = read_json(run.experiment)
        if isinstance(value, dict) and isinstance(value.get("configs", {}), dict):
            return value
        problem = "it holds no object with configs"
    except DnasError as error:
        problem = str(error)
    aside = run.experiment.with_suffix(".damaged")
    run.experiment.replace(aside)
    logger.warning(
        "%s is damaged (%s) and was set aside as %s; that the configs are those of before cannot "
        "be checked this time",
        run.experiment,
        problem,
        aside.name,
    )
    return {}


def _difference(
    run: RunFolder, experiment_id: str, kind: str, old: dict[str, Any], config: TuningConfig
) -> str:
    before = [str(text).strip() for _, text in old["lines"]]
    now = [text.strip() for _, text in config.lines]
    what = "the arguments differ"
    for tag, i, i_end, j, j_end in difflib.SequenceMatcher(a=before, b=now).get_opcodes():
        if tag != "equal":
            line = config.lines[min(j, len(config.lines) - 1)][0]
            what = (
                f"line {line} differs: it was {' '.join(before[i:i_end])!r}, "
                f"now it is {' '.join(now[j:j_end])!r}"
            )
            break
    return (
        f"{config.path}: experiment {experiment_id!r} in {run.path} was started with other {kind} "
        f"jobs; {what}. Nothing was overwritten: choose another experiment id (--experiment_id of "
        "run_dnas_pipeline.py, the second argument of tuning.py), or put the config back"
    )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
