"""Avazu and KDD Cup 2012 in the raw formats, the join of the users, and AutoCTR's ids."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnas.data import DataConfig, Store, avazu, criteo, kdd2012, prepare, user_profile
from dnas.data.columns import text_buffers
from dnas.data.kernels import residue_keys
from dnas.data.keys import MISSING_KEY
from dnas.data.layout import IdRule
from dnas.data.prepare import make_source
from dnas.data.vocabulary import make_encoder
from dnas.errors import ConfigError, DataError
from tests.conftest import shared_data
from tests.data.nasrec_files import (
    AVAZU_ROW,
    avazu_line,
    hex8,
    kdd_line,
    write_avazu,
)
from tests.data.raw_rows import build, criteo_line, write_lines

KDD = {"data_set": "kdd2012_track2", "raw_data": "training.txt"}


def residues(texts: list[str]) -> list[int]:
    keys = np.empty(len(texts), dtype=np.uint64)
    residue_keys(*text_buffers(pl.Series(texts, dtype=pl.String)), keys)
    return keys.tolist()


def kdd(folder: Path, lines: list[str], users: list[str], **flags: Any) -> Store:
    return build(
        folder / "cache",
        data_set="kdd2012_track2",
        raw_data=str(write_lines(folder / "training.txt", lines)),
        user_profile=str(write_lines(folder / "userid_profile.txt", users)),
        **flags,
    )


# ------------------------------------------------------------------------- values to keys


def test_residues_by_hand() -> None:
    expected = {
        "": MISSING_KEY,
        "0": 0,
        "00000042": 42,  # digits alone are decimal
        "0000004a": 74,
        "2147483646": 2147483646,
        "2147483647": 0,
        "ffffffff": 1,  # 4294967295 = 2 * 2147483647 + 1
        "85F751FD": 0x05F751FE,
        "-1": 2147483646,
        "-0": 0,
        "18446744073709551615": 3,  # 2**64 - 1, and 2**31 = 1: 2**64 = 2**2
        "1e5": 0x1E5,
    }
    assert residues(list(expected)) == list(expected.values())


@pytest.mark.parametrize(
    "text", ["-", "x", "0x1f", "1 ", " 1", "1.5", "+1", "12g", "é", "1-", "1_0", "--1", "@", "`"]
)
def test_no_residues(text: str) -> None:
    assert residues([text, "5"]) == [MISSING_KEY, 5]


@settings(deadline=None)
@given(st.lists(st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.integers(0, 2**40).map("{:x}".format),
    st.integers(0, 2**40).map("{:016X}".format),
)))  # fmt: skip
def test_residues_of_any_integer(texts: list[str]) -> None:
    assert residues(texts) == [int(hex8(text), 16) for text in texts]


def test_texts_of_a_part_of_a_column() -> None:
    column = pl.Series(["abc", "", "d", "efg"])[1:3]
    data, offsets = text_buffers(column)
    texts = [bytes(data[a:b]) for a, b in pairwise(offsets)]
    assert texts == [b"", b"d"]
    assert text_buffers(pl.Series(["", ""]))[0].size == 0
    assert text_buffers(pl.Series([], dtype=pl.String))[1].tolist() == [0]


# ---------------------------------------------------------------------------- keys to ids


def test_modulo_golden() -> None:
    sizes = (5, 2, 1461)
    encoder = make_encoder(IdRule("modulo", sizes=sizes), 3)
    keys = [MISSING_KEY, 0, 1, 3, 4, 5, 1459, 1460, 2**32 - 1]
    ids = encoder.encode(np.array([keys] * 3, dtype=np.uint64).T.copy())
    assert encoder.cardinalities == sizes
    assert encoder.remap() is None
    assert ids[:, 0].tolist() == [0, 1, 2, 4, 1, 2, 4, 1, 4]  # 1459 = 3 and 2**32 - 1 = 3 mod 4
    assert ids[:, 1].tolist() == [0] + [1] * 8
    # N - 1 is 1 again, the largest id is N - 1.
    assert ids[:, 2].tolist() == [0, 1, 2, 4, 5, 6, 1460, 1, (2**32 - 1) % 1460 + 1]


def test_modulo_of_criteo(tmp_path: Path) -> None:
    lines = [criteo_line("0", [-2, ""], [v, v]) for v in ("", "0", "000005b4", "ffffffff")]
    path = write_lines(tmp_path / "train.txt", lines)
    flags = {"data_set": "criteo_kaggle", "raw_data": str(path), "dense_missing": "zero"}
    store = build(tmp_path / "c", ids="modulo", **flags)
    assert store.spec.cardinalities == criteo.TABLE_SIZES
    assert sum(criteo.TABLE_SIZES) == 33_762_601  # as many rows as NASRec's tables have
    assert store.ids[:, 0].tolist() == [0, 1, 1, (2**32 - 1) % 1460 + 1]  # 0x5b4 = 1460
    assert store.ids[:, 1].tolist() == [0, 1, 1460 % 583 + 1, (2**32 - 1) % 583 + 1]
    assert store.ids[:, 2:].max() == 0
    assert store.dense[:, :2].tolist() == [[0, 0]] * 4  # negative and missing
    capped = build(tmp_path / "c", ids="modulo", max_table_rows=500_000, **flags)
    assert sum(capped.spec.cardinalities) == 3_069_317
    small = build(tmp_path / "c", ids="modulo", max_table_rows=2, **flags)
    assert small.ids[:, 0].tolist() == [0, 1, 1, 1]


def test_modulo_of_real_rows(tmp_path: Path) -> None:
    path = shared_data("criteo_1tb_day0_10k.tsv.zst")
    store = build(tmp_path, data_set="criteo_kaggle", raw_data=str(path), ids="modulo")
    texts = pl.read_csv(path, separator="\t", has_header=False, infer_schema=False)[:, 14:].rows()
    for row, ids in zip(texts[::97], store.ids[::97].tolist(), strict=True):
        for text, size, number in zip(row, criteo.TABLE_SIZES, ids, strict=True):
            assert number == math.fmod(int(text, 16) if text else -1, size - 1) + 1


# ---------------------------------------------------------------------------------- Avazu


@pytest.mark.parametrize("block_bytes", [400, 1 << 20])
def test_avazu_by_hand(tmp_path: Path, block_bytes: int) -> None:
    path = write_avazu(
        tmp_path / "train.csv",
        [AVAZU_ROW, avazu_line("1", C20="100084"), avazu_line(hour="", device_ip="00000042")],
    )
    store = build(
        tmp_path / "c", data_set="avazu", raw_data=str(path), ids="modulo", block_bytes=block_bytes
    )
    assert store.labels.tolist() == [0, 1, 0]
    assert store.spec.dense_names == ("zero",)
    assert store.dense.tolist() == [[0], [0], [0]]
    assert store.spec.sparse_names == (
        "id", "hour", "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id",
        "app_domain", "app_category", "device_id", "device_ip", "device_model", "device_type",
        "device_conn_type", "C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21",
    )  # fmt: skip
    assert store.spec.cardinalities == avazu.TABLE_SIZES
    row = AVAZU_ROW.split(",")
    values = [int(hex8(text), 16) for text in [row[0], *row[2:]]]
    sizes = avazu.TABLE_SIZES
    assert store.ids[0].tolist() == [v % (n - 1) + 1 for v, n in zip(values, sizes, strict=True)]
    ids = dict(zip(store.spec.sparse_names, store.ids.T.tolist(), strict=True))
    assert ids["id"][1:] == [8, 8]
    assert ids["hour"] == [14102100 % 240 + 1] * 2 + [0]
    assert ids["C20"] == [2147483646 % 172 + 1, 100084 % 172 + 1, 2147483646 % 172 + 1]
    assert ids["device_ip"][2] == 43


def test_avazu_with_the_other_ids(tmp_path: Path) -> None:
    # 2147483648 and 1 are one value after the published reduction.
    lines = [avazu_line(identity=i) for i in ("5", "2147483648", "1", "", "5")]
    path = write_avazu(tmp_path / "train.csv", lines)
    flags = {"data_set": "avazu", "raw_data": str(path)}
    store = build(tmp_path / "c", **flags)
    assert store.ids[:, 0].tolist() == [0, 1, 1, 2, 0]
    assert store.spec.cardinalities == (3,) + (1,) * 22
    hashed = build(tmp_path / "c", ids="hash", max_ind_range=1000, **flags).ids[:, 0]
    assert hashed[1] == hashed[2]
    assert len(set(hashed.tolist())) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (avazu_line("2"), "label click is '2'"),
        (avazu_line("0", "12z"), "column id is '12z', not a decimal or hexadecimal integer"),
        (avazu_line() + ",1", "25 fields where 24"),
    ],
)
def test_bad_rows_of_avazu(tmp_path: Path, line: str, message: str) -> None:
    path = write_avazu(tmp_path / "train.csv", [AVAZU_ROW, line, AVAZU_ROW])
    flags = {"data_set": "avazu", "raw_data": str(path)}
    with pytest.raises(DataError, match=rf"train\.csv:3: {message}"):
        build(tmp_path / "c", **flags)
    assert build(tmp_path / "c", on_bad_row="skip", **flags).rows == 2


def test_a_file_without_labels_is_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "test.csv", ["id,hour", "1,2"])
    with pytest.raises(DataError, match="no column 'click'"):
        build(tmp_path / "c", data_set="avazu", raw_data=str(path))


# ------------------------------------------------------------------------- KDD Cup 2012


@pytest.mark.parametrize("block_bytes", [100, 1 << 20])
def test_kdd_by_hand(tmp_path: Path, block_bytes: int) -> None:
    lines = [kdd_line(0, 20), kdd_line(3, 7), kdd_line(1, 999), kdd_line(0, 0), kdd_line(0, "")]
    users = ["7\t1\t5", "20\t2\t3", "7\t2\t6"]
    store = kdd(tmp_path, lines, users, ids="modulo", block_bytes=block_bytes)
    assert store.labels.tolist() == [0, 1, 1, 0, 0]  # clicks are counted
    assert store.spec.dense_names == ("impression", "depth", "position")
    expected = [[math.log(shown + 1), math.log(4), math.log(3)] for shown in (1, 4, 2, 1, 1)]
    np.testing.assert_allclose(store.dense, expected, rtol=1e-6)
    assert store.spec.sparse_names == (
        "displayURL", "adID", "advertiserID", "queryID", "keywordID", "titleID", "descriptionID",
        "userID", "gender", "age",
    )  # fmt: skip
    assert store.spec.cardinalities == kdd2012.TABLE_SIZES
    url = 4298118681424644510 % 2147483647 % 26273 + 1
    first = [url, 7686695 % 641707 + 1, 386, 1602, 5522, 7710, 577, 21, 2 % 3 + 1, 4]
    assert store.ids[0].tolist() == first
    # Of two lines for a user the later counts; an unknown user has 0 and 0, which are not missing.
    assert store.ids[:, 7:].tolist() == [[21, 3, 4], [8, 3, 7], [1000, 1, 1], [1, 1, 1], [0, 1, 1]]


def test_parquet_is_read_as_text_is(tmp_path: Path) -> None:
    lines = [kdd_line(i % 2, i, url=str(2**64 - 1 - i)) for i in range(9)]
    text = kdd(tmp_path, lines, ["3\t1\t5"], ids="modulo")
    frame = pl.read_csv(
        tmp_path / "training.txt", separator="\t", has_header=False, new_columns=kdd2012.COLUMNS
    )
    frame = frame.cast({"displayURL": pl.UInt64})
    frame.write_parquet(tmp_path / "training.parquet")
    parquet = build(
        tmp_path / "cache",
        data_set="kdd2012_track2",
        raw_data=str(tmp_path / "training.parquet"),
        user_profile=str(tmp_path / "userid_profile.txt"),
        ids="modulo",
    )
    assert parquet.manifest.content_hash == text.manifest.content_hash


def test_users_with_large_numbers(tmp_path: Path) -> None:
    last = user_profile.USER_LIMIT - 1
    users = [f"{5_000_000}\t1\t2", "12\t2\t1", f"{3_000_000}\t0\t6", "0\t2\t2"]
    lines = [kdd_line(0, u) for u in (5_000_000, 5_000_001, 12, 3_000_000, last, 2**40, "ab")]
    ids = kdd(tmp_path, lines, users, ids="modulo").ids[:, 8:]
    assert ids.tolist() == [[2, 3], [1, 1], [3, 2], [1, 7], [1, 1], [1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3\t1", "2 fields where 3"),
        ("x\t1\t2", "is not a user below"),
        (f"{user_profile.USER_LIMIT}\t1\t2", "is not a user below"),
        ("5\t1\t256", "is not a user below"),
        ("5\t\t2", "is not a user below"),
    ],
)
def test_bad_users(
    tmp_path: Path, line: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    users = ["1\t1\t1", line, "4\t2\t2"]
    with pytest.raises(DataError, match=rf"userid_profile\.txt:2: .*{message}"):
        kdd(tmp_path, [kdd_line()], users)
    store = kdd(tmp_path, [kdd_line(0, 5), kdd_line(0, 4)], users, on_bad_row="skip", ids="modulo")
    assert store.ids[:, 8:].tolist() == [[1, 1], [3, 3]]
    assert "userid_profile.txt: 1 malformed lines were skipped" in caplog.text


def test_bad_rows_of_kdd(tmp_path: Path) -> None:
    for line, message in (
        (kdd_line("-1"), "label click is '-1', not a count"),
        (kdd_line("x"), "label click is 'x', not a count"),
        (kdd_line(""), "label click is None, not a count"),
        (kdd_line(url="7g"), "column displayURL is '7g'"),
    ):
        with pytest.raises(DataError, match=rf"training\.txt:1: {message}"):
            kdd(tmp_path, [line], ["1\t1\t1"])


def test_no_users(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no users; see --user_profile"):
        kdd(tmp_path, [kdd_line()], [])
    with pytest.raises(DataError, match="--user_profile=nowhere: there is no such file"):
        make_source(DataConfig(user_profile="nowhere", **KDD))


def test_other_users_are_another_store(tmp_path: Path) -> None:
    first = kdd(tmp_path, [kdd_line(0, 3)], ["3\t1\t1"])
    second = kdd(tmp_path, [kdd_line(0, 3)], ["3\t1\t11"])
    assert first.path != second.path
    assert first.manifest.identity["user_profile"]["name"] == "userid_profile.txt"


def test_the_way_to_batches(tmp_path: Path) -> None:
    lines = [kdd_line(int(i % 5 == 0), i % 7) for i in range(60)]
    data = prepare(
        DataConfig(
            data_set="kdd2012_track2",
            raw_data=str(write_lines(tmp_path / "training.txt", lines)),
            user_profile=str(write_lines(tmp_path / "users", ["1\t2\t5"])),
            ids="modulo",
            data_cache=str(tmp_path / "c"),
        )
    )
    assert {name: len(rows) for name, rows in data.splits.items()} == {
        "weights": 38, "theta": 10, "train": 48, "validation": 6, "test": 6
    }  # fmt: skip
    batch = next(data.loader("test", 6, shuffle=False, seed=0, drop_last=False).batches(0, 1))
    assert batch.dense.shape == (6, 3)
    assert batch.ids.shape == (6, 10)


# ---------------------------------------------------------------------------------- flags


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"data_set": "avazu"}, "--data_set=avazu needs --raw_data"),
        (KDD, "needs --user_profile"),
        ({"data_set": "avazu", "raw_data": "x", "user_profile": "u"}, "--user_profile=u is only"),
        ({"data_set": "criteo_1tb", "raw_data": "x", "ids": "modulo"}, "no published table sizes"),
        ({"ids": "modulo"}, "no published table sizes for synthetic"),
        ({"data_set": "avazu", "raw_data": "x", "max_table_rows": 9}, "--max_table_rows=9 has no"),
        ({"max_table_rows": 1}, "--max_table_rows=1: must be"),
        ({"max_table_rows": -1}, "--max_table_rows=-1"),
        ({"split": "autoctr", "train_fraction": 0.5}, "--train_fraction=0.5 has no effect"),
        ({"released_off_by_one": True}, "only used with --split=autoctr"),
        (
            {"data_set": "avazu", "raw_data": "x", "released_off_by_one": True},
            "the released scripts are right for avazu",
        ),
        (
            {"data_set": "avazu", "raw_data": "x", "ids": "modulo", "max_ind_range": 5},
            "--max_ind_range=5 has no effect with --ids=modulo",
        ),
        (
            {"data_set": "avazu", "raw_data": "x", "ids": "modulo", "min_count": 2},
            "--min_count=2 has no effect with --ids=modulo",
        ),
    ],
)
def test_mistakes_name_flag_and_value(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataConfig(**flags)


def test_stores_of_before_are_found(tmp_path: Path) -> None:
    """Fields that came later are not in the identity of a store that does not use them."""
    path = write_lines(tmp_path / "train.txt", [criteo_line()])
    source, _ = make_source(DataConfig(data_set="criteo_kaggle", raw_data=str(path)))
    identity = source.identity()
    assert sorted(identity) == [
        "dense", "file_parts", "ids", "layout", "names", "on_bad_row", "quote", "separator",
        "sources",
    ]  # fmt: skip
    assert sorted(identity["layout"]) == [
        "dense", "hexadecimal", "label", "missing", "negative", "part", "parts", "positive",
        "sparse", "strip",
    ]  # fmt: skip
    assert identity["ids"] == {"kind": "vocabulary", "buckets": 0, "min_count": 1}
