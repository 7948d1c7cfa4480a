"""Tensors and modules that a module holds where torch does not see them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from dnas.core import Sample


def attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """``layer.attribute`` and its value, for all modules inside and all they hold themselves."""
    for name, part in module.named_modules():
        for attribute, value in vars(part).items():
            if attribute in ("_parameters", "_buffers", "_modules"):
                continue
            yield f"{name or type(module).__name__}.{attribute}", value


def stray_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors that are neither parameters nor buffers, by the attribute that holds them."""
    known = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    for name, value in attributes(module):
        for tensor in tensors_in(value):
            if id(tensor) not in known:  # recurrent layers list their parameters a second time
                yield name, tensor


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples, dicts and samples."""
    for entry in _entries(value):
        if isinstance(entry, Tensor):
            yield entry
        elif isinstance(entry, Sample):
            yield from entry.weights.values()


def _entries(value: Any) -> Iterator[Any]:
    """What is in nested lists, tuples, sets and dicts; the value itself if it is none of them."""
    if isinstance(value, dict):
        for entry in value.values():
            yield from _entries(entry)
    elif isinstance(value, list | tuple | set):
        for entry in value:
            yield from _entries(entry)
    else:
        yield value


def stray_modules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules with weights in plain lists, tuples and dicts, by the attribute that holds them.

    torch does not see those: they are neither trained, saved nor moved. A second reference to a
    module of the tree is none of them.
    """
    known = {id(part) for part in module.modules()}
    for name, value in attributes(module):
        if isinstance(value, list | tuple | set | dict):
            for part in _entries(value):
                is_stray = isinstance(part, nn.Module) and id(part) not in known
                if is_stray and (*part.parameters(), *part.buffers()):
                    yield name, part
