"""Values of a trained two-tower model for each user, to see what the choice of users decides.

Five seeds on one split say how much training scatters. They do not say how the same models would do
with other users; the scatter of a metric over users does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import chdir
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from dnas import load_model
from dnas.data.retrieval import RetrievalDataConfig, prepare_retrieval
from dnas.files import read_json
from dnas.runs import JobFolder
from dnas.training.retrieval import RANKING_METRICS, RetrievalMetrics

#: Two-sided 95 % of the normal distribution.
_Z_95 = 1.96


def values_of_users(job: JobFolder, work: Path) -> dict[str, np.ndarray]:
    """Metric with its protocol's suffix -> ``(users,)`` values, users in ascending order.

    Args:
        job: Succeeded, with test metrics in its result.
        work: Folder that the job ran in, from which its data flags name files.

    Raises:
        ValueError: A mean is not what the job's result says, to 1e-6.
    """
    result = read_json(job.result)
    settings = result["settings"]
    names = [entry.name for entry in fields(RetrievalDataConfig) if entry.name in settings]
    metrics = RetrievalMetrics()
    with chdir(work):
        config = RetrievalDataConfig(**{name: settings[name] for name in names})
        loader = prepare_retrieval(config).loader(
            "test", 4096, shuffle=False, seed=0, drop_last=False
        )
        model = load_model(job.path)
        with torch.no_grad():
            for batch in loader.batches(0, len(loader)):
                metrics.update(model(*batch.inputs), batch.labels)
    found = {
        f"{name}{protocol.suffix}": values[:, column].numpy()
        for protocol, values in metrics.of_users().items()
        for column, name in enumerate(RANKING_METRICS)
    }
    for name, values in found.items():
        if abs(values.mean() - result["test"][name]) > 1e-6:
            raise ValueError(
                f"{os.fspath(job.path)}: test {name} {values.mean():.6f}, but its result says "
                f"{result['test'][name]:.6f}"
            )
    return found


def mean_values(jobs: Iterable[JobFolder], work: Path) -> dict[str, np.ndarray]:
    """Values of each user, the mean over jobs (seeds)."""
    each = [values_of_users(job, work) for job in jobs]
    return {name: np.mean([values[name] for values in each], axis=0) for name in each[0]}


def user_half_width(
    mine: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], metric: str
) -> float:
    """Half-width of the 95 % interval, over users, of the mean difference of two models."""
    difference = mine[metric] - theirs[metric]
    return float(_Z_95 * difference.std(ddof=1) / np.sqrt(len(difference)))
