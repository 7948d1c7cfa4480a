"""Hardware costs: formulas, counting on real modules, measured tables, and penalties."""

import dnas.costs.layer_kinds  # noqa: F401  (registers them)
from dnas.costs.conditions import Conditions
from dnas.costs.cost_table import CostTable, Price, open_table
from dnas.costs.counting import count_flops, count_params
from dnas.costs.kinds import OperatorKind, find_kind, known_kinds, register_operator
from dnas.costs.measuring import (
    Measurement,
    measure_in_turns,
    measure_model,
    measure_operators,
    model_case,
)
from dnas.costs.penalty import (
    BudgetPenalty,
    ExponentialPenalty,
    LinearPenalty,
    NoPenalty,
    Penalty,
    StatelessPenalty,
    make_penalty,
)
from dnas.costs.sharing import save_shared
from dnas.costs.whole import Whole, WholeModel, enter_models, space_key, whole_models

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
    "Whole",
    "WholeModel",
    "count_flops",
    "count_params",
    "enter_models",
    "find_kind",
    "known_kinds",
    "make_penalty",
    "measure_in_turns",
    "measure_model",
    "measure_operators",
    "model_case",
    "open_table",
    "register_operator",
    "save_shared",
    "space_key",
    "whole_models",
]
