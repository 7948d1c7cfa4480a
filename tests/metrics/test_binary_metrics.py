from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from dnas.errors import DataError, DnasError
from dnas.metrics import (
    NonFiniteError,
    auc,
    calibration,
    log_loss,
    log_loss_from_logits,
    normalized_entropy,
)

rows = st.lists(
    st.tuples(st.integers(-4, 4).map(float) | st.floats(-50, 50), st.integers(0, 1)),
    min_size=2,
    max_size=60,
).filter(lambda r: len({y for _, y in r}) == 2)


def test_log_loss_by_hand() -> None:
    labels = torch.tensor([1, 0])
    expected = -(math.log(0.8) + math.log(0.9)) / 2
    assert log_loss(torch.tensor([0.8, 0.1], dtype=torch.float64), labels) == pytest.approx(
        expected, abs=1e-15
    )
    logits = torch.tensor([math.log(4.0), -math.log(9.0)], dtype=torch.float64)
    assert log_loss_from_logits(logits, labels) == pytest.approx(expected, abs=1e-15)


def test_log_loss_from_logits_at_extreme_logits() -> None:
    logits = torch.tensor([1e4, -1e4, 1e4, -1e4])
    assert log_loss_from_logits(logits[:2], torch.tensor([1, 0])) == 0.0
    # Certain and wrong costs |z|, neither infinity nor a clamp.
    assert log_loss_from_logits(logits, torch.tensor([0, 1, 1, 0])) == 5e3


def test_log_loss_keeps_the_small_losses_that_float32_probabilities_lose() -> None:
    assert log_loss_from_logits(torch.tensor([40.0]), torch.tensor([1])) == pytest.approx(
        math.exp(-40.0), rel=1e-12
    )


def test_log_loss_of_a_certain_and_wrong_probability_is_large_but_finite() -> None:
    assert log_loss(torch.tensor([0.0]), torch.tensor([1])) == pytest.approx(52 * math.log(2))
    assert log_loss(torch.tensor([1.0]), torch.tensor([0])) == pytest.approx(52 * math.log(2))
    assert log_loss(torch.tensor([1.0]), torch.tensor([1])) == pytest.approx(0.0, abs=1e-15)


def test_auc_by_hand_with_a_tie() -> None:
    # Pairs (click, other): (.8,.1) right, (.8,.4) right, (.4,.1) right, (.4,.4) tied: 3.5 of 4.
    assert auc(torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([0, 0, 1, 1])) == 0.875
    assert auc(torch.ones(5), torch.tensor([0, 1, 0, 1, 1])) == 0.5
    assert auc(torch.tensor([1.0, 2.0]), torch.tensor([1, 0])) == 0.0


def test_auc_equals_the_form_with_average_ranks() -> None:
    scores = np.random.default_rng(0).integers(0, 12, 400).astype(float)
    labels = np.random.default_rng(1).integers(0, 2, 400)
    values, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    assert len(values) == 12
    average_rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    clicks, others = labels.sum(), (1 - labels).sum()
    expected = (average_rank[labels == 1].sum() - clicks * (clicks + 1) / 2) / (clicks * others)
    assert auc(torch.tensor(scores), torch.tensor(labels)) == pytest.approx(expected, abs=1e-14)


@given(rows)
@settings(max_examples=150, deadline=None)
def test_agrees_with_scikit_learn(data: list[tuple[float, int]]) -> None:
    logits = torch.tensor([z for z, _ in data], dtype=torch.float64)
    labels = torch.tensor([y for _, y in data])
    p = torch.sigmoid(logits)
    assert auc(logits, labels) == pytest.approx(sk.roc_auc_score(labels, logits), abs=1e-12)
    assert log_loss(p, labels) == pytest.approx(sk.log_loss(labels, p), rel=1e-9, abs=1e-12)
    inside = logits.abs() < 20  # beyond, the probability itself has lost digits
    if inside.any():
        assert log_loss_from_logits(logits[inside], labels[inside]) == pytest.approx(
            log_loss(p[inside], labels[inside]), rel=1e-6
        )


@given(rows)
@settings(max_examples=60, deadline=None)
def test_auc_is_one_minus_itself_with_labels_exchanged_and_ignores_order(
    data: list[tuple[float, int]],
) -> None:
    logits = torch.tensor([z for z, _ in data], dtype=torch.float64)
    labels = torch.tensor([y for _, y in data])
    value = auc(logits, labels)
    assert value is not None
    assert auc(logits, 1 - labels) == pytest.approx(1 - value, abs=1e-15)
    assert auc(logits.flip(0), labels.flip(0)) == value


def test_a_million_rows_agree_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1_000_000, generator=generator) - 3.0
    logits = (logits * 4096).round() / 4096  # many ties
    labels = (torch.rand(1_000_000, generator=generator) < torch.sigmoid(logits)).long()
    assert auc(logits, labels) == pytest.approx(sk.roc_auc_score(labels, logits), abs=1e-12)
    p = torch.sigmoid(logits.double())
    assert log_loss_from_logits(logits, labels) == pytest.approx(sk.log_loss(labels, p), rel=1e-10)
    assert calibration(p, labels) == pytest.approx(float(p.sum()) / int(labels.sum()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("label_dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_any_dtype_and_shape(dtype: torch.dtype, label_dtype: torch.dtype) -> None:
    logits = torch.tensor([[-1.0], [0.5], [2.0], [-0.5]], dtype=dtype)
    labels = torch.tensor([0, 0, 1, 1], dtype=label_dtype)
    assert auc(logits, labels) == 0.75
    expected = [math.log1p(math.exp(x)) for x in (-1.0, 0.5, -2.0, 0.5)]
    assert log_loss_from_logits(logits, labels) == pytest.approx(sum(expected) / 4, abs=1e-15)


def test_normalized_entropy_of_the_base_rate_is_one() -> None:
    rate = 0.256
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    assert normalized_entropy(entropy, rate) == pytest.approx(1.0, abs=1e-15)
    assert normalized_entropy(entropy / 2, rate) == pytest.approx(0.5)
    assert normalized_entropy(0.1, 0.0) is None
    assert normalized_entropy(0.1, 1.0) is None
    with pytest.raises(DataError, match="label_rate"):
        normalized_entropy(0.1, 1.5)


def test_calibration_by_hand() -> None:
    p = torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64)
    assert calibration(p, torch.tensor([0, 0, 1])) == pytest.approx(1.2)
    assert calibration(p, torch.tensor([0, 0, 0])) is None


def test_one_class_has_no_auc() -> None:
    assert auc(torch.tensor([1.0, 2.0]), torch.tensor([1, 1])) is None
    assert auc(torch.tensor([1.0, 2.0]), torch.tensor([0, 0])) is None


@pytest.mark.parametrize("function", [auc, log_loss, log_loss_from_logits, calibration])
def test_unusable_input_is_named(function) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="no rows"):
        function(torch.empty(0), torch.empty(0))
    with pytest.raises(DataError, match=r"2 .*shape \(2,\).* 3 labels"):
        function(torch.zeros(2), torch.zeros(3))
    with pytest.raises(DataError, match="1 of 2 labels are neither 0 nor 1"):
        function(torch.zeros(2), torch.tensor([0, 2]))
    with pytest.raises(DataError, match="1 of 2 labels"):
        function(torch.zeros(2), torch.tensor([0.0, math.nan]))
    with pytest.raises(NonFiniteError, match="2 of 3"):
        function(torch.tensor([math.nan, 0.5, math.inf]), torch.tensor([0, 1, 0]))
    assert issubclass(NonFiniteError, DnasError)


@pytest.mark.parametrize("function", [log_loss, calibration])
def test_logits_given_as_probabilities_are_refused(function) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=r"2 of 3 probabilities are outside \[0, 1\]"):
        function(torch.tensor([-0.1, 0.5, 1.1]), torch.tensor([0, 1, 0]))
