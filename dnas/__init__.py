"""dnas: differentiable and weight-sharing architecture search for recommender models.

Names are loaded when first used, so that ``dnas.jobs`` and the command line start without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnas.core import (
        Architecture,
        ArchitectureRecord,
        Choice,
        Operator,
        Sample,
        SuperNet,
        calculate_weighted_sum,
    )
    from dnas.jobs import run_pipeline
    from dnas.spaces import SearchSpace, load_architecture, load_model, register
    from dnas.strategies import SearchManager, SearchResult
    from dnas.training.task import CLASSES, CLICKS, Task

__version__ = "0.1.0"

_HOMES = {
    "CLASSES": "dnas.training.task",
    "CLICKS": "dnas.training.task",
    "Architecture": "dnas.core",
    "ArchitectureRecord": "dnas.core",
    "Choice": "dnas.core",
    "Operator": "dnas.core",
    "Sample": "dnas.core",
    "SuperNet": "dnas.core",
    "calculate_weighted_sum": "dnas.core",
    "SearchSpace": "dnas.spaces",
    "load_architecture": "dnas.spaces",
    "load_model": "dnas.spaces",
    "register": "dnas.spaces",
    "SearchManager": "dnas.strategies",
    "SearchResult": "dnas.strategies",
    "Task": "dnas.training.task",
    "run_pipeline": "dnas.jobs",
}

__all__ = [
    "CLASSES",
    "CLICKS",
    "Architecture",
    "ArchitectureRecord",
    "Choice",
    "Operator",
    "Sample",
    "SearchManager",
    "SearchResult",
    "SearchSpace",
    "SuperNet",
    "Task",
    "calculate_weighted_sum",
    "load_architecture",
    "load_model",
    "register",
    "run_pipeline",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dnas' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
