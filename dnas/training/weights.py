"""Model files: state dicts as safetensors."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dnas.files import replacing


def save_weights(
    path: str | Path, state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a state dict as safetensors by write-then-rename.

    Tied weights, which the format refuses, are written once for each name. ``metadata`` goes into
    the head of the file.

    Raises:
        OSError: It cannot be written, the disk is full say.
    """
    own: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in state.items():
        storage = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone() if storage in storages else tensor
        storages.add(storage)
    with replacing(path) as temporary:
        try:
            save_file(own, temporary, None if metadata is None else dict(metadata))
        except SafetensorError as error:
            found = re.search(r"os error (\d+)", str(error))
            if found is None:
                raise
            number = int(found[1])
            raise OSError(number, os.strerror(number)) from error


def weights_checksum(state: Mapping[str, Tensor]) -> int:
    """A checksum of names and values, the same before writing and after reading."""
    checksum = 0
    for name in sorted(state):
        values = state[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        checksum = zlib.crc32(values.numpy().data, zlib.crc32(name.encode(), checksum))
    return checksum


def has_checksum(path: str | Path, checksum: int) -> bool:
    """Whether ``path`` is a readable model file with this checksum."""
    try:
        return weights_checksum(load_file(path)) == checksum
    except (OSError, SafetensorError):
        return False
