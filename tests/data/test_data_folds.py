"""AutoCTR's folds: those of scikit-learn to the row, and the mistake of the released scripts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnas.data import DataConfig, make_splits, prepare
from dnas.data import folds as folds_module
from dnas.data.folds import NO_PART, autoctr_parts, stratified_folds
from dnas.errors import DataError
from tests.data.raw_rows import criteo_line, write_lines


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(20, 400),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**20),
    chunk=st.sampled_from([1, 7, 1 << 22]),
)
def test_the_folds_of_scikit_learn(rows: int, share: float, seed: int, chunk: int) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    labels = (np.random.default_rng(seed).random(rows) < share).astype(np.uint8)
    labels[:10], labels[-10:] = 0, 1  # scikit-learn wants as many of a label as there are folds
    if seed % 2:
        labels = labels[::-1]
    folds = selection.StratifiedKFold(10, shuffle=True, random_state=2018)
    expected = np.full(rows, NO_PART)
    for number, (_, tested) in enumerate(folds.split(np.zeros(rows), labels)):
        expected[tested] = number
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folds_module, "_CHUNK_ROWS", chunk)
        found = stratified_folds(labels)
    assert found.dtype == np.uint8
    assert found.tolist() == expected.tolist()


def test_folds_that_scikit_learn_gave() -> None:
    labels = [int(label) for label in "01001000110000100000110"]
    folds = [int(fold) for fold in "57078690694138022413125"]
    assert stratified_folds(np.array(labels)).tolist() == folds


def test_sizes_and_label_rates_of_folds() -> None:
    labels = np.tile([1, 0, 0], 100)[:287]
    folds = stratified_folds(labels)
    assert np.bincount(folds).tolist() == [29] * 7 + [28] * 3
    # 96 of 287 rows have the first row's label: every tenth of these from the fold's number on.
    assert np.bincount(folds[labels == 1]).tolist() == [10] * 6 + [9] * 4


def test_one_label_and_few_rows() -> None:
    assert sorted(stratified_folds(np.zeros(12))) == [0, 0, 1, 1, *range(2, 10)]
    assert stratified_folds(np.ones(3)).size == 3
    assert stratified_folds(np.zeros(0)).size == 0


def test_off_by_one_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = np.array([8, 0, 7, 9, 1, 9], dtype=np.uint8)
    monkeypatch.setattr(folds_module, "stratified_folds", lambda labels: folds)
    labels = np.zeros(6)
    assert autoctr_parts(labels, off_by_one=False).tolist() == [1, 0, 0, 2, 0, 2]
    # Row 0 is lost, row 1 goes where row 0 belongs, ..., where row 5 belongs no row goes.
    assert autoctr_parts(labels, off_by_one=True).tolist() == [NO_PART, 1, 0, 0, 2, 0]


def test_split_rule() -> None:
    labels = (np.arange(103) % 4 == 0).astype(np.uint8)
    splits = make_splits(rule="autoctr", labels=labels, seed=5)
    folds = stratified_folds(labels)
    assert splits["train"].tolist() == np.flatnonzero(folds < 8).tolist()
    assert splits["validation"].tolist() == np.flatnonzero(folds == 8).tolist()
    assert splits["test"].tolist() == np.flatnonzero(folds == 9).tolist()
    assert sorted([*splits["weights"], *splits["theta"]]) == splits["train"].tolist()
    assert splits["train"].dtype == np.int32
    other = make_splits(rule="autoctr", labels=labels, seed=6)
    assert other["test"].tolist() == splits["test"].tolist(), "the seed is the published one"
    assert other["theta"].tolist() != splits["theta"].tolist()
    shifted = make_splits(rule="autoctr", labels=labels, off_by_one=True)
    assert shifted["test"].tolist() == [row + 1 for row in splits["test"] if row + 1 < 103]
    assert 0 not in [*shifted["train"], *shifted["validation"], *shifted["test"]]
    with pytest.raises(DataError, match="10 folds"):
        make_splits(rule="autoctr", labels=labels[:8])


def test_from_flags(tmp_path) -> None:
    lines = [criteo_line(str(int(i % 3 == 0)), [i]) for i in range(50)]
    path = write_lines(tmp_path / "train.txt", lines)
    flags = {"data_set": "criteo_kaggle", "raw_data": str(path), "data_cache": str(tmp_path / "c")}
    right = prepare(DataConfig(split="autoctr", **flags))
    wrong = prepare(DataConfig(split="autoctr", released_off_by_one=True, **flags))
    assert right.record["content_hash"] == wrong.record["content_hash"], "one store for both"
    assert right.record["split"]["off_by_one"] is False
    assert wrong.record["split"]["off_by_one"] is True
    assert "train_fraction" not in right.record["split"]
    rows = [row + 1 for row in right.splits["validation"].tolist() if row < 49]
    assert wrong.splits["validation"].tolist() == rows
