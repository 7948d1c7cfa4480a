"""Dead parts, canonical forms, and draws from the space."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch
from nasrec_cases import FULL, RELEASED, inputs, net, prior

from dnas.errors import ArchitectureError
from dnas.strategies.draws import Draws
from dnas.testing import check_sharing
from supernets.nasrec.genome import (
    INPUTS,
    Block,
    everything,
    from_decisions,
    to_decisions,
)
from supernets.nasrec.liveness import canonical_genome, liveness

FM = replace(FULL, fm_link=True, num_blocks=4)


def block(dense="fc", sparse="embed_fc", d=(0,), s=(0,), left=(0,), right=(0,), **rest) -> Block:
    values = {"dense_dim": 3, "sparse_dim": 2, "interact": False, "fm": False, **rest}
    return Block((dense,), (sparse,), d, s, left, right, **values)


def test_what_reaches_the_logit():
    """1 feeds 2's gate, 2's dense output feeds 4; nobody reads 3 or 1's sparse output."""
    genome = (
        block(),
        block("gate", left=(1,)),
        block(d=(0, 1, 2), s=(0, 1, 2)),
        block(d=(2,), s=(0,)),
    )
    live = liveness(genome)
    assert [(one.dense_out, one.sparse_out) for one in live] == [
        (True, False),
        (True, False),
        (False, False),
        (True, True),
    ]
    assert not live[0].sparse(genome[0])
    # With the link, 1's sparse operators reach its dense output.
    linked = (replace(genome[0], fm=True), *genome[1:])
    assert liveness(linked)[0].sparse(linked[0])
    # An input that no operator reads feeds nobody: fc has no left input.
    assert not liveness((block(), block(left=(1,), right=(1,))))[0].dense_out


def test_decisions_there_and_back():
    generator = torch.Generator().manual_seed(0)
    super_net = net(FM)
    for _ in range(20):
        genome = super_net.genome(prior(super_net).candidate(generator))
        assert from_decisions(FM, to_decisions(FM, genome)) == genome
    assert super_net.genome(super_net.architecture(everything(FM))) == everything(FM)


def test_widths_that_are_no_option_are_refused():
    super_net = net()
    genome = list(everything(FULL))
    genome[2] = replace(genome[2], dense_dim=4)
    with pytest.raises(ArchitectureError, match=r"'dense_dim/3': no option 4; .* \[3, 5\]"):
        super_net.architecture(tuple(genome))


def renumbered(genome, order):
    """The same network with other block numbers; ``order`` lists old numbers by new place."""
    new = {0: 0, **{old: place for place, old in enumerate(order, start=1)}}
    return tuple(
        replace(
            genome[old - 1],
            **{n: tuple(sorted(new[s] for s in getattr(genome[old - 1], n))) for n in INPUTS},
        )
        for old in order
    )


def test_numbers_of_blocks_do_not_matter():
    """1 and 2 read the raw input only, 3 reads both, 4 is the last."""
    genome = (
        block(dense_dim=5),
        block("dot", sparse_dim=4),
        block("sum", left=(1,), right=(2,), s=(1,)),
        block(d=(1, 2, 3), s=(2, 3), interact=True),
    )
    forms = {
        canonical_genome(FM, renumbered(genome, (*order, 4)))
        for order in itertools.permutations((1, 2, 3))
        if order.index(3) == 2
    }
    assert len(forms) == 1
    assert canonical_genome(FM, forms.copy().pop()) in forms
    # A dead block may stand anywhere.
    spared = (genome[0], block("dot", "attention"), genome[1])
    with_dead = (*spared, block(d=(1, 3), s=(1, 3)))
    without = (genome[0], genome[1], block(), block(d=(1, 2), s=(1, 2)))
    assert canonical_genome(FM, with_dead) == canonical_genome(FM, without)


def test_a_sum_commutes_and_a_gate_does_not():
    for operator, same in (("sum", True), ("gate", False)):
        one = (block(), block(operator, left=(0,), right=(1,)))
        other = (block(), block(operator, left=(1,), right=(0,)))
        shape = replace(FULL, num_blocks=2)
        assert (canonical_genome(shape, one) == canonical_genome(shape, other)) is same


def test_different_networks_have_different_forms():
    """Canonical forms keep the costs, and networks of different costs apart."""
    super_net = net(FM)
    generator = torch.Generator().manual_seed(1)
    costs: dict[str, float] = {}
    for _ in range(300):
        architecture = prior(super_net).candidate(generator)
        form = super_net.canonical(architecture)
        flops = super_net.cost(architecture)["flops"]
        assert costs.setdefault(form.id, flops) == flops == super_net.cost(form)["flops"]


# ------------------------------------------------------------------------------- draws


def drawn(strategy, *, draws=400, **options):
    super_net = net(replace(FULL, num_blocks=5))
    source = prior(super_net, **options)
    generator = torch.Generator().manual_seed(0)
    if strategy == "candidate":
        return [super_net.genome(source.candidate(generator)) for _ in range(draws)]
    return [super_net.genome(source.path(strategy, generator)) for _ in range(draws)]


def test_single_operator_any_connection():
    """Numbers of sources of the last block, uniform over 1 .. 5."""
    genomes = drawn("single_operator_any_connection", draws=1000)
    assert all(len(g[-1].dense_ops) == len(g[-1].sparse_ops) == 1 for g in genomes)
    operators = Counter(g[-1].dense_ops[0] for g in genomes)
    assert set(operators) == {"fc", "gate", "sum", "dot"}
    assert max(abs(count / 1000 - 0.25) for count in operators.values()) < 0.06
    counts = Counter(len(g[-1].sparse_in) for g in genomes)
    assert max(abs(counts[n] / 1000 - 0.2) for n in range(1, 6)) < 0.06
    assert {len(g[-1].left) for g in genomes if g[-1].dense_ops == ("gate",)} == {1}


def test_binomial_numbers_of_sources():
    """``1 + Binomial(3, 0.5)`` where four of five sources are allowed: 1/8, 3/8, 3/8, 1/8."""
    genomes = drawn("single_operator_any_connection", draws=1000, limit=4, binomial=True)
    counts = Counter(len(g[-1].sparse_in) for g in genomes)
    for number, share in zip(range(1, 5), (1 / 8, 3 / 8, 3 / 8, 1 / 8), strict=True):
        assert abs(counts[number] / 1000 - share) < 0.06
    # Candidates are uniform all the same.
    counts = Counter(len(g[-1].sparse_in) for g in drawn("candidate", limit=4, binomial=True))
    assert abs(counts[4] / 400 - 1 / 4) < 0.08


def test_single_connection_and_any_operator():
    for genome in drawn("single_operator_single_connection", draws=50):
        for one in genome:
            assert len(one.dense_in) <= 1
            assert len(one.sparse_in) <= 1
    counts = Counter(len(g[-1].dense_ops) for g in drawn("any_operator_any_connection"))
    assert set(counts) == {1, 2, 3, 4}


def test_the_full_path_is_everything():
    super_net = net(FM)
    assert super_net.genome(prior(super_net).full_path()) == everything(FM)


@pytest.mark.parametrize("shape", [FM, RELEASED, replace(FULL, num_blocks=1)])
def test_a_mutation_changes_the_network(shape):
    """Always something that has an effect; in the end everything changes."""
    super_net = net(shape)
    source, generator = prior(super_net), torch.Generator().manual_seed(0)
    architecture = source.candidate(generator)
    changed: Counter[str] = Counter()
    for _ in range(400):
        mutated = source.mutate(architecture, generator)
        assert mutated != architecture
        assert super_net.validate(mutated) == mutated
        for key in {*mutated, *architecture}:
            if mutated.get(key) != architecture.get(key):
                changed[key.split("/")[0]] += 1
        # No branch that is read lost its operators or its inputs.
        for one, live in zip(
            super_net.genome(mutated), liveness(super_net.genome(mutated)), strict=True
        ):
            assert one.dense_ops or not live.dense(one)
            assert one.sparse_ops or not live.sparse(one)
        architecture = mutated
    names = {choice for choice in super_net.choices if shape.num_blocks > 1 or choice not in INPUTS}
    assert names <= set(changed)


@pytest.mark.parametrize("shape", [FM, RELEASED])
def test_crossovers_and_redraws_are_like_candidates(shape):
    """One operator where a branch is read, and no input with more sources than are allowed; what
    has an effect in both parents is as in one of them, all of it."""
    super_net = net(shape)
    source, generator = prior(super_net, limit=2), torch.Generator().manual_seed(0)
    taken: Counter[str] = Counter()
    for _ in range(150):
        parents = [source.candidate(generator) for _ in range(2)]
        child = source.crossover(*parents, generator)
        mutant = source.redraw(parents[0], 0.2, generator)
        for made in (child, mutant):
            assert super_net.validate(made) == made
            genome = super_net.genome(made)
            for one, live in zip(genome, liveness(genome), strict=True):
                assert len(one.dense_ops) == int(live.dense(one))
                assert len(one.sparse_ops) == int(live.sparse(one))
                assert max(len(getattr(one, name)) for name in INPUTS) <= 2
        groups: dict[str, list[str]] = {}
        for key in child:
            groups.setdefault(key.split(".")[0], []).append(key)
        for keys in groups.values():
            saying = [parent for parent in parents if keys[0] in parent]
            agreeing = [all(p[key] == child[key] for key in keys) for p in saying]
            assert not saying or any(agreeing)
            if agreeing in ([True, False], [False, True]):
                taken["first" if agreeing[0] else "second"] += 1
    assert abs(taken["first"] / sum(taken.values()) - 0.5) < 0.06


def test_the_random_baseline_of_a_search_are_candidates():
    """Uniform draws would mostly lack an operator somewhere, and be easy to beat."""
    super_net = net(FM)
    for found in Draws(super_net, 1, 0, 0.0).at_random(20, prior(super_net)):
        genome = super_net.genome(found.architecture)
        for one, live in zip(genome, liveness(genome), strict=True):
            assert len(one.dense_ops) == int(live.dense(one))
            assert len(one.sparse_ops) == int(live.sparse(one))


@pytest.mark.parametrize("shape", [FM, RELEASED])
def test_sharing(shape):
    """Draws, mutations, the head and training on slices keep what every space promises."""
    check_sharing(lambda: net(shape), prior, inputs)
