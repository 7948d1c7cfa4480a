"""Helpers every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Small tensors: more threads only wait for each other. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


def shared_data(name: str) -> Path:
    """Path of a real data file that is not shipped with the project; skips when it is absent."""
    folder = Path(os.environ.get("DNAS_SHARED_DATA", ROOT.parent / "shared" / "data"))
    path = folder / name
    if not path.exists():
        pytest.skip(f"{name} is not shipped; set DNAS_SHARED_DATA to the folder that has it")
    return path
