"""Small raw files for the tests of the data layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dnas.data import DataConfig, Store
from dnas.data.build import open_or_build
from dnas.data.prepare import make_source

ROOT = Path(__file__).resolve().parents[2]


def criteo_line(
    label: str = "0", dense: Sequence[Any] = (), sparse: Sequence[str] = ()
) -> list[str]:
    """The 40 fields of a line; numbers and categories that are not given are missing."""
    fields = [label] + [""] * 39
    for i, value in enumerate(dense):
        fields[1 + i] = str(value)
    for i, value in enumerate(sparse):
        fields[14 + i] = value
    return fields


def write_lines(path: Path, lines: Sequence[Sequence[str] | str], separator: str = "\t") -> Path:
    """Write lines, given as fields or whole."""
    texts = [line if isinstance(line, str) else separator.join(line) for line in lines]
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8", newline="")
    return path


def build(cache: Path, *, block_bytes: int = 1 << 20, **flags: Any) -> Store:
    """The store of these flags, built with blocks of this size."""
    config = DataConfig(data_cache=str(cache), **flags)
    source, _ = make_source(config, block_bytes=block_bytes)
    return open_or_build(source, config.data_cache, memory_map=config.memory_map)
