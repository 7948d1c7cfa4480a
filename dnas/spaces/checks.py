"""What people write in a SearchSpace, checked where the scripts first use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import nn

from dnas.core import Prior, SuperNet
from dnas.costs import count_params
from dnas.errors import ArchitectureError, ConfigError, DataError
from dnas.spaces.base import Prepared, SearchSpace
from dnas.training.task import Task


def check_space(space: object) -> SearchSpace:
    """``space`` itself, if its attributes are what the scripts need.

    Raises:
        ConfigError: It is no SearchSpace, or an attribute is missing or of the wrong kind.
    """
    if isinstance(space, type) and issubclass(space, SearchSpace):
        raise ConfigError(
            f"{space.__name__} is a class; give an instance of it: SPACE = {space.__name__}()"
        )
    if not isinstance(space, SearchSpace):
        raise ConfigError(
            f"{space!r} is a {type(space).__name__}, not a SearchSpace; write class MySpace("
            "dnas.SearchSpace) and give an instance of it"
        )
    who = type(space).__name__
    _check_text(who, "name", getattr(space, "name", None), "what --search_space says")
    _check_text(who, "default_cost", getattr(space, "default_cost", None), "one of its costs")
    for attribute in ("config_class", "data_class"):
        _check_settings(who, attribute, getattr(space, attribute, None))
    names = {entry.name for entry in fields(space.config_class)}
    for attribute in ("judging_fields", "one_shot_fields"):
        if unknown := [name for name in getattr(space, attribute) if name not in names]:
            raise ConfigError(
                f"{who}.{attribute}: {space.config_class.__name__} has no field {unknown[0]!r}"
            )
    task = getattr(space, "task", None)
    if not isinstance(task, Task):
        raise ConfigError(
            f"{who}.task is {_said(task)}; set it to a dnas.Task, as in task = dnas.Task(loss=..., "
            'metrics=..., selection="logloss")'
        )
    return space


def _check_text(who: str, attribute: str, value: object, meaning: str) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(
            f"{who}.{attribute} is {_said(value)}; set it to a string, {meaning}, in the class"
        )


def _check_settings(who: str, attribute: str, value: Any) -> None:
    if not (isinstance(value, type) and is_dataclass(value)):
        raise ConfigError(
            f"{who}.{attribute} is {_said(value)}; set it to a frozen dataclass, whose fields "
            "become flags: @dataclass(frozen=True, kw_only=True)"
        )
    if not value.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise ConfigError(
            f"{who}.{attribute}: {value.__name__} can be changed after it was checked; write "
            f"@dataclass(frozen=True, kw_only=True) above class {value.__name__}"
        )


def _said(value: object) -> str:
    return "not set" if value is None else repr(value)


def supernet_of(space: SearchSpace, config: Any, spec: Any) -> SuperNet:
    """``space.make_supernet(config, spec)``, checked.

    Raises:
        ConfigError: It is no SuperNet, or lacks the space's ``default_cost``.
    """
    found: object = space.make_supernet(config, spec)
    who = type(space).__name__
    if not isinstance(found, SuperNet):
        raise ConfigError(
            f"{who}.make_supernet gave {found!r:.80}, which is a {type(found).__name__}; return "
            "the SuperNet"
        )
    costs = sorted(found.cost(found.sample_arch(most_likely=True)))
    if space.default_cost not in costs:
        raise ConfigError(
            f"{who}.default_cost is {space.default_cost!r}, but {type(found).__name__} has the "
            f"costs {costs}; name one of them, or state it in option_costs or fixed_costs"
        )
    return found


def prior_of(space: SearchSpace, config: Any, super_net: SuperNet) -> Prior:
    """``space.prior(config, super_net)``, checked.

    Raises:
        ConfigError: It is no Prior, or one that does not know its SuperNet, or names no strategy.
    """
    found: object = space.prior(config, super_net)
    who, kind = type(space).__name__, type(found).__name__
    if not isinstance(found, Prior):
        raise ConfigError(
            f"{who}.prior gave {found!r:.80}, which is a {kind}; return a Prior, such as "
            "UniformPrior(super_net)"
        )
    if getattr(found, "super_net", None) is not super_net:
        raise ConfigError(
            f"{who}.prior gave a {kind} that does not have the SuperNet as self.super_net, which "
            "crossover and redraw need; set it in __init__"
        )
    if not getattr(found, "strategies", ()):
        raise ConfigError(
            f"{who}.prior gave a {kind} without strategies; name those of path(), the default "
            'first: strategies = ("uniform",)'
        )
    return found


def prepared_by(space: SearchSpace, data_config: Any) -> Prepared:
    """``space.prepare(data_config)``, checked.

    Raises:
        DataError: It lacks something that the scripts need.
    """
    found: Any = space.prepare(data_config)
    missing = [name for name in ("spec", "record", "loader") if not hasattr(found, name)]
    if missing:
        raise DataError(
            f"{type(space).__name__}.prepare gave a {type(found).__name__} without "
            f"{', '.join(missing)}; return an object with spec, record and loader(split, "
            "batch_size, ...), see dnas.spaces.Prepared"
        )
    if not isinstance(found.record, Mapping):
        raise DataError(
            f"{type(found).__name__}.record is a {type(found.record).__name__}; it must be a dict "
            "of JSON values, which the result file keeps"
        )
    prepared: Prepared = found
    return prepared


def check_params(model: nn.Module, costs: Mapping[str, float], source: str) -> None:
    """Refuse a model that is not the one whose costs were stated.

    Args:
        model: Built from an architecture.
        costs: The architecture's; only ``"params"`` is looked at, where it is there.
        source: File of the architecture, for the error.

    Raises:
        ArchitectureError: The model has another number of parameters.
    """
    counted = count_params(model)
    stated = costs.get("params", counted)
    if abs(stated - counted) >= 0.5:
        raise ArchitectureError(
            f"{source}: costs say {stated:.0f} params, but the model that was built has {counted}; "
            "build and option_costs of the supernet must agree: run "
            "dnas.testing.check_supernet on it"
        )
