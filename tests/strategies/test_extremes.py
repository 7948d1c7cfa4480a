"""The ends of a space: exact where costs add up, and never worse than the average elsewhere."""

from __future__ import annotations

import itertools

import pytest
import torch
from toys import Scales

from dnas.core import Choice, SuperNet
from dnas.errors import ConfigError
from dnas.strategies.extremes import extreme
from supernets.mlp import MLPSuperNet


class Table(SuperNet):
    """Costs of one decision that add up; stage2 lacks its cheapest option."""

    def __init__(self) -> None:
        super().__init__()
        self.choice = Choice("op", {"stage1": ("a", "b", "c"), "stage2": (None, "b", "c")})

    def forward(self, x, *, sample):  # type: ignore[no-untyped-def]
        return x

    def option_costs(self):  # type: ignore[no-untyped-def]
        return {"flops": {"op": [[5, 1, 9], [0, 7, 3]]}, "bytes": {"op": [[1, 2, 3], [9, 4, 4]]}}

    def build(self, architecture, *, inherit_weights=False):  # type: ignore[no-untyped-def]
        return torch.nn.Identity()


@pytest.mark.parametrize(
    ("cost", "smallest", "largest"),
    [("flops", "bc", "cb"), ("bytes", "ab", "cb")],  # of equal ones the first
)
def test_costs_that_add_up(cost: str, smallest: str, largest: str) -> None:
    net = Table()
    with torch.no_grad():
        net.choice.theta.uniform_(-5, 5)  # does not matter
    for options, is_largest in ((smallest, False), (largest, True)):
        found = extreme(net, cost, largest=is_largest)
        assert dict(found) == {"op/stage1": options[0], "op/stage2": options[1]}


def test_an_unknown_cost_is_refused() -> None:
    with pytest.raises(ConfigError, match="cost 'latency': in expectation this search space has"):
        extreme(Scales(), "latency", largest=True)


@pytest.mark.parametrize("cost", ["flops", "params"])
def test_costs_that_depend_on_each_other(cost: str) -> None:
    """FC-of-FC: a layer's cost depends on the layer before it, and on where the chain ends."""
    net = MLPSuperNet(5, 3, (2, 4, 8), 3, name="mlp")
    rows = [
        [(key, option) for option in row if option is not None]
        for choice in net.choices.values()
        for key, row in zip(choice.keys, choice.options, strict=True)
    ]
    costs = [net.cost(dict(decisions))[cost] for decisions in itertools.product(*rows)]
    smallest, largest = (extreme(net, cost, largest=which) for which in (False, True))
    assert net.cost(smallest)[cost] == min(costs)
    assert net.cost(largest)[cost] == max(costs)
    assert net.validate(smallest) == smallest
