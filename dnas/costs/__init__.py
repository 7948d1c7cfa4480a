"""Hardware costs: formulas, counting on real modules, measured tables, and penalties."""

import dnas.costs.layer_kinds  # noqa: F401  (registers them)
from dnas.costs.conditions import Conditions
from dnas.costs.cost_table import CostTable, Price, open_table
from dnas.costs.counting import count_flops, count_params
from dnas.costs.kinds import OperatorKind, find_kind, known_kinds, register_operator
from dnas.costs.measuring import Measurement, measure_model, measure_operators
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
    "Conditions",
    "CostTable",
    "ExponentialPenalty",
    "LinearPenalty",
    "Measurement",
    "NoPenalty",
    "OperatorKind",
    "Penalty",
    "Price",
    "StatelessPenalty",
    "count_flops",
    "count_params",
    "find_kind",
    "known_kinds",
    "make_penalty",
    "measure_model",
    "measure_operators",
    "open_table",
    "register_operator",
]
