"""The reader of plain rows takes exactly what the general one takes, and to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnas.data import plain_rows
from dnas.data.block_reader import BlockReader
from dnas.data.columns import Block
from dnas.data.criteo import DENSE_NAMES, LAYOUT, SPARSE_NAMES
from dnas.data.integer_text import read_decimal, read_hexadecimal, words_before
from dnas.data.layout import DenseRule
from dnas.data.plain_rows import PlainReader
from dnas.data.records import TextFormat
from dnas.data.text import read_records

NAMES = ("label", *DENSE_NAMES, *SPARSE_NAMES)
TEXT = TextFormat("\t", None, fields=len(NAMES), header=False)

numbers = st.one_of(
    st.just(""),
    st.integers(-3, 300).map(str),
    st.integers(-(10**9), 10**10).map(str),
    st.sampled_from(
        ["-0", "007", "+5", "1e3", "1.5", "65535", "65536", "-1024", "-1025", "-", "nan"]
    ),
    st.text("0123456789-+.e ", max_size=10),
)
keys = st.one_of(
    st.just(""),
    st.integers(0, 2**32 - 1).map("{:08x}".format),
    st.integers(0, 2**20).map("{:X}".format),
    st.text("0123456789abcdefABCDEFgG@`:/ -", max_size=9),
)
labels = st.one_of(st.sampled_from("01"), st.sampled_from(["", "2", "01", "-1", "x"]))
rows = st.builds(
    lambda label, dense, sparse: [label, *dense, *sparse],
    labels,
    st.lists(numbers, min_size=13, max_size=13),
    st.lists(keys, min_size=26, max_size=26),
)
damage = st.tuples(
    st.integers(0, 10**6),
    st.sampled_from([b"\t", b"\n", b"\r\n", b"", b"\xff", b"\xc3\xa9", b"\0"]),
)


def blocks(
    path: Path, rule: DenseRule, block_bytes: int, monkeypatch: pytest.MonkeyPatch, *, plain: bool
) -> list[Block]:
    with monkeypatch.context() as patch:
        patch.setattr(PlainReader, "suits", staticmethod(lambda layout: plain))
        reader = BlockReader(path, NAMES, TEXT, LAYOUT, rule)
        return [reader.read(part) for part in read_records(path, TEXT, block_bytes=block_bytes)]


def joined(found: list[Block]) -> dict[str, Any]:
    return {
        "labels": b"".join(block.labels.tobytes() for block in found),
        "dense": b"".join(block.dense.tobytes() for block in found),
        "keys": b"".join(np.asarray(block.sparse).tobytes() for block in found),
        "bad": [sorted(block.bad) for block in found],
    }


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lines=st.lists(rows, min_size=1, max_size=12),
    damages=st.lists(damage, max_size=3),
    rule=st.sampled_from([DenseRule("log1p", "minus_one"), DenseRule("none", "zero")]),
    block_bytes=st.sampled_from([200, 700, 1 << 20]),
)
def test_the_same_as_the_general_reader(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[list[str]],
    damages: list[tuple[int, bytes]],
    rule: DenseRule,
    block_bytes: int,
) -> None:
    data = "".join("\t".join(line) + "\n" for line in lines).encode()
    for place, what in damages:
        place %= len(data)
        data = data[:place] + what + data[place + 1 :]
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    monkeypatch.setattr(plain_rows, "_CHUNK_ROWS", 3)
    fast = blocks(path, rule, block_bytes, monkeypatch, plain=True)
    slow = blocks(path, rule, block_bytes, monkeypatch, plain=False)
    assert joined(fast) == joined(slow)


@given(st.lists(st.integers(-9_999_999, 99_999_999).map(str), min_size=3, max_size=20))
def test_all_plain_numbers_are_read(texts: list[str]) -> None:
    data = ("\t".join(texts) + "\t").encode()
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 9)
    if len(data) < 8:
        return
    lengths = np.array([len(text) for text in texts])
    values, plain = read_decimal(words_before(data, ends), lengths)
    assert plain.all()
    assert values.tolist() == [int(text) for text in texts]


@given(st.lists(st.integers(0, 2**32 - 1), min_size=8, max_size=20), st.booleans())
def test_all_plain_hexadecimal_numbers_are_read(numbers: list[int], upper: bool) -> None:
    texts = [f"{number:X}" if upper else f"{number:x}" for number in numbers]
    data = ("\t".join(texts) + "\t").encode()
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 9)
    lengths = np.array([len(text) for text in texts])
    values, plain = read_hexadecimal(words_before(data, ends), lengths)
    assert plain.all()
    assert values.tolist() == numbers


def test_each_character_is_judged_rightly() -> None:
    texts = [bytes([c]) * n for c in range(128) if c != 9 for n in (1, 8)]
    data = b"\t".join(texts) + b"\t"
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 9)
    lengths = np.array([len(text) for text in texts])
    words = words_before(data, ends)
    is_decimal = [text.isdigit() for text in texts]
    is_hexadecimal = [all(c in b"0123456789abcdefABCDEF" for c in text) for text in texts]
    assert read_decimal(words, lengths)[1].tolist() == is_decimal
    assert read_hexadecimal(words, lengths)[1].tolist() == is_hexadecimal


def test_usual_rows_need_no_general_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "\t".join(["1", "", "-3", "99999999", *["7"] * 10, "0a0B0c0d", "", *["ff"] * 24])
    path = tmp_path / "a.txt"
    path.write_bytes((line + "\r\n").encode() * 5000)

    def refuse(*_: object) -> None:
        raise AssertionError("a plain row was given to the general reader")

    monkeypatch.setattr(BlockReader, "_convert", refuse)
    found = blocks(path, DenseRule("log1p", "minus_one"), 1 << 18, monkeypatch, plain=True)
    assert sum(block.labels.size for block in found) == 5000
