"""Splits: disjoint, complete, reproducible, and chronological where they must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dnas.data import DataConfig, make_splits, prepare, splits_record
from dnas.data.splits import indices_hash
from dnas.errors import DataError
from tests.data.raw_rows import criteo_line, write_lines

FRACTION = 6 / 7


@settings(max_examples=150, deadline=None)
@given(
    rule=st.sampled_from(["chronological", "random", "stratified", "column"]),
    rows=st.integers(1, 300),
    positives=st.floats(0, 1),
    train_fraction=st.floats(0.05, 0.95),
    weights=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**40),
)
def test_parts_are_disjoint_complete_and_sorted(
    rule: str, rows: int, positives: float, train_fraction: float, weights: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < positives).astype(np.uint8)
    parts = rng.integers(0, 3, rows).astype(np.uint8) if rule == "column" else None
    arguments = {
        "rule": rule,
        "labels": labels,
        "parts": parts,
        "train_fraction": train_fraction,
        "weights_proportion": weights,
        "seed": seed,
    }
    try:
        splits = make_splits(**arguments)  # type: ignore[arg-type]
    except DataError as error:
        assume("is empty with --split" in str(error) and rows < 100)
        return
    for name, indices in splits.items():
        assert (np.diff(np.asarray(indices)) > 0).all(), name
    whole = [*splits["train"], *splits["validation"], *splits["test"]]
    assert sorted(whole) == list(range(rows))
    assert sorted([*splits["weights"], *splits["theta"]]) == list(splits["train"])
    again = make_splits(**arguments)  # type: ignore[arg-type]
    assert {n: indices_hash(i) for n, i in splits.items()} == {
        n: indices_hash(i) for n, i in again.items()
    }
    if rule != "column":
        assert abs(len(splits["train"]) - rows * train_fraction) <= 1
        assert 0 <= len(splits["test"]) - len(splits["validation"]) <= 2
        assert abs(len(splits["weights"]) - len(splits["train"]) * weights) <= 1
    if rule == "chronological":
        assert max(splits["train"]) < min(min(splits["validation"]), min(splits["test"]))
    if rule == "stratified":
        for name, share in (("train", train_fraction), ("test", (1 - train_fraction) / 2)):
            found = labels[np.asarray(splits[name])].sum()
            assert abs(found - labels.sum() * share) <= 1.5, name


def test_seeds_and_shares_are_independent() -> None:
    labels = np.zeros(1000, dtype=np.uint8)
    first = make_splits(rule="random", labels=labels, seed=1)
    other = make_splits(rule="random", labels=labels, seed=2)
    share = make_splits(rule="random", labels=labels, seed=1, weights_proportion=0.5)
    assert list(first["test"]) != list(other["test"])
    assert list(first["test"]) == list(share["test"])
    assert (len(first["weights"]), len(first["theta"])) == (686, 171)


def test_chronological_halves_the_last_part_at_random() -> None:
    splits = make_splits(rule="chronological", labels=np.zeros(7001, dtype=np.uint8))
    assert splits["train"] == range(6001)
    assert (len(splits["validation"]), len(splits["test"])) == (500, 500)
    # Halved at random, not first half and second half.
    assert abs(np.mean(splits["validation"]) - np.mean(splits["test"])) < 100
    assert abs(np.mean(splits["weights"]) - np.mean(splits["theta"])) < 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "random", "rows": 1}, "--train_fraction"),
        ({"rule": "random", "rows": 5, "train_fraction": 0.99}, "validation .*--train_fraction"),
        ({"rule": "random", "rows": 50, "train_fraction": 0.001}, "train .*--train_fraction"),
        ({"rule": "random", "rows": 50, "weights_proportion": 0.999}, "--weights_training_prop"),
        ({"rule": "column", "rows": 50}, "--split=column"),
    ],
)
def test_empty_parts_name_the_flag(arguments: dict, message: str) -> None:
    labels = np.zeros(arguments.pop("rows"), dtype=np.uint8)
    with pytest.raises(DataError, match=message):
        make_splits(labels=labels, **arguments)


def test_record() -> None:
    labels = np.tile([0, 0, 0, 1], 250).astype(np.uint8)
    splits = make_splits(rule="stratified", labels=labels, seed=3)
    record = splits_record(
        splits,
        labels,
        rule="stratified",
        seed=3,
        train_fraction=FRACTION,
        weights_proportion=0.8,
    )
    assert record["rule"] == "stratified"
    assert {name: part["rows"] for name, part in record["parts"].items()} == {
        "weights": 514 + 171,  # 0.8 of 643 and of 214
        "theta": 172,
        "train": 857,
        "validation": 71,
        "test": 72,
    }
    for part in record["parts"].values():
        assert part["label_rate"] == pytest.approx(0.25, abs=0.01)
    assert len({part["hash"] for part in record["parts"].values()}) == 5
    assert indices_hash(range(5)) == indices_hash(np.arange(5, dtype=np.int32))


@pytest.mark.parametrize("memory_map", [True, False])
def test_days_are_not_mixed(tmp_path: Path, memory_map: bool) -> None:
    """The last seventh of the log is later than everything that trains."""
    lines = [criteo_line("1" if i % 3 else "0", [day]) for day in range(7) for i in range(40)]
    write_lines(tmp_path / "train.txt", lines)
    data = prepare(
        DataConfig(
            data_set="criteo_kaggle",
            raw_data=str(tmp_path / "train.txt"),
            data_cache=str(tmp_path / "c"),
            dense_transform="none",
            memory_map=memory_map,
        )
    )
    days = {
        name: set(data.store.dense[np.asarray(indices), 0].tolist())
        for name, indices in data.splits.items()
    }
    assert days["train"] == days["weights"] == days["theta"] == {0, 1, 2, 3, 4, 5}
    assert days["validation"] == days["test"] == {6}
    assert len(data.splits["validation"]) == len(data.splits["test"]) == 20


def test_kept_splits_are_shared_and_damaged_ones_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = DataConfig(data_cache=str(tmp_path), synthetic_rows=500, synthetic_features=2)
    first = prepare(config)
    assert isinstance(first.splits["weights"], np.memmap)
    (folder,) = (first.store.path / "splits").iterdir()
    before = list(first.splits["theta"])
    (folder / "theta.npy").unlink()  # not written over: the first split has it mapped
    (folder / "theta.npy").write_bytes(b"broken")
    second = prepare(config)
    assert "damaged split" in caplog.text
    assert first.record == second.record
    assert list(second.splits["theta"]) == before
    other = prepare(DataConfig(**{**vars(config), "split_seed": 2}))
    assert len(list((first.store.path / "splits").iterdir())) == 2
    assert list(other.splits["test"]) != list(first.splits["test"])
