"""Log loss and accuracy of classes, against numbers made by hand."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dnas.errors import DataError
from dnas.metrics import ClassMetrics, NonFiniteError

#: Odds 1:1:2 and 1:3:0+: softmax 1/4 1/4 1/2, and 1/4 3/4 of two classes.
LOGITS = torch.log(torch.tensor([[1.0, 1.0, 2.0], [2.0, 1.0, 1.0], [1.0, 2.0, 1.0]]))
LABELS = torch.tensor([2, 1, 1])


def test_by_hand() -> None:
    metrics = ClassMetrics()
    metrics.update(LOGITS, LABELS)
    found = metrics.compute()
    # Probabilities of the right classes: 1/2, 1/4, 1/2; the second row is wrong.
    assert found["logloss"] == pytest.approx((math.log(2) + math.log(4) + math.log(2)) / 3)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["rows"] == metrics.rows == 3
    assert json.loads(json.dumps(found)) == found


def test_batches_give_what_all_rows_at_once_give_and_reset_forgets() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(1000, 7, generator=generator)
    labels = torch.randint(7, (1000,), generator=generator)
    metrics = ClassMetrics()
    for start in range(0, 1000, 33):
        metrics.update(outputs[start : start + 33], labels[start : start + 33])
    found = metrics.compute()
    expected = torch.nn.functional.cross_entropy(outputs.double(), labels)
    assert found["logloss"] == pytest.approx(float(expected), rel=1e-13)
    assert found["accuracy"] == float((outputs.argmax(1) == labels).double().mean())
    metrics.reset()
    metrics.update(LOGITS, LABELS)
    assert metrics.compute()["rows"] == 3


def test_outputs_may_be_written_over_and_in_half_precision() -> None:
    buffer, metrics = LOGITS.clone().half(), ClassMetrics()
    metrics.update(buffer.requires_grad_(), LABELS.int())
    with torch.no_grad():
        buffer.zero_()
    assert metrics.compute()["accuracy"] == pytest.approx(2 / 3)


def test_large_logits_do_not_overflow() -> None:
    metrics = ClassMetrics()
    metrics.update(torch.tensor([[1e4, 0.0]]), torch.tensor([1]))
    assert metrics.compute() == {"logloss": 1e4, "accuracy": 0.0, "rows": 1}


def test_wrong_values_are_found_at_the_end() -> None:
    for labels in ([0, 3, 1], [0, -1, 1]):
        metrics = ClassMetrics()
        metrics.update(LOGITS, torch.tensor(labels))
        with pytest.raises(DataError, match="1 of 3 labels are no class numbers from 0 to 2"):
            metrics.compute()
    for value in (math.nan, math.inf, -math.inf):
        outputs = LOGITS.clone()
        outputs[1, 0] = outputs[1, 2] = value
        metrics = ClassMetrics()
        metrics.update(outputs, LABELS)
        with pytest.raises(NonFiniteError, match="1 of 3 rows of logits are NaN or infinite"):
            metrics.compute()
    with pytest.raises(DataError, match="no rows"):
        ClassMetrics().compute()


def test_wrong_shapes_are_found_at_once() -> None:
    for outputs, labels in ((LOGITS, LABELS[:2]), (LOGITS[0], LABELS), (LOGITS, LABELS.view(3, 1))):
        with pytest.raises(DataError, match=r"\(B, classes\) and \(B,\) are needed"):
            ClassMetrics().update(outputs, labels)
    with pytest.raises(DataError, match="class numbers must be integers"):
        ClassMetrics().update(LOGITS, LABELS.float())


class _NoHostRead(TorchDispatchMode):
    """Fails on the operators by which a value, or a size that depends on one, reaches the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        forbidden = ("_local_scalar_dense", "nonzero", "equal")
        assert not any(name in str(func) for name in forbidden), func
        return func(*args, **(kwargs or {}))


def test_update_never_asks_for_a_value() -> None:
    with _NoHostRead(), pytest.raises(AssertionError):
        bool((LABELS > 0).all())
    with _NoHostRead():
        ClassMetrics().update(LOGITS, LABELS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_update_never_waits_for_the_gpu() -> None:
    metrics, outputs, labels = ClassMetrics(), LOGITS.cuda(), LABELS.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        metrics.update(outputs, labels)
        metrics.update(outputs, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert metrics.compute()["accuracy"] == pytest.approx(2 / 3)
