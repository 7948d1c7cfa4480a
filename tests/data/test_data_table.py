"""Any table with a schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from dnas.data import DataConfig, prepare
from dnas.data.table import read_schema
from dnas.errors import DataError
from tests.conftest import shared_data
from tests.data.raw_rows import build

SCHEMA: dict[str, Any] = {"label": "y", "dense": ["a"], "categorical": ["c"]}
CSV = "id,c,a,y\n1,x,0.5,1\n2,?,,0\n3,x, 2 ,1\n4, y ,-7,0\n"


def make(folder: Path, schema: object = SCHEMA, csv: str = CSV, name: str = "t.csv") -> dict:
    (folder / "s.json").write_text(json.dumps(schema))
    (folder / name).write_text(csv, encoding="utf-8", newline="")
    return {
        "data_set": "table",
        "raw_data": str(folder / name),
        "schema": str(folder / "s.json"),
    }


def test_values(tmp_path: Path) -> None:
    store = build(tmp_path / "c", **make(tmp_path, {**SCHEMA, "missing": ["", "?"]}))
    assert store.labels.tolist() == [1, 0, 1, 0]
    assert store.dense.tolist() == [[0.5], [-1], [2], [-7]]
    assert store.ids.tolist() == [[0], [1], [0], [2]]
    assert store.spec.to_json() == {
        "dense_names": ["a"],
        "sparse_names": ["c"],
        "cardinalities": [3],
    }


def test_transform_of_schema_and_flag(tmp_path: Path) -> None:
    flags = make(tmp_path, {**SCHEMA, "dense_transform": "log1p"})
    log = build(tmp_path / "c", **flags)
    np.testing.assert_allclose(log.dense[:, 0], [np.log(1.5), -1, np.log(3), 0], rtol=1e-6)
    assert build(tmp_path / "c", dense_transform="none", **flags).dense[3, 0] == -7


def test_tsv_no_header_and_quotes(tmp_path: Path) -> None:
    schema = {**SCHEMA, "columns": ["y", "c", "a"]}
    flags = make(tmp_path, schema, '1\t"a\tb"\t1\n0\t"a\tb"\t2\n', "t.tsv")
    store = build(tmp_path / "c", **flags)
    assert (store.rows, store.spec.cardinalities) == (2, (1,))
    flags = make(tmp_path, {**schema, "quote": None, "separator": "|"}, '1|"a|1\n0|b"|2\n')
    assert build(tmp_path / "c", **flags).spec.cardinalities == (2,)


def test_parquet_with_floats_for_integers_has_the_same_categories(tmp_path: Path) -> None:
    """As written from data frames, where a column with an absent value is one of floats."""
    labels = [1, 0, 1, 0]
    whole = pl.DataFrame({"c": [3, 2**53 - 1, 0, 7], "a": [1.0] * 4, "y": labels})
    floats = pl.DataFrame(
        {"c": [3.0, None, float("nan"), 2.0**53 - 1], "a": [1.0] * 4, "y": labels}
    )
    (tmp_path / "parts").mkdir()
    for number, frame in enumerate((whole, floats)):
        frame.write_parquet(tmp_path / "parts" / f"{number}.parquet")
    flags = make(tmp_path)
    flags["raw_data"] = str(tmp_path / "parts" / "*.parquet")
    ids = build(tmp_path / "c", **flags).ids[:, 0].tolist()
    assert ids[4] == ids[0]  # 3.0 is 3
    assert ids[7] == ids[1]
    assert ids[5] == ids[6]  # absent, and not a number
    assert len(set(ids)) == 5
    parts = pl.DataFrame({"c": [0.5, 1.5, 0.5, 2.0], "a": [1.0] * 4, "y": labels})
    parts.write_parquet(tmp_path / "parts" / "1.parquet")
    assert len(set(build(tmp_path / "c", **flags).ids[:, 0].tolist())) == 7


@pytest.mark.parametrize("kind", [pl.Int32, pl.Float32, pl.Float64, pl.String])
def test_numbers_that_mean_absent_are_so_in_parquet_too(tmp_path: Path, kind: type) -> None:
    schema = {**SCHEMA, "missing": ["-999", "-999.0", "-0.1", "?"], "dense_transform": "none"}
    numbers = [4, -999, 5, -999] if kind == pl.Int32 else [4.0, -999.0, -0.1, 6.0]
    frame = pl.DataFrame({"c": ["x"] * 4, "a": pl.Series(numbers).cast(kind), "y": [1, 0, 1, 0]})
    flags = make(tmp_path, schema)
    frame.write_csv(tmp_path / "n.csv")
    frame.write_parquet(tmp_path / "n.parquet")
    found = []
    for name in ("n.csv", "n.parquet"):
        found.append(build(tmp_path / "c", **{**flags, "raw_data": str(tmp_path / name)}).dense)
    np.testing.assert_array_equal(*found)
    assert found[0][1, 0] == found[0][3 if kind == pl.Int32 else 2, 0] != -999


def test_parquet_equals_csv(tmp_path: Path) -> None:
    flags = make(tmp_path)
    csv = build(tmp_path / "c", **flags)
    frame = pl.DataFrame(
        {
            "c": ["x", "?", "x", "y"],
            "a": [0.5, None, 2.0, -7.0],
            "y": [True, False, True, False],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    flags["raw_data"] = str(tmp_path / "t.parquet")
    parquet = build(tmp_path / "c", **flags)
    assert parquet.manifest.content_hash == csv.manifest.content_hash
    frame.with_columns(y=pl.Series([1, 0, None, 0])).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet:3: label y is None"):
        build(tmp_path / "c", **flags)
    frame.with_columns(c=pl.Series([[1], [2], [3], [4]])).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"column 'c' has type"):
        build(tmp_path / "c", **flags)
    (tmp_path / "t.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"t\.parquet: not a Parquet file"):
        build(tmp_path / "c", **flags)


def test_bad_rows_count_the_header_and_quoted_lines(tmp_path: Path) -> None:
    csv = 'id,c,a,y\n1,"two\nlines",0.5,1\n2,x,oops,0\n'
    flags = make(tmp_path, SCHEMA, csv)
    with pytest.raises(DataError, match=r"t\.csv:4: numeric column a is 'oops'"):
        build(tmp_path / "c", **flags)
    assert build(tmp_path / "c", on_bad_row="skip", **flags).rows == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lable": "y"}, r"unknown key lable \(value 'y'\); the keys are label, dense"),
        ({"label": None}, "label=None"),
        ({"label": "a"}, "label='a' is also listed as a feature"),
        ({"dense": "a"}, "dense='a': must be a list"),
        ({"dense": [], "categorical": []}, "no features"),
        ({"categorical": ["c", "a"]}, "'a' is listed more than once"),
        ({"dense_transform": "log"}, "dense_transform='log': must be none or log1p"),
        ({"separator": "::"}, "separator='::'"),
        ({"split": {"rule": "last"}}, "split.rule='last': must be one of random"),
        ({"split": {"rule": "random", "column": "c"}}, "split="),
        ({"split": {"rule": "random", "train": ["x"]}}, "takes no other key"),
        ({"split": {"column": "c", "train": ["x"]}}, "split.column='c' is also|split.test"),
        ({"split": {"column": "p", "train": ["x"], "test": ["x"]}}, "'x' is in two lists"),
        ({"split": {"column": "p", "trian": ["x"]}}, "unknown key split.trian"),
        ({"dense": ["zz"]}, "no column 'zz'; the columns are id, c, a, y"),
    ],
)
def test_schema_mistakes(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    flags = make(tmp_path, {**SCHEMA, **change})
    with pytest.raises(DataError, match=message):
        build(tmp_path / "c", **flags)


def test_schema_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--schema"):
        read_schema(tmp_path / "none.json")
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(DataError, match=r"s\.json: not a JSON file"):
        read_schema(tmp_path / "s.json")
    (tmp_path / "s.json").write_text('{"dense": ["a"]}')
    with pytest.raises(DataError, match="the key label is missing"):
        read_schema(tmp_path / "s.json")


def test_empty_and_repeated_headers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv:1: no header"):
        build(tmp_path / "c", **make(tmp_path, SCHEMA, ""))
    with pytest.raises(DataError, match="more than once: \\['a'\\]"):
        build(tmp_path / "c", **make(tmp_path, SCHEMA, "a,a,c,y\n1,1,1,1\n"))
    with pytest.raises(DataError, match="no rows"):
        build(tmp_path / "c", **make(tmp_path, SCHEMA, "a,c,y\n"))


def split_table(folder: Path, parts: dict[str, list]) -> dict:
    names = ["tr"] * 60 + ["va"] * 20 + ["te"] * 20
    csv = "y,c,part\n" + "".join(f"{i % 2},v{i},{name}\n" for i, name in enumerate(names))
    return make(folder, {"label": "y", "categorical": ["c"], "split": parts}, csv)


def test_split_by_column(tmp_path: Path) -> None:
    split = {"column": "part", "train": ["tr"], "validation": ["va"], "test": ["te"]}
    flags = split_table(tmp_path, split)
    data = prepare(DataConfig(data_cache=str(tmp_path / "c"), **flags))
    assert list(data.splits["train"]) == list(range(60))
    assert list(data.splits["validation"]) == list(range(60, 80))
    assert list(data.splits["test"]) == list(range(80, 100))
    assert data.spec.dense_names == ()
    batch = next(data.loader("test", 4, shuffle=False, seed=0, drop_last=False).batches(0, 1))
    assert batch.dense.shape == (4, 0)
    assert data.record["split"]["rule"] == "column"


def test_split_by_column_without_validation_and_with_an_unlisted_value(tmp_path: Path) -> None:
    flags = split_table(tmp_path, {"column": "part", "train": ["tr", "va"], "test": ["te"]})
    data = prepare(DataConfig(data_cache=str(tmp_path / "c"), train_fraction=0.75, **flags))
    assert len(data.splits["train"]) == 60
    assert len(data.splits["validation"]) == 20
    assert max(data.splits["validation"]) < 80
    flags = split_table(tmp_path, {"column": "part", "train": ["tr"], "test": ["te"]})
    with pytest.raises(DataError, match=r"t\.csv:62: split column part is 'va', which the schema"):
        prepare(DataConfig(data_cache=str(tmp_path / "c"), **flags))


def test_split_flag_column_needs_a_column(tmp_path: Path) -> None:
    flags = make(tmp_path)
    with pytest.raises(DataError, match="--split=column"):
        prepare(DataConfig(data_cache=str(tmp_path / "c"), split="column", **flags))


def test_kdd2012(tmp_path: Path) -> None:
    path = shared_data("kdd2012_click_prediction_small.csv.zst")
    schema = {
        "label": "click",
        "dense": ["depth", "position"],
        "categorical": [
            "url_hash",
            "ad_id",
            "advertiser_id",
            "query_id",
            "keyword_id",
            "title_id",
            "description_id",
            "user_id",
        ],
    }
    (tmp_path / "s.json").write_text(json.dumps(schema))
    store = build(
        tmp_path / "c", data_set="table", raw_data=str(path), schema=str(tmp_path / "s.json")
    )
    counts = dict(zip(store.spec.sparse_names, store.spec.cardinalities, strict=True))
    assert store.rows == 39_948
    assert store.manifest.label_rate == pytest.approx(0.168, abs=5e-4)
    assert counts["url_hash"] == 6_941
    assert counts["ad_id"] == 19_228
    assert counts["query_id"] == 30_748
    assert counts["user_id"] == 30_114
