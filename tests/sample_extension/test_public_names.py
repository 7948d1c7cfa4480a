"""An extension needs public names only: those in ``__all__`` of dnas and of a few packages."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = ("data", "metrics", "costs", "models", "testing", "errors")
FILES = sorted((ROOT / "sample_extension").glob("*.py"))
#: What a new domain may take, all its Python together.
MOST_LINES = 250


def private_imports(source: str) -> list[str]:
    """What of dnas a file imports that is not public."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] == "dnas"]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dnas":
            module = str(node.module)
            public = module in ("dnas", *(f"dnas.{name}" for name in PUBLIC))
            names = importlib.import_module(module).__all__ if public else ()
            found += [f"{module}.{a.name}" for a in node.names if a.name not in names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_sample_uses_public_names_only(path: Path) -> None:
    assert not private_imports(path.read_text(encoding="utf-8"))


def test_a_private_name_would_be_seen() -> None:
    assert private_imports("from dnas.data.batch import TensorBatch\nimport dnas.core") == [
        "dnas.data.batch.TensorBatch",
        "dnas.core",
    ]
    assert private_imports("def f():\n    from dnas.data import Ahead, TensorData") == [
        "dnas.data.Ahead"
    ]


def test_public_names_are_there() -> None:
    for name in ("dnas", *(f"dnas.{package}" for package in PUBLIC)):
        module = importlib.import_module(name)
        assert all(hasattr(module, public) for public in module.__all__), name


def test_a_new_domain_is_small() -> None:
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES)
    assert lines <= MOST_LINES
