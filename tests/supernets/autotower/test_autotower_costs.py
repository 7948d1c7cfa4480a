"""Complexity as the AutoTower paper counts it, to the last digit or to the digits it prints."""

from __future__ import annotations

import pytest
import torch

from dnas.costs import count_params
from dnas.data.retrieval import TowerSpec
from supernets import AUTOTOWER, AutoTowerConfig
from supernets.autotower import PUBLISHED
from supernets.autotower.complexity import (
    block_params,
    pooling_flops,
    pooling_params,
    published_block_flops,
    published_pooling_flops,
)
from supernets.autotower.published import blocks_of, make_architecture
from tests.tower_cases import MOVIELENS

#: Fields of Yelp and Amazon as far as costs depend on them.
YELP = TowerSpec(
    user_names=tuple("abcdef"),
    user_sizes=(10,) * 6,
    item_names=tuple("ABCDEF"),
    item_sizes=(10,) * 6,
    history_names=tuple("ABCDEF"),
    seq_len=40,
)
AMAZON = TowerSpec(
    user_names=("a",),
    user_sizes=(10,),
    item_names=("A", "B"),
    item_sizes=(10, 10),
    history_names=("A", "B"),
    seq_len=50,
)
#: Table 3: most parameters and FLOPs.
LIMITS = {"L": (0.24e6, 0.15e6), "M": (0.48e6, 0.28e6), "H": (1.2e6, 0.8e6)}


def net_of(blocks=3, spec=MOVIELENS, **settings):
    config = AutoTowerConfig(user_blocks=blocks, item_blocks=blocks, **settings)
    return AUTOTOWER.make_supernet(config, spec)


@pytest.mark.parametrize(
    ("operation", "inputs", "flops", "params"),
    [
        ("mlp_16", 1, 1_056, 2_256),
        ("mlp_1024", 1, 65_568, 132_288),
        ("sa_1", 1, 1_320, 2_784),
        ("sa_4", 1, 5_184, 10_560),
        ("ew_sum", 2, 2_080, 4_288),
        ("ew_min", 10, 2_080, 4_288),
        ("ew_max", 10, 2_080, 4_288),
        ("ew_product", 2, 2_112, 4_288),
        ("ew_product", 10, 2_368, 4_288),
        # (64 n h + 64 h) / 2 + 32 and 64 n h + h + 64 h + 64 + 128, with n = 3 and h = 128.
        ("mlp_128", 3, 16_416, 33_088),
    ],
)
def test_published_blocks(operation, inputs, flops, params):
    assert published_block_flops(operation, inputs, 64) == flops
    assert block_params(operation, inputs, 64, norm=True) == params


@pytest.mark.parametrize(
    ("kind", "flops", "params"),
    [
        ("average", 480, 0),
        ("sum", 480, 0),
        ("self_attentive", 24_490, 3_312),
        ("self_attention", 112_040, 10_368),
    ],
)
def test_published_poolings(kind, flops, params):
    assert published_pooling_flops(kind, 48, 20) == flops
    assert pooling_params(kind, 48, 20) == params


def test_transformer_pooling_by_hand():
    # 20 positions through 48 x 144 and 3 of 48 x 48, and 20 scores and 20 summands of 48 each.
    assert pooling_flops("transformer", 48, 20) == 20 * (2 * (6_912 + 3 * 2_304) + 2 * 2 * 20 * 48)
    assert published_pooling_flops("transformer", 48, 20) == 629_760 / 4
    # Positions, two norms, and the layers with their biases.
    assert pooling_params("transformer", 48, 20) == 960 + 2 * 96 + 7_056 + 3 * 2_352


def test_published_alignment():
    fixed = net_of().fixed_costs()
    assert (fixed["user_paper_flops"], fixed["item_paper_flops"]) == (3_584, 1_536)
    assert (fixed["user_paper_params"], fixed["item_paper_params"]) == (7_232, 3_136)


@pytest.mark.parametrize(
    ("name", "spec", "params", "flops"),
    # Table 7 in millions: the user tower with its pooling, and the item tower.
    [
        ("ml_100k", MOVIELENS, (0.10, 0.12), (0.17, 0.06)),
        ("ml_1m", MOVIELENS, (0.06, 0.09), (0.14, 0.05)),
        ("ml_1m_swapped", MOVIELENS, (0.06, 0.09), (0.14, 0.05)),
        ("yelp", YELP, (0.07, 0.50), (0.24, 0.26)),
        ("amazon_books", AMAZON, (0.05, 0.16), (0.06, 0.08)),
    ],
)
def test_table_7(name, spec, params, flops):
    architecture = PUBLISHED[name]
    blocks, _ = blocks_of(architecture)
    cost = net_of(blocks, spec).cost(architecture)
    for what, figures in (("params", params), ("flops", flops)):
        found = [cost[f"{side}_paper_{what}"] for side in ("user", "item")]
        assert tuple(round(value / 1e6, 2) for value in found) == figures
        assert cost[f"paper_{what}"] == sum(found)


def test_table_7_of_movielens_100k_in_thousands():
    cost = net_of().cost(PUBLISHED["ml_100k"])
    thousands = {
        name: round(cost[name] / 1e3)
        for name in ("user_paper_flops", "user_paper_params", "item_paper_flops")
    }
    assert thousands == {"user_paper_flops": 167, "user_paper_params": 102, "item_paper_flops": 63}
    # Table 4, medium: 0.22 M parameters and 0.23 M FLOPs.
    assert (round(cost["paper_params"] / 1e6, 2), round(cost["paper_flops"] / 1e6, 2)) == (
        0.22,
        0.23,
    )


def test_other_orders_of_movielens_100k_do_not_fit():
    """So that the order that is published here is the one of the table."""
    other = make_architecture("self_attention", "mlp_512 sa_1 sa_4", "mlp_512 mlp_128 sa_1")
    assert round(net_of().cost(other)["item_paper_params"] / 1e6, 2) != 0.12


def test_the_last_blocks_batch_norm_is_published_and_not_there():
    for blocks in (1, 3):
        cost = net_of(blocks).cost(net_of(blocks).random_architecture())
        for side in ("user", "item"):
            assert cost[f"{side}_paper_params"] == cost[f"{side}_params"] + 128


@pytest.mark.parametrize(("blocks", "millions"), [(3, 2.70), (5, 5.84)])
def test_size_of_the_supernet(blocks, millions):
    weights = sum(weight.numel() for weight in net_of(blocks).weight_parameters())
    unused_norms = 2 * 16 * 128
    assert round((weights + unused_norms) / 1e6, 2) == millions


def test_exact_costs_are_sums():
    net = net_of()
    for _ in range(5):
        architecture = net.random_architecture()
        cost = net.cost(architecture)
        model = net.build(architecture)
        item = count_params(model.item.net)
        user = count_params(model.user.net) + count_params(model.user.inputs.pooling)
        assert (cost["user_params"], cost["item_params"]) == (user, item)
        assert cost["embedding_params"] == 16 * (944 + 8 + 2 + 21 + 1683 + 10 + 20)
        assert cost["embedding_bytes"] == 4 * cost["embedding_params"]
        assert cost["params"] == count_params(model) == user + item + cost["embedding_params"]
        assert cost["flops"] == cost["user_flops"] + cost["item_flops"]


def test_costs_do_not_depend_on_form_and_last_relu():
    architecture = PUBLISHED["ml_100k"]
    cost = net_of().cost(architecture)
    assert net_of(mlp_form="released", output_relu=False).cost(architecture) == cost


def test_published_flops_are_a_quarter_of_the_products():
    """And of what is element-wise a half: towers of one MLP each, pooled by their sum."""
    cost = net_of(1).cost(make_architecture("sum", "mlp_64", "mlp_64"))
    assert cost["flops"] == 2 * ((112 + 64 + 64) * 64 + (48 + 64 + 64) * 64)
    assert cost["paper_flops"] == cost["flops"] / 4 + 480 + 2 * 32


@pytest.mark.parametrize(
    ("blocks", "shares"), [(3, {"L": 0.59, "M": 0.94, "H": 1.0}), (5, {"L": 0.23, "M": 0.64})]
)
def test_how_many_random_networks_are_within_the_limits(blocks, shares):
    """As the search of the released program sees them, which leaves the alignment out."""
    params, flops = (_of_random_networks(blocks, name) for name in ("paper_params", "paper_flops"))
    for name, share in shares.items():
        most_params, most_flops = LIMITS[name]
        found = ((params <= most_params) & (flops <= most_flops)).double().mean()
        assert float(found) == pytest.approx(share, abs=0.015), name


def _of_random_networks(blocks: int, cost: str, count: int = 20_000) -> torch.Tensor:
    """Costs of as many uniform draws, without those of the alignment; the same draws each time."""
    net = net_of(blocks)
    generator = torch.Generator().manual_seed(5)
    total = torch.zeros(count, dtype=torch.float64)
    for name, table in net.option_costs()[cost].items():
        choice = net.choices[name]
        for row, numbers in enumerate(table):
            there = torch.tensor(numbers, dtype=torch.float64)[choice.valid[row]]
            total += there[torch.randint(len(there), (count,), generator=generator)]
    return total


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_architecture_is_in_a_space(name):
    blocks, items = blocks_of(PUBLISHED[name])
    assert blocks == items
    assert net_of(blocks).validate(PUBLISHED[name]) == PUBLISHED[name]
