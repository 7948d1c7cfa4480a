"""Checkpoints: whole or absent, read without unpickling code, checked against damage."""

from __future__ import annotations

import pickle
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from dnas.errors import JobError
from dnas.files import replacing

#: Begins the end of the file: this, then the checksum of all before it. Loaders of torch, for which
#: a checkpoint is a zip file, look past it. They do not look at the checksums in the zip file, and
#: those do not cover all of it either.
_MAGIC = b"dnas-crc"
_CHUNK = 1 << 20


class DamagedFileError(JobError):
    """A file is cut short, changed, or not of this library at all."""


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, strings, lists, dicts) by write-then-rename.

    Raises:
        OSError: It cannot be written, the disk is full say; the old checkpoint is as it was.
    """
    with replacing(path) as temporary, open(temporary, "wb") as handle:
        summing = _Summing(handle)
        try:
            torch.save(_plain(state), summing)  # type: ignore[arg-type]
        except RuntimeError:
            if summing.error is not None:
                raise summing.error from None  # torch says no more than that writing failed
            raise
        handle.write(_MAGIC + summing.checksum.to_bytes(4, "big"))


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


class _Summing:
    """Writes to a file and keeps the checksum of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.checksum = 0
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        self.checksum = zlib.crc32(data, self.checksum)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _check_sum(path: str | Path) -> None:
    checksum, end = 0, b""
    size = len(_MAGIC) + 4
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            block = end + chunk
            checksum = zlib.crc32(block[:-size], checksum)
            end = block[-size:]
    if not end.startswith(_MAGIC) or len(end) != size:
        raise DamagedFileError(f"{path}: not a readable checkpoint (its end is missing)")
    if checksum != int.from_bytes(end[len(_MAGIC) :], "big"):
        raise DamagedFileError(f"{path}: not a readable checkpoint (its checksum is wrong)")


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint, onto the CPU.

    Raises:
        DamagedFileError: The file is damaged, or not a checkpoint of this library.
    """
    _check_sum(path)
    try:
        # Generator states must stay on the CPU; modules copy to their device.
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise DamagedFileError(f"{path}: not a readable checkpoint ({error})") from error
    if not isinstance(loaded, dict):
        raise DamagedFileError(f"{path}: not a readable checkpoint (a {type(loaded).__name__})")
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
