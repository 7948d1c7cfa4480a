"""Losses of a trained job's model on each test row, to see what the choice of test rows decides.

Five seeds on one split say how much training scatters. They do not say how the same models would
do on other rows; the scatter of the loss over rows does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import chdir
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from dnas.core import ArchitectureRecord
from dnas.data import DataConfig, prepare
from dnas.files import read_json
from dnas.runs import JobFolder
from dnas.spaces.files import build_model

#: Two-sided 95 % of the normal distribution.
_Z_95 = 1.96


def losses_of_test_rows(job: JobFolder, work: Path) -> np.ndarray:
    """Log loss of each test row, in their order.

    Args:
        job: Succeeded, with a test metric in its result.
        work: Folder that the job ran in, from which its data flags name files.

    Raises:
        ValueError: The mean is not what the job's result says, to 1e-5.
    """
    result = read_json(job.result)
    names = [entry.name for entry in fields(DataConfig)]
    with chdir(work):
        data = prepare(DataConfig(**{name: result["settings"][name] for name in names}))
        loader = data.loader("test", 8192, shuffle=False, seed=0, drop_last=False)
        model = build_model(ArchitectureRecord.from_json(result["architecture"]))
        model.load_state_dict(load_file(job.path / "model.safetensors"))
        model.eval()
        losses = []
        with torch.no_grad():
            for batch in loader.batches(0, len(loader)):
                logits = model(*batch.inputs).reshape(-1).double()
                losses.append(
                    torch.nn.functional.binary_cross_entropy_with_logits(
                        logits, batch.labels.reshape(-1).double(), reduction="none"
                    )
                )
    found = torch.cat(losses).numpy()
    if abs(found.mean() - result["test"]["logloss"]) > 1e-5:
        raise ValueError(
            f"{os.fspath(job.path)}: test log loss {found.mean():.6f}, but its result says "
            f"{result['test']['logloss']:.6f}"
        )
    return found


def mean_losses(jobs: Iterable[JobFolder], work: Path) -> np.ndarray:
    """Loss of each test row, the mean over jobs (seeds)."""
    return np.mean([losses_of_test_rows(job, work) for job in jobs], axis=0)


def row_half_width(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Half-width of the 95 % interval, over rows, of the mean difference of two models' losses."""
    difference = mine - theirs
    return float(_Z_95 * difference.std(ddof=1) / np.sqrt(len(difference)))
