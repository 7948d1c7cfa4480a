"""Operators of the DLRM spaces: those that the built model runs, and their exact expectations."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from dnas.core import Architecture, Operator, Sample, SuperNet
from dnas.data import DataSpec
from dnas.errors import ArchitectureError, CostError
from dnas.models import DLRM
from dnas.models.operators import linear_operator, mlp_operators
from dnas.testing.contracts.walking import all_architectures
from supernets.config import DLRMSpaceConfig
from supernets.mlp import MLPSuperNet
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


class Around(SuperNet):
    """A supernet with layers of its own around one that says what it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.inner = MLPSuperNet(4, 1, (2, 4), 2)

    def forward(self, x: torch.Tensor, *, sample: Sample) -> torch.Tensor:
        return self.inner(self.first(x), sample=sample)

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), self.inner.build(architecture))


class AroundInFull(Around):
    def fixed_operators(self) -> list[Operator]:
        return [linear_operator(3, 4, relu=False)]


def test_half_of_a_network_has_no_price():
    """What an outer supernet does not say would be missing from every sum."""
    net = Around()
    with pytest.raises(CostError, match="Around does not say which operators it runs"):
        net.price("latency", lambda operator: 1.0)
    assert "latency" not in net.expected_cost(net.probability_sample())
    full = AroundInFull()
    full.price("latency", lambda operator: 1.0)
    assert full.cost(full.sample_arch())["latency"] == 3.0


@pytest.mark.parametrize("price", [float("nan"), -1.0, float("inf"), "5"])
def test_a_price_is_a_number_of_0_or_more(price):
    net = AroundInFull()
    with pytest.raises(CostError, match="latency: the price of linear"):
        net.price("latency", lambda operator: price)


def test_prices_are_asked_once_and_kept_for_the_last_operators_only():
    asked: list[Operator] = []

    def prices(operator: Operator) -> float:
        asked.append(operator)
        return 1.0

    net = TOP_BOTTOM_MLPS.make_supernet(CONFIG, SPEC)
    net.price("latency", prices)
    for _ in range(3):
        net.expected_cost(net.soft_sample(1.0, 4))
        net.cost(net.random_architecture())
    assert len(asked) == len(set(asked)) == len(net.operators())


def test_costs_that_nobody_would_ask_are_refused():
    with pytest.raises(ArchitectureError, match=r"overrides expected_cost.*override cost_terms"):

        class Old(AroundInFull):
            def expected_cost(self, sample: Sample) -> dict[str, torch.Tensor]:
                return {}
