"""The reader of plain rows takes exactly what the general one takes, and to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnas.data import kernels
from dnas.data.block_reader import BlockReader
from dnas.data.columns import Block
from dnas.data.criteo import DENSE_NAMES, LAYOUT, SPARSE_NAMES
from dnas.data.keys import MISSING_KEY
from dnas.data.layout import DenseRule
from dnas.data.plain_rows import PlainReader, PlainRows
from dnas.data.records import TextFormat, cut_lines
from dnas.data.vocabulary import hash_ids

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
    st.sampled_from(
        [b"\t", b"\n", b"\n\n", b"\r\n", b"\r\r\n", b"", b"\xff", b"\xc3\xa9", b"\0", b" \n"]
    ),
)


def blocks(
    path: Path,
    rule: DenseRule,
    block_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    plain: bool,
    buckets: int | None = None,
) -> list[Block]:
    with monkeypatch.context() as patch:
        patch.setattr(PlainReader, "suits", staticmethod(lambda *_: plain))
        reader = BlockReader(path, NAMES, TEXT, LAYOUT, rule, buckets)
        return list(reader.read(block_bytes))


def plain_rows(data: bytes, buckets: int | None = None) -> PlainRows:
    reader = PlainReader(TEXT, LAYOUT, DenseRule("none", "minus_one"), buckets)
    return reader.read(cut_lines(data, 1, kernels.PADDING))


def line_of(numbers: list[str], keys: list[str]) -> bytes:
    fields = ["1", *numbers, *[""] * (13 - len(numbers)), *keys, *[""] * (26 - len(keys))]
    return ("\t".join(fields) + "\n").encode("latin-1")


def joined(found: list[Block]) -> dict[str, Any]:
    return {
        "labels": b"".join(block.labels.tobytes() for block in found),
        "dense": b"".join(block.dense.tobytes() for block in found),
        "keys": b"".join(np.asarray(block.sparse).tobytes() for block in found),
        "bad": [sorted(block.bad) for block in found],
    }


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lines=st.lists(rows, min_size=1, max_size=12),
    damages=st.lists(damage, max_size=3),
    rule=st.sampled_from([DenseRule("log1p", "minus_one"), DenseRule("none", "zero")]),
    block_bytes=st.sampled_from([200, 700, 1 << 20]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    end=st.sampled_from([b"", b"\n", b"\n\n \n", b"\r\n"]),
)
def test_the_same_as_the_general_reader(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[list[str]],
    damages: list[tuple[int, bytes]],
    rule: DenseRule,
    block_bytes: int,
    line_end: str,
    end: bytes,
) -> None:
    data = line_end.join("\t".join(line) for line in lines).encode()
    for place, what in damages:
        place %= len(data)
        data = data[:place] + what + data[place + 1 :]
    path = tmp_path / "a.txt"
    path.write_bytes(data + end)
    fast = blocks(path, rule, block_bytes, monkeypatch, plain=True)
    slow = blocks(path, rule, block_bytes, monkeypatch, plain=False)
    assert joined(fast) == joined(slow)
    hashed = blocks(path, rule, block_bytes, monkeypatch, plain=True, buckets=1000)
    assert joined(hashed)["bad"] == joined(slow)["bad"]
    for block, expected in zip(hashed, slow, strict=True):
        assert isinstance(expected.sparse, np.ndarray)
        np.testing.assert_array_equal(block.sparse, hash_ids(expected.sparse, 1000))


@given(st.lists(st.integers(-9_999_999, 99_999_999), min_size=13, max_size=13))
def test_all_plain_numbers_are_read(values: list[int]) -> None:
    rows = plain_rows(line_of([str(value) for value in values], []))
    assert rows.plain.all()
    assert rows.dense[0].tolist() == np.array(values, dtype=np.float32).tolist()


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 2**32 - 1)), min_size=26, max_size=26),
    st.sampled_from(["x", "X", "08x", "08X"]),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_all_plain_hexadecimal_numbers_are_read(
    values: list[int | None], form: str, line_end: bytes
) -> None:
    texts = ["" if value is None else format(value, form) for value in values]
    rows = plain_rows(line_of(["5"], texts).replace(b"\n", line_end) * 3)
    assert rows.plain.tolist() == [True] * 3
    expected = [MISSING_KEY if value is None else value for value in values]
    assert rows.sparse.tolist() == [expected] * 3


@pytest.mark.parametrize("times", [1, 3, 8])
def test_each_character_is_judged_rightly(times: int) -> None:
    texts = [chr(c) * times for c in range(256) if chr(c) not in "\t\n\r"]
    decimal = plain_rows(b"".join(line_of([text], []) for text in texts)).plain
    assert decimal.tolist() == [text.isascii() and text.isdigit() for text in texts]
    is_hexadecimal = [set(text) <= set("0123456789abcdefABCDEF") for text in texts]
    for before in (0, 25):  # the first field and the last
        data = b"".join(line_of([], [*[""] * before, text]) for text in texts)
        assert plain_rows(data).plain.tolist() == is_hexadecimal


def test_numbers_at_the_ends_of_the_table() -> None:
    values = [-1025, -1024, -1023, -1, 0, 1, 65534, 65535, 65536, 65537]
    rows = plain_rows(line_of([str(value) for value in values], []))
    assert rows.dense[0].tolist() == [*values, -1, -1, -1]


def test_lines_without_the_right_fields_are_stepped_over() -> None:
    good = line_of(["1"] * 13, ["1f"] * 26)
    odd = [
        b"\n",
        b"1\n",
        good.replace(b"\t", b"", 1),
        good[:-1] + b"\t\n",
        b"1\t\n",
        b"\t" * 60 + b"\n",
    ]
    rows = plain_rows(b"".join(line + good for line in odd))
    assert rows.plain.tolist() == [False, True] * len(odd)
    assert rows.sparse[1::2].tolist() == [[31] * 26] * len(odd)
    assert rows.ends.tolist() == np.cumsum([len(x) for line in odd for x in (line, good)]).tolist()


def test_no_folder_for_machine_code_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(cache: bool = False, **_: bool) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available for file")
        return lambda function: function

    monkeypatch.setattr(kernels, "njit", njit)
    assert kernels.compiled(len) is len


def test_usual_rows_need_no_general_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "\t".join(["1", "", "-3", "99999999", *["7"] * 10, "0a0B0c0d", "", *["ff"] * 24])
    path = tmp_path / "a.txt"
    path.write_bytes((line + "\r\n").encode() * 5000)

    def refuse(*_: object) -> None:
        raise AssertionError("a plain row was given to the general reader")

    monkeypatch.setattr(BlockReader, "_convert", refuse)
    found = blocks(path, DenseRule("log1p", "minus_one"), 1 << 18, monkeypatch, plain=True)
    assert sum(block.labels.size for block in found) == 5000
