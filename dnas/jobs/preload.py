"""Importing ahead of the jobs that will need it, and whether the process can still be forked."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

#: Packages whose import neither draws random numbers nor looks at what the process is for.
KNOWN = ("dnas", "numpy", "torch")
#: Packages that start threads as soon as they are imported: jobs import them at first use.
THREADED = ("polars",)

#: Known of a module before it is executed.
_KNOWN_AHEAD = ("__class__", "__spec__", "__name__", "__loader__", "__package__", "__file__")


@functools.cache
def modules_for(script: str) -> tuple[str, ...]:
    """What a script imports itself of the packages that are safe to import ahead.

    Heavy ones come first: a module that cannot be imported ahead then costs the others nothing.
    """
    try:
        tree = ast.parse(Path(script).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ()
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    known = [name for name in names if name.partition(".")[0] in KNOWN]
    # Training needs it, though the scripts of this project do not say so.
    heavy = ["torch"] if any(name.startswith(("dnas.cli", "torch")) for name in known) else []
    return tuple(dict.fromkeys(heavy + known))


def load(name: str) -> None:
    """Import one module by name."""
    importlib.import_module(name)


def threads() -> list[str]:
    """Names of this process's threads."""
    tasks = Path("/proc/self/task")
    return sorted(task.joinpath("comm").read_text().strip() for task in tasks.iterdir())


def obstacle() -> str:
    """Why this process must not be forked to run jobs; empty if it may."""
    if len(names := threads()) > 1:
        return f"it has {len(names)} threads ({', '.join(names)})"
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "CUDA is initialised"
    return ""


class _Lazy(ModuleType):
    """A module that is executed when the first of its attributes is asked for.

    ``importlib.util.LazyLoader`` does this too, but before Python 3.12.4 without a lock, and a
    second ``import`` of the module already executes it.
    """

    def __getattribute__(self, name: str) -> Any:
        if name not in _KNOWN_AHEAD:
            _execute(self)
        return ModuleType.__getattribute__(self, name)


_lock = threading.RLock()
_executing: set[int] = set()


def _execute(module: _Lazy) -> None:
    with _lock:
        if object.__getattribute__(module, "__class__") is not _Lazy or id(module) in _executing:
            return  # done, or it asks for its own attributes
        spec = object.__getattribute__(module, "__spec__")
        _executing.add(id(module))
        try:
            spec.loader.exec_module(module)
            module.__class__ = ModuleType  # type: ignore[assignment]
        finally:
            _executing.discard(id(module))


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        module.__class__ = _Lazy


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in THREADED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


@contextmanager
def lazily() -> Iterator[None]:
    """Modules of :data:`THREADED` that are imported in the block are executed at first use."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def open_files() -> set[int]:
    """File descriptors of this process beyond the three standard ones."""
    with os.scandir("/proc/self/fd") as entries:
        found = {int(entry.name) for entry in entries}
    # One of them was that of the search itself, and is closed by now.
    return {handle for handle in found if handle > 2 and os.path.exists(f"/proc/self/fd/{handle}")}
