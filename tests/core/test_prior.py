"""Where paths, candidates and neighbours come from, when every option is equally likely."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from dnas.core import Architecture, UniformPrior
from dnas.errors import ArchitectureError, ConfigError
from dnas.spaces import SearchSpace
from supernets import EMB_CARD, TOP_BOTTOM_MLPS
from tests.toys import SPACE, SPEC, Scales


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_mutation_changes_one_decision_to_another_option():
    net = Scales(decisions=3, options=(1, 2, 4))
    start = Architecture({"scale/d0": 1, "scale/d1": 2, "scale/d2": 4})
    prior, random = UniformPrior(net), generator()
    changes = Counter()
    for _ in range(3000):
        found = prior.mutate(start, random)
        (key,) = [key for key in start if found[key] != start[key]]
        changes[key, found[key]] += 1
    # 3 decisions with 2 other options each, all equally likely: 500 each, deviation 20.
    assert len(changes) == 6
    assert min(changes.values()) > 400
    assert max(changes.values()) < 600


def test_mutations_where_decisions_come_and_go():
    """In searched MLPs a skip takes decisions away, and their return needs options."""
    space = replace(SPACE, mlp_bottom_layers=4, mlp_top_layers=4)
    net = TOP_BOTTOM_MLPS.make_supernet(space, SPEC)
    prior, random = UniformPrior(net), generator()
    architecture = prior.candidate(random)
    decided = set()
    for _ in range(200):
        mutated = prior.mutate(architecture, random)
        assert mutated == net.validate(mutated)  # complete, and trimmed
        assert mutated != architecture
        architecture = mutated
        decided.add(tuple(architecture))
    assert len(decided) > 5


def test_a_crossover_takes_each_decision_from_one_of_two_by_a_coin_of_its_own():
    net = Scales(decisions=3)
    ones, fours = (Architecture({f"scale/d{d}": n for d in range(3)}) for n in (1, 4))
    prior, random = UniformPrior(net), generator()
    found = Counter(prior.crossover(ones, fours, random) for _ in range(2000))
    # 8 children, all equally likely: 250 each, deviation 15.
    assert len(found) == 8
    assert 180 < min(found.values()) <= max(found.values()) < 320
    assert not any(2 in child.values() for child in found)


def test_a_redraw_draws_each_decision_with_its_probability():
    net = Scales(decisions=4)
    start = Architecture({f"scale/d{d}": 1 for d in range(4)})
    prior, random = UniformPrior(net), generator()
    drawn = [prior.redraw(start, 0.3, random) for _ in range(3000)]
    for key in start:
        found = Counter(architecture[key] for architecture in drawn)
        # A third of the redraws takes what was there: 0.3 / 3 = 0.1 of each other option.
        assert found[2] == pytest.approx(300, abs=70)
        assert found[4] == pytest.approx(300, abs=70)
    changes = Counter(sum(a[key] != 1 for key in start) for a in drawn)
    # Independently: nothing changes in 0.8^4 = 0.41 of them, two or more in 0.18.
    assert changes[0] == pytest.approx(0.4096 * 3000, abs=110)
    assert changes[2] == pytest.approx(0.1536 * 3000, abs=90)


def test_crossovers_and_redraws_where_decisions_come_and_go():
    space = replace(SPACE, mlp_bottom_layers=4, mlp_top_layers=4)
    net = TOP_BOTTOM_MLPS.make_supernet(space, SPEC)
    prior, random = UniformPrior(net), generator()
    decided = set()
    for _ in range(100):
        first, second = prior.candidate(random), prior.candidate(random)
        child, mutant = prior.crossover(first, second, random), prior.redraw(first, 0.2, random)
        for made in (child, mutant):
            assert made == net.validate(made)  # complete, and trimmed
            decided.add(tuple(made))
        for key in child:
            parents = {parent[key] for parent in (first, second) if key in parent}
            assert not parents or child[key] in parents
    assert len(decided) > 5


def test_paths_and_candidates_are_functions_of_the_generator():
    prior = UniformPrior(Scales())
    assert prior.path("uniform", generator(3)) == prior.path("uniform", generator(3))
    assert prior.candidate(generator(3)) == prior.candidate(generator(3))
    assert prior.full_path() is None


def test_a_strategy_that_is_unknown_is_refused():
    prior = UniformPrior(Scales())
    assert prior.check_strategy("") == "uniform"
    with pytest.raises(ConfigError, match="--path_sampling=any: this space has uniform"):
        prior.path("any", generator())


def test_a_space_of_single_options_cannot_be_mutated():
    net = Scales(decisions=2, options=(3,))
    with pytest.raises(ArchitectureError, match="every decision has a single option"):
        UniformPrior(net).mutate(net.random_architecture(), generator())


def test_options_that_do_not_exist_are_refused():
    net = Scales(decisions=1, options=(1, 2))
    with pytest.raises(ArchitectureError, match="no option 7"):
        UniformPrior(net).mutate(Architecture({"scale/d0": 7}), generator())


def test_spaces_have_the_uniform_prior_unless_they_say_otherwise():
    assert isinstance(EMB_CARD, SearchSpace)
    net = EMB_CARD.make_supernet(SPACE, SPEC)
    assert isinstance(EMB_CARD.prior(SPACE, net), UniformPrior)
