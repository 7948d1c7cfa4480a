"""Helpers every test may use."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

# A shell's background job has SIGINT ignored, nohup SIGHUP, and both are handed down: what tests
# start is to heed them.
for _number, _default in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(_number, _default)


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
