"""The operators that models run, spelled in one place; ``dnas.costs`` knows how to run each."""

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


def embedding_operator(rows: int, dim: int, width: int, skew: float) -> Operator:
    """The look-up of one id a row in one feature's table of an ``EmbeddingTables``."""
    return Operator.of("embedding", rows=rows, dim=dim, width=width, bag=1, skew=skew)


def embedding_operators(rows: Sequence[int], dim: int, skew: float) -> list[Operator]:
    """Those of an ``EmbeddingTables`` of one dimension.

    Args:
        rows: Of each feature's table.
        dim: Of all of them, to which nothing is padded.
        skew: Zipf exponent of the ids.
    """
    look_ups = [embedding_operator(count, dim, dim, skew) for count in rows]
    return [*look_ups, Operator.of("embedding_group", dim=dim, width=dim)]
