"""Values to ids."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnas.data.kernels import mix64
from dnas.data.keys import text_key
from dnas.data.vocabulary import HashEncoder, VocabularyEncoder


def first_appearance(values: list) -> list[int]:
    known: dict = {}
    return [known.setdefault(value, len(known)) for value in values]


def test_mix64_is_splitmix64() -> None:
    # First outputs of the published generator with the seeds 0 and 1.
    out = [mix64(np.uint64(seed)) for seed in (0, 1)]
    assert [hex(x) for x in out] == ["0xe220a8397b1dcdaf", "0x910a2dec89025cc1"]


def test_text_keys_are_blake2b() -> None:
    digest = hashlib.blake2b("é".encode(), digest_size=8).digest()
    assert text_key("é") == int.from_bytes(digest, "little")
    encoder = HashEncoder(1000, features=1)
    column = pl.Series(["é", "a", "é"])
    expected = [mix64(np.uint64(text_key(text))) % 1000 for text in column]
    assert encoder.encode([column])[:, 0].tolist() == expected
    keys = np.array([[text_key(text)] for text in column], dtype=np.uint64)
    assert encoder.encode(keys)[:, 0].tolist() == expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2**32), max_size=40), max_size=6),
    st.booleans(),
)
def test_ids_by_first_appearance(blocks: list[list[int]], text: bool) -> None:
    encoder = VocabularyEncoder(1, features=1)
    found: list[int] = []
    for block in blocks:
        column = pl.Series([f"{v}" for v in block], dtype=pl.String) if text else None
        keys = np.array(block, dtype=np.uint64)[:, None]
        found += encoder.encode(keys if column is None else [column])[:, 0].tolist()
    values = [value for block in blocks for value in block]
    assert found == first_appearance(values)
    assert encoder.cardinalities == (max(len(set(values)), 1),)
    assert encoder.remap() is None


def test_many_keys_and_growth() -> None:
    rng = np.random.default_rng(0)
    encoder = VocabularyEncoder(1, features=1)
    blocks = [rng.integers(0, 60_000, 20_000).astype(np.uint64) for _ in range(6)]
    found = np.concatenate([encoder.encode(block[:, None])[:, 0] for block in blocks])
    values = np.concatenate(blocks)
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    np.testing.assert_array_equal(found, rank[inverse])
    assert encoder.cardinalities == (first.size,)


@pytest.mark.parametrize("min_count", [2, 3])
def test_threshold(min_count: int) -> None:
    values = ["c", "a", "b", "a", "c", "a", "d"]
    encoder = VocabularyEncoder(min_count, features=1)
    parts = [encoder.encode([pl.Series(part)])[:, 0] for part in (values[:3], values[3:])]
    tables = encoder.remap()
    assert tables is not None
    ids = tables[0][np.concatenate(parts)].tolist()
    expected = {2: [1, 2, 0, 2, 1, 2, 0], 3: [0, 1, 0, 1, 0, 1, 0]}[min_count]
    assert ids == expected
    assert encoder.cardinalities == ({2: 3, 3: 2}[min_count],)
