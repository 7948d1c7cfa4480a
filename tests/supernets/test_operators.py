"""Operators of the DLRM spaces: those that the built model runs, and their exact expectations."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from dnas.core import Operator, Sample
from dnas.data import DataSpec
from dnas.errors import CostError
from dnas.models import DLRM
from dnas.models.operators import mlp_operators
from dnas.testing.contracts.walking import all_architectures
from supernets.config import DLRMSpaceConfig
from supernets.registry import EMB_CARD, EMB_DIM, JOINT, TOP_BOTTOM_MLPS

SPEC = DataSpec(dense_names=("a", "b"), sparse_names=("u", "v"), cardinalities=(50, 3))
CONFIG = DLRMSpaceConfig(
    embedding_dimension=4,
    arch_mlp_bot=(6,),
    arch_mlp_top=(6,),
    mlp_size_options=(4, 6),
    mlp_bottom_layers=3,
    mlp_top_layers=2,
    dim_options=(2, 4),
    cardinality_options=("1.0", "0.1"),
)
SPACES = [TOP_BOTTOM_MLPS, EMB_DIM, EMB_CARD, JOINT]


def runs(model: DLRM) -> Counter[Operator]:
    """What a built DLRM runs, read off its modules."""
    tables = model.embeddings
    found = Counter([model.interaction.operator])
    for part in (model.bottom, model.top):
        found.update(mlp_operators(part.sizes, last_activation=part.last_activation))
    for rows, dim in zip(tables.rows, tables.dims, strict=True):
        width = tables.output_dim
        found[Operator.of("embedding", rows=rows, dim=dim, width=width, bag=1, skew=1.0)] += 1
    for dim in set(tables.dims):
        found[Operator.of("embedding_group", dim=dim, width=tables.output_dim)] += 1
    if len(tables.groups) > 1:
        features, width = len(tables.rows), tables.output_dim
        found[Operator.of("embedding_join", features=features, width=width)] += 1
    return found


@pytest.mark.parametrize("space", SPACES, ids=[space.name for space in SPACES])
def test_counts_are_what_the_built_model_runs_and_exact_means(space):
    net = space.make_supernet(CONFIG, SPEC).double()
    soft = net.soft_sample(0.7, 1, torch.Generator().manual_seed(1))
    weights = {name: w.detach().double() for name, w in soft.weights.items()}
    sample = Sample({name: w / w.sum(-1, keepdim=True) for name, w in weights.items()})
    mean: Counter[Operator] = Counter()
    for probability, architecture in all_architectures(net, sample):
        trimmed = net.validate(architecture)
        one_hot = net.one_hot_sample(trimmed, torch.float64)
        counts = {o: float(c) for o, c in net.operator_terms(one_hot).by_operator().items() if c}
        expected = runs(net.build(trimmed))
        assert counts == pytest.approx(dict(expected), abs=1e-12)
        for operator, count in expected.items():
            mean[operator] += probability * count
    found = net.operator_terms(sample).by_operator()
    assert set(found) == set(net.operators())
    for operator, count in found.items():
        assert float(count) == pytest.approx(mean[operator], abs=1e-9)


def test_prices_become_a_cost():
    net = TOP_BOTTOM_MLPS.make_supernet(CONFIG, SPEC)
    assert "latency" not in net.expected_cost(net.probability_sample())
    net.price("latency", lambda operator: 3.0 if operator.kind == "linear" else 0.5)
    architecture = net.sample_arch(most_likely=True)
    linears = sum(count for o, count in runs(net.build(architecture)).items() if o.kind == "linear")
    # Besides linears: the interaction, two look-ups and their group.
    assert net.cost(architecture)["latency"] == pytest.approx(3.0 * linears + 0.5 * 4)
    cost = net.expected_cost(net.soft_sample(1.0, 5))["latency"]
    assert cost.shape == (5,)
    cost.sum().backward()
    assert any(bool(theta.grad.any()) for theta in net.architecture_parameters())


def test_what_has_no_price_is_named():
    def prices(operator: Operator) -> float:
        raise CostError(f"{operator}: not measured")

    net = EMB_DIM.make_supernet(CONFIG, SPEC)
    with pytest.raises(CostError, match=r"dot_interaction\(diagonal=0, dim=4, vectors=3\)"):
        net.price("latency", prices)
