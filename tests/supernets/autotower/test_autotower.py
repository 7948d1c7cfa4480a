"""AutoTower's supernet: what a path computes, what is built, its settings and its files."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from torch import nn

from dnas.cli import main as console
from dnas.core import Choice
from dnas.errors import ArchitectureError, ConfigError
from dnas.models.towers import OPERATIONS, TowerBlock
from dnas.spaces import find_space, load_architecture, make_record
from supernets import AUTOTOWER, AutoTowerConfig
from supernets.autotower import PUBLISHED
from supernets.autotower.published import make_architecture
from tests.host_waits import host_waits
from tests.tower_cases import SPEC, inputs

SMALL = AutoTowerConfig(embedding_dimension=3, block_dimension=4, user_blocks=2, item_blocks=2)
ONE = make_architecture("self_attention", "mlp_32 ew_max", "sa_2 mlp_16")


def net_of(**settings):
    return AUTOTOWER.make_supernet(AutoTowerConfig(**{**vars(SMALL), **settings}), SPEC)


def moved(net):
    """With running statistics and weights of a supernet that was trained."""
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2.0)
    return net


def test_the_choices():
    choices = net_of(user_blocks=3, item_blocks=1).choices
    assert {name: choice.decisions for name, choice in choices.items()} == {
        "pooling": ("history",),
        "user": ("block_1", "block_2", "block_3"),
        "item": ("block_1",),
    }
    assert choices["pooling"].options[0] == ("average", "sum", "self_attention", "self_attentive")
    first, second, third = choices["user"].options
    sizes = tuple(f"mlp_{n}" for n in (16, 32, 64, 128, 256, 512, 1024))
    heads = ("sa_1", "sa_2", "sa_3", "sa_4")
    functions = tuple(f"ew_{n}" for n in ("sum", "avg", "min", "max", "product"))
    assert second == third == (*sizes, *functions, *heads) == OPERATIONS
    assert [option for option in first if option is not None] == [*sizes, *heads]


def test_a_path_computes_what_it_selects_and_nothing_else():
    net = net_of()
    called = set()
    for name, part in net.named_modules():
        part.register_forward_hook(lambda part, args, out, name=name: called.add(name))
    net(*inputs(5), sample=net.one_hot_sample(ONE)).sum().backward()
    kinds = {name for name in called if name.startswith("inputs.pooling.") and name.count(".") == 2}
    assert kinds == {"inputs.pooling.self_attention"}
    blocks = {name for name in called if isinstance(net.get_submodule(name), TowerBlock)}
    assert blocks == {
        "users.blocks.0.mlp_32",
        "users.blocks.1.ew_max",
        "items.blocks.0.sa_2",
        "items.blocks.1.mlp_16",
    }
    trained = {n.rsplit(".", 1)[0] for n, p in net.named_parameters() if p.grad is not None}
    used = tuple(kinds | blocks)
    shared = ("inputs.tables", "inputs.items", "users.align", "items.align")
    assert all(name.startswith((*used, *shared)) for name in trained)
    assert all(any(name.startswith(part) for name in trained) for part in used)


def test_every_table_of_fields_is_read_once():
    net, batch = net_of(), inputs(5)
    calls = Counter()
    for name, part in net.inputs.named_modules():
        if isinstance(part, nn.Embedding):
            part.register_forward_hook(lambda part, args, out, name=name: calls.update([name]))
    for sample in (net.one_hot_sample(ONE), net.soft_sample(1.0, 5)):
        calls.clear()
        net(*batch, sample=sample)
        # The history reads the tables of the movie and of the bag once more.
        assert calls == {
            "tables.0": 1,
            "tables.1": 1,
            "items.tables.0": 2,
            "items.tables.1": 1,
            "items.bag.table": 2,
        }


@pytest.mark.parametrize("draws", [1, 5])
def test_a_step_does_not_wait_for_the_device(draws):
    net, batch = net_of(), inputs(5)
    assert host_waits(lambda: batch[0][:, [0, 1]]) == {"index.Tensor"}  # what is looked for
    for sample in (net.soft_sample(1.0, draws), net.one_hot_sample(ONE)):
        assert host_waits(lambda s=sample: net(*batch, sample=s).sum().backward()) == set()


def test_operations_are_weighted_by_their_own_weights():
    """Also in the first block, which lacks some: one-hot weights without an architecture."""
    net, batch = net_of().eval(), inputs(5)
    for first in ("mlp_16", "mlp_1024", "sa_1", "sa_4"):
        path = make_architecture("sum", f"{first} sa_4", f"{first} ew_product")
        sample = net.one_hot_sample(path)
        torch.testing.assert_close(
            net(*batch, sample=type(sample)(sample.weights)), net(*batch, sample=sample)
        )


def test_only_batch_norms_of_the_path_are_changed_by_a_step():
    net = net_of()
    before = {name: value.clone() for name, value in net.named_buffers()}
    net(*inputs(5), sample=net.one_hot_sample(ONE))
    changed = {name for name, value in net.named_buffers() if not torch.equal(value, before[name])}
    assert {name.rsplit(".", 1)[0] for name in changed} == {
        "users.blocks.0.mlp_32.norm",
        "items.blocks.0.sa_2.norm",
    }


def test_each_operation_has_a_batch_norm_of_its_own_but_in_the_last_block():
    net = net_of(user_blocks=3, item_blocks=1)
    norms = [name for name, part in net.named_modules() if isinstance(part, nn.BatchNorm1d)]
    assert len(norms) == len(set(norms)) == 11 + 16
    assert all(name.startswith(("users.blocks.0", "users.blocks.1")) for name in norms)


def test_with_layer_norms_a_row_does_not_depend_on_the_others():
    net = net_of(block_norm="layer")
    assert net.training
    assert not any(isinstance(part, nn.BatchNorm1d) for part in net.modules())
    path = make_architecture("average", "mlp_32 ew_max", "sa_2 mlp_16")  # without dropout
    batch = inputs(6)
    whole = net(*batch, sample=net.one_hot_sample(path))
    part = net(*(tensor[:2] for tensor in batch), sample=net.one_hot_sample(path))
    torch.testing.assert_close(part, whole[[0, 1, 6, 7]])
    assert net.cost(path) == net_of().cost(path)


def test_running_statistics_are_inherited():
    net = moved(net_of()).eval()
    built = net.build(ONE, inherit_weights=True).eval()
    norm = net.users.blocks[0]["mlp_32"].norm
    assert torch.equal(built.user.net.blocks[0].norm.running_mean, norm.running_mean)
    assert built.user.net.blocks[0].norm.running_mean is not norm.running_mean
    batch = inputs(6)
    torch.testing.assert_close(built(*batch), net(*batch, sample=net.one_hot_sample(ONE)))
    fresh = net.build(ONE)
    assert torch.equal(fresh.user.net.blocks[0].norm.running_mean, torch.zeros(4))


def test_a_built_model_shares_its_own_tables_only():
    net = net_of()
    for inherit in (False, True):
        built = net.build(ONE, inherit_weights=inherit)
        assert built.user.inputs.items is built.item.inputs
        assert not any(isinstance(part, Choice | nn.ModuleDict) for part in built.modules())


def test_items_have_the_sample_of_their_rows_or_the_mean():
    net = net_of().eval()
    users, history, items, bags = inputs(6)
    sample = net.soft_sample(1.0, 2)
    mean = type(sample)({name: w.mean(0, keepdim=True) for name, w in sample.weights.items()})
    batch = users[:2], history[:2], items, bags
    found = net(*batch, sample=sample)
    assert found.shape == (8, 4)
    torch.testing.assert_close(found[2:], net(*batch, sample=mean)[2:])
    few = users[:2], history[:2], items[:2], bags[:2]
    first = type(sample)({name: w[:1] for name, w in sample.weights.items()})
    torch.testing.assert_close(net(*few, sample=sample)[[0, 2]], net(*few, sample=first)[[0, 2]])


def test_cosines_are_not_negative_with_the_last_relu():
    for relu in (True, False):
        vectors = net_of(output_relu=relu)(*inputs(40), sample=net_of().one_hot_sample(ONE))
        assert bool((vectors >= 0).all()) is relu


def test_forms_of_mlp_blocks():
    """Without an activation a block of its own is linear but for its last ReLU."""
    batch = inputs(8)
    arch = make_architecture("sum", "mlp_16", "mlp_16")
    for form, linear in (("released", True), ("activated", False)):
        net = net_of(user_blocks=1, item_blocks=1, mlp_form=form, output_relu=False).eval()
        tower = net.build(arch).user.net
        x, y = torch.randn(2, 8, net.inputs.width)
        middle, ends = tower((x + y) / 2), (tower(x) + tower(y)) / 2
        assert torch.allclose(middle, ends, atol=1e-6) is linear
        assert net(*batch, sample=net.one_hot_sample(arch)).shape == (16, 4)


def test_a_user_without_a_history():
    users, history, items, bags = inputs(4)
    net = net_of()
    for pooling in ("average", "sum", "self_attention", "self_attentive"):
        sample = net.one_hot_sample(ONE.replacing({"pooling/history": pooling}))
        vectors = net(users, torch.zeros_like(history), items, bags, sample=sample)
        assert vectors.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"user_blocks": 0}, "--user_blocks must be at least 1, but got 0"),
        ({"block_dimension": 0}, "--block_dimension must be at least 1, but got 0"),
        ({"mlp_form": "linear"}, "--mlp_form must be one of activated, released, but got 'linear'"),
        ({"block_norm": "none"}, "--block_norm must be one of batch, layer, but got 'none'"),
        ({"temperature": 0.0}, "--temperature must be positive, but got 0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        AutoTowerConfig(**settings)


def test_the_dimension_of_vectors_has_one_name():
    with pytest.raises(TypeError, match="output_dimension"):
        AutoTowerConfig(output_dimension=32)


def test_file_to_model(tmp_path):
    space = find_space("autotower")
    net = space.make_supernet(SMALL, SPEC)
    path = tmp_path / "one.json"
    make_record(space, space.name, SMALL, SPEC, net, ONE, {}).save(path)
    assert load_architecture(path)(*inputs(4)).shape == (8, 4)


# ---------------------------------------------------------------------------- published ones


def test_published_files(tmp_path):
    for name, value in (("ml_100k", "ml_100k"), ("ml_1m", "ml_1m")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"autotower": value}))
    out = tmp_path / "out"
    words = ["architectures", "--search_space=autotower", f"--out={out}", "--published"]
    words += [str(tmp_path / "ml_100k.json"), str(tmp_path / "ml_1m.json")]
    words += ["--synthetic_users=20", "--synthetic_items=150"]
    assert console.main(words) == 0
    decisions = json.loads((out / "ml_100k.json").read_text())["decisions"]
    assert decisions == dict(PUBLISHED["ml_100k"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"autotower": "netflix"}, "f.json: autotower is 'netflix'; published are ml_100k, ml_1m"),
        ({"autotower": "yelp"}, "this one needs --user_blocks=7 --item_blocks=7"),
    ],
)
def test_published_ones_that_are_not_there(value, message):
    net = net_of(user_blocks=3, item_blocks=3)
    with pytest.raises(ArchitectureError, match=message):
        AUTOTOWER.published_architecture(value, "f.json", net)
    assert AUTOTOWER.published_architecture({"micro": []}, "f.json", net) is None
