"""Equations 5 and 6 and the budget, by hand and end to end."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dnas.costs import (
    BudgetPenalty,
    ExponentialPenalty,
    LinearPenalty,
    NoPenalty,
    make_penalty,
)
from dnas.data import TensorBatch
from dnas.errors import ConfigError
from tests.toys import Scales, scale_manager

LOSS = torch.tensor(0.5)
E = math.e
#: log(cost) is 2 and 4.
COSTS = {"units": torch.tensor([E**2, E**4])}


def test_equation_6():
    # 0.5 + 0.1 * mean(2, 4); there is no hidden factor.
    assert float(LinearPenalty(0.1, metric="units")(LOSS, COSTS)) == pytest.approx(0.8)
    # A multiplier of e adds 1 to every logarithm.
    assert float(LinearPenalty(0.1, E, metric="units")(LOSS, COSTS)) == pytest.approx(0.9)


def test_equation_5():
    penalty = ExponentialPenalty(0.1, 2.0, metric="units")
    # 0.5 * 0.1 * mean(2 ** 2, 4 ** 2)
    assert float(penalty(LOSS, COSTS)) == pytest.approx(0.5)
    shifted = ExponentialPenalty(0.1, 2.0, E, metric="units")
    assert float(shifted(LOSS, COSTS)) == pytest.approx(0.05 * (9 + 25) / 2)
    assert float(ExponentialPenalty(2.0, 0.0, metric="units")(LOSS, COSTS)) == pytest.approx(1.0)


def test_gradients_push_the_cost_down():
    for penalty in (
        LinearPenalty(0.1, metric="units"),
        ExponentialPenalty(0.1, 2.0, metric="units"),
        BudgetPenalty({"units": 1.0}),
    ):
        cost = torch.tensor([E**2, E**4], requires_grad=True)
        penalty(LOSS, {"units": cost}).backward()
        assert (cost.grad > 0).all()
    # d/dC of 0.1 * mean(log C) is 0.05 / C.
    cost = torch.tensor([2.0, 8.0], requires_grad=True)
    LinearPenalty(0.1, metric="units")(LOSS, {"units": cost}).backward()
    torch.testing.assert_close(cost.grad, torch.tensor([0.025, 0.00625]))


def test_no_penalty():
    assert NoPenalty()(LOSS, COSTS) is LOSS


def test_the_budget_by_hand():
    penalty = BudgetPenalty({"units": 10.0}, rate=0.5, rho=0.2)
    dear = {"units": torch.tensor([10 * E, 10 * E])}  # g = 1
    cheap = {"units": torch.tensor([10 / E])}  # g = -1
    assert float(penalty(LOSS, dear)) == pytest.approx(0.5 + 0.0 + 0.1)
    penalty.after_step(dear)
    assert float(penalty.multipliers["units"]) == pytest.approx(0.5)
    assert float(penalty(LOSS, dear)) == pytest.approx(0.5 + 0.5 + 0.1)
    assert float(penalty(LOSS, cheap)) == pytest.approx(0.5 - 0.5 + 0.1)
    for _ in range(3):
        penalty.after_step(cheap)
    assert float(penalty.multipliers["units"]) == pytest.approx(-1.0)


def test_the_budget_pulls_to_the_target_from_both_sides():
    for factor, sign in ((2.0, 1), (0.5, -1)):
        cost = torch.tensor([10.0 * factor], requires_grad=True)
        BudgetPenalty({"units": 10.0})(LOSS, {"units": cost}).backward()
        assert math.copysign(1, float(cost.grad)) == sign
    # g is of the mean cost over rows: log(10 / 10) = 0 here.
    at_target = {"units": torch.tensor([4.0, 16.0])}
    assert float(BudgetPenalty({"units": 10.0})(LOSS, at_target)) == 0.5


def test_a_ceiling_never_makes_an_architecture_dearer():
    penalty = BudgetPenalty({"units": 10.0}, rate=0.5, rho=0.2, at_most=True)
    cheap = torch.tensor([1.0], requires_grad=True)
    for _ in range(3):
        penalty.after_step({"units": cheap.detach()})
        assert float(penalty.multipliers["units"]) == 0.0
    penalty(LOSS, {"units": cheap}).backward()
    assert float(cheap.grad) == 0.0
    dear = torch.tensor([10 * E], requires_grad=True)
    loss = penalty(LOSS, {"units": dear})
    assert float(loss.detach()) == pytest.approx(0.5 + 0.1)  # rho / 2 * g ** 2
    loss.backward()
    assert float(dear.grad) > 0
    penalty.after_step({"units": dear.detach()})
    assert float(penalty.multipliers["units"]) == pytest.approx(0.5)
    penalty.after_step({"units": cheap.detach()})
    assert float(penalty.multipliers["units"]) == 0.0


def test_several_targets_have_their_own_multipliers_and_states():
    penalty = BudgetPenalty({"a": 1.0, "b": 1.0}, rate=1.0)
    costs = {"a": torch.tensor([E]), "b": torch.tensor([1 / E])}
    penalty.after_step(costs)
    state = penalty.state_dict()
    assert {k: float(v) for k, v in state["multipliers"].items()} == pytest.approx(
        {"a": 1.0, "b": -1.0}
    )
    again = BudgetPenalty({"a": 1.0, "b": 1.0}, rate=1.0)
    again.load_state_dict(state)
    assert torch.equal(again(LOSS, costs), penalty(LOSS, costs))


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"use_hw_cost": False}, NoPenalty),
        ({"use_hw_cost": True}, LinearPenalty),
        ({"use_hw_cost": True, "exponential_cost": True}, ExponentialPenalty),
        ({"use_hw_cost": False, "cost_target": {"units": 3.0}}, BudgetPenalty),
    ],
)
def test_settings_choose_the_penalty(settings, kind):
    assert type(make_penalty(["units"], **settings)) is kind


@pytest.mark.parametrize(
    ("known", "settings", "message"),
    [
        (["a", "b"], {"use_hw_cost": True}, r"use_hw_cost needs cost_metric, one of \['a', 'b'\]"),
        (["a"], {"use_hw_cost": True, "cost_metric": "c"}, r"'c': this search space has \['a'\]"),
        (["a"], {"use_hw_cost": False, "cost_target": {"c": 1.0}}, r"'c': this search space"),
        (["a"], {"use_hw_cost": False, "cost_target": {"a": 0.0}}, "cost_target for a must be a"),
        (["a"], {"use_hw_cost": False, "cost_target": {"a": math.nan}}, "but got nan"),
        (["a"], {"use_hw_cost": True, "cost_multiplier": 0.0}, "cost_multiplier must be a posi"),
        (
            ["a"],
            {"use_hw_cost": True, "exponential_cost": True, "cost_coef": -1.0},
            "cost_coef must be a positive number, but got -1.0",
        ),
        (
            ["a"],
            {"use_hw_cost": False, "cost_target": {"a": 1.0}, "cost_dual_rate": 0.0},
            "cost_dual_rate must be a positive number",
        ),
    ],
)
def test_mistakes_are_named(known, settings, message):
    with pytest.raises(ConfigError, match=message):
        make_penalty(known, **settings)


def test_an_unknown_cost_in_a_step_is_named():
    with pytest.raises(ConfigError, match=r"'flops': this search space has \['units'\]"):
        LinearPenalty(1.0, metric="flops")(LOSS, COSTS)


@pytest.mark.parametrize("target", [45.0, 75.0])
def test_a_search_meets_its_target(target):
    """The task wants the dearest option everywhere (cost 104); uniform theta costs 60.7."""
    generator = torch.Generator().manual_seed(1)
    batches = []
    for _ in range(100):
        # Decisions matter differently, so that there is an order in which to give them up.
        x = torch.randn(16, 26, generator=generator) * torch.linspace(0.2, 1.5, 26)
        batches.append(TensorBatch((x,), 4.0 * x.sum(1)))
    net = Scales(26)
    manager = scale_manager(
        net,
        m_dataloader=batches,
        w_dataloader=batches[:1],
        n_total_s_net_training_epochs=3,
        loss_function=lambda outputs, labels: 2e-4 * nn.functional.mse_loss(outputs, labels),
        penalty=BudgetPenalty({"units": target}, rate=0.003, rho=0.3),
        mask_initial_lrs=[0.02],
    )
    manager.train_dnas()
    draws = torch.Generator().manual_seed(0)
    costs = [net.cost(net.sample_arch(generator=draws))["units"] for _ in range(200)]
    assert sum(costs) / len(costs) == pytest.approx(target, rel=0.05)
    assert len(set(costs)) > 1


def test_a_ceiling_that_is_not_reached_changes_nothing():
    nets = Scales(), Scales()
    scale_manager(nets[0], n_total_s_net_training_epochs=5).train_dnas()
    scale_manager(
        nets[1], n_total_s_net_training_epochs=5, cost_target={"units": 100.0}, cost_at_most=True
    ).train_dnas()
    torch.testing.assert_close(nets[0].choice.theta, nets[1].choice.theta)
    assert float(nets[0].choice.theta.detach().abs().max()) > 0.1
