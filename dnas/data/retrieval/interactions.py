"""Interactions: who had to do with what and when, and what is known of both."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from dnas.data.retrieval.spec import TowerSpec
from dnas.errors import DataError

#: The arrays, in the order in which they count for the content hash.
ARRAYS = ("users", "items", "times", "user_fields", "item_fields", "item_bags")
#: Those that say what the publisher calls things, which changes no training and no hash.
KEYS = ("user_keys", "item_keys")


@dataclass(frozen=True)
class Interactions:
    """A data set as it was read, rows in the order of the raw file.

    Attributes:
        users: ``(rows,)`` int32 in 1 .. number of users.
        items: ``(rows,)`` int32 in 1 .. number of items.
        times: ``(rows,)`` int64; only their order matters.
        user_fields: ``(users + 1, Fu)`` int32; row u is user u, row 0 padding (zeros).
        item_fields: ``(items + 1, Fi)`` int32; row i is item i, row 0 padding (zeros).
        item_bags: ``(items + 1, G)`` int32, padded with ``spec.bag_size`` on the right.
        spec: Names and sizes of the fields, and the length of histories.
        user_keys: ``(users + 1,)`` what the publisher calls user u; row 0 says nothing. Default:
            the numbers.
        item_keys: ``(items + 1,)`` likewise.

    Raises:
        DataError: Shapes or values do not fit ``spec``, or two users or items have one key.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    user_fields: np.ndarray
    item_fields: np.ndarray
    item_bags: np.ndarray
    spec: TowerSpec
    user_keys: np.ndarray = field(default_factory=lambda: np.empty(0))
    item_keys: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        spec = self.spec
        for name, size in zip(KEYS, (spec.num_users, spec.num_items), strict=True):
            if not getattr(self, name).size:
                object.__setattr__(self, name, np.arange(size + 1))
        rows = self.users.shape
        shapes = {
            "users": rows,
            "items": rows,
            "times": rows,
            "user_fields": (spec.num_users + 1, len(spec.user_names)),
            "item_fields": (spec.num_items + 1, len(spec.item_names)),
            "item_bags": (spec.num_items + 1, spec.bag_width),
            "user_keys": (spec.num_users + 1,),
            "item_keys": (spec.num_items + 1,),
        }
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            if found != shape:
                raise DataError(f"interactions: {name} has the shape {found}, expected {shape}")
        if not self.users.size:
            raise DataError("interactions: there are no rows")
        for name, size in (("users", spec.num_users), ("items", spec.num_items)):
            _check_range(name, getattr(self, name), 1, size)
        for table, names, sizes in (
            (self.user_fields, spec.user_names, spec.user_sizes),
            (self.item_fields, spec.item_names, spec.item_sizes),
        ):
            for column, (name, size) in enumerate(zip(names, sizes, strict=True)):
                _check_range(f"field {name}", table[:, column], 0, size - 1)
        if spec.bag_width:
            _check_range(f"field {spec.bag_name}", self.item_bags, 0, spec.bag_size)
        for name in KEYS:
            different, counts = np.unique(getattr(self, name)[1:], return_counts=True)
            if (counts > 1).any():
                twice = different[counts > 1][0].item()
                raise DataError(f"interactions: {name} has {twice!r} more than once")

    def __len__(self) -> int:
        return len(self.users)

    def user_numbers(self, keys: ArrayLike) -> np.ndarray:
        """The numbers of users by the publisher's ids, in their order and shape.

        Raises:
            DataError: A user is not in the data.
        """
        return _numbers("user", self.user_keys, keys)

    def item_numbers(self, keys: ArrayLike) -> np.ndarray:
        """The numbers of items, likewise."""
        return _numbers("item", self.item_keys, keys)

    def content_hash(self) -> str:
        """32 hexadecimal digits of all arrays and the spec, but for the keys."""
        digest = hashlib.blake2b(repr(self.spec).encode(), digest_size=16)
        for name in ARRAYS:
            array = getattr(self, name)
            digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
        return digest.hexdigest()

    def history_fields(self) -> np.ndarray:
        """``(items + 1, Fh)`` int64: what a position of a history holds of each item.

        Of the multi-hot field that is an item's first value, or the padding if it has none. Row 0,
        the padding of histories, is zeros.
        """
        columns = [
            self.item_bags[:, 0]
            if name == self.spec.bag_name
            else self.item_fields[:, self.spec.item_names.index(name)]
            for name in self.spec.history_names
        ]
        table = np.stack(columns, axis=1).astype(np.int64)
        table[0] = 0
        return table


def _check_range(name: str, values: np.ndarray, low: int, high: int) -> None:
    wrong = (values < low) | (values > high)
    if wrong.any():
        at = tuple(int(part) for part in np.argwhere(wrong)[0])
        raise DataError(f"interactions: {name}{list(at)} is {values[at]}, not in [{low}, {high}]")


def _numbers(what: str, table: np.ndarray, keys: ArrayLike) -> np.ndarray:
    """Rows of a table of keys, of which row 0 is none."""
    wanted = np.asarray(keys)
    if wanted.size and (wanted.dtype.kind == "U") != (table.dtype.kind == "U"):
        raise DataError(
            f"{what} {wanted.flat[0].item()!r}: the publisher's ids are like "
            f"{table[1].item()!r}, of another type"
        )
    order = np.argsort(table[1:], kind="stable") + 1
    numbers = order.take(np.searchsorted(table[order], wanted), mode="clip")
    unknown = wanted[table[numbers] != wanted]
    if unknown.size:
        raise DataError(
            f"{what} {unknown.flat[0].item()!r} is not in the data ({unknown.size} of these)"
        )
    return numbers


def codes_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number values from 1 in ascending order.

    Returns:
        The different values, and the number of each value (int32).
    """
    different, numbers = np.unique(values, return_inverse=True)
    return different, numbers.astype(np.int32) + 1
