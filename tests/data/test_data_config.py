"""Flags and specs are checked where they are made."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest

from dnas.data import DataConfig, DataSpec, prepare
from dnas.errors import ConfigError, DataError
from tests.data.raw_rows import criteo_line, write_lines

CRITEO = {"data_set": "criteo_kaggle", "raw_data": "x"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"data_set": "movielens"}, "--data_set='movielens': must be one of adult, avazu"),
        ({"split": "last"}, "--split='last': must be one of autoctr, chronological, column"),
        ({"synthetic_rows": "100"}, "--synthetic_rows='100'"),
        ({"memory_map": 1}, "--memory_map=1"),
        ({"synthetic_rows": 0}, "--synthetic_rows=0: must be at least 1"),
        ({"synthetic_values": 0}, "--synthetic_values=0"),
        ({"split_seed": -1}, "--split_seed=-1"),
        ({"train_fraction": 1.0}, "--train_fraction=1.0: must be between 0 and 1"),
        ({"train_fraction": float("nan")}, "--train_fraction=nan"),
        ({"weights_training_proportion": 0.0}, "--weights_training_proportion=0.0"),
        ({"min_count": 0, **CRITEO}, "--min_count=0"),
        ({"ids": "hash", **CRITEO}, "--ids=hash needs --max_ind_range"),
        ({"max_ind_range": 5, **CRITEO}, "--max_ind_range=5 has no effect with --ids=vocabulary"),
        ({"ids": "hash", "max_ind_range": 5, "min_count": 2, **CRITEO}, "--min_count=2"),
        ({"data_set": "criteo_1tb"}, "--data_set=criteo_1tb needs --raw_data"),
        ({"data_set": "table", "raw_data": "x"}, "needs --schema"),
        ({"schema": "s.json", **CRITEO}, "--schema=s.json is only used"),
        ({"split": "column", **CRITEO}, "--split=column: criteo_kaggle has no column"),
        ({"raw_data": "x"}, "--raw_data=x has no effect with --data_set=synthetic"),
        ({"min_count": 2}, "--min_count=2 has no effect with --data_set=synthetic"),
        ({"dense_transform": "log1p"}, "--dense_transform=log1p: the synthetic"),
        ({"data_cache": ""}, "--data_cache"),
    ],
)
def test_mistakes_name_flag_and_value(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataConfig(**flags)


def test_defaults_of_the_data_sets() -> None:
    criteo = DataConfig(**CRITEO)
    assert (criteo.split_rule, criteo.transform) == ("chronological", "log1p")
    assert DataConfig(data_set="adult").split_rule == "column"
    assert DataConfig().split_rule == "random"
    assert DataConfig(split="stratified").split_rule == "stratified"
    assert DataConfig().train_fraction == pytest.approx(6 / 7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        criteo.ids = "hash"  # type: ignore[misc]


def test_spec_round_trip_and_mistakes() -> None:
    spec = DataSpec(("a",), ("b", "c"), (3, 4))
    assert DataSpec.from_json(spec.to_json()) == spec
    value = spec.to_json()
    for change in ({"cardinalities": [3]}, {"cardinalities": [0, 4]}, {"dense_names": ["b"]},
                   {"dense_names": "ab"}, {"cardinalities": [3, "4"]}, {"extra": 1}):  # fmt: skip
        with pytest.raises(DataError, match="data spec"):
            DataSpec.from_json({**value, **change})
    with pytest.raises(DataError, match="data spec"):
        DataSpec.from_json([1])


def test_adult(tmp_path: Path) -> None:
    data = prepare(DataConfig(data_set="adult", data_cache=str(tmp_path)))
    assert data.store.rows == 32_561 + 16_281
    assert data.label_rate == pytest.approx(0.2393, abs=1e-4)
    assert list(data.splits["test"]) == list(range(32_561, 48_842))
    assert max(data.splits["validation"]) < 32_561
    assert len(data.splits["train"]) == round(32_561 * 6 / 7)
    rates = {name: part["label_rate"] for name, part in data.record["split"]["parts"].items()}
    assert rates["train"] == pytest.approx(0.2408, abs=0.003)
    assert rates["test"] == pytest.approx(0.2362, abs=1e-4)
    counts = dict(zip(data.spec.sparse_names, data.spec.cardinalities, strict=True))
    assert counts == {"workclass": 9, "education": 16, "marital_status": 7, "occupation": 15,
                      "relationship": 6, "race": 5, "sex": 2, "native_country": 42}  # fmt: skip
    pooled = prepare(
        DataConfig(data_set="adult", data_cache=str(tmp_path), split="stratified")
    ).record
    assert pooled["content_hash"] == data.record["content_hash"]
    assert pooled["split"]["parts"]["test"]["label_rate"] == pytest.approx(0.2393, abs=5e-4)


def test_adult_needs_two_files(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "adult.data", ["x"])
    config = DataConfig(data_set="adult", raw_data=str(path), data_cache=str(tmp_path))
    with pytest.raises(DataError, match="adult needs two files"):
        prepare(config)


def test_labels_of_one_kind_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_lines(tmp_path / "a.txt", [criteo_line("0", [i]) for i in range(50)])
    with caplog.at_level(logging.INFO):
        prepare(
            DataConfig(data_set="criteo_kaggle", raw_data=str(path), data_cache=str(tmp_path / "c"))
        )
    assert "all 43 labels of the train part are 0" in caplog.text
    assert "50 rows, label rate 0.0000" in caplog.text
    assert "C26 1" in caplog.text
