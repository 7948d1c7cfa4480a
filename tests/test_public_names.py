"""What is public: the ``__all__`` of the packages that have a page in docs/reference."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dnas

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
PACKAGES = sorted(
    package
    for page in REFERENCE.glob("*.rst")
    for package in re.findall(r"^\.\. public-names:: (\S+)", page.read_text(), re.MULTILINE)
)
PROMISED = {
    *("dnas", "dnas.core", "dnas.costs", "dnas.data", "dnas.errors", "dnas.jobs", "dnas.metrics"),
    *("dnas.models", "dnas.reporting", "dnas.spaces", "dnas.strategies", "dnas.testing"),
}


def documented(package: str) -> Iterator[tuple[str, Any]]:
    """Public classes and functions; plain values have comments, which the build demands."""
    module = importlib.import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            yield f"{package}.{name}", value


def signatures(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A function, or the public methods that a class of this library defines or inherits."""
    if inspect.isroutine(value):
        yield name, value
        return
    for owner in value.__mro__:
        for attribute, found in vars(owner).items():
            function = getattr(found, "__func__", found)
            hidden = attribute.startswith("_") and attribute not in ("__init__", "__call__")
            if inspect.isfunction(function) and is_ours(function) and not hidden:
                yield f"{name}.{attribute}", function


def is_ours(function: Any) -> bool:
    """Written in this library: neither torch's nor made by ``dataclass`` or ``Protocol``."""
    written = function.__code__.co_filename != "<string>"
    return written and function.__module__.startswith("dnas.")


def unannotated(function: Any) -> list[str]:
    signature = inspect.signature(function)
    found = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is parameter.empty and parameter.name not in ("self", "cls")
    ]
    return found + ["return"] * (signature.return_annotation is signature.empty)


def test_every_public_package_has_a_page():
    assert set(PACKAGES) == PROMISED


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_once_and_are_documented(package):
    names = importlib.import_module(package).__all__
    assert len(set(names)) == len(names)
    assert [name for name, value in documented(package) if not (value.__doc__ or "").strip()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_public_functions_and_methods_are_annotated(package):
    missing = {
        name: unannotated(function)
        for public, value in documented(package)
        for name, function in signatures(public, value)
    }
    assert {name: found for name, found in missing.items() if found} == {}


def test_what_is_not_annotated_is_found():
    def scale(x, factor: float = 2.0):
        return factor * x

    assert unannotated(scale) == ["x", "return"]
    assert {name for name, _ in signatures("dnas.Choice", dnas.Choice)} >= {
        "dnas.Choice.__init__",
        "dnas.Choice.soft_sample",
    }
