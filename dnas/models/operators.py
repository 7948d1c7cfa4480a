"""The operators that models run, spelled in one place; ``dnas.profiling`` knows how to run each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dnas.core.operator import Operator


def linear_operator(inputs: int, outputs: int, relu: bool) -> Operator:
    """A fully connected layer, with its ReLU if it has one."""
    return Operator.of("linear", inputs=inputs, outputs=outputs, relu=relu)


def mlp_operators(sizes: Sequence[int], *, last_activation: bool) -> list[Operator]:
    """Those of an ``MLP`` of these widths, input first."""
    last = len(sizes) - 2
    return [
        linear_operator(i, o, last_activation or number < last)
        for number, (i, o) in enumerate(pairwise(sizes))
    ]
