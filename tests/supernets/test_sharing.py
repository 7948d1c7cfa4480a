"""The contracts of shared weights over every supernet; and each finds what it is there for."""

from __future__ import annotations

import pytest
import torch
from table import TABLE

from dnas.core import UniformPrior
from dnas.testing import check_sharing
from dnas.training.general_path_step import GeneralPathStep
from tests.one_shot_toys import FullPathPrior, Prefix
from tests.toys import Scales


def inputs(rows):
    return (torch.randn(rows, 4),)


@pytest.mark.parametrize("name", TABLE)
def test_sharing(name):
    make_supernet, make_inputs = TABLE[name]
    check_sharing(make_supernet, UniformPrior, make_inputs)


def test_sharing_of_a_supernet_with_a_head_and_a_full_path():
    check_sharing(Prefix, FullPathPrior, inputs)


class Stateful(UniformPrior):
    def candidate(self, generator):
        self.count = getattr(self, "count", 0) + 1
        return super().candidate(torch.Generator().manual_seed(self.count))


class Careless(UniformPrior):
    def path(self, strategy, generator):
        torch.rand(1)
        return super().path(strategy, generator)


class Still(UniformPrior):
    def mutate(self, architecture, generator):
        return architecture


class Restless(UniformPrior):
    def redraw(self, architecture, probability, generator):
        return self.candidate(generator)


class Mixed(UniformPrior):
    def crossover(self, first, second, generator):
        return self.redraw(first, 0.5, generator)


class Short(FullPathPrior):
    def full_path(self):
        found = dict(super().full_path())
        found.pop("scale/d0")
        return type(super().full_path())(found)


class Shared(Prefix):
    def head(self, architecture):
        width = int(architecture["width/hidden"])
        return self.last.weight.data[0, :width], self.last.bias.data[0]


class Wrong(Prefix):
    def head(self, architecture):
        weight, bias = super().head(architecture)
        return weight, bias + 1.0


class Forgetful(Scales):
    def path_step(self, *arguments):
        step = GeneralPathStep(self, *arguments)
        step.load_state_dict = lambda state: None
        return step


class Fixed(Scales):
    def path_step(self, *arguments):
        step = GeneralPathStep(self, *arguments)
        step.set_lr = lambda factor: None
        return step


@pytest.mark.parametrize(
    ("make_supernet", "make_prior", "message"),
    [
        (Scales, Stateful, "candidate differs for equal generators"),
        (Scales, Careless, r"path\('uniform'\) draws from the global generator"),
        (Scales, Still, "mutate never changes anything"),
        (Scales, Restless, "redraw with probability 0 changes"),
        (Scales, Mixed, "the crossover of an architecture with itself is another one"),
        (Scales, Short, "decisions are missing"),
        (Shared, UniformPrior, "head: it shares memory"),
        (Wrong, UniformPrior, "differs from forward by 1.00e"),
        (Forgetful, UniformPrior, "goes on to other weights"),
        (Fixed, UniformPrior, "weights change at learning rate 0"),
    ],
)
def test_what_is_wrong_is_found(make_supernet, make_prior, message):
    with pytest.raises(Exception, match=message):
        check_sharing(make_supernet, make_prior, inputs)
