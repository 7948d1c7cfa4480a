"""Gender and age of users from a file of their own, joined to rows by the user's number.

KDD Cup 2012's ``userid_profile.txt`` has over 20 million lines of three numbers between tabs: user,
gender, age. They are held in two arrays of bytes, addressed by the user's number.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from dnas.data.bad_rows import BadRow, BadRowPolicy, shorten
from dnas.data.file_source import JOINED
from dnas.data.frames import read_frames
from dnas.data.records import TextFormat
from dnas.errors import DataError

logger = logging.getLogger(__name__)

#: The column that both files have.
KEY = "userID"
#: Users have smaller numbers, which bounds the memory to twice as many bytes.
USER_LIMIT = 1 << 28

_NAMES = (KEY, *JOINED)
_TEXT = TextFormat("\t", None, fields=len(_NAMES), header=False)


class UserProfile:
    """Gender and age by user number.

    Args:
        values: ``(2, numbers)`` uint8, gender and age of each number; 0 where there is no such
            user.
    """

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def add(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with ``gender`` and ``age`` as strings; "0" and "0" for an unknown user.

        Args:
            frame: Has ``userID``.
        """
        numbers = frame[KEY].cast(pl.String).cast(pl.UInt32, strict=False)
        users = numbers.fill_null(USER_LIMIT).to_numpy()
        known = users < self._values.shape[1]
        found = self._values[:, np.where(known, users, 0)] * known
        return frame.with_columns(
            pl.Series(name, row).cast(pl.String) for name, row in zip(JOINED, found, strict=True)
        )


def read_user_profile(
    path: Path, on_bad_row: Literal["error", "skip"], *, block_bytes: int
) -> UserProfile:
    """Read a file of users; of two lines for the same user the later one counts.

    Args:
        path: The file.
        on_bad_row: What to do with malformed lines.
        block_bytes: Bytes of text read at a time.

    Raises:
        DataError: The file cannot be read, has no user, or a line is malformed.
    """
    policy = BadRowPolicy(on_bad_row)
    values = np.zeros((len(JOINED), 1 << 20), dtype=np.uint8)
    users = 0  # the largest number, plus one
    kinds = dict(zip(_NAMES, (pl.UInt32, pl.UInt8, pl.UInt8), strict=True))
    for records, frame in read_frames(path, _NAMES, _TEXT, _NAMES, block_bytes=block_bytes):
        read = frame.select(pl.col(name).cast(kind, strict=False) for name, kind in kinds.items())
        good = read.select(
            pl.all_horizontal(pl.all().is_not_null()) & (pl.col(KEY) < USER_LIMIT).fill_null(False)
        ).to_series()
        bad = [
            BadRow(
                int(records.lines[i]),
                f"{shorten(frame.row(int(i)))} is not a user below {USER_LIMIT}, a gender and an "
                "age below 256",
            )
            for i in np.flatnonzero(~good.to_numpy())
        ]
        policy.report(path, [*records.bad, *bad])
        read = read.filter(good)
        if not read.height:
            continue
        numbers = read[KEY].to_numpy()
        users = max(users, int(numbers.max()) + 1)
        if users > values.shape[1]:
            grown = np.zeros((len(JOINED), 2 * users), dtype=np.uint8)
            grown[:, : values.shape[1]] = values
            values = grown
        for row, name in zip(values, JOINED, strict=True):
            row[numbers] = read[name].to_numpy()
    if policy.count:
        logger.warning(
            "%s: %d malformed lines were skipped (--on_bad_row=skip); their users have neither "
            "gender nor age",
            path,
            policy.count,
        )
    if not users:
        raise DataError(f"{path}: no users; see --user_profile")
    logger.info("%s: users up to number %d", path, users - 1)
    return UserProfile(values[:, :users])
