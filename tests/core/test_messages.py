"""What a subclass of SuperNet gets wrong is said with what to write instead."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from dnas.core import Choice, Operator, Sample, SuperNet
from dnas.errors import ArchitectureError
from tests.toys import Scales


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"choice 'size' has no decisions; give at least one, as in \{"),
        (("a", "b"), r"options are \('a', 'b'\); give each decision its options, as in \{"),
        (None, "options are None; give each decision"),
        ({"d": ()}, "decision 'd' has no options; give at least one that is not None"),
        ({"d": (None, None)}, "decision 'd' has no options; give at least one"),
        ({"d": "abc"}, "decision 'd' has the options 'abc'; give a list or tuple"),
        ({"d": 3}, "decision 'd' has the options 3; give a list or tuple"),
        ({"d": {1, 2}}, r"decision 'd' has the options \{1, 2\}; give a list or tuple"),
        ({"d": (1, torch.relu)}, "is a builtin_function_or_method; give .* its name"),
        ({"d": (np.int64(1), 2)}, r"is a int64; give .*of numpy: .item\(\)"),
        ({"d": (1.0, float("nan"))}, "decision 'd' has the option NaN; leave it out"),
        ({"d": (1, 2, 1)}, r"has equal options in \(1, 2, 1\); merge them"),
    ],
)
def test_options(options, message):
    with pytest.raises(ArchitectureError, match=message):
        Choice("size", options)


@pytest.mark.parametrize("name", ["", None, {"d": (1, 2)}])
def test_names(name):
    with pytest.raises(
        ArchitectureError, match=r"a choice is called .*; give a name, as in Choice"
    ):
        Choice(name, {"d": (1, 2)})


class Priced(Scales):
    """One decision of three options, with a cost table from outside."""

    def __init__(self, costs):
        super().__init__(1)
        self.costs = costs

    def option_costs(self):
        return {"flops": self.costs}


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({"scale": [[1, 2]]}, r"\['flops'\]\['scale'\] has shape \(1, 2\), but .* \(1, 3\) \(deci"),
        ({"scale": [[1, 2, 3]] * 2}, r"\['scale'\] has shape \(2, 3\), but .* \(1, 3\)"),
        ({"scale": [[1, 2, 3], [1]]}, r"shape rows of \[1, 3\] options, but .* \(1, 3\)"),
        ({"scale": [1, 2, 3]}, r"\['scale'\] is \[1, 2, 3\]; give a table of \(1, 3\)"),
        ({"scale": [["a", "b", "c"]]}, r"\['scale'\] must be a table of numbers"),
        (
            {"scale": [[1, math.nan, 3]]},
            r"\[0\]\[1\], .* scale/d0 = 2: the cost is NaN; give a fin",
        ),
        ({"scale": [[1, 2, math.inf]]}, "the cost is inf; give a finite number of 0 or more"),
        ({"scale": [[-1, 2, 3]]}, r"the cost is -1.0; give a finite"),
        ({"scales": [[1, 2, 3]]}, r"is about 'scales': there is no such choice, only \['scale'\]"),
    ],
)
def test_cost_tables(costs, message):
    net = Priced(costs)
    with pytest.raises(ArchitectureError, match=message):
        net.expected_cost(net.probability_sample())


LINEAR = Operator.of("linear", inputs=2)


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        (
            [[LINEAR] * 3],
            r"\['scale'\]\[0\]\[0\] is linear\(inputs=2\); give a tuple .*inputs=2\),\)",
        ),
        ([[(), LINEAR, ()]], r"\['scale'\]\[0\]\[1\] is linear\(inputs=2\); give a tuple"),
        ([LINEAR], r"\['scale'\]\[0\] is linear\(inputs=2\); give a table \(decisions, options\)"),
        ([[None] * 3], r"\[0\]\[0\] is None; give a tuple .* \(\) where it runs none"),
        ([["linear"] * 3], r"\[0\]\[0\] is 'linear'; give a tuple"),
        ([[(LINEAR,)]], r"has 1 rows of \[1\] options, but the choice has \(1, 3\)"),
    ],
)
def test_operator_tables(operators, message):
    class Running(Scales):
        def option_operators(self):
            return {"scale": operators}

    with pytest.raises(ArchitectureError, match=message):
        Running(1).operators()


def test_a_table_of_tensors_will_do():
    assert Priced({"scale": torch.tensor([[1, 2, 4]])}).cost({"scale/d0": 4}) == {"flops": 4.0}


class InAList(Scales):
    def __init__(self):
        super().__init__()
        self.others = [Choice("other", {"d": (1, 2)})]

    def forward(self, x, *, sample):
        return super().forward(x, sample=sample) * sample[self.others[0]][:, 0, 0]


def test_a_choice_outside_of_the_module_tree():
    net = InAList()
    with pytest.raises(ArchitectureError, match=r"'other' is not in the module tree .*ModuleList"):
        net(torch.ones(2, 4), sample=net.soft_sample(1.0, 2))


@pytest.mark.parametrize("key", ["scales", 0, ("scale", 0), [0]])
def test_an_unknown_name(key):
    sample = Scales().soft_sample(1.0, 2)
    with pytest.raises(ArchitectureError, match=r"^sample\[.*weights of the choices \['scale'\]"):
        sample[key]


def test_a_sample_is_a_mapping_all_the_same():
    sample = Sample({"a": torch.ones(1, 1, 1)})
    assert "b" not in sample
    assert sample.get("b") is None


def test_forgetting_super_init():
    class Forgets(SuperNet):
        def __init__(self):
            self.choice = Choice("c", {"d": (1, 2)})

        def build(self, architecture, *, inherit_weights=False):
            return nn.Identity()

    with pytest.raises(ArchitectureError, match=r"Forgets: self.choice .* super\(\).__init__\(\)"):
        Forgets()


def test_other_attribute_errors_stay():
    class ReadOnly(Scales):
        @property
        def size(self):
            return 3

    with pytest.raises(AttributeError, match="size"):
        ReadOnly().size = 4


def test_forward_without_sample():
    with pytest.raises(ArchitectureError, match=r"Wrong.forward does not take .* \*, sample\)"):

        class Wrong(Scales):
            def forward(self, x):
                return x


def test_build_without_inherit_weights():
    with pytest.raises(ArchitectureError, match=r"Wrong.build .* inherit_weights=False\)"):

        class Wrong(Scales):
            def build(self, architecture):
                return nn.Identity()


def test_keywords_may_be_caught_together():
    class Right(Scales):
        def forward(self, *inputs, **kwargs):
            return super().forward(*inputs, **kwargs)

    net = Right(1)
    assert net(torch.ones(1, 1), sample=net.one_hot_sample({"scale/d0": 2})).tolist() == [2.0]


def test_two_choices_of_one_name():
    net = Scales()
    net.other = Choice("scale", {"e": (1, 2)})
    with pytest.raises(
        ArchitectureError, match="named 'scale'; give each Choice a name of its own"
    ):
        net.soft_sample(1.0, 2)


def test_sums_of_other_shapes():
    mats = [torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 4)]
    with pytest.raises(ValueError, match=r"mats\[2\] has \(2, 4\) and mats\[0\] has \(2, 3\); pro"):
        SuperNet.calculate_weighted_sum(torch.ones(2, 3), mats)
    with pytest.raises(ValueError, match="there are no mats"):
        SuperNet.calculate_weighted_sum(torch.ones(2, 0), [])
