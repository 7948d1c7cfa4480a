"""Regularized evolution and proposals, on objectives that are known."""

from __future__ import annotations

import pytest

from dnas.core import Architecture, UniformPrior
from dnas.errors import ConfigError
from dnas.strategies.evolution import EvolutionSettings, RegularizedEvolution
from dnas.strategies.proposals import Proposals
from tests.toys import Scales


def evolution(net, settings, **more):
    return RegularizedEvolution(UniformPrior(net), net, settings, **more)


def test_mutations_of_the_paper():
    """ "5 mutations. We decay the number of mutations by 1 every 20 iterations.", of 100."""
    settings = EvolutionSettings()
    assert [settings.mutations_at(i) for i in (0, 19, 20, 39, 40, 60, 79, 80, 99)] == [
        5, 5, 4, 4, 3, 2, 2, 1, 1,
    ]  # fmt: skip
    assert settings.mutations_at(500) == 1
    assert settings.evaluations == 64 + 16 * 100


def test_the_oldest_go_and_the_best_of_the_sample_is_the_parent():
    net = Scales(decisions=12)
    settings = EvolutionSettings(population=4, sample_size=4, children=2, iterations=9, mutations=1)
    strategy = evolution(net, settings)
    first = strategy.ask()
    strategy.tell(first, [3.0, 1.0, 1.0, 2.0])
    children = strategy.ask()
    # All members compete, and of two equally good ones the older is the parent; one mutation.
    for child in children:
        assert sum(child[key] != first[1][key] for key in child) == 1
    strategy.tell(children, [5.0, 4.0])
    assert [member for member, _ in strategy.population] == [*first[2:], *children]
    assert [score for _, score in strategy.population] == [1.0, 2.0, 5.0, 4.0]


def test_what_was_found_is_not_thrown_away_for_a_limit(caplog):
    """Of two that are wanted one is found, then none; and none later on."""
    net = Scales(decisions=2)  # units: from 2 to 8
    cheap, dear = (Architecture({"scale/d0": n, "scale/d1": n}) for n in (1, 4))
    proposals = Proposals(net, {"units": 4.0})
    draws = iter([dear, cheap])
    assert proposals.take(2, lambda tries: next(draws, dear)) == [cheap]
    proposals.note([cheap])
    caplog.clear()
    assert proposals.take(2, lambda tries: dear) == []
    assert "0 new architectures where 2 were wanted" in caplog.text
    assert caplog.text.strip().endswith("known already, or too expensive")


def test_costs_are_spoken_of_where_they_are_limited(caplog):
    net = Scales(decisions=1)
    known = Architecture({"scale/d0": 1})
    assert Proposals(net).take(2, lambda tries: known) == [known]
    assert caplog.text.strip().endswith("known already")


def test_work_in_an_exhausted_space_is_bounded():
    """300 draws; every 50 one mutation more than the usual one, but at most three more."""
    net = Scales(decisions=2)  # 9 architectures
    settings = EvolutionSettings(
        population=9, sample_size=1, children=4, iterations=99, mutations=3, mutation_decay=1
    )
    strategy = evolution(net, settings)
    while len(strategy.proposals.seen) < 9:
        asked = strategy.ask()
        strategy.tell(asked, [0.0] * len(asked))
    strategy.iteration = 90  # one mutation, usually
    counts = []
    mutate = strategy.prior.mutate
    strategy.prior.mutate = lambda *args: counts.append(1) or mutate(*args)
    assert strategy.ask() == []
    assert len(counts) == 50 * (1 + 2 + 3 + 4 + 4 + 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mutation_decay": 0}, "--mutation_decay must be at least 1"),
        ({"population": 8}, "--sample_size=32 is more than --population=8"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        EvolutionSettings(**changes)
