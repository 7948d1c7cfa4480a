"""Supernets inside others: what is around them keeps its decisions, and may leave theirs out."""

from __future__ import annotations

import pytest
import torch
from nasrec_cases import FULL, net

from dnas.core import Architecture, Choice, SuperNet
from supernets.mlp import MLPSuperNet

INNER = {
    "mlp": lambda: MLPSuperNet(4, 4, (4, 8), 3, name="inner"),
    "nasrec": lambda: net(FULL),
}


class Around(SuperNet):
    """Whether there is an inner network at all, and a number of its own."""

    def __init__(self, inner: SuperNet) -> None:
        super().__init__()
        self.inner = inner
        self.own = Choice("own", {"on": (False, True), "scale": (1, 2)})

    def forward(self, *inputs, sample):
        raise AssertionError("not used")

    def build(self, architecture, *, inherit_weights=False):
        return self.inner.build(architecture, inherit_weights=inherit_weights)

    def trim(self, architecture):
        trimmed = super().trim(architecture)
        if trimmed["own/on"]:
            return trimmed
        return Architecture({key: o for key, o in trimmed.items() if key.startswith("own/")})


@pytest.fixture(params=INNER)
def around(request):
    torch.manual_seed(0)
    return Around(INNER[request.param]())


def drawn(around: Around, **own: object) -> Architecture:
    found = around.inner.random_architecture(torch.Generator().manual_seed(1))
    return around.validate({**found, **{f"own/{name}": option for name, option in own.items()}})


def test_decisions_around_a_nested_supernet_stay(around):
    one, two = (drawn(around, on=True, scale=scale) for scale in (1, 2))
    assert (one["own/scale"], two["own/scale"]) == (1, 2)
    assert around.canonical(one).id != around.canonical(two).id
    assert around.canonical(one)["own/on"] is True
    assert "own/scale" in around.hard_sample().architecture
    around.build(one)


def test_canonical_is_that_of_the_nested_supernet(around):
    found = drawn(around, on=True, scale=1)
    inner, others = around.inner.own_and_others(around.canonical(found))
    assert others == {"own/on": True, "own/scale": 1}
    assert inner == around.inner.canonical(around.inner.own_and_others(found)[0])


def test_a_nested_supernet_may_be_left_out(around):
    found = drawn(around, on=False, scale=2)
    assert dict(found) == {"own/on": False, "own/scale": 2}
    assert around.canonical(found) == found
