"""The synthetic data has the optimum it says it has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnas.data import DataConfig, SyntheticSpec, planted, prepare
from dnas.data.synthetic import effects, generate, needed, plan, true_probabilities
from dnas.errors import ConfigError


def test_default_numbers_of_ids() -> None:
    optimum = planted(DataConfig(synthetic_rows=100))
    assert set(optimum.needed) == {2000, 200, 20, 2}
    assert set(optimum.planted) == {1.0, 0.1, 0.01, 0.001}
    ranks = planted(DataConfig(synthetic_kind="rank", synthetic_rows=100))
    assert set(ranks.needed) == {2, 4, 8, 16}


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(0, 1000))
def test_options_are_balanced(features: int, seed: int) -> None:
    counts = Counter(plan(SyntheticSpec(features=features, seed=seed)))
    found = [counts.get(option, 0) for option in (1.0, 0.1, 0.01, 0.001)]
    assert sum(found) == features
    assert max(found) - min(found) <= 1


@pytest.mark.parametrize("kind", ["cardinality", "rank"])
def test_the_store_has_the_generated_rows(kind: str, tmp_path: Path) -> None:
    config = DataConfig(synthetic_kind=kind, synthetic_rows=70_000, data_cache=str(tmp_path))
    data = prepare(config)
    spec = SyntheticSpec.from_config(config)
    assert data.spec == spec.data_spec
    chunks = list(generate(spec))
    assert len(chunks) == 2, "the test is to cross chunks"
    np.testing.assert_array_equal(np.concatenate([c.ids for c in chunks]), data.store.ids)
    np.testing.assert_array_equal(np.concatenate([c.dense for c in chunks]), data.store.dense)
    optimum = planted(config)
    assert data.label_rate == pytest.approx(optimum.label_rate)
    assert optimum.label_rate == pytest.approx(0.5, abs=0.05)
    p = true_probabilities(spec)
    labels = np.asarray(data.store.labels)
    loss = -np.mean(np.log(np.where(labels == 1, p, 1 - p)))
    assert optimum.bayes_log_loss == pytest.approx(loss, rel=1e-12)
    assert optimum.bayes_entropy == pytest.approx(loss, abs=0.006)
    logit = np.log(p / (1 - p))
    assert logit.std() == pytest.approx(spec.logit_std, rel=0.05)
    # Calibrated: labels follow the probabilities, in each tenth of them.
    order = np.argsort(p).reshape(10, -1)
    np.testing.assert_allclose(labels[order].mean(1), p[order].mean(1), atol=0.03)


def test_a_longer_data_set_begins_with_a_shorter_one() -> None:
    short = next(generate(SyntheticSpec(rows=10)))
    long = next(generate(SyntheticSpec(rows=500)))
    np.testing.assert_array_equal(short.ids, long.ids[:10])
    np.testing.assert_array_equal(short.labels, long.labels[:10])
    other = next(generate(SyntheticSpec(rows=10, seed=1)))
    assert (other.ids != short.ids).any()


def within_classes(values: np.ndarray, labels: np.ndarray, values_n: int, rows: int) -> float:
    """Chi-square of the label rates of values within each class ``value mod rows``, divided by its
    degrees of freedom: about 1 when values of a class are alike."""
    count = np.bincount(values, minlength=values_n).astype(float)
    positive = np.bincount(values, weights=labels, minlength=values_n)
    group = np.arange(values_n) % rows
    rate = (np.bincount(group, positive) / np.bincount(group, count))[group]
    chi = (positive - count * rate) ** 2 / (count * rate * (1 - rate))
    return float(chi.sum() / (values_n - rows))


def test_values_of_a_class_are_alike_and_classes_are_not() -> None:
    spec = SyntheticSpec(rows=60_000, features=4, values=40, options=(0.5, 0.25, 0.1, 0.05), seed=1)
    chunks = list(generate(spec))
    ids, labels = chunks[0].ids, chunks[0].labels
    assert sorted(needed(spec)) == [2, 4, 10, 20]
    for feature, rows in enumerate(needed(spec)):
        assert within_classes(ids[:, feature], labels, 40, rows) < 2, "H_f rows do not suffice"
        assert within_classes(ids[:, feature], labels, 40, rows // 2) > 10, "fewer rows suffice"


def test_effects_of_cardinality_are_centred_and_equal_in_variance() -> None:
    spec = SyntheticSpec(features=8, values=70, options=(1.0, 0.1, 0.02, 0.03), rows=10)
    remaining = needed(spec)
    assert 1 in remaining
    active = sum(count > 1 for count in remaining)
    for count, vector in zip(remaining, effects(spec), strict=True):
        full = vector[np.arange(70) % count]
        assert full.mean() == pytest.approx(0, abs=1e-12)
        expected = 1.5**2 / active if count > 1 else 0
        assert full.var() == pytest.approx(expected, abs=1e-12)
        assert vector.shape == (count,)


def test_pairs_of_features_have_the_planted_rank() -> None:
    spec = SyntheticSpec(
        kind="rank", rows=120_000, features=6, values=6, options=(1, 2, 4), logit_std=2.0
    )
    chunks = list(generate(spec))
    ids = np.concatenate([chunk.ids for chunk in chunks])
    p = np.concatenate([chunk.probabilities for chunk in chunks])
    logit = np.log(p / (1 - p))
    ranks, matrices = needed(spec), effects(spec)
    assert sorted(ranks) == [1, 1, 2, 2, 4, 4]
    # All cells of all pairs at once, one column left out for each pair but the first.
    cells = [6 * ids[:, a] + ids[:, a + 1] for a in (0, 2, 4)]
    design = np.concatenate([np.eye(36)[cell][:, pair > 0 :] for pair, cell in enumerate(cells)], 1)
    found = np.linalg.lstsq(design.T @ design, design.T @ logit)[0]
    tables = [found[:36], np.append(0, found[36:71]), np.append(0, found[71:])]
    for pair, table in enumerate(tables):
        a, b = matrices[2 * pair], matrices[2 * pair + 1]
        rank = ranks[2 * pair]
        assert rank == ranks[2 * pair + 1], "partners have different ranks"
        assert not a[:, rank:].any()
        assert not b[:, rank:].any()
        planted_table = a @ b.T
        assert np.linalg.matrix_rank(planted_table) == rank
        offset = planted_table.ravel()[0] - table[0]
        if pair == 0:
            offset = (planted_table.ravel() - table).mean()
        np.testing.assert_allclose(table + offset, planted_table.ravel(), atol=1e-6)


def test_impossible_options() -> None:
    with pytest.raises(ConfigError, match=r"rank 2\.5"):
        SyntheticSpec(kind="rank", options=(2, 2.5))
    with pytest.raises(ConfigError, match="--synthetic_features=3"):
        prepare(DataConfig(synthetic_kind="rank", synthetic_features=3))
    with pytest.raises(ConfigError, match=r"fraction 0\.0"):
        SyntheticSpec(options=(0.0,))
