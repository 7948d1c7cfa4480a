"""LossMonitor: means, NaN with its step, absurd losses, exact resume."""

from __future__ import annotations

import math

import pytest
import torch

from dnas.errors import DivergenceError
from dnas.training.monitor import LossMonitor


def fed(losses: list[float], *, factor: float = 10.0) -> LossMonitor:
    monitor = LossMonitor(factor=factor)
    for step, loss in enumerate(losses, start=1):
        monitor.update(step, torch.tensor(loss))
    return monitor


def test_means_of_intervals():
    monitor = fed([1.0, 2.0, 6.0])
    assert monitor.read(3) == 3.0
    assert monitor.read(3) is None
    monitor.update(4, torch.tensor(4.0))
    assert monitor.read(4) == 4.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_bad_step_and_the_last_good_loss_are_told(bad):
    monitor = fed([1.0, 0.5, bad, 0.25, math.nan])
    with pytest.raises(DivergenceError, match=r"not finite at step 3; .* loss was 0\.5;") as error:
        monitor.read(5)
    assert error.value.step == 3
    assert error.value.last_good == {"loss": 0.5}


def test_the_last_good_loss_may_be_of_an_earlier_interval():
    monitor = fed([0.75])
    monitor.read(1)
    monitor.update(2, torch.tensor(math.nan))
    with pytest.raises(DivergenceError) as error:
        monitor.read(2)
    assert (error.value.step, error.value.last_good) == (2, {"loss": 0.75})


def test_an_absurd_mean_is_divergence():
    monitor = fed([0.5])
    assert monitor.read(1) == 0.5
    monitor.update(2, torch.tensor(5.5))
    assert monitor.read(2) == 5.5  # ten times the first more, not above that
    monitor.update(3, torch.tensor(6.0))
    with pytest.raises(DivergenceError, match=r"is 6, far above the 0\.5") as error:
        monitor.read(3)
    assert error.value.step == 3


def test_a_negative_loss_has_a_size_too():
    monitor = fed([-2.0])
    monitor.read(1)
    monitor.update(2, torch.tensor(17.5))
    assert monitor.read(2) == 17.5
    monitor.update(3, torch.tensor(18.5))
    with pytest.raises(DivergenceError, match="far above the -2"):
        monitor.read(3)


def test_the_state_is_exact():
    monitor = fed([1.0, 3.0])
    monitor.read(2)
    monitor.update(3, torch.tensor(0.1))
    again = LossMonitor()
    again.load_state_dict(monitor.state_dict())
    for each in (monitor, again):
        each.update(4, torch.tensor(0.2))
    assert monitor.read(4) == again.read(4)
    assert again.reference == 2.0
    bad = LossMonitor()
    bad.load_state_dict(fed([1.0, math.nan]).state_dict())
    with pytest.raises(DivergenceError, match="at step 2; the last finite loss was 1;"):
        bad.read(9)
