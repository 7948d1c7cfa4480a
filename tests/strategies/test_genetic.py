"""Genetic search, on objectives that are known."""

from __future__ import annotations

import math

import pytest

from dnas.core import UniformPrior
from dnas.errors import ConfigError
from dnas.strategies.genetic import TRIES, GeneticSearch, GeneticSettings
from tests.one_shot_toys import asked_and_scored
from tests.toys import Scales

SMALL = GeneticSettings(population=10, children=6, iterations=20, parents=4)


def genetic(net, settings=SMALL, **more):
    return GeneticSearch(UniformPrior(net), net, settings, **more)


def test_numbers_of_the_paper():
    assert GeneticSettings().evaluations == 2550
    assert GeneticSettings().parents == 10


def test_parents_are_the_best_of_all_so_far_the_earlier_of_equal_ones():
    net = Scales(decisions=12)
    strategy = genetic(net)
    first = strategy.ask()
    strategy.tell(first, [5.0, 1.0, math.inf, 1.0, 7.0, 6.0, 3.0, math.inf, 9.0, 8.0])
    best = [first[1], first[3], first[6], first[0]]
    assert [parent for parent, _ in strategy.parents] == best
    children = strategy.ask()
    strategy.tell(children, [9.0, 1.0, 9.0, 2.0, 9.0, 3.0])
    assert strategy.parents == [
        (first[1], 1.0), (first[3], 1.0), (children[1], 1.0), (children[3], 2.0),
    ]  # fmt: skip


class Noting(UniformPrior):
    """Remembers who the parents of mutants and crossovers were."""

    def __init__(self, net):
        super().__init__(net)
        self.mutated, self.crossed, self.probabilities = [], [], set()

    def redraw(self, architecture, probability, generator):
        self.mutated.append(architecture)
        self.probabilities.add(probability)
        return super().redraw(architecture, probability, generator)

    def crossover(self, first, second, generator):
        self.crossed.append((first, second))
        return super().crossover(first, second, generator)


def test_half_are_mutants_and_half_crossovers_of_uniform_parents():
    net = Scales(decisions=40)  # so many that every child is new
    prior = Noting(net)
    settings = GeneticSettings(
        population=6, children=401, iterations=1, parents=4, mutation_probability=0.5
    )
    strategy = GeneticSearch(prior, net, settings)
    first = strategy.ask()
    strategy.tell(first, [4.0, 3.0, 2.0, 1.0, 5.0, 6.0])
    assert not prior.mutated
    assert len(strategy.ask()) == 401
    assert len(prior.mutated) == 201  # of them none was known: every try was a success
    assert prior.probabilities == {0.5}
    # The crossover of a parent with itself is known, and drawn again: 3/4 of all are not.
    mothers = [pair[0] for pair in prior.crossed]
    assert len(mothers) == pytest.approx(200 / 0.75, abs=40)
    for parent in first[:4]:
        assert prior.mutated.count(parent) == pytest.approx(50, abs=25)
        assert mothers.count(parent) == pytest.approx(len(mothers) / 4, abs=30)


def test_an_only_child_is_a_mutant():
    """A crossover would bring in nothing new for ever."""
    net = Scales(decisions=12)
    prior = Noting(net)
    strategy = GeneticSearch(prior, net, GeneticSettings(population=4, children=1, iterations=5))
    found = asked_and_scored(strategy)
    assert [len(batch) for batch in found] == [4] + [1] * 5
    assert len(prior.mutated) >= 5
    assert not prior.crossed


def test_random_architectures_fill_up_what_parents_do_not_give():
    """Of one parent all crossovers are the parent itself."""
    net = Scales(decisions=12)
    prior = Noting(net)
    settings = GeneticSettings(population=5, children=6, iterations=1, parents=1)
    strategy = GeneticSearch(prior, net, settings)
    first = strategy.ask()
    strategy.tell(first, [1.0, 2.0, 3.0, 4.0, 5.0])
    children = strategy.ask()
    assert len(set(children)) == 6
    assert len(prior.crossed) == 3 * TRIES
    assert set(prior.mutated) == {first[0]}


def test_without_any_score_it_goes_on_at_random():
    net = Scales(decisions=12)
    strategy = genetic(net)
    strategy.tell(strategy.ask(), [math.inf] * 10)
    assert strategy.parents == []
    assert len(strategy.ask()) == 6


class Halves(Scales):
    """Two towers of three decisions: their costs one by one, and together."""

    def option_costs(self):
        rows = self.factors.tolist()
        nothing = [[0.0] * len(row) for row in rows[:3]]
        parts = {"units": rows, "user": rows[:3] + nothing, "item": nothing + rows[3:]}
        return {name: {self.choice.name: table} for name, table in parts.items()}


def test_several_limits_hold_at_once_for_the_whole_and_for_each_tower():
    net = Halves(decisions=6)
    limits = {"units": 14.0, "user": 6.0, "item": 9.0}
    asked = [a for batch in asked_and_scored(genetic(net, cost_limits=limits), 8) for a, _ in batch]
    assert len(asked) == 10 + 7 * 6
    costs = [net.cost(architecture) for architecture in asked]
    assert {name: max(cost[name] for cost in costs) for name in limits} == limits
    assert max(cost["user"] + cost["item"] for cost in costs) == 14


def test_limits_that_contradict_each_other_say_what_was_least():
    strategy = genetic(Halves(decisions=6), cost_limits={"units": 20.0, "item": 2.0})
    with pytest.raises(ConfigError, match=r"units <= 20 .*, item <= 2 \(the least drawn was 3\)"):
        strategy.ask()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parents": 0}, "--num_parents must be at least 1"),
        ({"mutation_probability": 0.0}, r"--mutation_probability must be in \(0, 1\], but got 0"),
        ({"mutation_probability": 1.5}, "--mutation_probability must be in"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        GeneticSettings(**changes)
