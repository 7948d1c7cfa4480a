"""Raw files a store can be built from: where they are, what they hold, what identifies them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dnas.data.layout import DenseRule, IdRule, Layout
from dnas.data.raw_files import stamp
from dnas.data.store_writer import StoreWriter

#: Bytes of text read at a time.
BLOCK_BYTES = 4 << 20
#: Columns that come from a file of users.
JOINED = ("gender", "age")
#: Fields of descriptions that are younger than the first stores, with what those had.
_LATER: dict[str, Any] = {
    "residues": False,
    "counts": False,
    "zeros": (),
    "sizes": (),
}


@dataclass(frozen=True)
class FileSource:
    """Raw files of one layout.

    Attributes:
        data_set: Name of the data set.
        files: The files, in row order. Parquet by suffix, delimited text otherwise.
        layout: What their columns are.
        rule: Transform of numbers.
        ids: How values become ids.
        separator: Between fields of text.
        quote: Around fields of text, or None.
        names: Column names of text without header, or None: the first line has them.
        file_parts: Part code of all rows of each file, or None.
        on_bad_row: What to do with malformed rows.
        user_profile: File that has the columns of ``JOINED``, or None: there are none.
        stamps: What identifies the content of the files, in place of their names, sizes and times.
        block_bytes: Bytes of text read at a time; does not change the result.
    """

    data_set: str
    files: tuple[Path, ...]
    layout: Layout
    rule: DenseRule
    ids: IdRule
    separator: str = ","
    quote: str | None = None
    names: tuple[str, ...] | None = None
    file_parts: tuple[int, ...] | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    user_profile: Path | None = None
    stamps: tuple[Any, ...] | None = None
    block_bytes: int = BLOCK_BYTES

    @property
    def has_parts(self) -> bool:
        """Whether rows come with the part of the split they belong to."""
        return self.layout.part is not None or self.file_parts is not None

    @property
    def dense_names(self) -> tuple[str, ...]:
        """Numeric columns."""
        return self.layout.dense + self.layout.zeros

    @property
    def sparse_names(self) -> tuple[str, ...]:
        """Categorical columns."""
        return self.layout.sparse

    @property
    def file_columns(self) -> tuple[str, ...]:
        """The columns that are read from ``files``."""
        joined = JOINED if self.user_profile is not None else ()
        return tuple(name for name in self.layout.used if name not in joined)

    def identity(self) -> dict[str, Any]:
        """Everything that the content of the store depends on, as JSON."""
        identity: dict[str, Any] = {
            "sources": list(self.stamps or [stamp(path) for path in self.files]),
            "layout": _described(self.layout),
            "dense": dataclasses.asdict(self.rule),
            "ids": _described(self.ids),
            "separator": self.separator,
            "quote": self.quote,
            "names": list(self.names) if self.names is not None else None,
            "file_parts": list(self.file_parts) if self.file_parts is not None else None,
            "on_bad_row": self.on_bad_row,
        }
        if self.user_profile is not None:
            identity["user_profile"] = stamp(self.user_profile)
        if any(map(is_parquet, self.files)):
            # The second way to read it: whole floats of categories as integers, missing numbers.
            identity["parquet"] = 2
        return identity

    def write(self, writer: StoreWriter) -> None:
        """Read all files and write the store.

        Raises:
            DataError: A file cannot be read, a row is malformed, or there is no row at all.
        """
        # The libraries that parse start threads when they are imported, which a process that forks
        # must not have, and take a quarter of a second. Most jobs find their store built.
        from dnas.data.parsing import write_store

        write_store(self, writer)


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, going by its name."""
    return path.suffix.lower() in (".parquet", ".pq")


def _described(description: Layout | IdRule) -> dict[str, Any]:
    """As JSON; what the first stores did not know is left out at their value, to find them."""
    values = dataclasses.asdict(description)
    return {key: value for key, value in values.items() if (key, value) not in _LATER.items()}
