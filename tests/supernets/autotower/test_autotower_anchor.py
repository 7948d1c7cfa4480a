"""Anchored training: what a step changes, what it gives back, and that it goes on after a stop."""

from __future__ import annotations

import copy

import pytest
import torch

from dnas.data.retrieval import TowerBatch
from dnas.errors import ConfigError
from dnas.strategies.path_step import make_path_step
from dnas.training.general_path_step import GeneralPathStep
from dnas.training.retrieval import RETRIEVAL
from supernets.autotower import AUTOTOWER, AutoTowerConfig
from supernets.autotower.anchor import AnchoredPathStep, make_anchor
from supernets.autotower.published import make_architecture
from tests.tower_cases import SPEC, inputs

ONE = make_architecture("sum", "mlp_32 ew_max", "sa_2 mlp_16")


def net_of(**settings):
    torch.manual_seed(0)
    given = {"embedding_dimension": 3, "block_dimension": 4, "user_blocks": 2, "item_blocks": 2}
    return AUTOTOWER.make_supernet(AutoTowerConfig(**given, **settings), SPEC)


def batch_of(seed, rows=8):
    torch.manual_seed(seed)
    users, history, items, bags = inputs(rows)
    labels = torch.stack([items[:, 0].float(), torch.zeros(rows), torch.ones(rows)], dim=1)
    return TowerBatch((users, history, items, bags), labels)


def step_of(net, optimizer=torch.optim.Adam):
    return make_path_step(net, optimizer, 0.01, {}, 5.0, RETRIEVAL.loss, torch.device("cpu"))


def test_it_is_an_option():
    assert isinstance(step_of(net_of(anchored=True)), AnchoredPathStep)
    assert type(step_of(net_of())) is GeneralPathStep
    assert not AutoTowerConfig().anchored


def test_the_anchor_leaves_random_states_alone(monkeypatch):
    """Those of GPUs too, where dropout is drawn: they must go on depending on the seed."""
    net = net_of(anchored=True)
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    make_anchor(net)
    assert torch.equal(torch.get_rng_state(), before)
    assert not seeded


def test_the_loss_is_the_paths_own():
    net, batch = net_of(anchored=True), batch_of(1)
    alone = copy.deepcopy(net)
    outputs = alone(*batch.inputs, sample=alone.one_hot_sample(ONE))
    expected = RETRIEVAL.loss(outputs, batch.labels)
    assert step_of(net)(batch, ONE).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_step_trains_the_path_the_tables_and_the_anchor_and_nothing_else():
    net, batch = net_of(anchored=True), batch_of(1)
    step = step_of(net)
    before = {name: value.clone() for name, value in net.named_parameters()}
    of_anchor = {name: value.clone() for name, value in step.beside.named_parameters()}
    step(batch, ONE)
    changed = {n for n, value in net.named_parameters() if not torch.equal(value, before[n])}
    parts = (
        *("inputs.tables", "inputs.items", "users.align", "items.align"),
        *("users.blocks.0.mlp_32", "users.blocks.1.ew_max"),
        *("items.blocks.0.sa_2", "items.blocks.1.mlp_16"),
    )
    assert all(name.startswith(parts) for name in changed)
    assert all(any(name.startswith(part) for name in changed) for part in parts)
    moved = {
        n.split(".")[0]
        for n, value in step.beside.named_parameters()
        if not torch.equal(value, of_anchor[n])
    }
    assert moved == {"pooling", "users", "items"}


def test_an_anchor_is_not_trained_for_a_frozen_supernet():
    for net in (net_of(anchored=True), net_of()):
        net.requires_grad_(False)
        with pytest.raises(ConfigError, match="all are frozen"):
            step_of(net)


def test_the_anchor_is_no_part_of_the_supernet():
    net = net_of(anchored=True)
    names = set(net.state_dict())
    step_of(net)(batch_of(1), ONE)
    assert set(net.state_dict()) == names == set(net_of().state_dict())


def test_paths_are_pulled_to_one_space():
    """Two operations that are never in one step end nearer to each other than without an anchor."""

    def loss_of_strangers(anchored: bool) -> float:
        net = net_of(anchored=anchored, output_relu=False)
        step = step_of(net)
        first = make_architecture("sum", "mlp_16 mlp_16", "mlp_16 mlp_16")
        second = make_architecture("sum", "mlp_64 mlp_64", "mlp_64 mlp_64")
        batch = batch_of(3, rows=32)
        for _ in range(150):
            step(batch, first)
            step(batch, second)
        strangers = make_architecture("sum", "mlp_16 mlp_16", "mlp_64 mlp_64")
        outputs = net(*batch.inputs, sample=net.one_hot_sample(strangers))
        return RETRIEVAL.loss(outputs, batch.labels).item()

    assert loss_of_strangers(True) < 0.7 * loss_of_strangers(False)


def test_it_goes_on_from_its_state():
    whole, first = net_of(anchored=True), net_of(anchored=True)
    other = make_architecture("average", "sa_1 mlp_16", "mlp_64 ew_sum")
    paths = [ONE, other, ONE, other]
    torch.manual_seed(5)
    step = step_of(whole)
    for number, path in enumerate(paths):
        step(batch_of(number), path)
    torch.manual_seed(5)
    step = step_of(first)
    for number, path in enumerate(paths[:2]):
        step(batch_of(number), path)
    state, weights = copy.deepcopy(step.state_dict()), copy.deepcopy(first.state_dict())
    torch.manual_seed(77)  # the anchor of the new step starts elsewhere
    second = net_of(anchored=True)
    second.load_state_dict(weights)
    step = step_of(second)
    step.load_state_dict(state)
    for number, path in enumerate(paths[2:], start=2):
        step(batch_of(number), path)
    for name, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name
