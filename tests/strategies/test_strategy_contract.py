"""What every strategy promises, on objectives that are known."""

from __future__ import annotations

import json

import pytest

from dnas.core import Architecture, UniformPrior
from dnas.errors import ConfigError
from dnas.strategies.evolution import EvolutionSettings, RegularizedEvolution
from dnas.strategies.genetic import GeneticSearch, GeneticSettings
from dnas.strategies.random_search import RandomSearch
from dnas.strategies.reinforce import ReinforceSearch, ReinforceSettings
from tests.one_shot_toys import asked_and_scored, distance
from tests.toys import Scales


def evolution(net, *, population=10, children=6, iterations=20, **more):
    settings = EvolutionSettings(
        population=population, sample_size=population // 2, children=children,
        iterations=iterations, mutations=3, mutation_decay=10,
    )  # fmt: skip
    return RegularizedEvolution(UniformPrior(net), net, settings, **more)


def genetic(net, *, population=10, children=6, iterations=20, **more):
    settings = GeneticSettings(
        population=population, children=children, iterations=iterations, parents=5
    )
    return GeneticSearch(UniformPrior(net), net, settings, **more)


def reinforce(net, *, population=10, children=6, iterations=20, **more):
    settings = ReinforceSettings(population=population, children=children, iterations=iterations)
    return ReinforceSearch(net, settings, **more)


def random_search(net, *, population=10, children=6, iterations=20, **more):
    evaluations = population + children * iterations
    return RandomSearch(
        UniformPrior(net), net, evaluations=evaluations, per_iteration=children, **more
    )


LEARNING = (evolution, genetic, reinforce)
#: Reinforce draws what its policy likes, also what is known.
ALWAYS_NEW = (evolution, genetic, random_search)
every_strategy = pytest.mark.parametrize("make", [*LEARNING, random_search])


@every_strategy
def test_asking_again_gives_the_same_until_told(make):
    strategy = make(Scales(decisions=12))
    for _ in range(3):
        asked = strategy.ask()
        assert asked == strategy.ask()
        strategy.tell(asked, [distance(architecture) for architecture in asked])
        assert asked != strategy.ask()


@every_strategy
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_states_restore_a_search(make, steps):
    """Through JSON, in every bit."""
    net = Scales(decisions=12)
    whole = asked_and_scored(make(net, seed=5), 10)
    first = make(net, seed=5)
    asked_and_scored(first, steps)
    second = make(net, seed=5)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert asked_and_scored(second, 10 - steps) == whole[steps:]


@every_strategy
def test_the_seed_decides(make):
    net = Scales(decisions=12)
    assert asked_and_scored(make(net, seed=1), 3) == asked_and_scored(make(net, seed=1), 3)
    assert asked_and_scored(make(net, seed=1), 1) != asked_and_scored(make(net, seed=2), 1)


@every_strategy
def test_all_evaluate_as_many_networks(make):
    strategy = make(Scales(decisions=12))
    found = [a.id for batch in asked_and_scored(strategy) for a, _ in batch]
    assert len(set(found)) == strategy.evaluations == 10 + 6 * 20
    if make in ALWAYS_NEW:
        assert len(found) == len(set(found))


@every_strategy
def test_cost_limits_hold(make):
    net = Scales(decisions=6)  # units: the sum of the factors, from 6 to 24
    strategy = make(net, cost_limits={"units": 10.0})
    asked = [a for batch in asked_and_scored(strategy, 5) for a, _ in batch]
    assert len(asked) >= 5 * 6
    assert max(sum(map(int, architecture.values())) for architecture in asked) <= 10


@every_strategy
def test_limits_that_cannot_be_met_say_so(make):
    net = Scales(decisions=6)
    with pytest.raises(
        ConfigError, match=r"none of 1000 architectures drawn has units <= 5 \(the least drawn was"
    ):
        make(net, cost_limits={"units": 5.0}).ask()
    with pytest.raises(ConfigError, match="no such cost; this space has units"):
        make(net, cost_limits={"flops": 5.0}).ask()


class Symmetric(Scales):
    """The same network whatever the order of its factors."""

    def canonical(self, architecture):
        ordered = sorted(map(int, architecture.values()))
        return Architecture(dict(zip(architecture, ordered, strict=True)))


@pytest.mark.parametrize("make", ALWAYS_NEW)
def test_equal_networks_count_once_and_a_small_space_is_searched_whole(make):
    """Of 3^4 architectures 15 are different: multisets of 4 out of 3."""
    net = Symmetric(decisions=4)
    strategy = make(net)
    strategy.proposals.max_tries = 300
    found = [a for batch in asked_and_scored(strategy) for a, _ in batch]
    assert len(found) == len({net.canonical(a).id for a in found}) == 15
    assert strategy.ask() == []


@pytest.mark.parametrize("make", LEARNING)
@pytest.mark.parametrize("seed", range(2))
def test_a_planted_optimum_is_found_and_not_at_random(make, seed):
    """3^12 = 531441 architectures, of which 416 are looked at: 1 in 1278."""
    net = Scales(decisions=12)
    numbers = {"population": 16, "children": 8, "iterations": 50, "seed": seed}
    searched, drawn = (
        [pair for batch in asked_and_scored(each(net, **numbers)) for pair in batch]
        for each in (make, random_search)
    )
    assert len({a.id for a, _ in searched}) == len({a.id for a, _ in drawn}) == 416
    assert min(score for _, score in searched) == 0
    assert min(score for _, score in drawn) >= 2


@pytest.mark.parametrize("settings", [EvolutionSettings, GeneticSettings, ReinforceSettings])
def test_budgets_out_of_range_are_refused(settings):
    for field, flag, least in (
        ("population", "population", 1),
        ("children", "children", 1),
        ("iterations", "n_iterations", 0),
    ):
        with pytest.raises(ConfigError, match=f"--{flag} must be at least {least}, but got"):
            settings(**{field: least - 1})
