"""A search space that names the dataclass of its spec writes no JSON itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from dnas import CLASSES, CLICKS, SearchSpace
from dnas.errors import ArchitectureError, ConfigError


@dataclass(frozen=True)
class Spec:
    shape: tuple[int, ...]
    names: tuple[tuple[str, ...], ...] = (("a",), ())
    mean: float = 0.5
    note: str | None = None


@dataclass
class ListSpec:
    names: list[str] = field(default_factory=list)


class Space(SearchSpace):
    name = "toy"
    spec_class = Spec
    task = CLASSES

    def prepare(self, data_config: Any) -> Any: ...

    def make_supernet(self, config: Any, spec: Any) -> Any: ...


def test_tuples_come_back_as_tuples() -> None:
    spec = Spec((3, 8, 8), (("x", "y"), ()), 0.25)
    value = Space().spec_to_json(spec)
    # As JSON gives it: what is read from a file compares equal with what was written to it.
    assert value == {"shape": [3, 8, 8], "names": [["x", "y"], []], "mean": 0.25, "note": None}
    assert Space().spec_from_json(value) == spec


def test_what_json_does_not_keep_is_refused_when_it_is_written() -> None:
    class Lists(Space):
        spec_class = ListSpec

    with pytest.raises(ConfigError, match=r"Lists.spec_class: use numbers, strings and tuples"):
        Lists().spec_to_json(ListSpec(["a"]))
    with pytest.raises(ConfigError, match=r"or write spec_to_json and spec_from_json: .*set"):
        Space().spec_to_json(Spec({1}))  # type: ignore[arg-type]


def test_a_spec_of_other_fields_is_refused() -> None:
    with pytest.raises(ArchitectureError, match=r"does not fit search space 'toy': .*'depth'"):
        Space().spec_from_json({"shape": [1], "depth": 3})


def test_a_space_may_write_its_own() -> None:
    class Own(Space):
        spec_class = None

        def spec_from_json(self, value: Any) -> Spec:
            return Spec(tuple(value["size"]))

    assert Own().spec_from_json({"size": [2]}) == Spec((2,))


def test_a_space_that_could_not_read_its_files_is_no_space() -> None:
    class Neither(Space):
        spec_class = None

    with pytest.raises(TypeError, match="Neither: set spec_class to the dataclass"):
        Neither()


def test_the_usual_tasks_are_public() -> None:
    assert (CLICKS.selection, CLASSES.selection) == ("logloss", "logloss")
    assert not CLASSES.maximize
