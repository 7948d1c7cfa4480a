"""Criteo's raw format: hand-computed values, malformed rows with their line, ids."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dnas.errors import DataError
from tests.conftest import shared_data
from tests.data.raw_rows import build, criteo_line, write_lines

GOOD = criteo_line("0", [1, 2], ["0000000a", "ffffffff"])


def criteo(cache: Path, path: Path, **flags: object) -> object:
    return build(cache, data_set="criteo_kaggle", raw_data=str(path), **flags)


def test_hand_computed_values(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "train.txt",
        [
            criteo_line("1", [0, -2, "", 99], ["68fd1e64", "", "ffffffff"]),
            criteo_line("0", ["", 7], ["05db9164", "80000000", "ffffffff"]),
            criteo_line("1", [3], ["68fd1e64", "80000000", "fffffffe"]),
        ],
    )
    store = criteo(tmp_path / "cache", path)
    assert store.labels.tolist() == [1, 0, 1]
    expected = np.full((3, 13), -1.0)
    expected[0, :4] = [0.0, 0.0, -1.0, math.log(100)]
    expected[1, :2] = [-1.0, math.log(8)]
    expected[2, 0] = math.log(4)
    np.testing.assert_allclose(store.dense, expected, rtol=1e-6)
    # By first appearance; missing is a value of its own; above 2**31 nothing overflows.
    assert store.ids[:, :4].tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0]]
    assert store.spec.cardinalities == (2, 2, 2) + (1,) * 23
    assert store.spec.dense_names == tuple(f"I{i}" for i in range(1, 14))
    assert store.spec.sparse_names == tuple(f"C{i}" for i in range(1, 27))
    assert store.manifest.label_rate == pytest.approx(2 / 3)


def test_missing_is_no_number(tmp_path: Path) -> None:
    values = ["0", "", "00000000", "1", "ffffffff"]
    path = write_lines(tmp_path / "a.txt", [criteo_line("0", [], [v]) for v in values])
    assert criteo(tmp_path / "c", path).ids[:, 0].tolist() == [0, 1, 0, 2, 3]


def test_dense_zero_and_no_transform(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", [criteo_line("1", [-3, "", 5])])
    zero = criteo(tmp_path / "c", path, dense_missing="zero")
    np.testing.assert_allclose(zero.dense[0, :3], [0, 0, math.log(6)], rtol=1e-6)
    raw = criteo(tmp_path / "c", path, dense_missing="zero", dense_transform="none")
    assert raw.dense[0, :3].tolist() == [-3, 0, 5]
    raw = criteo(tmp_path / "c", path, dense_transform="none")
    assert raw.dense[0, :3].tolist() == [-3, -1, 5]
    assert np.isfinite(raw.dense).all()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("block_bytes", [1, 97, 1 << 20])
def test_blocks_and_line_ends_do_not_matter(tmp_path: Path, ending: str, block_bytes: int) -> None:
    lines = [criteo_line(str(i % 2), [i], [f"{i * 2**26:08x}"]) for i in range(60)]
    text = ending.join("\t".join(line) for line in lines)  # no line end at the end of the file
    path = tmp_path / "a.txt"
    path.write_text(text, newline="")
    store = criteo(tmp_path / "c", path, block_bytes=block_bytes)
    assert store.labels.tolist() == [i % 2 for i in range(60)]
    assert store.ids[:, 0].tolist() == list(range(60))
    np.testing.assert_allclose(store.dense[:, 0], np.log1p(np.arange(60)), rtol=1e-6)


BAD = {
    "few fields": (GOOD[:-1], "39 fields where 40"),
    "many fields": ([*GOOD, "x"], "41 fields where 40"),
    "blank": ("", "blank line"),
    "spaces": ("   ", "blank line"),
    "label 2": (["2", *GOOD[1:]], "label label is '2', not 0 or 1"),
    "no label": (["", *GOOD[1:]], "label label is None"),
    "text number": (["1", "abc", *GOOD[2:]], "numeric column I1 is 'abc'"),
    "infinite number": (["1", "inf", *GOOD[2:]], "numeric column I1 is 'inf'"),
    "nan": (["1", "nan", *GOOD[2:]], "numeric column I1 is 'nan'"),
    "huge number": (["1", "1e39", *GOOD[2:]], "numeric column I1 is '1e39'"),
    "bad hex": ([*GOOD[:-1], "xyz"], "column C26 is 'xyz', not a hexadecimal"),
    "long hex": ([*GOOD[:-1], "123456789"], "column C26 is '123456789'"),
    "signed hex": ([*GOOD[:-1], "-1"], "column C26 is '-1'"),
    "plus hex": ([*GOOD[:-1], "+1"], r"column C26 is '\+1'"),
}


@pytest.mark.parametrize("position", [0, 7, 24])
@pytest.mark.parametrize("kind", BAD)
def test_bad_rows_are_named_by_line_or_counted(tmp_path: Path, kind: str, position: int) -> None:
    bad, message = BAD[kind]
    lines: list = [GOOD] * 25
    lines[position] = bad
    if position == 24 and kind in ("blank", "spaces"):
        lines.append(GOOD)  # at the end of a file blank lines are let pass
    path = write_lines(tmp_path / "a.txt", lines)
    block_bytes = 1 << 20 if position == 7 else 300  # one block, or several
    with pytest.raises(DataError, match=rf"a\.txt:{position + 1}: .*{message}"):
        criteo(tmp_path / "c", path, block_bytes=block_bytes)
    store = criteo(tmp_path / "c", path, on_bad_row="skip", block_bytes=block_bytes)
    assert store.rows == len(lines) - 1
    assert store.manifest.skipped_rows == 1
    assert f"a.txt:{position + 1}:" in store.manifest.skipped_examples[0]
    assert store.spec.cardinalities[25] == 1, "a skipped row left a value behind"


def test_the_first_of_several_bad_rows_is_named(tmp_path: Path) -> None:
    lines: list = [GOOD] * 10
    lines[3] = ["7", *GOOD[1:]]
    lines[5] = "short"
    path = write_lines(tmp_path / "a.txt", lines)
    with pytest.raises(DataError, match=r":4: label"):
        criteo(tmp_path / "c", path)
    store = criteo(tmp_path / "c", path, on_bad_row="skip")
    assert (store.rows, store.manifest.skipped_rows) == (8, 2)


def test_a_row_with_two_faults_is_one_row(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", [GOOD, ["9", "x", *GOOD[2:-1], "zz"]])
    store = criteo(tmp_path / "c", path, on_bad_row="skip")
    assert (store.rows, store.manifest.skipped_rows) == (1, 1)


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    good = "\t".join(GOOD).encode() + b"\n"
    path.write_bytes(good + good.replace(b"ffffffff", b"\xff\xfe") + good)
    with pytest.raises(DataError, match=r"a\.txt:2: not UTF-8"):
        criteo(tmp_path / "c", path)
    assert criteo(tmp_path / "c", path, on_bad_row="skip").rows == 2


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_empty_files(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(content)
    for mode in ("error", "skip"):
        with pytest.raises(DataError, match=r"a\.txt: no rows"):
            criteo(tmp_path / "c", path, on_bad_row=mode)


def test_blank_lines_at_the_end_are_let_pass(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", [GOOD, GOOD, "", ""])
    for block_bytes in (50, 1 << 20):
        store = criteo(tmp_path / f"c{block_bytes}", path, block_bytes=block_bytes)
        assert (store.rows, store.manifest.skipped_rows) == (2, 0)


def test_compressed_and_several_files(tmp_path: Path) -> None:
    lines = [criteo_line("1", [i], [f"{i:x}"]) for i in range(12)]
    for i in range(12):
        data = ("\t".join(lines[i]) + "\n").encode()
        if i % 3 == 0:
            (tmp_path / f"day_{i}.gz").write_bytes(gzip.compress(data))
        elif i % 3 == 1:
            with pa.output_stream(str(tmp_path / f"day_{i}.zst"), compression="zstd") as out:
                out.write(data)
        else:
            (tmp_path / f"day_{i}").write_bytes(data)
    store = criteo(tmp_path / "c", tmp_path / "day_*")
    # Natural order: day_2 before day_10.
    np.testing.assert_allclose(store.dense[:, 0], np.log1p(np.arange(12)), rtol=1e-6)
    assert [source["name"] for source in store.manifest.identity["sources"]][2] == "day_2"
    both = criteo(tmp_path / "c", Path(f"{tmp_path}/day_5,{tmp_path}/day_0.gz"))
    np.testing.assert_allclose(both.dense[:, 0], np.log1p([5, 0]), rtol=1e-6)


def test_broken_compression_is_a_data_error(tmp_path: Path) -> None:
    whole = gzip.compress(os.urandom(2000))
    path = tmp_path / "a.gz"
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"a\.gz: cannot be read as gzip"):
        criteo(tmp_path / "c", path)
    path.write_bytes(b"plain text\n")
    with pytest.raises(DataError, match=r"a\.gz: cannot be read as gzip"):
        criteo(tmp_path / "c", path)


def test_missing_files_name_the_flag(tmp_path: Path) -> None:
    for raw in ("nowhere.txt", "nowhere_*", "nowhere.txt,other"):
        with pytest.raises(DataError, match=r"--raw_data=.*nowhere"):
            criteo(tmp_path / "c", tmp_path / raw)
    with pytest.raises(DataError, match="is a folder"):
        criteo(tmp_path / "c", tmp_path)
    path = write_lines(tmp_path / "a.txt", [GOOD])
    with pytest.raises(DataError, match="named twice"):
        criteo(tmp_path / "c", Path(f"{path},{path}"))


def test_ids_are_never_reduced_by_another_features_count(tmp_path: Path) -> None:
    lines = [criteo_line("0", [], [f"{i % 3:x}", f"{i:x}", f"{i % 7:x}"]) for i in range(500)]
    store = criteo(tmp_path / "c", write_lines(tmp_path / "a.txt", lines))
    assert store.spec.cardinalities[:3] == (3, 500, 7)
    assert store.ids.max(axis=0)[:3].tolist() == [2, 499, 6]
    assert store.ids[:, 1].tolist() == list(range(500))


def test_min_count_shares_id_zero(tmp_path: Path) -> None:
    values = ["aa", "bb", "aa", "cc", "bb", "dd", "aa", ""]
    path = write_lines(tmp_path / "a.txt", [criteo_line("0", [], [v]) for v in values])
    store = criteo(tmp_path / "c", path, min_count=2, block_bytes=120)
    assert store.ids[:, 0].tolist() == [1, 2, 1, 0, 2, 0, 1, 0]
    assert store.spec.cardinalities[:2] == (3, 2)  # C2 is always missing: seen 8 times
    assert set(store.ids[:, 1].tolist()) == {1}
    plain = criteo(tmp_path / "c", path)
    assert plain.ids[:, 0].tolist() == [0, 1, 0, 2, 1, 3, 0, 4]


def test_hash_ids_are_a_function_of_the_value(tmp_path: Path) -> None:
    lines = [criteo_line("0", [], [f"{i * 7919:08x}", ""]) for i in range(300)]
    path = write_lines(tmp_path / "a.txt", lines)
    flags = {"ids": "hash", "max_ind_range": 50}
    here = criteo(tmp_path / "here", path, **flags)
    assert here.spec.cardinalities == (50,) * 26
    assert here.ids.min() >= 0
    assert np.unique(here.ids[:, 0]).size == 50
    # Each value's bucket depends on the value alone.
    write_lines(path, lines[::-1])
    np.testing.assert_array_equal(criteo(tmp_path / "c", path, **flags).ids, here.ids[::-1])


def test_the_real_sample(tmp_path: Path) -> None:
    path = shared_data("criteo_1tb_day0_10k.tsv.zst")
    store = build(tmp_path, data_set="criteo_1tb", raw_data=str(path), block_bytes=200_000)
    assert store.rows == 10_000
    assert store.manifest.positives == 265
    assert np.isfinite(store.dense).all()
    assert store.dense.min() == -1
    for feature, count in enumerate(store.spec.cardinalities):
        np.testing.assert_array_equal(np.unique(store.ids[:, feature]), np.arange(count))
    # The first line of the file begins 1, 5, 110, missing, 16.
    np.testing.assert_allclose(
        store.dense[0, :4], [math.log(6), math.log(111), -1, math.log(17)], rtol=1e-6
    )
    assert store.ids[0].tolist() == [0] * 26
    whole = build(tmp_path / "one", data_set="criteo_1tb", raw_data=str(path))
    assert whole.manifest.content_hash == store.manifest.content_hash
