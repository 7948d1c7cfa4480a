"""What the columns of raw files are, and what becomes of their values.

Descriptions only: a job whose store is there already makes them to find it, and reads no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dnas.data.config import DataConfig


@dataclass(frozen=True)
class DenseRule:
    """How numbers are transformed and what a missing one becomes.

    ``log1p`` is f(x) = ln(1 + x) of the paper (section VII-A) with negative x raised to 0 first, as
    the DLRM code does (Criteo has -1, -2, -3). The paper replaces missing numbers by -1, which f
    cannot take, so ``minus_one`` gives them the value -1 *after* f, apart from all known values.
    ``zero`` gives f(0).

    With ``none`` numbers stay as they are, negative ones too, and a missing one is -1 or 0.
    """

    transform: Literal["log1p", "none"]
    missing: Literal["minus_one", "zero"]

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Float64 in which NaN is missing, any shape, to float32 of that shape."""
        missing = np.isnan(values)
        if self.transform == "log1p":
            values = np.log1p(np.maximum(values, 0.0))
        result = values.astype(np.float32)
        result[missing] = -1.0 if self.missing == "minus_one" else 0.0
        return result


@dataclass(frozen=True)
class Layout:
    """What the columns of a file are.

    Attributes:
        label: Column of the label.
        positive: Its texts that mean 1.
        negative: Its texts that mean 0.
        dense: Numeric columns.
        sparse: Categorical columns.
        hexadecimal: Whether categories are hexadecimal numbers of at most 32 bits, as in Criteo.
        residues: Whether categories are integers of any length, decimal if all characters are
            digits and hexadecimal otherwise, that are taken modulo 2**31 - 1.
        counts: Whether the label is a count, which means 1 if it is above 0. There are then no
            ``positive`` and ``negative``.
        zeros: Numeric columns that are in no file: 0 in all rows. They come after ``dense``.
        missing: Texts that mean a missing value; the empty text always does.
        strip: Whether spaces around a value belong to it (False) or not (True).
        part: Column that says which part of the split a row belongs to, or None.
        parts: Code of each of its texts.
    """

    label: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    dense: tuple[str, ...]
    sparse: tuple[str, ...]
    hexadecimal: bool = False
    residues: bool = False
    counts: bool = False
    zeros: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    strip: bool = True
    part: str | None = None
    parts: Mapping[str, int] | None = None

    @property
    def integers(self) -> bool:
        """Whether categories are read as integer keys, not as texts."""
        return self.hexadecimal or self.residues

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that are read, each once."""
        names = (self.label, *self.dense, *self.sparse, *([self.part] if self.part else ()))
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class IdRule:
    """How values become ids, see :mod:`dnas.data.vocabulary`; ``sizes`` are for ``modulo``."""

    kind: Literal["vocabulary", "hash", "modulo"] = "vocabulary"
    buckets: int = 0
    min_count: int = 1
    sizes: tuple[int, ...] = ()


def id_rule(config: DataConfig, sizes: tuple[int, ...] = ()) -> IdRule:
    """How the flags say that values become ids.

    Args:
        config: The flags.
        sizes: Published table size of each feature, for ``--ids=modulo``.
    """
    if config.ids == "modulo":
        assert sizes
        cap = config.max_table_rows or max(sizes)
        return IdRule("modulo", sizes=tuple(min(size, cap) for size in sizes))
    return IdRule(config.ids, config.max_ind_range, config.min_count)
