"""What the SuperNet base class does for every subclass, on a net with known numbers."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import nn

from dnas.core import Architecture, Choice, Sample, SuperNet
from dnas.errors import ArchitectureError
from tests.toys import Scales


class Two(SuperNet):
    """Two nested nets and a fixed cost."""

    def __init__(self, second: str = "second") -> None:
        super().__init__()
        self.parts = nn.ModuleList([Scales(1, name="first"), Scales(2, (3, 5), name=second)])

    def forward(self, x, *, sample):
        return self.parts[0](x[:, :1], sample=sample) + self.parts[1](x[:, 1:], sample=sample)

    def fixed_costs(self):
        return {"units": 100.0, "rent": 7.0}

    def build(self, architecture, *, inherit_weights=False):
        raise NotImplementedError


class Priced(Scales):
    """9k, 25k or 49k FLOPs."""

    def __init__(self, table=((9e3, 25e3, 49e3),)):
        super().__init__(1)
        self.table = table

    def option_costs(self):
        return {"flops": {"scale": [list(row) for row in self.table]}}


def test_expected_cost_is_the_weighted_mean():
    net = Priced()
    sample = Sample({"scale": torch.tensor([[[0.2, 0.3, 0.5]], [[1.0, 0.0, 0.0]]])})
    # 0.2 * 9k + 0.3 * 25k + 0.5 * 49k = 33.8k
    torch.testing.assert_close(net.expected_cost(sample)["flops"], torch.tensor([33800.0, 9000.0]))
    assert net.cost({"scale/d0": 2}) == {"flops": 25000.0}


def test_costs_of_nested_nets_and_fixed_costs_add_up():
    net = Two()
    architecture = {"first/d0": 4, "second/d0": 3, "second/d1": 5}
    assert net.cost(architecture) == {"units": 112.0, "rent": 7.0}
    expected = net.expected_cost(net.probability_sample())
    assert float(expected["units"]) == pytest.approx(100 + 7 / 3 + 4 + 4)


def test_a_cost_table_of_another_shape_is_an_error():
    net = Priced(((1.0, 2.0),))
    with pytest.raises(ArchitectureError, match=r"\['flops'\]\['scale'\] has shape \(1, 2\)"):
        net.expected_cost(net.probability_sample())


def test_parameters_are_either_theta_or_weights():
    net = Two()
    assert list(net.choices) == ["first", "second"]
    assert [tuple(p.shape) for p in net.architecture_parameters()] == [(1, 3), (2, 2)]
    assert [tuple(p.shape) for p in net.weight_parameters()] == [(1,), (2,)]
    assert net.theta_parameters["second"] is net.choices["second"].theta


def test_equal_keys_are_refused():
    net = Two()
    net.parts[0].choice = Choice("a/b", {"c": (1, 2)})
    net.parts[1].choice = Choice("a", {"b/c": (1, 2)})
    with pytest.raises(ArchitectureError, match="two decisions have the same key"):
        _ = net.choices


def test_equal_names_are_refused():
    with pytest.raises(ArchitectureError, match="two choices are named 'first'"):
        _ = Two("first").choices


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        ({"first/d0": 4}, r"2 decisions are missing, among them \['second/d0', 'second/d1'\]"),
        ({"first/d0": 3}, r"'first/d0': no option 3; the options are \[1, 2, 4\]"),
        (
            {"first/d0": 4, "second/d0": 3, "second/d1": 5, "x/y": 1},
            r"unknown decisions \['x/y'\]; this space has \['first/d0'",
        ),
    ],
)
def test_architectures_that_do_not_fit_are_refused(decisions, message):
    with pytest.raises(ArchitectureError, match=message):
        Two().one_hot_sample(decisions)


def test_options_are_spelled_as_the_space_spells_them():
    net = Scales(1)
    assert net.validate({"scale/d0": 2.0}).id == Architecture({"scale/d0": 2}).id


def test_one_hot_samples():
    net = Scales(2)
    sample = net.one_hot_sample({"scale/d0": 4, "scale/d1": 1})
    assert sample["scale"].tolist() == [[[0, 0, 1], [1, 0, 0]]]
    assert sample.architecture == Architecture({"scale/d0": 4, "scale/d1": 1})
    assert net(torch.tensor([[2.0, 3.0]]), sample=sample).tolist() == [11.0]


def test_log_probability_by_hand():
    net = Scales(2)
    with torch.no_grad():
        net.choice.theta[0] = torch.tensor([0.0, math.log(2), 0.0])  # 1/4, 1/2, 1/4
    architecture = {"scale/d0": 2, "scale/d1": 4}
    assert net.log_probability(architecture) == pytest.approx(math.log(1 / 2 * 1 / 3), rel=1e-6)


def test_samples_follow_theta_and_random_ones_do_not():
    net = Scales(1)
    with torch.no_grad():
        net.choice.theta[0] = torch.tensor([0.0, 0.0, math.log(8)])  # 0.1, 0.1, 0.8
    generator = torch.Generator().manual_seed(0)
    drawn = Counter(net.sample_arch(generator=generator)["scale/d0"] for _ in range(2000))
    uniform = Counter(net.random_architecture(generator)["scale/d0"] for _ in range(2000))
    assert drawn[4] / 2000 == pytest.approx(0.8, abs=0.045)  # 5 standard deviations
    assert all(uniform[option] / 2000 == pytest.approx(1 / 3, abs=0.053) for option in (1, 2, 4))
    assert net.sample_arch(most_likely=True) == Architecture({"scale/d0": 4})


def test_hard_samples_name_what_they_select():
    net = Scales()
    sample = net.hard_sample(generator=torch.Generator().manual_seed(5))
    again = net.one_hot_sample(sample.architecture)
    assert torch.equal(sample["scale"], again["scale"])


def test_pictures_leave_out_options_that_do_not_exist():
    net = Scales(1)
    net.choice = Choice("c", {"a": (1, None, 2), "b": (1, 3, 2)})
    picture = net.pictures()["c"]
    assert (picture.rows, picture.columns) == (("a", "b"), ("0", "1", "2"))
    torch.testing.assert_close(
        picture.values,
        torch.tensor([[0.5, math.nan, 0.5], [1 / 3] * 3]),
        equal_nan=True,
    )
