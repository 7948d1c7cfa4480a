"""Targets are met exactly before sampling."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dnas.core import Choice, SuperNet
from dnas.errors import ConfigError
from dnas.strategies.calibration import check_reachable, meet_targets


class Priced(SuperNet):
    """Decisions that only cost something: 1, 2 or 4 units each."""

    def __init__(self, decisions: int) -> None:
        super().__init__()
        self.choice = Choice("c", {str(i): (1, 2, 4) for i in range(decisions)})

    def forward(self, x, *, sample):
        return x * sample[self.choice].sum()

    def fixed_costs(self):
        return {"floor": 7.0}

    def option_costs(self):
        return {"units": {"c": self.choice.options}, "square": {"c": self.squares()}}

    def squares(self):
        return [[o * o for o in row] for row in self.choice.options]

    def build(self, architecture, *, inherit_weights=False):
        return nn.Identity()


def expected(net: SuperNet, cost: str = "units") -> float:
    return float(net.expected_cost(net.probability_sample())[cost])


def test_a_single_decision_by_hand():
    net = Priced(1)
    with torch.no_grad():
        net.choice.theta.copy_(torch.tensor([[0.0, -40.0, 0.0]]))  # 1 or 4, 2 ruled out
    assert meet_targets(net, {"units": 3.25})["units"] == pytest.approx(1.0, abs=0.01)
    assert net.choice.probabilities()[0].tolist() == pytest.approx([0.25, 0.0, 0.75], abs=0.01)


@pytest.mark.parametrize("target", [8.5, 12.0, 20.0, 31.0])
def test_the_mean_cost_of_sampled_architectures_is_the_target(target):
    net = Priced(8)
    torch.manual_seed(0)
    with torch.no_grad():
        net.choice.theta.normal_(0.0, 2.0)
    meet_targets(net, {"units": target})
    generator = torch.Generator().manual_seed(1)
    costs = [net.cost(net.sample_arch(generator=generator))["units"] for _ in range(400)]
    assert sum(costs) / len(costs) == pytest.approx(target, rel=0.05)


def test_decisions_that_are_taken_stay_taken():
    net = Priced(2)
    with torch.no_grad():
        net.choice.theta[0] = torch.tensor([0.0, 0.0, 12.0])
    meet_targets(net, {"units": 6.5})
    assert net.choice.probabilities()[0, 2] > 0.99
    assert expected(net) == pytest.approx(6.5, rel=0.01)


def test_at_most_leaves_cheap_ones_alone():
    net = Priced(3)
    before = net.choice.theta.detach().clone()
    meet_targets(net, {"units": 11.0}, at_most=True)
    assert torch.equal(before, net.choice.theta)
    assert meet_targets(net, {"units": 4.0}, at_most=True)["units"] == pytest.approx(1.0, abs=0.01)


def test_a_target_out_of_reach_is_approached():
    net = Priced(2)
    assert meet_targets(net, {"units": 0.5})["units"] == pytest.approx(4.0, rel=0.02)


def test_two_targets_at_once():
    net = Priced(8)
    ratios = meet_targets(net, {"units": 18.0, "square": 50.0})
    assert list(ratios.values()) == pytest.approx([1.0, 1.0], abs=0.02)


def test_what_was_frozen_stays_frozen():
    net = Priced(2)
    net.choice.theta.requires_grad_(False)
    meet_targets(net, {"units": 3.0})
    assert not net.choice.theta.requires_grad


@pytest.mark.parametrize(("target", "at_most"), [(6.0, False), (8.0, False), (6.0, True)])
def test_a_cost_that_no_architecture_changes_is_left_alone_and_refused(target, at_most):
    net = Priced(2)
    before = net.choice.theta.detach().clone()
    assert meet_targets(net, {"floor": target}, at_most=at_most)["floor"] == pytest.approx(
        7 / target
    )
    assert torch.equal(net.choice.theta, before)
    with pytest.raises(ConfigError, match=r"floor=\d: floor is 7 for every architecture"):
        check_reachable(net, {"units": 3, "floor": target}, at_most=at_most)


@pytest.mark.parametrize(("target", "at_most"), [(7.0, False), (8.0, True)])
def test_a_fixed_cost_that_is_right_may_be_a_target(target, at_most):
    net = Priced(2)
    net.choice.theta.requires_grad_(False)  # as between theta phases
    check_reachable(net, {"units": 3, "floor": target}, at_most=at_most)
    assert not net.choice.theta.requires_grad
