from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnas.reporting import pareto_front

coordinate = st.sampled_from([0.0, 1.0, 2.0, 3.0, float("nan"), float("inf"), -1.5])
points = st.lists(st.tuples(coordinate, coordinate), max_size=14)


def by_definition(data: list[tuple[float, float]]) -> list[bool]:
    finite = [bool(np.isfinite(p).all()) for p in data]
    return [
        finite[i]
        and not any(
            finite[j] and q[0] <= p[0] and q[1] <= p[1] and q != p for j, q in enumerate(data)
        )
        for i, p in enumerate(data)
    ]


def test_by_hand() -> None:
    losses = [0.45, 0.44, 0.46, 0.44, 0.47, 0.45]
    costs = [2.0, 5.0, 1.0, 6.0, 1.0, 2.0]
    # The 4th loses to the 2nd at equal loss, the 5th to the 3rd at equal cost; copies both stay.
    assert pareto_front(losses, costs).tolist() == [True, True, True, False, False, True]


@given(points)
def test_equals_the_definition(data: list[tuple[float, float]]) -> None:
    front = pareto_front([p[0] for p in data], [p[1] for p in data])
    assert front.tolist() == by_definition(data)


@given(points, st.randoms())
def test_does_not_depend_on_order(data: list[tuple[float, float]], random) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(data)))
    random.shuffle(order)
    front = pareto_front([p[0] for p in data], [p[1] for p in data])
    shuffled = pareto_front([data[i][0] for i in order], [data[i][1] for i in order])
    assert shuffled.tolist() == [front[i] for i in order]


def test_nan_and_infinity_are_never_on_the_front_and_beat_nothing() -> None:
    nan, inf = float("nan"), float("inf")
    assert pareto_front([nan, 0.1, 0.5, -inf], [1.0, nan, 5.0, 0.0]).tolist() == [
        False, False, True, False,
    ]  # fmt: skip
    assert pareto_front([], []).tolist() == []
    with pytest.raises(ValueError, match="shape"):
        pareto_front([1.0], [1.0, 2.0])
