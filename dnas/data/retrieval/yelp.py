"""Yelp's academic data set from its JSON lines, with the fields and filters of the AutoTower paper.

Every review is an interaction. User fields: id, and in 100 bins each review_count, yelping_since,
useful, funny, cool. Item fields: id, city, state, stars (5 bins), review_count (20 bins), is_open,
all of which are in histories. Users and items with fewer than 20 reviews are left out, both counted
before. Some reviews in Yelp's files are of users that its file of users lacks: those are left out
first, and counted in the log.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import polars as pl

from dnas.data.ahead import Ahead
from dnas.data.bad_rows import shorten
from dnas.data.records import Lines, TextFormat
from dnas.data.retrieval.encode import Field, at_least, encode
from dnas.data.retrieval.interactions import Interactions
from dnas.data.retrieval.raw import BLOCK_BYTES, raw_file
from dnas.data.text import read_lines
from dnas.errors import DataError

logger = logging.getLogger(__name__)

MINIMUM = 20
_NAME = "yelp_academic_dataset_{}.json"
YELP_FILES = tuple(_NAME.format(part) for part in ("review", "user", "business"))

_USER_FIELDS = tuple(
    Field(name, 100) for name in ("review_count", "yelping_since", "useful", "funny", "cool")
)
_ITEM_FIELDS = (
    Field("city"),
    Field("state"),
    Field("stars", 5),
    Field("review_count", 20),
    Field("is_open"),
)
_TIMES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d")


def yelp(folder: str | Path, seq_len: int) -> Interactions:
    """Yelp: ``yelp_academic_dataset_review.json``, ``_user.json``, ``_business.json``.

    Args:
        folder: Where they are.
        seq_len: Length of histories.

    Raises:
        DataError: A file is missing or malformed.
    """
    reviews, people, places = (raw_file(folder, name) for name in YELP_FILES)
    users = _read(
        people,
        {
            "user_id": pl.String,
            "review_count": pl.Int64,
            "yelping_since": pl.String,
            "useful": pl.Int64,
            "funny": pl.Int64,
            "cool": pl.Int64,
        },
        time="yelping_since",
    )
    items = _read(
        places,
        {
            "business_id": pl.String,
            "city": pl.String,
            "state": pl.String,
            "stars": pl.Float64,
            "review_count": pl.Int64,
            "is_open": pl.Int64,
        },
    )
    rows = _read(
        reviews,
        {"user_id": pl.String, "business_id": pl.String, "date": pl.String},
        time="date",
    )
    names = {"user_id": "user", "business_id": "item", "date": "time"}
    rows, users, items = (frame.rename(names, strict=False) for frame in (rows, users, items))
    users, items = users.unique("user", keep="first"), items.unique("item", keep="first")
    known = rows.join(users.select("user"), on="user", how="semi", maintain_order="left")
    known = known.join(items.select("item"), on="item", how="semi", maintain_order="left")
    if known.height < rows.height:
        logger.warning(
            "%s: %d of %d reviews are of users or businesses that the other files lack, and left "
            "out",
            reviews,
            rows.height - known.height,
            rows.height,
        )
    return encode(
        at_least(known, {"user": MINIMUM, "item": MINIMUM}),
        users,
        items,
        user_fields=_USER_FIELDS,
        item_fields=_ITEM_FIELDS,
        seq_len=seq_len,
    )


def _read(path: Path, kinds: dict[str, type[pl.DataType]], time: str | None = None) -> pl.DataFrame:
    """Some keys of every line; ``time`` as seconds since 1970."""
    text = TextFormat(" ", None, fields=1, header=False)
    frames = []
    with Ahead(read_lines(path, text, block_bytes=BLOCK_BYTES, padding=0)) as blocks:
        for lines in blocks:
            if lines.rows:
                frames.append(_block(path, lines, kinds, time))
    if not frames:
        raise DataError(f"{path}: there are no lines in it")
    return pl.concat(frames)


def _block(
    path: Path, lines: Lines, kinds: dict[str, type[pl.DataType]], time: str | None
) -> pl.DataFrame:
    try:
        frame = pl.read_ndjson(lines.data[: lines.used], schema=kinds)
    except pl.exceptions.PolarsError as error:
        raise _first_fault(path, lines, kinds, str(error)) from None
    if frame.height != lines.rows or any(frame.null_count().row(0)):
        raise _first_fault(path, lines, kinds, "a line is blank or lacks a key")
    if time is None:
        return frame
    seconds = pl.coalesce(
        pl.col(time).str.to_datetime(form, strict=False).dt.epoch("s") for form in _TIMES
    )
    made = frame.with_columns(seconds.alias(time))
    wrong = made[time].is_null().arg_true()
    if len(wrong):
        at = int(wrong[0])
        raise DataError(
            f"{path}:{lines.line + at}: {time} is {shorten(frame[time][at])}, not a time like "
            "2018-07-07 22:09:11"
        )
    return made


def _first_fault(
    path: Path, lines: Lines, kinds: dict[str, type[pl.DataType]], reason: str
) -> DataError:
    """What is wrong, with line and value: looked for only when something is."""
    wanted = {pl.String: str, pl.Int64: int, pl.Float64: (int, float)}
    for number, line in enumerate(lines.data[: lines.used].splitlines(), start=lines.line):
        try:
            value = json.loads(line)
        except ValueError:
            return DataError(f"{path}:{number}: not JSON: {shorten(line)}")
        if not isinstance(value, dict):
            return DataError(f"{path}:{number}: not a JSON object: {shorten(line)}")
        for name, kind in kinds.items():
            if not isinstance(value.get(name), wanted[kind]):  # type: ignore[arg-type]
                found = shorten(value[name]) if name in value else "missing"
                return DataError(f"{path}:{number}: {name} is {found}, expected {kind.__name__}")
    return DataError(f"{path}:{lines.line}: the lines from here on: {reason}")
