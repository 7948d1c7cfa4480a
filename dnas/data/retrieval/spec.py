"""What a two-tower model must know of its data: fields, vocabularies, lengths; none of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dnas.errors import DataError


@dataclass(frozen=True, kw_only=True)
class TowerSpec:
    """Fields of users and items.

    The first user field is the user's id and the first item field the item's; id 0 of both is
    padding. A field's values are in ``[0, size)``.

    Attributes:
        user_names: Names of the Fu user fields, in the order of ``user_fields``.
        user_sizes: Their vocabulary sizes.
        item_names: Names of the Fi item fields, in the order of ``item_fields``.
        item_sizes: Their vocabulary sizes.
        bag_name: Name of the items' multi-hot field, empty if there is none.
        bag_size: Its values, without the padding, which has the index ``bag_size``.
        bag_width: G, columns of ``item_bags``: most values that an item has.
        history_names: Names of the Fh fields of a position of the history, in the order of
            ``history``; each is an item field, or the multi-hot field, of which the history has an
            item's first value. The first one is the item's id. They share the item tower's tables.
        seq_len: L, positions of the history.

    Raises:
        DataError: Names repeat, sizes do not fit, or a field of the history is unknown.
    """

    user_names: tuple[str, ...]
    user_sizes: tuple[int, ...]
    item_names: tuple[str, ...]
    item_sizes: tuple[int, ...]
    bag_name: str = ""
    bag_size: int = 0
    bag_width: int = 0
    history_names: tuple[str, ...]
    seq_len: int

    def __post_init__(self) -> None:
        for side, names, sizes in (
            ("user", self.user_names, self.user_sizes),
            ("item", self.item_names, self.item_sizes),
        ):
            if not names:
                raise DataError(f"tower spec: {side}_names is empty; the id is always a field")
            if len(names) != len(sizes):
                raise DataError(
                    f"tower spec: {len(names)} {side} fields but {len(sizes)} {side}_sizes"
                )
            for name, size in zip(names, sizes, strict=True):
                if not 1 <= size < 2**31:
                    raise DataError(f"tower spec: size of {name} is {size}, not in [1, 2**31)")
        known = (*self.item_names, *([self.bag_name] if self.bag_name else []))
        for role, group in (
            ("user_names", self.user_names),
            ("item_names with bag_name", known),
            ("history_names", self.history_names),
        ):
            repeated = sorted({name for name in group if group.count(name) > 1})
            if repeated:
                raise DataError(f"tower spec: {role}: names appear more than once: {repeated}")
        unknown = [name for name in self.history_names if name not in known]
        if unknown:
            raise DataError(f"tower spec: history_names {unknown} are not among {list(known)}")
        if self.history_names[:1] != self.item_names[:1]:
            raise DataError(
                f"tower spec: the history's first field is {self.history_names[:1]}, "
                f"but must be the item's id, {self.item_names[0]}"
            )
        if (self.bag_size > 0) != bool(self.bag_name) or (self.bag_width > 0) != bool(
            self.bag_name
        ):
            raise DataError(
                f"tower spec: bag_name={self.bag_name!r} with bag_size={self.bag_size} and "
                f"bag_width={self.bag_width}: all three or none"
            )
        if self.seq_len < 1:
            raise DataError(f"tower spec: seq_len={self.seq_len}: must be at least 1")

    @property
    def num_items(self) -> int:
        """Items; their ids are 1 .. num_items."""
        return self.item_sizes[0] - 1

    @property
    def num_users(self) -> int:
        """Users; their ids are 1 .. num_users."""
        return self.user_sizes[0] - 1

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which :meth:`from_json` gives an equal spec."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in vars(self).items()
        }

    @classmethod
    def from_json(cls, value: Any) -> TowerSpec:
        """The spec that :meth:`to_json` described.

        Raises:
            DataError: A key is missing, unknown or of the wrong type.
        """
        if not isinstance(value, Mapping) or set(value) != set(_KINDS):
            found = sorted(value) if isinstance(value, Mapping) else type(value).__name__
            raise DataError(f"tower spec: expected the keys {sorted(_KINDS)}, found {found}")
        read: dict[str, Any] = {}
        for key, (is_list, kind) in _KINDS.items():
            item = value[key]
            parts = item if is_list and isinstance(item, list) else [item]
            if is_list != isinstance(item, list) or any(type(part) is not kind for part in parts):
                wanted = f"a list of {kind.__name__}" if is_list else kind.__name__
                raise DataError(f"tower spec: {key} must be {wanted}: {item!r}")
            read[key] = tuple(item) if is_list else item
        return cls(**read)


#: Whether a value is a list, and the type of it or its elements.
_KINDS: dict[str, tuple[bool, type]] = {
    "user_names": (True, str),
    "user_sizes": (True, int),
    "item_names": (True, str),
    "item_sizes": (True, int),
    "bag_name": (False, str),
    "bag_size": (False, int),
    "bag_width": (False, int),
    "history_names": (True, str),
    "seq_len": (False, int),
}
