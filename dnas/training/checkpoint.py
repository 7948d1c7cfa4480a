"""Checkpoints: whole or absent, read without unpickling code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from dnas.errors import JobError
from dnas.files import replacing


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, strings, lists, dicts) by write-then-rename."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: str | Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint onto ``device``.

    Raises:
        JobError: The file is not a checkpoint of this library.
    """
    try:
        # On the CPU first: generator states must stay there, and modules copy to their device.
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise JobError(
            f"{path}: not a readable checkpoint ({error}); remove it to start anew"
        ) from error
    return loaded


def check_fingerprint(path: str | Path, found: Any, expected: Any) -> None:
    """Refuse to go on from the checkpoint of another run.

    Raises:
        JobError: The two differ; the message names the first differing key.
    """
    if found == expected:
        return
    keys = sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key))
    key = keys[0]
    raise JobError(
        f"{path}: the checkpoint was made with {key}={found.get(key)!r}, this run has "
        f"{key}={expected.get(key)!r}; use another run folder or restore the setting"
    )
