"""FC-of-FC, by hand: chains, costs, probabilities, equal networks."""

from __future__ import annotations

import itertools

import pytest
import torch

from dnas.core import Architecture
from dnas.errors import ConfigError
from supernets import MLPSuperNet

SIZES = (16, 32, 64)


def chain(*widths: int | str) -> dict[str, int | str]:
    """Decisions of 10-w0-w1-w2-50 over four layers; "skip" keeps the width."""
    decisions: dict[str, int | str] = {}
    at = widths[0]
    for layer, width in enumerate(widths[1:], start=1):
        reached = at if width == "skip" else width
        decisions[f"mlp.layer{layer}/{reached}"] = "skip" if width == "skip" else at
        at = reached
    decisions["mlp.layer3/50"] = at
    return decisions


@pytest.fixture
def net() -> MLPSuperNet:
    torch.manual_seed(0)
    return MLPSuperNet(10, 50, SIZES, 4)


def test_decisions_and_their_options(net):
    assert {name: choice.options for name, choice in net.choices.items()} == {
        "mlp.layer1": ((16, 32, 64, "skip"),) * 3,
        "mlp.layer2": ((16, 32, 64, "skip"),) * 3,
        "mlp.layer3": ((16, 32, 64, None),),
    }
    assert net.choices["mlp.layer1"].decisions == ("16", "32", "64")


def test_sizes_of_all_chains(net):
    for widths in itertools.product(SIZES, repeat=3):
        assert net.sizes(net.validate(chain(*widths))) == (10, *widths, 50)


@pytest.mark.parametrize(
    ("widths", "sizes", "flops"),
    [
        ((16, 32, 64), (10, 16, 32, 64, 50), 2 * (160 + 512 + 2048 + 3200)),
        ((16, "skip", 64), (10, 16, 64, 50), 8768),
        ((64, "skip", "skip"), (10, 64, 50), 7680),
        ((16, "skip", "skip"), (10, 16, 50), 2 * (160 + 800)),
    ],
)
def test_costs_by_hand(net, widths, sizes, flops):
    architecture = net.validate(chain(*widths))
    assert net.sizes(architecture) == sizes
    cost = net.cost(architecture)
    assert cost["flops"] == flops
    assert cost["params"] == flops / 2 + sum(sizes[1:])


def test_expected_cost_of_a_small_space_by_hand():
    """5-[2 or 3]-1 with P(2) = 1/4."""
    net = MLPSuperNet(5, 1, (2, 3), 2)
    with torch.no_grad():
        net.choices["mlp.layer1"].theta[0, :2] = torch.tensor([1.0, 3.0]).log()
    expected = net.expected_cost(net.probability_sample())["flops"]
    # 2 * (5*2 + 2) = 24 and 2 * (5*3 + 3) = 36.
    assert float(expected) == pytest.approx(0.25 * 24 + 0.75 * 36)


def test_the_picture_is_the_marginal_probability_of_a_width():
    net = MLPSuperNet(4, 1, (4, 8), 3)
    picture = net.pictures()["mlp"]
    assert picture.columns == ("1", "4", "8", "skipped")
    assert picture.rows == ("layer 0", "layer 1", "layer 2")
    nan = float("nan")
    # Uniform: the output takes 4 or 8 of layer 1; each of these takes 4, 8 or a skip.
    expected = torch.tensor(
        [[nan, 0.5, 0.5, nan], [nan, 1 / 3, 1 / 3, 1 / 3], [1.0, nan, nan, nan]]
    )
    torch.testing.assert_close(picture.values, expected, equal_nan=True)


def test_trim_keeps_the_chain_only(net):
    everything = {
        key: row[0]
        for choice in net.choices.values()
        for key, row in zip(choice.keys, choice.options, strict=True)
    }
    assert net.validate(everything) == Architecture(chain(16, 16, 16))


def test_the_same_widths_are_the_same_network(net):
    late, early = net.validate(chain(16, 64, "skip")), net.validate(chain(16, "skip", 64))
    assert late != early
    assert net.canonical(late) == net.canonical(early)
    other = net.validate(chain(16, "skip", "skip"))
    assert net.canonical(other) != net.canonical(late)


def test_a_skip_passes_the_node_below_on_unchanged(net):
    x = torch.randn(7, 10)
    architecture = net.validate(chain(16, "skip", 64))
    weight0, bias0 = net.layers[0].edge(10, 16)
    weight2, bias2 = net.layers[2].edge(16, 64)
    weight3, bias3 = net.layers[3].edge(64, 50)
    h = torch.relu(x @ weight0.T + bias0)
    h = torch.relu(h @ weight2.T + bias2)
    expected = torch.relu(h @ weight3.T + bias3)
    found = net(x, sample=net.one_hot_sample(architecture))
    torch.testing.assert_close(found.detach(), expected)


def test_a_node_is_the_weighted_sum_of_activated_edges():
    net = MLPSuperNet(3, 2, (4, 5), 2)
    sample = net.probability_sample()
    sample["mlp.layer1"].detach()[0, 0] = torch.tensor([0.25, 0.75, 0.0])
    x = torch.randn(6, 3)
    parts = []
    for width in (4, 5):
        w0, b0 = net.layers[0].edge(3, width)
        w1, b1 = net.layers[1].edge(width, 2)
        parts.append(torch.relu(torch.relu(x @ w0.T + b0) @ w1.T + b1))
    found = net(x, sample=sample)
    torch.testing.assert_close(found.detach(), 0.25 * parts[0] + 0.75 * parts[1])


def test_one_layer_has_nothing_to_choose_and_the_output_width():
    net = MLPSuperNet(10, 50, SIZES, 1)
    assert net.choices == {}
    assert net(torch.randn(3, 10), sample=net.probability_sample()).shape == (3, 50)
    assert net.sizes({}) == (10, 50)
    assert net.build(Architecture({})).sizes == (10, 50)


def test_free_ends_may_be_skipped():
    net = MLPSuperNet(4, 6, (4, 6), 2, fix_first=False, fix_last=False)
    assert net.choices["mlp.layer0"].options == ((4, "skip"), (4, None))
    assert net.choices["mlp.layer1"].options == ((4, 6, "skip"),)
    only_last = {"mlp.layer1/6": 4, "mlp.layer0/4": "skip"}
    assert net.sizes(only_last) == (4, 6)
    assert net.sizes({"mlp.layer1/6": "skip", "mlp.layer0/6": 4}) == (4, 6)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((4, 1, (8,), 0), {}, "num_layers must be at least 1, but got 0"),
        ((4, 1, (), 2), {}, "size_options must be positive widths"),
        ((4, 1, (8, 0), 2), {}, "size_options must be positive widths"),
        ((4, 1, (8,), 2), {"fix_first": False}, "fix_first=False .* width 4 must be among"),
        ((4, 1, (8,), 2), {"fix_last": False}, "fix_last=False .* width 1 must be among"),
    ],
)
def test_mistakes_are_named(arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        MLPSuperNet(*arguments, **options)
