from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from dnas.errors import DataError
from dnas.metrics import (
    BinaryMetrics,
    NonFiniteError,
    auc,
    calibration,
    log_loss_from_logits,
    normalized_entropy,
)
from dnas.metrics.histogram import add_to_histogram, auc_from_histogram, bin_edges


def clicks(rows: int, *, shift: float = -2.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(rows, generator=generator) + shift
    labels = (torch.rand(rows, generator=generator) < torch.sigmoid(truth)).float()
    return truth + 0.5 * torch.randn(rows, generator=generator), labels


def fed(metrics: BinaryMetrics, logits: torch.Tensor, labels: torch.Tensor, batch: int):  # type: ignore[no-untyped-def]
    for z, y in zip(logits.split(batch), labels.split(batch), strict=True):
        metrics.update(z, y)
    return metrics


@pytest.mark.parametrize("batch", [1, 7, 1000, 3000])
def test_batches_give_what_all_rows_at_once_give(batch: int) -> None:
    logits, labels = clicks(3000)
    result = fed(BinaryMetrics(), logits, labels, batch).compute()
    rate = float(labels.mean(dtype=torch.float64))
    loss = log_loss_from_logits(logits, labels)
    assert list(result) == ["logloss", "auc", "ne", "calibration", "rows", "label_rate"]
    assert result["rows"] == 3000
    assert result["label_rate"] == pytest.approx(rate, abs=1e-15)
    assert result["logloss"] == pytest.approx(loss, rel=1e-13)
    assert result["auc"] == auc(logits, labels)
    assert result["ne"] == pytest.approx(normalized_entropy(loss, rate), rel=1e-13)
    assert result["calibration"] == pytest.approx(
        calibration(torch.sigmoid(logits.double()), labels), rel=1e-13
    )


def test_compute_may_be_called_between_updates() -> None:
    logits, labels = clicks(2000)
    metrics = BinaryMetrics()
    metrics.update(logits[:500], labels[:500])
    assert metrics.compute()["auc"] == auc(logits[:500], labels[:500])
    metrics.update(logits[500:], labels[500:])
    assert metrics.compute()["auc"] == auc(logits, labels)
    assert metrics.compute() == metrics.compute()
    metrics.reset()
    assert metrics.rows == 0
    metrics.update(logits[:500], labels[:500])
    assert metrics.compute()["auc"] == auc(logits[:500], labels[:500])


def test_update_copies_so_that_a_reused_output_buffer_does_no_harm() -> None:
    logits, labels = clicks(200)
    buffer, label_buffer = torch.empty(100), torch.empty(100)
    metrics = BinaryMetrics()
    for part in (slice(0, 100), slice(100, 200)):
        buffer.copy_(logits[part])
        label_buffer.copy_(labels[part])
        metrics.update(buffer, label_buffer)
    assert metrics.compute()["auc"] == auc(logits, labels)


class _NoHostRead(TorchDispatchMode):
    """Fails on the operators by which a value, or a size that depends on one, reaches the host."""

    forbidden = ("_local_scalar_dense", "nonzero", "unique", "bincount", "masked_select", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        assert not any(name in str(func) for name in self.forbidden), func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("exact_up_to", [10_000, 500])
def test_update_never_waits_for_the_device(exact_up_to: int) -> None:
    logits, labels = clicks(2000)
    metrics = BinaryMetrics(exact_up_to=exact_up_to, bins=64)
    with _NoHostRead():
        fed(metrics, logits, labels, 10)
    with _NoHostRead(), pytest.raises(AssertionError):
        metrics.compute()


def test_updates_inside_and_outside_inference_mode_mix() -> None:
    logits, labels = clicks(3000)
    metrics = BinaryMetrics(exact_up_to=100)
    with torch.inference_mode():
        fed(metrics, logits[:1500], labels[:1500], 10)
        metrics.compute()
    fed(metrics, logits[1500:], labels[1500:], 10)
    assert metrics.compute()["rows"] == 3000


def test_gradients_are_not_kept() -> None:
    logits = torch.zeros(4, requires_grad=True) * 2
    metrics = BinaryMetrics()
    metrics.update(logits, torch.tensor([0, 1, 0, 1]))
    assert metrics.compute()["logloss"] == pytest.approx(math.log(2))


@pytest.mark.parametrize("shift", [0.0, -2.0, -7.0])
def test_histogram_auc_is_within_its_stated_bound_and_the_bound_is_small(shift: float) -> None:
    logits, labels = clicks(300_000, shift=shift)
    exact = auc(logits, labels)
    metrics = fed(BinaryMetrics(exact_up_to=1000), logits, labels, 5000)
    result = metrics.compute()
    assert exact is not None
    assert result["auc"] is not None
    bound = metrics.auc_error_bound()
    assert 0 < bound < 1e-4
    assert abs(result["auc"] - exact) <= bound
    assert abs(result["auc"] - exact) < 2e-6
    assert result["logloss"] == pytest.approx(log_loss_from_logits(logits, labels), rel=1e-12)


@given(
    st.lists(st.tuples(st.floats(-1e4, 1e4), st.integers(0, 1)), min_size=2, max_size=40),
    st.sampled_from([2, 3, 8, 1024]),
)
@settings(max_examples=150, deadline=None)
def test_histogram_bound_holds_for_any_logits_and_bins(
    data: list[tuple[float, int]], bins: int
) -> None:
    logits = torch.tensor([z for z, _ in data], dtype=torch.float64)
    labels = torch.tensor([y for _, y in data])
    metrics = BinaryMetrics(exact_up_to=0, bins=bins)
    metrics.update(logits, labels)
    value, exact = metrics.compute()["auc"], auc(logits, labels)
    if exact is None:
        assert value is None
    else:
        assert value is not None
        assert abs(value - exact) <= metrics.auc_error_bound() + 1e-12


def test_histogram_by_hand() -> None:
    # Four bins: inner edges at s = -1/2, 0, 1/2, that is z = -4, 0, 4.
    edges = bin_edges(4)
    assert edges.tolist() == [-4.0, 0.0, 4.0]
    counts = torch.zeros(2, 4, dtype=torch.int64)
    logits = torch.tensor([-1e4, -1.0, 1.0, 1e4, 2.0])
    labels = torch.tensor([False, True, False, True, True])
    counts = add_to_histogram(counts, edges, logits, labels)
    assert counts.tolist() == [[1, 0, 1, 0], [0, 1, 1, 1]]
    # Pairs: -1 beats one; 2 beats one and ties one; 1e4 beats two: (1 + 1.5 + 2) of 6.
    assert auc_from_histogram(counts) == (4.5 / 6, 0.5 / 6)


def test_memory_is_bounded_beyond_the_exact_rows() -> None:
    metrics = BinaryMetrics(exact_up_to=5000, bins=128)
    logits, labels = clicks(4096)
    for _ in range(40):
        metrics.update(logits, labels)
    metrics.compute()
    assert metrics._blocks == []
    assert metrics._counts is not None
    assert metrics._counts.shape == (2, 128)
    assert int(metrics._counts.sum()) == 40 * 4096


def test_the_switch_happens_just_above_exact_up_to() -> None:
    logits, labels = clicks(1001)
    metrics = BinaryMetrics(exact_up_to=1000, bins=2)
    metrics.update(logits[:1000], labels[:1000])
    assert metrics.compute()["auc"] == auc(logits[:1000], labels[:1000])
    assert metrics.auc_error_bound() == 0.0
    metrics.update(logits[1000:], labels[1000:])
    metrics.compute()
    assert metrics.auc_error_bound() > 0.0


def test_undefined_values_are_null_in_json() -> None:
    metrics = BinaryMetrics()
    metrics.update(torch.tensor([0.0, 0.0]), torch.tensor([0, 0]))
    result = json.loads(json.dumps(metrics.compute(), allow_nan=False))
    assert result["auc"] is None
    assert result["ne"] is None
    assert result["calibration"] is None
    assert result["logloss"] == pytest.approx(math.log(2))


@pytest.mark.parametrize("exact_up_to", [1000, 0])
def test_what_is_wrong_is_counted_and_raised_by_compute(exact_up_to: int) -> None:
    with pytest.raises(DataError, match="no rows"):
        BinaryMetrics(exact_up_to).compute()
    metrics = BinaryMetrics(exact_up_to)
    metrics.update(torch.empty(0), torch.empty(0))
    with pytest.raises(DataError, match="no rows"):
        metrics.compute()
    metrics = BinaryMetrics(exact_up_to)
    metrics.update(torch.tensor([math.nan, 1.0, -math.inf]), torch.tensor([1, 0, 0]))
    metrics.update(torch.tensor([1.0]), torch.tensor([1]))
    with pytest.raises(NonFiniteError, match="2 of 4 logits"):
        metrics.compute()
    metrics = BinaryMetrics(exact_up_to)
    metrics.update(torch.zeros(3), torch.tensor([0.0, 0.5, math.nan]))
    with pytest.raises(DataError, match="2 of 3 labels"):
        metrics.compute()
    with pytest.raises(DataError, match="2 logits"):
        metrics.update(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="bins"):
        BinaryMetrics(bins=1)
