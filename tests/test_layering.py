"""Imports point one way. The table below is the architecture; a new edge is a decision."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Each room of ``dnas`` and the rooms it may use.
BASE = {"errors", "files", "runs", "quality"}
LOWER = BASE | {"core", "costs"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "runs": {"errors"},
    "quality": set(),
    "core": BASE,
    "costs": BASE | {"core"},
    "data": LOWER,
    "metrics": LOWER,
    "models": LOWER | {"data", "metrics"},
    "training": LOWER | {"data", "metrics", "models"},
    "spaces": LOWER | {"data", "metrics", "models", "training"},
    "strategies": LOWER | {"data", "metrics", "models", "training"},
    "testing": LOWER | {"data", "metrics", "models", "training", "strategies", "jobs"},
    "jobs": BASE,
    "reporting": BASE,
}
#: Rooms that compose all others.
COMPOSING = {"cli"}
#: Where heavy libraries may not be: the queue and status must start at once, and reports must be
#: made on a machine without torch.
FORBIDDEN = {
    "errors": {"torch", "numpy", "pandas", "polars"},
    "files": {"torch", "numpy", "pandas", "polars"},
    "runs": {"torch", "numpy", "pandas", "polars"},
    "quality": {"torch", "numpy", "pandas", "polars"},
    "jobs": {"torch", "numpy", "pandas", "polars", "matplotlib", "seaborn"},
    "reporting": {"torch", "polars"},
}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            # `from dnas import core` names the room in the second half.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files_of(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT / "dnas").parts[0].removesuffix(".py")


def test_every_room_is_in_the_table():
    rooms = {room(path) for path in files_of("dnas")} - {"__init__"}
    assert rooms == set(ALLOWED) | COMPOSING


def test_the_table_has_no_circle():
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        free = {r for r, used in ALLOWED.items() if r not in done and used <= done}
        assert free, f"a circle among {set(ALLOWED) - done}"
        done |= free


@pytest.mark.parametrize("name", ALLOWED)
def test_a_room_uses_only_what_is_below_it(name):
    for path in (p for p in files_of("dnas") if room(p) == name):
        used = {i.split(".")[1] for i in imports(path) if i.startswith("dnas.")}
        above = used - ALLOWED[name] - {name}
        assert not above, f"{path.relative_to(ROOT)} imports dnas.{above}; see {__file__}"


@pytest.mark.parametrize("name", FORBIDDEN)
def test_light_rooms_import_nothing_heavy(name):
    for path in (p for p in files_of("dnas") if room(p) == name):
        heavy = {i.split(".")[0] for i in imports(path)} & FORBIDDEN[name]
        assert not heavy, f"{path.relative_to(ROOT)} imports {heavy}"


def test_the_library_knows_no_search_space_and_no_script():
    outside = {"supernets", "sample_extension", "benchmarks", "tests", "train_dnas", "tuning"}
    for path in files_of("dnas"):
        assert not {i.split(".")[0] for i in imports(path)} & outside, path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
                first = node.args[0]
                assert not (isinstance(first, ast.Constant) and first.value in outside), path


def test_search_spaces_use_the_library_only():
    for path in files_of("supernets"):
        for name in {i.split(".")[0] for i in imports(path)} & {"sample_extension", "tests"}:
            pytest.fail(f"{path} imports {name}")
        used = {i.split(".")[1] for i in imports(path) if i.startswith("dnas.")}
        assert not used & {"cli", "jobs", "reporting", "strategies", "testing"}, path


def test_the_reader_sees_imports_in_functions_and_of_names(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("from dnas import core\ndef f():\n    import torch.nn as nn\n")
    assert imports(path) == {"dnas.core", "torch.nn"}
