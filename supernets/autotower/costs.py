"""Costs of AutoTower's space by name.

``flops`` (2 x MACs of one user and one item), ``params`` with all tables, ``embedding_params``,
``embedding_bytes``; ``user_flops``, ``user_params``, ``item_flops``, ``item_params`` of the towers
alone, the pooling being the user's. The same as the paper counts them, without tables:
``paper_flops``, ``paper_params``, ``user_paper_flops`` and so on.

What a block costs depends on its place and its operation only, so all costs are sums of tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dnas.core.cost_terms import OptionCosts
from dnas.costs.formulas import BYTES_PER_WEIGHT, linear_flops, linear_params
from supernets.autotower import complexity
from supernets.autotower.config import AutoTowerConfig
from supernets.autotower.paths import possible_operations

Table = list[list[float]]


def option_costs(config: AutoTowerConfig, history_width: int, positions: int) -> OptionCosts:
    """Tables of all options.

    Args:
        config: Of the space.
        history_width: W, of a position's vector.
        positions: L.
    """
    dim = config.block_dimension

    def blocks(count: int, cost: Callable[[str, int, int], float]) -> Table:
        """``cost(operation, inputs, blocks)`` of all operations of a tower's blocks."""
        return [
            [
                0.0 if name is None else float(cost(name, n, count))
                for name in possible_operations(n)
            ]
            for n in range(1, count + 1)
        ]

    def poolings(cost: Callable[[str, int, int], float]) -> Table:
        return [[float(cost(kind, history_width, positions)) for kind in config.poolings]]

    of_blocks: dict[str, Callable[[str, int, int], float]] = {
        "flops": lambda name, n, count: complexity.block_flops(name, n, dim),
        "params": lambda name, n, count: complexity.block_params(name, n, dim, norm=n < count),
        "paper_flops": lambda name, n, count: complexity.published_block_flops(name, n, dim),
        "paper_params": lambda name, n, count: complexity.block_params(name, n, dim, norm=True),
    }
    of_poolings = {
        "flops": complexity.pooling_flops,
        "params": complexity.pooling_params,
        "paper_flops": complexity.published_pooling_flops,
        "paper_params": complexity.pooling_params,
    }
    tables: dict[str, dict[str, Table]] = {}
    for name, cost in of_blocks.items():
        user = {
            "pooling": poolings(of_poolings[name]),
            "user": blocks(config.user_blocks, cost),
        }
        item = {"item": blocks(config.item_blocks, cost)}
        tables |= {f"user_{name}": user, f"item_{name}": item, name: {**user, **item}}
    return tables


def fixed_costs(
    table_weights: int, user_width: int, item_width: int, dim: int
) -> Mapping[str, float]:
    """Of tables, and of the layers that align the towers' inputs.

    Args:
        table_weights: Weights of all tables.
        user_width: Of the user tower's input.
        item_width: Of the item tower's.
        dim: D.
    """
    costs: dict[str, float] = {
        "params": table_weights,
        "embedding_params": table_weights,
        "embedding_bytes": table_weights * BYTES_PER_WEIGHT,
    }
    for side, width in (("user", user_width), ("item", item_width)):
        flops, params = linear_flops(width, dim), linear_params(width, dim)
        for name, cost in (
            ("flops", flops),
            ("params", params),
            ("paper_flops", flops / 4),
            ("paper_params", params),
        ):
            costs[f"{side}_{name}"] = cost
            costs[name] = costs.get(name, 0) + cost
    return costs
