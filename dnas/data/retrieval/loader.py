"""Loaders of batches for two-tower models, addressed by global step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from dnas.data.order import FullOrder
from dnas.data.retrieval.batch import TowerBatch
from dnas.data.retrieval.frequency import StreamingFrequency
from dnas.data.retrieval.rankings import Ranking
from dnas.data.retrieval.relevance import loss_labels, pack
from dnas.data.retrieval.rows import Rows
from dnas.errors import DataError

#: Most places for item ids in a list of a ranking batch's labels, 256 MB of labels: lists are as
#: wide as the longest one, and a few users have thousands of items.
LABEL_PLACES = 1 << 24


class TrainingLoader:
    """Loss batches, with the streaming estimate of log q in their labels.

    The estimate is a function of the data's order: that of step s has taken in the items of steps
    0 .. s. Asked for later steps than the last one given, the loader replays the items in between,
    and asked for earlier ones, all from step 0 (a third of a millisecond a batch of 1024), so that
    a resumed run gets the bits of an uninterrupted one.

    Args:
        rows: Where inputs come from.
        positions: The part's positions.
        batch_size: B.
        shuffle: Whether each epoch has a random order of its own, by seed and epoch.
        seed: Of the order, not negative.
        drop_last: Leave out an incomplete last batch.
        alpha: Learning rate of the estimate.
        device: Where the batches are to be; None: on the CPU.
        flag: How the batch size is called in messages.

    Raises:
        DataError: ``batch_size`` or ``seed`` is out of range, or there is no whole batch and
            ``drop_last``.
    """

    def __init__(
        self,
        rows: Rows,
        positions: np.ndarray,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        drop_last: bool,
        alpha: float,
        device: torch.device | str | None = None,
        flag: str = "--batch_size",
    ) -> None:
        check_batch_size(batch_size, flag)
        if seed < 0:
            raise DataError(f"seed={seed}: must not be negative")
        if drop_last and batch_size > len(positions):
            raise DataError(
                f"{flag}={batch_size} is more than the {len(positions)} rows of this part of the "
                f"data: use at most {len(positions)}, or more data"
            )
        self._rows, self._positions = rows, positions
        self._batch_size = batch_size
        total = len(positions)
        self._steps = total // batch_size if drop_last else -(-total // batch_size)
        self._order = FullOrder(total, seed) if shuffle else None
        self._alpha = alpha
        self._device = device
        self._estimate, self._replayed = self._fresh_estimate(), 0

    def __len__(self) -> int:
        return self._steps

    def batches(self, start: int, stop: int) -> Iterator[TowerBatch]:
        """The batches of global steps ``start`` .. ``stop - 1``; leaving early is fine."""
        if start < 0:
            raise DataError(f"batches({start}, {stop}): steps begin at 0")
        return (self._batch(step) for step in range(start, stop))

    def _batch(self, step: int) -> TowerBatch:
        positions = self._positions_of(step)
        items = self._rows.items(positions)
        log_q = np.log(self._frequencies(step, items))
        labels = loss_labels(items, log_q, np.ones(len(items)))
        batch = TowerBatch(self._rows.pairs(positions), labels)
        return batch if self._device is None else batch.to(self._device)

    def _positions_of(self, step: int) -> np.ndarray:
        epoch, number = divmod(step, self._steps)
        places = slice(number * self._batch_size, (number + 1) * self._batch_size)
        if self._order is None:
            return self._positions[places]
        return self._positions.take(self._order.around(epoch, 0)[1][places])

    def _frequencies(self, step: int, items: np.ndarray) -> np.ndarray:
        """p of each row of a step, whose items these are."""
        if step < self._replayed:
            self._estimate, self._replayed = self._fresh_estimate(), 0
        for earlier in range(self._replayed, step):
            self._estimate.update(self._rows.items(self._positions_of(earlier)), earlier + 1)
        self._replayed = step + 1
        return self._estimate.update(items, step + 1)

    def _fresh_estimate(self) -> StreamingFrequency:
        start = max((self._rows.num_items + 1) // self._batch_size, 1)
        return StreamingFrequency(self._rows.num_items, start, self._alpha)


class EvaluationLoader:
    """Loss batches of a part in its own order (there may be none), then users to be ranked.

    Args:
        rows: Where inputs come from.
        positions: Rows of the loss, or none.
        log_q: ``(items + 1,)`` what the labels say of each item.
        loss_batch_size: Rows of a loss batch.
        rankings: Ranked one after the other.
        users: U, users of a ranking batch. The last one of a ranking has fewer, and so have those
            whose labels would be too large.
        device: Where the batches are to be; None: on the CPU.
    """

    def __init__(
        self,
        rows: Rows,
        positions: np.ndarray,
        log_q: np.ndarray,
        loss_batch_size: int,
        rankings: Sequence[Ranking],
        users: int,
        device: torch.device | str | None = None,
    ) -> None:
        self._rows, self._positions, self._log_q = rows, positions, log_q
        self._loss_size = loss_batch_size
        self._device = torch.device("cpu") if device is None else torch.device(device)
        self._loss_steps = -(-len(positions) // loss_batch_size)
        self._places = [
            (ranking, first, last)
            for ranking in rankings
            for first, last in _groups(ranking, users)
        ]
        # Once, not with each batch: on a GPU that would be a copy each time.
        fields, bags = rows.corpus()
        self._corpus = fields.to(self._device), bags.to(self._device)

    def __len__(self) -> int:
        return self._loss_steps + len(self._places)

    def batches(self, start: int, stop: int) -> Iterator[TowerBatch]:
        """The batches of global steps ``start`` .. ``stop - 1``; all epochs are alike."""
        if start < 0:
            raise DataError(f"batches({start}, {stop}): steps begin at 0")
        return (self._batch(step % len(self)) for step in range(start, stop))

    def _batch(self, number: int) -> TowerBatch:
        if number >= self._loss_steps:
            return self._ranking_batch(*self._places[number - self._loss_steps])
        first = number * self._loss_size
        positions = self._positions[first : first + self._loss_size]
        items = self._rows.items(positions)
        labels = loss_labels(items, self._log_q[items], np.ones(len(items)))
        return TowerBatch(self._rows.pairs(positions), labels).to(self._device)

    def _ranking_batch(self, ranking: Ranking, first: int, last: int) -> TowerBatch:
        labels = pack(
            ranking.protocol,
            ranking.relevant.take(first, last),
            ranking.excluded.take(first, last),
        )
        users, history = self._rows.users(ranking.users[first:last], ranking.histories[first:last])
        return TowerBatch((users, history, *self._corpus), labels).to(self._device)


def _groups(ranking: Ranking, users: int) -> Iterator[tuple[int, int]]:
    """First user, and the one after the last, of each batch of a ranking."""
    lengths = np.maximum(np.diff(ranking.relevant.starts), np.diff(ranking.excluded.starts))
    first, widest = 0, 0
    for user, length in enumerate(lengths.tolist()):
        widest = max(widest, length)
        count = user - first
        if count and (count == users or (count + 1) * widest > LABEL_PLACES):
            yield first, user
            first, widest = user, length
    if len(ranking):
        yield first, len(ranking)


def check_batch_size(batch_size: int, flag: str) -> None:
    """Raises ``DataError`` if a batch would have no rows."""
    if batch_size < 1:
        raise DataError(f"{flag}={batch_size}: must be at least 1")
