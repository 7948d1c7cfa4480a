"""REINFORCE: its gradients by hand, and searches on objectives that are known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dnas.core import Architecture, Choice
from dnas.errors import ConfigError
from dnas.strategies.policy import NONE, Policy, entropy_gradient, log_probability_gradient
from dnas.strategies.reinforce import (
    PATIENCE,
    ReinforceSearch,
    ReinforceSettings,
    advantages_of,
)
from tests.one_shot_toys import asked_and_scored
from tests.toys import Scales

SMALL = ReinforceSettings(population=10, children=6, iterations=20)
DOUBLE = torch.float64


def logits_of(*probabilities):
    return torch.tensor([probabilities], dtype=DOUBLE).log()


# -------------------------------------------------------------------------------- gradients


def test_the_policy_gradient_by_hand():
    """pi = (0.5, 0.25, 0.25); option 0 with A = 2, option 2 with A = -1, then a mean of two:

    2 (0.5, -0.25, -0.25) = (1, -0.5, -0.5) and -1 (-0.5, -0.25, 0.75) = (0.5, 0.25, -0.75).
    """
    logits = logits_of(0.5, 0.25, 0.25)
    advantages = torch.tensor([2.0, -1.0], dtype=DOUBLE)
    found = log_probability_gradient(logits, torch.tensor([[0], [2]]), advantages)
    assert found[0].tolist() == pytest.approx([0.75, -0.125, -0.625])
    # Where the decision has no effect in the second one, its part is nothing.
    found = log_probability_gradient(logits, torch.tensor([[0], [NONE]]), advantages)
    assert found[0].tolist() == pytest.approx([0.5, -0.25, -0.25])


def test_options_that_do_not_exist_have_no_gradient():
    logits = torch.tensor([[0.0, 0.0, -math.inf]], dtype=DOUBLE)
    found = log_probability_gradient(logits, torch.tensor([[1]]), torch.ones(1, dtype=DOUBLE))
    assert found.tolist() == [[-0.5, 0.5, 0.0]]
    assert entropy_gradient(logits).tolist() == [[0.0, 0.0, 0.0]]


def test_the_gradient_of_the_entropy_is_that_of_autograd():
    logits = torch.randn(3, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    torch.special.entr(torch.softmax(logits, 1)).sum().backward()
    torch.testing.assert_close(entropy_gradient(logits.detach()), logits.grad)


def test_the_estimate_is_the_gradient_of_the_mean_reward():
    """Its mean over all architectures, each as often as the policy draws it, by autograd."""
    logits = torch.randn(2, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    logits.requires_grad_()
    every = torch.tensor(list(itertools.product(range(3), repeat=2)))  # (9, 2)
    reward = torch.randn(9, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    pi = torch.softmax(logits, 1)
    probability = pi[0, every[:, 0]] * pi[1, every[:, 1]]
    mean = (probability * reward).sum()
    mean.backward()
    weighted = 9 * probability.detach() * (reward - mean.detach())  # less any baseline
    found = log_probability_gradient(logits.detach(), every, weighted)
    torch.testing.assert_close(found, logits.grad)


class Uneven(Scales):
    """Decisions with two and with three options, of which the last has an effect with d0 = 1."""

    def __init__(self):
        super().__init__(decisions=3)
        self.choice = Choice("scale", {"d0": (1, 2), "d1": (1, 2, 4), "d2": (1, 2, 4)})

    def trim(self, architecture):
        if architecture.get("scale/d0") == 1:
            return architecture
        return Architecture({k: o for k, o in architecture.items() if k != "scale/d2"})


def test_a_step_of_the_policy_by_hand():
    policy = Policy(Uneven())
    first = Architecture({"scale/d0": 1, "scale/d1": 4, "scale/d2": 2})
    second = Architecture({"scale/d0": 2, "scale/d1": 4})
    policy.ascend([first, second], torch.tensor([3.0, 0.0], dtype=DOUBLE), lr=2.0, entropy_weight=0)
    # Half of 3 x (one hot - uniform), times 2.
    expected = [[1.5, -1.5, -math.inf], [-1.0, -1.0, 2.0], [-1.0, 2.0, -1.0]]
    assert policy.logits("scale").tolist() == [pytest.approx(row) for row in expected]


def test_draws_follow_the_logits():
    policy = Policy(Uneven())
    policy.load_state_dict({"scale": [[math.log(3), 0.0, 9.0], [0.0] * 3, [50.0, 0.0, 0.0]]})
    generator = torch.Generator().manual_seed(0)
    drawn = [policy.draw(generator) for _ in range(1000)]
    ones = sum(architecture["scale/d0"] == 1 for architecture in drawn)
    assert ones == pytest.approx(750, abs=45)
    assert {a.get("scale/d2") for a in drawn if a["scale/d0"] == 1} == {1}
    assert {a.get("scale/d2") for a in drawn if a["scale/d0"] == 2} == {None}


# -------------------------------------------------------------------------------- the search


def test_advantages_by_hand():
    """Scores 1, 3: variance 1, each is compared with the other: A = 2 and -2; steps are halved.

    Then 4, 4: A = 0, the mean 0.9 x 2 + 0.1 x 4 = 2.2, and the variance around it 0.9 x 1 + 0.1 x
    1.8^2 = 1.224.
    """
    net = Scales(decisions=1)
    strategy = ReinforceSearch(net, ReinforceSettings(lr=1.0, entropy_weight=0.0))
    one, two, four = (Architecture({"scale/d0": n}) for n in (1, 2, 4))
    strategy.tell([one, two], [1.0, 3.0])
    assert (strategy.mean, strategy.variance) == (2.0, 1.0)
    assert strategy.policy.logits("scale").tolist() == [[1.0, -1.0, 0.0]]
    strategy.tell([four, four], [4.0, 4.0])
    assert strategy.mean == pytest.approx(2.2)
    assert strategy.variance == pytest.approx(1.224)
    assert strategy.policy.logits("scale").tolist() == [[1.0, -1.0, 0.0]]


def test_a_single_draw_is_compared_with_the_moving_mean():
    """After 1, 3 one of 4: mean 2.2, variance 1.224, A = -1.8 deviations."""
    strategy = ReinforceSearch(Scales(decisions=1), ReinforceSettings(lr=1.0, entropy_weight=0.0))
    one, two, four = (Architecture({"scale/d0": n}) for n in (1, 2, 4))
    strategy.tell([one, two], [1.0, 3.0])
    strategy.tell([four], [4.0])
    advantage = -1.8 / 1.224**0.5
    before = torch.tensor([1.0, -1.0, 0.0], dtype=DOUBLE)
    expected = before - advantage * torch.softmax(before, 0)
    expected[2] += advantage
    torch.testing.assert_close(strategy.policy.logits("scale")[0], expected)


def test_with_limits_the_estimate_is_the_gradient_of_the_conditional_mean():
    """Two draws from all within the limits, each pair as often as the policy gives it."""
    logits = torch.randn(2, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(3))
    logits.requires_grad_()
    every = torch.tensor([(a, b) for a in range(3) for b in range(3) if a + b <= 2])  # (6, 2)
    score = torch.randn(6, dtype=DOUBLE, generator=torch.Generator().manual_seed(4))
    pi = torch.softmax(logits, 1)
    probability = pi[0, every[:, 0]] * pi[1, every[:, 1]]
    probability = probability / probability.sum()
    (-(probability * score).sum()).backward()
    found = torch.zeros_like(logits)
    for pair in itertools.product(range(6), repeat=2):
        drawn = list(pair)
        step = log_probability_gradient(
            logits.detach(), every[drawn], advantages_of(score[drawn], 99.0)
        )
        found = found + probability.detach()[drawn].prod() * step
    torch.testing.assert_close(found.detach(), logits.grad)


def test_failures_count_as_the_worst_so_far():
    net = Scales(decisions=1)
    one, two, four = (Architecture({"scale/d0": n}) for n in (1, 2, 4))
    strategies = [ReinforceSearch(net, ReinforceSettings()) for _ in range(2)]
    for strategy, failed in zip(strategies, (math.inf, 3.0), strict=True):
        strategy.tell([one], [math.inf])  # nothing to compare with: nothing is learned
        assert strategy.policy.logits("scale").tolist() == [[0.0] * 3]
        strategy.tell([one, two, four], [1.0, 3.0, failed])
    first, second = (strategy.policy.state_dict() for strategy in strategies)
    assert first == second
    assert first["scale"][0][0] > 0 > first["scale"][0][2]


def test_equal_scores_teach_nothing():
    """Neither in the first iteration nor in one that is as a whole worse than those before."""
    settings = ReinforceSettings(population=10, children=6, entropy_weight=0.0)
    strategy = ReinforceSearch(Scales(decisions=2), settings)
    strategy.tell(strategy.ask(), [7.1] * 10)
    assert strategy.policy.logits("scale").abs().max() == 0
    strategy.tell(strategy.ask(), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    before = strategy.policy.logits("scale")
    assert before.abs().max() > 0
    strategy.tell(strategy.ask(), [9.1] * 6)
    assert torch.equal(strategy.policy.logits("scale"), before)


def test_a_policy_that_has_decided_ends_the_search():
    net = Scales(decisions=12)
    strategy = ReinforceSearch(net, SMALL)
    strategy.policy.load_state_dict({"scale": [[50.0, 0.0, 0.0]] * 12})
    found = asked_and_scored(strategy)
    assert len({a.id for batch in found for a, _ in batch}) == 1
    assert len(found) == 1 + PATIENCE


def test_the_entropy_term_keeps_options_open():
    net = Scales(decisions=12)
    chances = []
    for weight in (0.0, 0.3):
        settings = ReinforceSettings(
            population=16, children=8, iterations=30, entropy_weight=weight
        )
        strategy = ReinforceSearch(net, settings)
        asked_and_scored(strategy, 30)
        pi = torch.softmax(strategy.policy.logits("scale"), 1)
        chances.append(float(pi.amax(1).mean()))
    assert chances[1] < chances[0] - 0.05


def test_limits_hold_and_theta_is_left_alone():
    net = Scales(decisions=6)
    with torch.no_grad():
        net.choice.theta[:, 2] = 9.0
    strategy = ReinforceSearch(net, SMALL, cost_limits={"units": 10.0})
    asked = [architecture for batch in asked_and_scored(strategy, 10) for architecture, _ in batch]
    assert len(asked) == 10 + 9 * 6
    assert max(net.cost(architecture)["units"] for architecture in asked) <= 10
    assert (net.choice.theta[:, :2] == 0).all()
    with pytest.raises(ConfigError, match=r"none of 1000 .* units <= 5 \(the least drawn was"):
        ReinforceSearch(net, SMALL, cost_limits={"units": 5.0}).ask()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.0}, "--policy_lr must be positive"),
        ({"entropy_weight": -1.0}, "--entropy_weight must not be negative"),
        ({"baseline_decay": 1.0}, r"--baseline_decay must be in \[0, 1\)"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        ReinforceSettings(**changes)
