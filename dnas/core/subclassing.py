"""What a subclass of SuperNet gets wrong first, said when it is defined, made or first used."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from dnas.core.architecture import Architecture
from dnas.errors import ArchitectureError, CostError

#: Method -> the keyword it is called with, and how to write it.
_KEYWORDS = {
    "forward": ("sample", "def forward(self, x, *, sample)"),
    "build": ("inherit_weights", "def build(self, architecture, *, inherit_weights=False)"),
}


def check_keywords(cls: type) -> None:
    """Refuse a ``forward`` or ``build`` that cannot be called as it will be, and a cost method of
    its own that nobody would ask.

    Raises:
        ArchitectureError: A keyword is missing, or ``expected_cost`` is overridden.
    """
    if "expected_cost" in cls.__dict__:
        raise ArchitectureError(
            f"{cls.__name__} overrides expected_cost, which adds measured costs and is asked of "
            "the outermost supernet alone; override cost_terms, with the same argument and result"
        )
    for method, (keyword, instead) in _KEYWORDS.items():
        function = cls.__dict__.get(method)
        if inspect.isfunction(function) and not _takes(function, keyword):
            raise ArchitectureError(
                f"{cls.__name__}.{method} does not take the keyword {keyword!r}; write {instead}"
            )


def _takes(function: Any, keyword: str) -> bool:
    parameters = inspect.signature(function).parameters
    named = keyword in parameters and parameters[keyword].kind in (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    return named or any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def without_init(module: nn.Module, attribute: str) -> ArchitectureError | None:
    """The error to raise where a module is assigned before ``super().__init__()``, or None."""
    if "_modules" in module.__dict__:
        return None
    name = type(module).__name__
    return ArchitectureError(
        f"{name}: self.{attribute} is assigned before super().__init__() was called; make that the "
        f"first line of {name}.__init__"
    )


def checked_form(net: nn.Module, method: str, given: Any) -> Architecture:
    """What ``net``'s ``trim`` or ``canonical`` gave.

    Raises:
        ArchitectureError: It is no Architecture.
    """
    if isinstance(given, Architecture):
        return given
    raise ArchitectureError(
        f"{type(net).__name__}.{method} gives a {type(given).__name__}, not an Architecture; "
        f"{_instead(given, 'return Architecture({...}) of the decisions that stay')}"
    )


def checked_costs(net: nn.Module, given: Any) -> dict[str, Tensor]:
    """What ``net``'s ``cost_terms`` gave.

    Raises:
        CostError: It is no dict of tensors.
    """
    method = f"{type(net).__name__}.cost_terms"
    if not isinstance(given, dict):
        instead = "return a dict of tensors (B,) by cost name"
        raise CostError(f"{method} gives a {type(given).__name__}; {_instead(given, instead)}")
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise CostError(
                f"{method} gives {name} as a {type(value).__name__}; give a tensor (B,), the cost "
                "of each row's sample, computed from sample[choice] without float() or item()"
            )
    return given


def _instead(given: Any, what: str) -> str:
    return f"{what}: a return is missing" if given is None else what
