"""What a model must know of a data set: names and counts of its columns, nothing of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dnas.errors import DataError

_KEYS = ("dense_names", "sparse_names", "cardinalities")


@dataclass(frozen=True)
class DataSpec:
    """Columns of a click log.

    Attributes:
        dense_names: Names of the numeric columns, in the order of ``ClickBatch.dense``.
        sparse_names: Names of the F categorical columns, in the order of ``ClickBatch.ids``.
        cardinalities: For each categorical column the number of ids: ids are in ``[0, count)``.

    Raises:
        DataError: Names repeat, or the counts do not fit the names.
    """

    dense_names: tuple[str, ...]
    sparse_names: tuple[str, ...]
    cardinalities: tuple[int, ...]

    def __post_init__(self) -> None:
        names = self.dense_names + self.sparse_names
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise DataError(f"data spec: column names appear more than once: {repeated}")
        if len(self.sparse_names) != len(self.cardinalities):
            raise DataError(
                f"data spec: {len(self.sparse_names)} categorical columns "
                f"but {len(self.cardinalities)} cardinalities"
            )
        for name, count in zip(self.sparse_names, self.cardinalities, strict=True):
            if not 1 <= count < 2**31:
                raise DataError(f"data spec: cardinality of {name} is {count}, not in [1, 2**31)")

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which :meth:`from_json` gives an equal spec."""
        return {
            "dense_names": list(self.dense_names),
            "sparse_names": list(self.sparse_names),
            "cardinalities": list(self.cardinalities),
        }

    @classmethod
    def from_json(cls, value: Any) -> DataSpec:
        """The spec that :meth:`to_json` described.

        Raises:
            DataError: A key is missing, unknown or of the wrong type.
        """
        if not isinstance(value, dict) or set(value) != set(_KEYS):
            found = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise DataError(f"data spec: expected the keys {sorted(_KEYS)}, found {found}")
        for key, kind in (("dense_names", str), ("sparse_names", str), ("cardinalities", int)):
            items = value[key]
            if not isinstance(items, list) or any(type(item) is not kind for item in items):
                raise DataError(f"data spec: {key} must be a list of {kind.__name__}: {items!r}")
        return cls(
            dense_names=tuple(value["dense_names"]),
            sparse_names=tuple(value["sparse_names"]),
            cardinalities=tuple(value["cardinalities"]),
        )
