"""Hardware costs: formulas, counting on real modules, and penalties."""

from dnas.costs.counting import count_flops, count_params
from dnas.costs.penalty import (
    BudgetPenalty,
    ExponentialPenalty,
    LinearPenalty,
    NoPenalty,
    Penalty,
    StatelessPenalty,
    make_penalty,
)

__all__ = [
    "BudgetPenalty",
    "ExponentialPenalty",
    "LinearPenalty",
    "NoPenalty",
    "Penalty",
    "StatelessPenalty",
    "count_flops",
    "count_params",
    "make_penalty",
]
