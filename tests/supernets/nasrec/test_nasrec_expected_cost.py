"""Expected costs against the sum over networks."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from nasrec_cases import FULL, net

from dnas.core import Sample
from supernets.nasrec import reads
from supernets.nasrec.shape import Shape

VARIANTS: dict[str, Shape] = {
    "full": FULL,
    "released links": replace(FULL, fm_link=True, interact_rows=2, transformer_attention=True),
    "no norms": replace(FULL, layer_norm=False, fm_link=True),
    "unbalanced": replace(FULL, balanced_dot=False, interact_rows=2),
    "small": replace(FULL, dense_operators=("fc", "dot"), sparse_operators=("embed_fc",)),
    "five blocks": replace(FULL, num_blocks=5, fm_link=True),
}


def undecided_sample(super_net, seed, undecided):
    """A sample of which some decisions have random weights and the others are decided."""
    generator = torch.Generator().manual_seed(seed)
    keys = [key for choice in super_net.choices.values() for key in choice.keys]
    order = torch.randperm(len(keys), generator=generator)[:undecided].tolist()
    soft = {keys[place] for place in order}
    weights, axes = {}, []
    for name, choice in super_net.choices.items():
        columns = torch.randint(2, (len(choice.keys),), generator=generator)
        table = choice.one_hot(columns).double()
        for row, key in enumerate(choice.keys):
            if key in soft:
                p = torch.rand((), generator=generator, dtype=torch.float64)
                table[0, row, :2] = torch.stack([1 - p, p])
            axes.append(
                [(key, choice.options[row][k], float(w)) for k, w in enumerate(table[0, row]) if w]
            )
        weights[name] = table
    return Sample(weights), axes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", VARIANTS)
def test_the_mean_over_all_networks(name, seed):
    torch.manual_seed(0)
    super_net = net(VARIANTS[name])
    sample, axes = undecided_sample(super_net, seed, undecided=8)
    found = super_net.expected_cost(sample)
    mean = dict.fromkeys(found, 0.0)
    for combination in itertools.product(*axes):
        probability = 1.0
        for *_, weight in combination:
            probability *= weight
        costs = super_net.cost({key: option for key, option, _ in combination})
        for cost, value in costs.items():
            mean[cost] += probability * value
    for cost, value in found.items():
        assert float(value) == pytest.approx(mean[cost], rel=1e-9), cost


def test_every_row_of_the_batch_has_its_own_cost():
    torch.manual_seed(0)
    super_net = net(replace(FULL, fm_link=True))
    sample = super_net.soft_sample(1.0, 3, torch.Generator().manual_seed(4))
    together = super_net.expected_cost(sample)
    for row in range(3):
        alone = super_net.expected_cost(sample.rows(slice(row, row + 1)))
        for cost, value in alone.items():
            torch.testing.assert_close(value[0], together[cost][row])


def test_many_blocks_are_exact_for_one_hot_samples(monkeypatch):
    torch.manual_seed(0)
    super_net = net(replace(FULL, num_blocks=4, fm_link=True))
    monkeypatch.setattr(reads, "EXACT_BLOCKS", 2)
    generator = torch.Generator().manual_seed(9)
    for _ in range(20):
        architecture = super_net.random_architecture(generator)
        weights = super_net.one_hot_sample(architecture, torch.float64).weights
        found = super_net.expected_cost(Sample(weights))
        for cost, value in super_net.cost(architecture).items():
            assert float(found[cost]) == pytest.approx(value), cost
