"""What a search believed over time: the numbers in a supernet job's ``theta.npz``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnas.errors import DataError

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Picture:
    """One table of probabilities to be shown, over T moments of the search.

    Attributes:
        name: Its name in the file.
        rows: Names of the rows, such as features.
        row_notes: A note for each row, such as its cardinality, or None.
        columns: Names of the options.
        row_title: What a row is.
        column_title: What a column is.
        probability: Shape ``(T, rows, columns)``; NaN where a row has no such option.
    """

    name: str
    rows: tuple[str, ...]
    row_notes: tuple[str, ...] | None
    columns: tuple[str, ...]
    row_title: str
    column_title: str
    probability: FloatArray


@dataclass(frozen=True)
class ThetaHistory:
    """A search over T recorded moments.

    Attributes:
        step: Global step of each moment, shape ``(T,)``.
        theta_epochs: Epochs of theta training done by then, shape ``(T,)``.
        entropy: For each Choice, mean entropy of softmax(theta) over the log of the number of
            options, shape ``(T,)``: 1 is uniform, 0 is decided.
        pictures: The tables to draw.
    """

    step: NDArray[np.int64]
    theta_epochs: FloatArray
    entropy: Mapping[str, FloatArray]
    pictures: tuple[Picture, ...]


def read_theta(path: str | Path) -> ThetaHistory:
    """Read ``theta.npz``.

    Raises:
        DataError: The file is missing, damaged or of another form; the message names it.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            meta = json.loads(str(arrays["meta"]))
            history = ThetaHistory(
                step=np.atleast_1d(arrays["step"]),
                theta_epochs=np.atleast_1d(arrays["theta_epochs"]),
                entropy={name: arrays[f"entropy/{name}"] for name in meta["choices"]},
                pictures=tuple(
                    _picture(name, about, arrays[f"probability/{name}"])
                    for name, about in meta["pictures"].items()
                ),
            )
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    # zipfile and numpy raise a different one of these for each way of being damaged.
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a usable theta file ({error})") from error
    moments = len(history.step)
    if moments == 0:
        raise DataError(f"{path}: no moment of the search was recorded")
    series = {"theta_epochs": history.theta_epochs}
    series |= {f"entropy/{name}": values for name, values in history.entropy.items()}
    series |= {f"probability/{p.name}": p.probability for p in history.pictures}
    for name, values in series.items():
        if len(values) != moments:
            raise DataError(f"{path}: {name} has {len(values)} moments, step has {moments}")
    return history


def _picture(name: str, about: Mapping[str, Any], probability: FloatArray) -> Picture:
    """One entry of ``meta["pictures"]`` with its numbers."""
    rows, columns = tuple(map(str, about["rows"])), tuple(map(str, about["columns"]))
    notes = about.get("row_notes")
    if probability.shape[1:] != (len(rows), len(columns)):
        raise ValueError(
            f"probability/{name} has shape {probability.shape}, its meta says "
            f"{len(rows)} rows and {len(columns)} columns"
        )
    if notes is not None and len(notes) != len(rows):
        raise ValueError(f"picture {name} has {len(rows)} rows and {len(notes)} row_notes")
    return Picture(
        name=name,
        rows=rows,
        row_notes=None if notes is None else tuple("" if n is None else str(n) for n in notes),
        columns=columns,
        row_title=str(about.get("row_title") or ""),
        column_title=str(about.get("column_title") or ""),
        probability=probability,
    )
