"""Metrics that are none, and a selection that is none of them: found before training."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from dnas.data import TensorBatch
from dnas.data.loader import as_loader
from dnas.errors import ConfigError, DataError
from dnas.metrics import BinaryMetrics, NonFiniteError
from dnas.training.evaluate import evaluate
from dnas.training.judging import check_task
from dnas.training.retrieval import RANKING_METRICS, RETRIEVAL, RetrievalMetrics
from dnas.training.task import CLICKS, Task

CPU = torch.device("cpu")


class Gives:
    """An accumulator whose ``compute`` gives what it was made with."""

    def __init__(self, value):
        self.value = value
        self.rows = 0

    def update(self, outputs, labels):
        assert not outputs.requires_grad
        self.rows += len(outputs)

    def compute(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class NoCompute:
    def update(self, outputs, labels):
        pass


def task(value, selection="r2") -> Task:
    return Task(mse_loss, lambda: Gives(value), selection)


def check(of: Task, model: nn.Module | None = None, labels: torch.Tensor | None = None) -> None:
    model = model or nn.Linear(2, 1)
    labels = torch.zeros(4, 1) if labels is None else labels
    loader = as_loader([TensorBatch((torch.ones(4, 2),), labels)] * 3)
    check_task(of, model, lambda batch: model(*batch.inputs), loader, CPU)


def test_a_misspelt_selection_is_told_the_names_there_are():
    message = "^selection 'R2' is no metric; compute\\(\\) gives r2, mse$"
    with pytest.raises(ConfigError, match=message):
        check(task({"r2": 0.5, "mse": 1}, "R2"))
    check(task({"r2": 0.5, "mse": 1}))
    with pytest.raises(ConfigError, match="compute\\(\\) gives logloss, auc"):
        check(Task(CLICKS.loss, BinaryMetrics, "AUC"))


def test_one_batch_in_evaluation_mode():
    seen = []

    class Watched(nn.Linear):
        def forward(self, x):
            seen.append((self.training, torch.is_grad_enabled(), len(x)))
            return super().forward(x)

    model = Watched(2, 1).train()
    check(task({"r2": None}), model)
    assert seen == [(False, False, 4)]
    assert model.training


def test_what_a_few_rows_cannot_show_is_no_mistake(caplog):
    # One class only: no AUC.
    check(Task(CLICKS.loss, BinaryMetrics, "auc", maximize=True))
    check(task({"r2": float("nan")}))
    with caplog.at_level(logging.WARNING):
        check(task(ValueError("only one class"), "R2"))
    assert "first 4 rows of validation cannot be computed (ValueError: only one cl" in caplog.text


def test_retrieval_may_select_by_a_metric_that_the_first_batch_lacks():
    assert "recall50" in RANKING_METRICS
    by_recall = Task(RETRIEVAL.loss, RetrievalMetrics, "recall50", names=RETRIEVAL.names)
    vectors = nn.functional.normalize(torch.ones(8, 2), dim=1)
    labels = torch.tensor([[1.0, -1.0, 1.0]] * 4, dtype=torch.float64)
    loader = as_loader([TensorBatch((vectors,), labels)])
    assert "recall50" not in evaluate(
        nn.Identity(), lambda batch, _: batch.inputs[0], loader, by_recall.metrics(), CPU
    )
    check_task(by_recall, nn.Identity(), lambda batch: batch.inputs[0], loader, CPU)
    with pytest.raises(ConfigError, match="selection 'recall' is no metric; there are loss, loss_"):
        Task(RETRIEVAL.loss, RetrievalMetrics, "recall", names=RETRIEVAL.names)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.5, r"gives 0.5 \(float\); return a dict, metric name -> float"),
        ({}, r"gives {} \(dict\); return a dict"),
        ({"r2": torch.tensor(0.5)}, r"compute\(\)\['r2'\] of the metrics is tensor\(0.5000\)"),
        ({"r2": np.float32(0.5)}, r"compute\(\)\['r2'\] .*\(float32\); give a float"),
        ({"r2": "0.5"}, r"compute\(\)\['r2'\] of the metrics is '0.5' \(str\)"),
        ({2: 0.5}, "gives 2 as a name; give a string"),
    ],
)
def test_metrics_that_are_none(value, message):
    with pytest.raises(ConfigError, match=message):
        check(task(value))
    loader = as_loader([TensorBatch((torch.ones(4, 2),), torch.zeros(4, 2))])
    with pytest.raises(ConfigError, match=message):
        evaluate(nn.Identity(), lambda batch, _: batch.inputs[0], loader, Gives(value), CPU)


def test_no_accumulator():
    with pytest.raises(ConfigError, match="metrics makes a NoCompute, which has no method compute"):
        check(Task(mse_loss, NoCompute, "r2"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.MSELoss, BinaryMetrics, "auc"), r"loss is the class MSELoss; .*: MSELoss\(\)"),
        (("mse", BinaryMetrics, "auc"), "loss is 'mse'; give a function of outputs and labels"),
        ((mse_loss, BinaryMetrics(), "auc"), "metrics is a BinaryMetrics, .* metrics=BinaryMetric"),
        ((mse_loss, BinaryMetrics, ""), "selection is ''; give the name of a metric"),
        ((mse_loss, BinaryMetrics, None), "selection is None; give the name of a metric"),
    ],
)
def test_tasks_that_are_none(arguments, message):
    with pytest.raises(ConfigError, match=f"^Task: {message}"):
        Task(*arguments)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_metric_that_is_not_finite_names_itself_and_the_part(bad):
    def judged(outputs: torch.Tensor, part: str | None):
        loader = as_loader([TensorBatch((torch.ones(4, 2),), torch.zeros(4, 2))] * 2)
        metrics = Gives({"mse": 1.0, "r2": bad})
        return evaluate(nn.Identity(), lambda *_: outputs, loader, metrics, CPU, part=part)

    with pytest.raises(DataError, match=f"metric 'r2' of the validation part is {bad}, though all"):
        judged(torch.zeros(4, 2), "validation")
    with pytest.raises(NonFiniteError, match=f"metric 'r2' is {bad}: the outputs are not finite"):
        judged(torch.tensor([[1.0, bad]]), "validation")
    assert judged(torch.zeros(4, 2), None)["mse"] == 1.0
