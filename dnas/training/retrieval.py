"""Two-tower retrieval as a task: what is trained, what is measured, what selects the best epoch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from dnas.data.retrieval import Protocol, is_ranking, unpack
from dnas.errors import ConfigError, DataError
from dnas.metrics import NonFiniteError
from dnas.metrics.ranking import exact_scores, ndcg, ndcg_of_hits, ranks, recall, reciprocal_rank
from dnas.models.towers import split
from dnas.training.sampled_softmax import SampledSoftmax
from dnas.training.task import Task

#: Lengths of the lists that are judged; first that of the paper, which summaries show.
CUTOFFS = (50, 5, 10, 100)
#: Names of the metrics of a ranking, in the order of :func:`ranking_values`.
RANKING_METRICS = (
    *(f"{name}{k}" for k in CUTOFFS for name in ("recall", "ndcg")),
    *(f"ndcg{k}_hits" for k in CUTOFFS),
    "mrr",
)
LOSS_METRICS = ("loss", "loss_corrected")
#: The loss as it is published for validation: of the raw cosines, without temperature and
#: correction. It cannot fall by more than 2 below ``log B``, hardly moves, and goes on falling
#: while the model overfits: no good choice of the best epoch.
UNCORRECTED = SampledSoftmax(temperature=1.0, corrected=False)
#: Scores that are held at a time.
_MOST_SCORES = 1 << 23


def ranking_values(users: Tensor, items: Tensor, relevant: Tensor, excluded: Tensor) -> Tensor:
    """Every metric of every user who has a relevant item, by full ranking.

    Args:
        users: ``(U, D)`` or ``(U, K, D)`` vectors of length at most 1; see :func:`exact_scores`.
        items: ``(N, D)`` vectors of all items, that of item 1 first.
        relevant: ``(U, M)`` item ids, each once, padded with 0.
        excluded: ``(U, X)`` item ids, padded with 0.

    Returns:
        ``(users with a relevant item, len(RANKING_METRICS))`` float64.
    """
    kept = (relevant > 0).any(1)
    users, relevant, excluded = users[kept], relevant[kept], excluded[kept]
    scores = len(items) * (1 if users.dim() == 2 else users.shape[1])  # of a user
    chunk = max(_MOST_SCORES // max(scores, 1), 1)
    parts = [relevant.new_empty(0, len(RANKING_METRICS), dtype=torch.float64)]
    for start in range(0, len(users), chunk):
        part = slice(start, start + chunk)
        found = ranks(exact_scores(users[part], items), relevant[part], excluded[part])
        count = (relevant[part] > 0).sum(1)
        columns = [f(found, count, k) for k in CUTOFFS for f in (recall, ndcg)]
        columns += [ndcg_of_hits(found, k) for k in CUTOFFS]
        parts.append(torch.stack([*columns, reciprocal_rank(found)], dim=1))
    return torch.cat(parts)


class RetrievalMetrics:
    """Losses of loss batches, and means over users of ranking batches.

    Names of a ranking's metrics end in the protocol's name, as ``recall50.paper``; those of
    validation, of which there is one, have no suffix. Losses are means over batches.

    Args:
        loss: The loss of training, whose value is ``loss_corrected``.
    """

    def __init__(self, loss: SampledSoftmax | None = None) -> None:
        loss = loss or SampledSoftmax()
        raw = replace(UNCORRECTED, attention_power=loss.attention_power, interests=loss.interests)
        self._losses = (raw, loss)
        self._of_batches: list[Tensor] = []  # (2,) each
        self._of_users: dict[int, list[Tensor]] = {}  # by protocol, (U, len(RANKING_METRICS)) each
        self._finite: list[Tensor] = []  # () bool each

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            outputs: ``(2 B, D)`` with the labels of a loss batch, ``(U + N, D)`` with those of a
                ranking batch, N being all items; unit vectors, users first. With K vectors of a
                user ``(..., K, D)``, see :func:`dnas.models.towers.join`.
            labels: See :mod:`dnas.data.retrieval.relevance`.
        """
        outputs = outputs.detach()
        self._finite.append(torch.isfinite(outputs).all())
        if not is_ranking(labels):
            losses = [loss(outputs, labels) for loss in self._losses]
            self._of_batches.append(torch.stack(losses).double())
            return
        protocol, relevant, excluded = unpack(labels)
        users, items = split(outputs, len(labels))
        values = ranking_values(users, items, relevant, excluded)
        self._of_users.setdefault(protocol, []).append(values)

    def compute(self) -> dict[str, float | None]:
        """The metrics of all batches so far; None for a protocol without relevant items.

        Raises:
            DataError: There was no batch.
            NonFiniteError: A vector was NaN or infinite.
        """
        if not self._finite:
            raise DataError("metrics of no batches at all are not defined: is the split empty?")
        bad = len(self._finite) - int(torch.stack(self._finite).sum())
        if bad:
            raise NonFiniteError(f"vectors of {bad} of {len(self._finite)} batches are not finite")
        found: dict[str, float | None] = {}
        if self._of_batches:
            means = torch.stack(self._of_batches).mean(0).tolist()
            found.update(zip(LOSS_METRICS, means, strict=True))
        for protocol, values in self.of_users().items():
            # Of an empty column there is no mean; JSON has no NaN.
            means = values.mean(0).tolist() if len(values) else [None] * len(RANKING_METRICS)
            names = (f"{name}{protocol.suffix}" for name in RANKING_METRICS)
            found.update(zip(names, means, strict=True))
        return found

    def of_users(self) -> dict[Protocol, Tensor]:
        """Values of the users with a relevant item, in their order: what ``compute`` averages.

        Returns:
            By protocol, ``(users, len(RANKING_METRICS))`` float64.
        """
        return {
            Protocol(number): torch.cat(self._of_users[number]) for number in sorted(self._of_users)
        }


def retrieval_task(loss: SampledSoftmax | None = None, selection: str = "loss_corrected") -> Task:
    """Retrieval with this loss.

    Args:
        loss: Of training; None: as published.
        selection: The metric of validation by which the best epoch is chosen, one of
            ``LOSS_METRICS`` and ``RANKING_METRICS``.

    Raises:
        ConfigError: ``selection`` is not a metric of validation.
    """
    loss = loss or SampledSoftmax()
    known = (*LOSS_METRICS, *RANKING_METRICS)
    if selection not in known:
        raise ConfigError(f"--selection {selection!r}: must be one of {', '.join(known)}")
    return Task(
        loss=loss,
        metrics=partial(RetrievalMetrics, loss),
        selection=selection,
        maximize=selection in RANKING_METRICS,
        names=known,
        tells=partial(_tells, selection in RANKING_METRICS),
    )


def _tells(ranking: bool, labels: Tensor) -> bool:
    return is_ranking(labels) is ranking


#: Two-tower retrieval as AutoTower trains it.
RETRIEVAL = retrieval_task()
