"""The ends of a search space: its cheapest and its dearest architecture.

They need no search, and say what a search could choose between: whether the dearest network is any
better than what was found, and whether the cheapest is any worse.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dnas.core import Architecture, Option, Sample, SuperNet
from dnas.errors import ConfigError


def extreme(super_net: SuperNet, cost: str, *, largest: bool) -> Architecture:
    """The architecture of least (or most) ``cost``.

    Decisions are made one after the other, each as is best in expectation over those that are not
    made yet (all options equally likely), and made anew until none changes. Where costs add up over
    decisions that is the extreme. Where they depend on each other it is a network that no single
    decision makes cheaper (or dearer), and that is no dearer (no cheaper) than the average of the
    space. Of options that cost the same the first is taken.

    Args:
        super_net: Whose architectures; theta does not matter.
        cost: Name of one of its costs.
        largest: The most, not the least.

    Raises:
        ConfigError: There is no such cost.
    """
    with torch.no_grad():
        weights = {
            name: (choice.valid.double() / choice.valid.double().sum(-1, keepdim=True)).unsqueeze(0)
            for name, choice in super_net.choices.items()
        }
        made: dict[str, int] = {}
        before: dict[str, int] | None = None
        while made != before:
            before, made = made, _one_pass(super_net, cost, weights, -1.0 if largest else 1.0)
    decisions: dict[str, Option] = {}
    for choice in super_net.choices.values():
        for row, key in enumerate(choice.keys):
            option = choice.options[row][made[key]]
            assert option is not None
            decisions[key] = option
    return super_net.validate(decisions)


def _one_pass(
    super_net: SuperNet, cost: str, weights: dict[str, Tensor], sign: float
) -> dict[str, int]:
    """Make every decision once, in ``weights`` too; gives the column of each."""
    made: dict[str, int] = {}
    for name, choice in super_net.choices.items():
        for row, key in enumerate(choice.keys):
            columns = choice.valid[row].nonzero().squeeze(1)
            tried = {n: w.expand(len(columns), -1, -1).clone() for n, w in weights.items()}
            tried[name][:, row] = 0.0
            tried[name][torch.arange(len(columns), device=columns.device), row, columns] = 1.0
            costs = super_net.expected_cost(Sample(tried))
            if cost not in costs:
                raise ConfigError(
                    f"--sample_extremes: cost {cost!r}: in expectation this search space has "
                    f"{sorted(costs)}"
                )
            values = (sign * costs[cost]).expand(len(columns)).tolist()
            best = values.index(min(values))
            weights[name] = tried[name][best : best + 1]
            made[key] = int(columns[best])
    return made
