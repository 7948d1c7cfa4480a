"""Checkpoints: whole or absent, read without unpickling code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnas.errors import JobError
from dnas.files import replacing


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, strings, lists, dicts) by write-then-rename."""
    with replacing(path) as temporary:
        torch.save(_plain(state), temporary)


def random_states(device: torch.device) -> dict[str, Any]:
    """States of the global generators of the CPU and of ``device``."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Set the global generators to what ``random_states`` gave."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def _plain(value: Any) -> Any:
    """``value`` without numpy scalars, which a checkpoint read without unpickling cannot hold."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(entry) for entry in value)
    return value


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint, onto the CPU.

    Raises:
        JobError: The file is not a checkpoint of this library.
    """
    try:
        # Generator states must stay on the CPU; modules copy to their device.
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
