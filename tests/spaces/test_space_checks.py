"""A SearchSpace that lacks something is refused, with what to write."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from torch import nn
from torch.nn.functional import mse_loss

from dnas.core import Prior, UniformPrior
from dnas.errors import ArchitectureError, ConfigError, DataError
from dnas.metrics import BinaryMetrics
from dnas.spaces import (
    SearchSpace,
    check_params,
    find_space,
    prepared_by,
    prior_of,
    register,
    supernet_of,
)
from dnas.training.task import Task
from tests.toys import Scales


@dataclass(frozen=True)
class Settings:
    """Nothing to set."""


@dataclass
class Changeable:
    """Not frozen."""


class Space(SearchSpace):
    """Complete."""

    name = "scales_of_a_test"
    config_class = Settings
    data_class = Settings
    task = Task(loss=mse_loss, metrics=BinaryMetrics, selection="logloss")
    default_cost = "units"

    def prepare(self, data_config):
        return Data()

    def make_supernet(self, config, spec):
        return Scales()

    def spec_from_json(self, value):
        return value


class Data:
    def __init__(self):
        self.spec, self.record = {}, {}

    def loader(self, split, batch_size, **settings):
        return []


class Listed(Data):
    def __init__(self):
        super().__init__()
        self.record = []


SPACE = Space()


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("name", None, "Space.name is not set; set it to a string, what --search_space says"),
        ("name", "", "Space.name is ''; set it to a string"),
        ("default_cost", None, "Space.default_cost is not set; set it to a string"),
        ("config_class", None, "Space.config_class is not set; set it to a frozen dataclass"),
        (
            "config_class",
            dict,
            "Space.config_class is <class 'dict'>; set it to a frozen dataclass",
        ),
        ("config_class", Settings(), r"Space.config_class is Settings\(\); set it to a frozen"),
        ("data_class", Changeable, r"Space.data_class: Changeable .* @dataclass\(frozen=True"),
        ("judging_fields", ("loss",), "Space.judging_fields: Settings has no field 'loss'"),
        ("one_shot_fields", ("to",), "Space.one_shot_fields: Settings has no field 'to'"),
        ("task", None, r"Space.task is not set; set it to a dnas.Task"),
        ("task", mse_loss, "Space.task is <bound method mse_loss"),
    ],
)
def test_attributes(monkeypatch, attribute, value, message):
    monkeypatch.setattr(Space, attribute, value)
    with pytest.raises(ConfigError, match=message):
        register(Space())
    with pytest.raises(ConfigError, match=f"^search_space '{__name__}:SPACE': {message}"):
        find_space(f"{__name__}:SPACE")


def test_what_is_missing_is_missing():
    class Bare(SearchSpace):
        prepare = make_supernet = spec_from_json = None

    with pytest.raises(ConfigError, match=r"Bare.name is not set"):
        register(Bare())


def test_a_class_is_no_space():
    with pytest.raises(ConfigError, match=r"Space is a class; .* SPACE = Space\(\)"):
        find_space(f"{__name__}:Space")
    with pytest.raises(ConfigError, match="is a type, not a SearchSpace; write class MySpace"):
        find_space(f"{__name__}:Settings")


def test_a_complete_space_passes():
    assert find_space(f"{__name__}:SPACE") is SPACE
    assert isinstance(supernet_of(SPACE, Settings(), {}), Scales)
    assert isinstance(prepared_by(SPACE, Settings()), Data)


@pytest.mark.parametrize("made", [None, Scales])
def test_make_supernet_gives_something_else(monkeypatch, made):
    monkeypatch.setattr(Space, "make_supernet", lambda self, config, spec: made)
    with pytest.raises(ConfigError, match=r"Space.make_supernet gave .*; return the SuperNet"):
        supernet_of(SPACE, Settings(), {})


def test_an_unknown_default_cost(monkeypatch):
    monkeypatch.setattr(Space, "default_cost", "flops")
    with pytest.raises(ConfigError, match=r"default_cost is 'flops', but Scales .* \['units'\]"):
        supernet_of(SPACE, Settings(), {})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "Space.prepare gave a NoneType without spec, record, loader; return an object"),
        (([], []), "Space.prepare gave a tuple without spec, record, loader"),
        (Listed(), "Listed.record is a list; it must be a dict"),
    ],
)
def test_prepare_gives_something_else(monkeypatch, data, message):
    monkeypatch.setattr(Space, "prepare", lambda self, config: data)
    with pytest.raises(DataError, match=message):
        prepared_by(SPACE, Settings())


def test_a_model_of_another_size():
    model = nn.Linear(4, 2)
    check_params(model, {"params": 10.0, "flops": 3.0}, "arch.json")
    check_params(model, {"flops": 3.0}, "arch.json")
    with pytest.raises(ArchitectureError, match=r"^arch.json: costs say 12 params, .* has 10; "):
        check_params(model, {"params": 12.0}, "arch.json")


class Ignorant(UniformPrior):
    """Does not keep its SuperNet."""

    def __init__(self, super_net):
        self.net = super_net


class Nameless(UniformPrior):
    """Without names of strategies."""

    strategies = ()


def space_with(found):
    class Other(Space):
        def prior(self, config, super_net):
            return found(super_net) if isinstance(found, type) else found

    return Other()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            Scales(),
            "(?s)Other.prior gave .* which is a Scales; return a Prior, such as",
        ),
        (None, "Other.prior gave None, which is a NoneType; return a Prior"),
        (Ignorant, "a Ignorant that does not have the SuperNet as self.super_net"),
        (UniformPrior(Scales()), "a UniformPrior that does not have the SuperNet"),
        (Nameless, "a Nameless without strategies; name those of path"),
    ],
)
def test_a_prior_that_cannot_be_searched_with_is_refused(found, message):
    with pytest.raises(ConfigError, match=message):
        prior_of(space_with(found), Settings(), Scales())


def test_the_prior_of_a_space():
    net = Scales()
    assert isinstance(prior_of(Space(), Settings(), net), Prior)
    assert prior_of(space_with(UniformPrior), Settings(), net).super_net is net
