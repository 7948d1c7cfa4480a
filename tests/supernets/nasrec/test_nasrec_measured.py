"""Operators of NASRec networks: all of their work, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from nasrec_cases import FULL, RELEASED, TABLE_ROWS, net

from dnas.core import Operator
from dnas.costs import Conditions, CostTable, Measurement, find_kind
from dnas.costs.kinds import completed
from dnas.costs.work import count_work
from dnas.errors import NoExpectationError


def macs(operator: Operator) -> float:
    """Multiply-adds of one row, by the formulas of ``supernets.nasrec.operators``."""
    n = dict(operator.sizes)
    if operator.kind == "linear":
        return n["inputs"] * n["outputs"]
    if operator.kind == "nasrec_linear":
        return n["inputs"] * n["outputs"] * n["vectors"]
    if operator.kind == "nasrec_dot":
        return n["vectors"] ** 2 * n["dim"]
    if operator.kind == "nasrec_attention":
        return 2 * n["vectors"] ** 2 * n["dim"]
    assert operator.kind in ("layer_norm", "embedding", "embedding_group")
    return 0


@pytest.mark.parametrize("shape", [FULL, RELEASED], ids=["paper", "released"])
def test_operators_are_all_the_work_of_a_network(shape):
    super_net = net(shape)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        architecture = super_net.random_architecture(generator)
        counts = super_net.operator_terms(super_net.one_hot_sample(architecture))
        assert bool((counts.counts == 1).all())
        total = sum(map(macs, counts.operators))
        assert 2 * total == super_net.cost(architecture)["flops"]
        kinds = [operator.kind for operator in counts.operators]
        assert kinds.count("embedding") == len(TABLE_ROWS)


@pytest.mark.parametrize("shape", [FULL, RELEASED], ids=["paper", "released"])
def test_kinds_run_and_do_the_work_they_are_priced_for(shape):
    rows, some = 2, {}
    for operator in net(shape).operators():
        some.setdefault((operator.kind, dict(operator.sizes).get("bias")), operator)
    assert {kind for kind, _ in some} >= {"nasrec_linear", "nasrec_dot", "nasrec_attention"}
    for operator in some.values():
        full = completed(operator)
        kind, sizes = find_kind(full), dict(full.sizes)
        inputs = kind.inputs(rows, torch.Generator().manual_seed(1), **sizes)
        with torch.inference_mode():
            assert kind.make(**sizes).eval()(*inputs).shape[0] == rows
        work = count_work(full, rows)
        assert work is not None
        assert work[0] == 2 * rows * macs(operator)


def test_what_is_measured_spans_what_networks_run():
    super_net = net()
    ranges: dict[tuple[str, str], list[float]] = defaultdict(list)
    for operator in super_net.operators():
        for name, size in operator.sizes:
            ranges[operator.kind, name].append(size)
    generator = torch.Generator().manual_seed(2)
    for _ in range(200):
        architecture = super_net.random_architecture(generator)
        for operator in super_net.operator_terms(super_net.one_hot_sample(architecture)).operators:
            for name, size in operator.sizes:
                known = ranges[operator.kind, name]
                assert min(known) <= size <= max(known), operator


@pytest.mark.parametrize("shape", [FULL, replace(FULL, num_blocks=1)], ids=["3", "1"])
def test_every_network_has_a_price_once_these_are_measured(shape):
    super_net = net(shape)
    table = CostTable(Conditions.here("cpu", rows=4, threads=1))
    for operator in super_net.operators():
        size = 1.0 + sum(value for _, value in operator.sizes)
        table.add(operator, Measurement(size, 0.1, 10, 2))
    generator = torch.Generator().manual_seed(5)
    for _ in range(150):
        architecture = super_net.random_architecture(generator)
        for operator in super_net.operator_terms(super_net.one_hot_sample(architecture)).operators:
            assert table.price(operator).us > 0


def test_soft_samples_have_no_list_of_operators():
    super_net = net()
    with pytest.raises(NoExpectationError, match="--search_algorithm=evolution"):
        super_net.operator_terms(super_net.probability_sample())


def test_a_price_is_a_cost_of_hard_samples():
    super_net = net()
    super_net.price("latency", lambda operator: 2.0)
    architecture = super_net.random_architecture(torch.Generator().manual_seed(3))
    runs = super_net.operator_terms(super_net.one_hot_sample(architecture)).operators
    assert super_net.cost(architecture)["latency"] == 2.0 * len(runs)
    # Other costs stay: a search by FLOPs may have a cost table as well.
    assert "latency" not in super_net.expected_cost(super_net.probability_sample())
    assert "flops" in super_net.expected_cost(super_net.probability_sample())
