"""Frames of strings and numbers to interactions: filters, numbers of values, field tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from dnas.data.retrieval.interactions import Interactions
from dnas.data.retrieval.quantiles import quantile_bins
from dnas.data.retrieval.spec import TowerSpec
from dnas.errors import DataError


@dataclass(frozen=True)
class Field:
    """A column of users or items.

    Attributes:
        name: Of the column.
        bins: Bins of equal counts of a number; 0: values are numbered in ascending order from 0.
    """

    name: str
    bins: int = 0


def at_least(rows: pl.DataFrame, minimum: dict[str, int]) -> pl.DataFrame:
    """Rows whose user and item each occur often enough; one pass, counted before any row goes.

    Args:
        rows: The interactions.
        minimum: Occurrences that a value of a column needs.

    Raises:
        DataError: No row is left.
    """
    kept = rows.filter(
        pl.all_horizontal(pl.len().over(name) >= count for name, count in minimum.items())
    )
    if kept.is_empty():
        said = " and ".join(f"{count} of its {name}" for name, count in minimum.items())
        raise DataError(
            f"--raw_data: no interaction of {rows.height} is left: each needs at least {said}"
        )
    return kept


def encode(
    rows: pl.DataFrame,
    users: pl.DataFrame,
    items: pl.DataFrame,
    *,
    user_fields: tuple[Field, ...],
    item_fields: tuple[Field, ...],
    seq_len: int,
) -> Interactions:
    """Number everything.

    Ids are numbered in ascending order from 1, over the rows. Bins and other values are those of
    the users and items that are in the rows, each counted once.

    Args:
        rows: ``user`` and ``item`` (strings), ``time`` (integers); in the order of the raw file.
        users: ``user`` and the user fields; has all users of the rows, each once.
        items: ``item`` and the item fields; likewise.
        user_fields: Besides the id.
        item_fields: Besides the id. All of them are in histories.
        seq_len: Length of histories.
    """
    tables: dict[str, np.ndarray] = {}
    sizes: dict[str, tuple[int, ...]] = {}
    numbers: dict[str, np.ndarray] = {}
    keys: dict[str, np.ndarray] = {}
    for side, frame, fields in (("user", users, user_fields), ("item", items, item_fields)):
        names = rows[side].unique().sort()
        keys[side] = np.array(["", *names])
        kind = pl.Enum(names)
        numbers[side] = rows[side].cast(kind).to_physical().to_numpy().astype(np.int32) + 1
        # In the order of the names, which is that of the numbers.
        frame = frame.filter(pl.col(side).is_in(names.implode())).sort(side)
        assert frame.height == len(names), (side, frame.height, len(names))
        table = np.zeros((len(names) + 1, 1 + len(fields)), dtype=np.int32)
        table[1:, 0] = np.arange(1, len(names) + 1)
        found = [len(names) + 1]
        for column, field in enumerate(fields, start=1):
            table[1:, column], size = _values(frame[field.name], field.bins)
            found.append(size)
        tables[side], sizes[side] = table, tuple(found)
    item_names = ("item_id", *(f"item_{field.name}" for field in item_fields))
    return Interactions(
        users=numbers["user"],
        items=numbers["item"],
        times=rows["time"].cast(pl.Int64).to_numpy(),
        user_fields=tables["user"],
        item_fields=tables["item"],
        item_bags=np.zeros((len(tables["item"]), 0), dtype=np.int32),
        spec=TowerSpec(
            user_names=("user_id", *(f"user_{field.name}" for field in user_fields)),
            user_sizes=sizes["user"],
            item_names=item_names,
            item_sizes=sizes["item"],
            history_names=item_names,
            seq_len=seq_len,
        ),
        user_keys=keys["user"],
        item_keys=keys["item"],
    )


def _values(column: pl.Series, bins: int) -> tuple[np.ndarray, int]:
    """Numbers of the values from 0, and how many there are."""
    if bins:
        return quantile_bins(column.cast(pl.Float64).to_numpy(), bins)
    different, numbers = np.unique(column.to_numpy(), return_inverse=True)
    return numbers.astype(np.int32), len(different)
