"""Picture: a table of probabilities with names, which reports draw as a heatmap."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Picture:
    """Probabilities to draw: rows are decisions (features, layers), columns are options.

    Attributes:
        values: ``(R, C)`` probabilities, NaN where there is no such option.
        rows: R names.
        columns: C headings.
        row_title: What a row is, ``"feature"``.
        column_title: What a column is, ``"dimension"``.
        row_notes: A remark on each row, or None.
    """

    values: Tensor
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_title: str
    column_title: str
    row_notes: tuple[str, ...] | None = None
