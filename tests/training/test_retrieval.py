"""Retrieval's metrics over batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dnas.data.retrieval import Protocol, pack
from dnas.errors import ConfigError, DataError
from dnas.metrics import NonFiniteError
from dnas.training import retrieval
from dnas.training.retrieval import RANKING_METRICS, RETRIEVAL, RetrievalMetrics, retrieval_task
from dnas.training.sampled_softmax import SampledSoftmax

#: Item i has the cosine ITEMS[i - 1, 0] with user (1, 0).
COSINES = torch.tensor([0.1, 0.9, 0.3, 0.7, 0.5])
ITEMS = torch.stack([COSINES, (1 - COSINES.square()).sqrt()], dim=1)
USER = torch.tensor([[1.0, 0.0]])  # ranks 2, 4, 5, 3, 1


def ids(*lists: list[int]) -> list[np.ndarray]:
    return [np.array(each, dtype=np.int64) for each in lists]


def test_rankings_by_hand() -> None:
    metrics = RetrievalMetrics()
    users = USER.expand(2, 2)
    # The first user may be shown 2, 4, 3, 1 and likes 4 and 1; the other likes the best item.
    labels = pack(Protocol.PAPER, ids([4, 1], [2]), ids([5], []))
    metrics.update(torch.cat((users, ITEMS)), labels)
    found = metrics.compute()
    assert set(found) == {f"{name}.paper" for name in RANKING_METRICS}
    assert found["recall5.paper"] == 1.0
    assert found["mrr.paper"] == 0.75
    dcg = 1 / math.log2(3) + 1 / math.log2(5)
    assert found["ndcg50.paper"] == pytest.approx((dcg / (1 + 1 / math.log2(3)) + 1) / 2)


def test_protocols_are_kept_apart_and_validation_has_no_suffix() -> None:
    metrics = RetrievalMetrics()
    outputs = torch.cat((USER, ITEMS))
    metrics.update(outputs, pack(Protocol.TEMPORAL, ids([1]), ids([])))
    metrics.update(outputs, pack(Protocol.VALIDATION, ids([2]), ids([])))
    metrics.update(outputs, pack(Protocol.TEMPORAL_EXCLUDE, ids([1]), ids([2, 4])))
    found = metrics.compute()
    assert found["mrr.temporal"] == 1 / 5
    assert found["mrr.temporal_exclude"] == 1 / 3
    assert found["mrr"] == 1.0
    assert len(found) == 3 * len(RANKING_METRICS)


def test_users_without_relevant_items_do_not_count() -> None:
    metrics = RetrievalMetrics()
    metrics.update(
        torch.cat((USER, USER, ITEMS)), pack(Protocol.VALIDATION, ids([], [4]), ids([], []))
    )
    assert metrics.compute()["mrr"] == 0.5
    metrics = RetrievalMetrics()
    metrics.update(torch.cat((USER, ITEMS)), pack(Protocol.VALIDATION, ids([]), ids([])))
    assert metrics.compute()["mrr"] is None


def random_users(count: int) -> tuple[torch.Tensor, torch.Tensor, list[np.ndarray]]:
    generator = torch.Generator().manual_seed(0)
    users, items = (
        torch.nn.functional.normalize(torch.randn(n, 16, generator=generator), dim=1)
        for n in (count, 80)
    )
    rng = np.random.default_rng(0)
    relevant = [rng.permutation(80)[: rng.integers(1, 9)] + 1 for _ in range(count)]
    return users, items, relevant


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_every_batch_size_gives_the_same_bits(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    users, items, relevant = random_users(50)
    excluded = [row % 80 + 1 for row in relevant]
    whole = RetrievalMetrics()
    whole.update(torch.cat((users, items)), pack(0, relevant, excluded))
    monkeypatch.setattr(retrieval, "_MOST_SCORES", 80 * 3)  # three users at a time
    parts = RetrievalMetrics()
    for start in range(0, 50, batch):
        part = slice(start, start + batch)
        parts.update(torch.cat((users[part], items)), pack(0, relevant[part], excluded[part]))
    assert parts.compute() == whole.compute()


def test_losses_are_means_over_batches() -> None:
    loss = SampledSoftmax(temperature=0.2)
    metrics = RetrievalMetrics(loss)
    generator = torch.Generator().manual_seed(3)
    expected = []
    for rows in (4, 2):
        outputs = torch.nn.functional.normalize(
            torch.randn(2 * rows, 3, generator=generator), dim=1
        )
        labels = torch.rand(rows, 3, generator=generator, dtype=torch.float64)
        metrics.update(outputs, labels)
        plain = SampledSoftmax(temperature=1.0, corrected=False)
        expected.append([float(plain(outputs.double(), labels)),
                         float(loss(outputs.double(), labels))])  # fmt: skip
    found = metrics.compute()
    assert list(found) == ["loss", "loss_corrected"]
    assert found["loss"] == pytest.approx((expected[0][0] + expected[1][0]) / 2, rel=1e-6)
    assert found["loss_corrected"] == pytest.approx((expected[0][1] + expected[1][1]) / 2, rel=1e-6)


def test_the_published_validation_loss_hardly_moves() -> None:
    """Cosines in [0, 1]: whatever the model, the loss is within 1 of log B."""
    rows = 64
    same = torch.nn.functional.normalize(torch.eye(rows), dim=1)
    metrics = RetrievalMetrics()
    metrics.update(torch.cat((same, same)), torch.ones(rows, 3, dtype=torch.float64))
    perfect = metrics.compute()["loss"]
    assert perfect is not None
    assert math.log(rows) - 1 < perfect < math.log(rows)


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(DataError, match="no batches"):
        RetrievalMetrics().compute()
    metrics = RetrievalMetrics()
    bad = torch.cat((USER * torch.nan, ITEMS))
    metrics.update(bad, pack(Protocol.PAPER, ids([1]), ids([])))
    with pytest.raises(NonFiniteError, match="vectors of 1 of 1 batches"):
        metrics.compute()


def test_the_task_selects_by_what_it_is_told() -> None:
    assert (RETRIEVAL.selection, RETRIEVAL.maximize) == ("loss_corrected", False)
    by_recall = retrieval_task(selection="recall50")
    assert by_recall.maximize
    assert by_recall.score({"recall50": 0.4, "loss": 1.0}) == -0.4
    with pytest.raises(ConfigError, match="--selection 'auc': must be one of loss, loss_corr"):
        retrieval_task(selection="auc")


def test_loss_batches_tell_on_losses_and_rankings_on_rankings() -> None:
    loss, ranking = torch.zeros(4, 3), pack(Protocol.VALIDATION, ids([1]), ids([]))
    for selection, expected in (("loss", (True, False)), ("recall50", (False, True))):
        tells = retrieval_task(selection=selection).tells
        assert tells is not None
        assert (tells(loss), tells(ranking)) == expected
