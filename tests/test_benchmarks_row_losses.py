"""What the choice of test rows decides: losses of each row of a trained job, and their interval."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks.row_losses import losses_of_test_rows, mean_losses, row_half_width
from dnas.cli import architectures, train
from dnas.runs import JobFolder

DATA = ["--data_set=synthetic", "--synthetic_rows=2000"]


def test_half_width_of_a_mean_difference():
    # Differences 1, -1, 1, -1: standard deviation sqrt(4/3), standard error sqrt(1/3).
    mine, theirs = np.array([2.0, 1.0, 2.0, 1.0]), np.array([1.0, 2.0, 1.0, 2.0])
    assert row_half_width(mine, theirs) == pytest.approx(1.96 / math.sqrt(3))


def test_losses_of_rows_have_the_mean_that_the_job_reports(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = ["--mlp_width_options=8", "--mlp_depth_options=1", "--each=model/kind", "--out=given"]
    assert architectures.main(["--search_space=ctr_baselines", *DATA, *sizes]) == 0
    result = tmp_path / "job" / "result.json"
    flags = ["--n_epochs=1", "--lr=0.1", "--check_test_set_performance", "--host_gpu_id=cpu"]
    words = ["--sampled_arch=given/dlrm.json", f"--save_metrics_param={result}", *DATA, *flags]
    assert train.main([*words, "--batch_size=128"]) == 0
    job = JobFolder(result.parent)
    saved = json.loads(result.read_text(encoding="utf-8"))

    losses = losses_of_test_rows(job, tmp_path)
    assert losses.shape == (saved["test"]["rows"],)
    assert losses.mean() == pytest.approx(saved["test"]["logloss"], abs=1e-6)
    assert mean_losses([job, job], tmp_path) == pytest.approx(losses)

    saved["test"]["logloss"] += 0.001
    result.write_text(json.dumps(saved), encoding="utf-8")
    with pytest.raises(ValueError, match="but its result says"):
        losses_of_test_rows(job, tmp_path)
