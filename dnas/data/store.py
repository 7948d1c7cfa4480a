"""The columnar store: a folder of flat binary columns and a manifest.

::

    <data set>-<12 hex digits>/
      manifest.json   what is in it, where it comes from, a hash of its content
      labels.u8       (rows,) 0 or 1
      dense.f32       (rows, n_dense) little endian float32, row by row, transformed
      ids.i32         (rows, F) little endian int32, row by row
      parts.u8        (rows,) 0 train, 1 validation, 2 test; only when the data says so

All jobs of a host map the same files read only, so that the operating system keeps one copy of them
however many jobs there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnas.data.spec import DataSpec
from dnas.errors import DataError, DnasError
from dnas.files import read_json

FORMAT = "dnas.store/2"
MANIFEST = "manifest.json"
LABELS, DENSE, IDS, PARTS = "labels.u8", "dense.f32", "ids.i32", "parts.u8"
#: Codes of ``parts.u8``.
PART_CODES = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Manifest:
    """What a store is.

    ``content_hash`` is blake2b over the blake2b digests of all columns in file order.
    """

    data_set: str
    spec: DataSpec
    rows: int
    positives: int
    has_parts: bool
    skipped_rows: int
    skipped_examples: list[str]
    identity: dict[str, Any]
    content_hash: str

    @property
    def label_rate(self) -> float:
        """Share of label 1."""
        return self.positives / self.rows

    def to_json(self) -> dict[str, Any]:
        """The content of ``manifest.json``."""
        return {
            "format": FORMAT,
            "data_set": self.data_set,
            **self.spec.to_json(),
            "rows": self.rows,
            "positives": self.positives,
            "label_rate": self.label_rate,
            "has_parts": self.has_parts,
            "skipped_rows": self.skipped_rows,
            "skipped_examples": self.skipped_examples,
            "identity": self.identity,
            "content_hash": self.content_hash,
        }

    @classmethod
    def from_json(cls, value: Any, source: Path) -> Manifest:
        """Read what :meth:`to_json` wrote.

        Raises:
            DataError: It is not a manifest of this format; the message names ``source``.
        """
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, dict) else type(value).__name__
            raise DataError(
                f"{source}: format is {found!r}, not {FORMAT!r}: delete the folder "
                f"{source.parent}, it will be built again"
            )
        try:
            return cls(
                data_set=value["data_set"],
                spec=DataSpec.from_json(
                    {k: value[k] for k in ("dense_names", "sparse_names", "cardinalities")}
                ),
                rows=int(value["rows"]),
                positives=int(value["positives"]),
                has_parts=bool(value["has_parts"]),
                skipped_rows=int(value["skipped_rows"]),
                skipped_examples=list(value["skipped_examples"]),
                identity=dict(value["identity"]),
                content_hash=str(value["content_hash"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{source}: not a manifest ({error!r})") from None

    def file_bytes(self) -> dict[str, int]:
        """Size of each column file."""
        sizes = {
            LABELS: self.rows,
            DENSE: 4 * self.rows * len(self.spec.dense_names),
            IDS: 4 * self.rows * len(self.spec.sparse_names),
        }
        return {**sizes, PARTS: self.rows} if self.has_parts else sizes


@dataclass(frozen=True)
class Store:
    """A built store, read only.

    Attributes:
        path: Its folder.
        manifest: What it is.
        labels: ``(rows,)`` uint8.
        dense: ``(rows, n_dense)`` float32.
        ids: ``(rows, F)`` int32.
        parts: ``(rows,)`` uint8 of :data:`PART_CODES`, or None.
    """

    path: Path
    manifest: Manifest
    labels: np.ndarray
    dense: np.ndarray
    ids: np.ndarray
    parts: np.ndarray | None

    @property
    def spec(self) -> DataSpec:
        """Columns and cardinalities."""
        return self.manifest.spec

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.manifest.rows

    @classmethod
    def open(cls, path: str | Path, *, memory_map: bool = True) -> Store:
        """Open a store.

        Args:
            path: Its folder.
            memory_map: Map the columns; False reads them into memory.

        Raises:
            DataError: There is no whole store of this format.
        """
        folder = Path(path)
        try:
            value = read_json(folder / MANIFEST)
        except DnasError as error:
            raise DataError(f"{folder}: not a data store: {error}") from None
        manifest = Manifest.from_json(value, folder / MANIFEST)
        for name, size in manifest.file_bytes().items():
            file = folder / name
            found = file.stat().st_size if file.exists() else None
            if found != size:
                state = "is missing" if found is None else f"has {found} bytes, not {size}"
                raise DataError(
                    f"{file}: {state}: the store is damaged; delete the folder {folder}, it will "
                    "be built again"
                )
        spec, rows = manifest.spec, manifest.rows

        def column(name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
            if 0 in shape:
                return np.empty(shape, dtype=dtype)
            mapped = np.memmap(folder / name, dtype=dtype, mode="r", shape=shape)
            return mapped if memory_map else np.array(mapped)

        return cls(
            path=folder,
            manifest=manifest,
            labels=column(LABELS, "u1", (rows,)),
            dense=column(DENSE, "<f4", (rows, len(spec.dense_names))),
            ids=column(IDS, "<i4", (rows, len(spec.sparse_names))),
            parts=column(PARTS, "u1", (rows,)) if manifest.has_parts else None,
        )
