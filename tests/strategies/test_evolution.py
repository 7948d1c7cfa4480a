"""Regularized evolution and random search, on objectives that are known."""

from __future__ import annotations

import pytest

from dnas.core import Architecture, UniformPrior
from dnas.errors import ConfigError
from dnas.strategies.evolution import EvolutionSettings, RegularizedEvolution
from dnas.strategies.proposals import Proposals
from dnas.strategies.random_search import RandomSearch
from tests.one_shot_toys import distance
from tests.toys import Scales

SMALL = EvolutionSettings(
    population=8, sample_size=4, children=4, iterations=30, mutations=3, mutation_decay=5
)


def evolution(net, settings=SMALL, **more):
    return RegularizedEvolution(UniformPrior(net), net, settings, **more)


def run(strategy, iterations=10**6):
    """All that was asked for, and the scores, by iteration."""
    found = []
    while len(found) < iterations and (asked := strategy.ask()):
        scores = [distance(architecture) for architecture in asked]
        strategy.tell(asked, scores)
        found.append(list(zip(asked, scores, strict=True)))
    return found


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


def test_asking_again_gives_the_same_until_told():
    strategy = evolution(Scales(decisions=12))
    for _ in range(3):
        asked = strategy.ask()
        assert asked == strategy.ask()
        strategy.tell(asked, [distance(a) for a in asked])
        assert asked != strategy.ask()


@pytest.mark.parametrize("seed", range(3))
def test_evolution_finds_a_planted_optimum_and_random_search_does_not(seed):
    """3^12 = 531441 architectures, of which 416 are looked at: 1 in 1278."""
    net = Scales(decisions=12)
    settings = EvolutionSettings(
        population=16, sample_size=8, children=8, iterations=50, mutations=3, mutation_decay=10
    )
    evolved = run(evolution(net, settings, seed=seed))
    drawn = run(
        RandomSearch(UniformPrior(net), net, evaluations=16 + 8 * 50, per_iteration=8, seed=seed)
    )
    count = [sum(map(len, found)) for found in (evolved, drawn)]
    assert count == [settings.evaluations] * 2
    best = [min(score for batch in found for _, score in batch) for found in (evolved, drawn)]
    assert best[0] == 0
    assert best[1] >= 2


def test_nothing_is_asked_for_twice():
    net = Scales(decisions=12)
    for strategy in (
        evolution(net),
        RandomSearch(UniformPrior(net), net, evaluations=128, per_iteration=16),
    ):
        ids = [net.canonical(a).id for batch in run(strategy) for a, _ in batch]
        assert len(ids) == len(set(ids)) == 128


class Symmetric(Scales):
    """The same network whatever the order of its factors."""

    def canonical(self, architecture):
        ordered = sorted(map(int, architecture.values()))
        return Architecture(dict(zip(architecture, ordered, strict=True)))


def test_equal_networks_count_once_and_a_small_space_is_searched_whole():
    """Of 3^4 architectures 15 are different: multisets of 4 out of 3."""
    net = Symmetric(decisions=4)
    for strategy in (
        evolution(net),
        RandomSearch(UniformPrior(net), net, evaluations=100, per_iteration=6),
    ):
        strategy.proposals.max_tries = 300
        found = [a for batch in run(strategy) for a, _ in batch]
        assert len(found) == len({net.canonical(a).id for a in found}) == 15
        assert strategy.ask() == []


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
@pytest.mark.parametrize("kind", ["evolution", "random"])
def test_states_restore_a_search(steps, kind):
    net = Scales(decisions=12)

    def make():
        if kind == "evolution":
            return evolution(net, seed=5)
        return RandomSearch(UniformPrior(net), net, evaluations=60, per_iteration=6, seed=5)

    whole = run(make(), 10)
    first = make()
    run(first, steps)
    second = make()
    second.load_state_dict(first.state_dict())
    assert run(second, 10 - steps) == whole[steps:]


def test_the_seed_decides():
    net = Scales(decisions=12)
    assert run(evolution(net, seed=1), 3) == run(evolution(net, seed=1), 3)
    assert run(evolution(net, seed=1), 1) != run(evolution(net, seed=2), 1)


def test_cost_limits_hold():
    net = Scales(decisions=6)  # units: the sum of the factors, from 6 to 24
    limits = {"units": 10.0}
    for strategy in (
        evolution(net, cost_limits=limits),
        RandomSearch(UniformPrior(net), net, evaluations=40, per_iteration=8, cost_limits=limits),
    ):
        asked = [a for batch in run(strategy, 5) for a, _ in batch]
        assert len(asked) >= 20
        assert max(sum(map(int, a.values())) for a in asked) <= 10


def test_limits_that_cannot_be_met_say_so():
    net = Scales(decisions=6)
    strategy = evolution(net, cost_limits={"units": 5.0})
    with pytest.raises(
        ConfigError, match=r"none of 1000 architectures drawn has units <= 5 \(the least drawn was"
    ):
        strategy.ask()
    with pytest.raises(ConfigError, match="no such cost; this space has units"):
        evolution(net, cost_limits={"flops": 5.0}).ask()


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
        ({"population": 0}, "--population must be at least 1"),
        ({"iterations": -1}, "--n_iterations must be at least 0"),
        ({"mutation_decay": 0}, "--mutation_decay must be at least 1"),
        ({"population": 8}, "--sample_size=32 is more than --population=8"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        EvolutionSettings(**changes)
