"""What a subclass of SuperNet gets wrong first, said when it is defined or made."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from dnas.errors import ArchitectureError

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
