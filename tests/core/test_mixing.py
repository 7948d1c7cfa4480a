"""The weighted sum of equation 2, by hand."""

from __future__ import annotations

import pytest
import torch

from dnas.core import SuperNet, calculate_weighted_sum

FIRST = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
SECOND = torch.tensor([[10.0, 20.0], [30.0, 40.0]])


def test_each_row_has_its_weights():
    weights = torch.tensor([[0.5, 0.1], [0.0, 1.0]])
    expected = torch.tensor([[1.5, 3.0], [30.0, 40.0]])
    torch.testing.assert_close(calculate_weighted_sum(weights, [FIRST, SECOND]), expected)
    torch.testing.assert_close(SuperNet.calculate_weighted_sum(weights, [FIRST, SECOND]), expected)


def test_weights_of_one_row_are_shared():
    found = calculate_weighted_sum(torch.tensor([[2.0, 0.1]]), [FIRST, SECOND])
    torch.testing.assert_close(found, torch.tensor([[3.0, 6.0], [9.0, 12.0]]))


def test_any_number_of_dimensions():
    mats = [torch.full((2, 3, 4, 5), value) for value in (1.0, 2.0, 4.0)]
    weights = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    found = calculate_weighted_sum(weights, mats)
    assert found.shape == (2, 3, 4, 5)
    assert set(found[0].flatten().tolist()) == {2.0}
    assert set(found[1].flatten().tolist()) == {4.0}


def test_gradients_by_hand_and_dtype_of_the_mats():
    weights = torch.tensor([[0.5, 0.25]], requires_grad=True)
    mats = [FIRST.double().requires_grad_(), SECOND.double()]
    found = calculate_weighted_sum(weights, mats)
    assert found.dtype == torch.float64
    found.sum().backward()
    torch.testing.assert_close(weights.grad, torch.tensor([[10.0, 100.0]]))
    torch.testing.assert_close(mats[0].grad, torch.full((2, 2), 0.5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("weights", "mats", "message"),
    [
        (torch.ones(2, 3), [FIRST, SECOND], r"weights must have shape \(B, 2\) .* got \(2, 3\)"),
        (torch.ones(2), [FIRST, SECOND], r"weights must have shape \(B, 2\)"),
        (
            torch.ones(2, 2),
            [FIRST, SECOND[:, :1]],
            r"mats\[1\] has \(2, 1\) and mats\[0\] has \(2, 2\)",
        ),
        (torch.ones(3, 2), [FIRST, SECOND], "weights has 3 rows, mats have 2"),
    ],
)
def test_what_does_not_fit_is_said(weights, mats, message):
    with pytest.raises(ValueError, match=message):
        calculate_weighted_sum(weights, mats)
