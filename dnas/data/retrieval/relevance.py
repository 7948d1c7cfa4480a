"""Which items are relevant to the users of a ranking batch, and which may not be ranked: as labels.

A batch's labels are one tensor, so that loops, loaders and accumulators need no other interface.
Its shape says what it is:

- ``(B, 3)`` float64, a loss batch: item id, log q (natural logarithm of the item's estimated
  frequency in a batch) and reward of each row, see :func:`loss_labels`;
- ``(U, 2, 1 + M)`` int64, a ranking batch of U users: ``[u, 0, 1:]`` relevant items and
  ``[u, 1, 1:]`` excluded items of user u, both padded with 0; ``[u, :, 0]`` is the number of the
  protocol. Items are numbered from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from dnas.errors import DataError


class Protocol(IntEnum):
    """How users are ranked; :mod:`dnas.data.retrieval.rankings` says what each of them is."""

    PAPER = 0
    TEMPORAL = 1
    TEMPORAL_EXCLUDE = 2
    VALIDATION = 3

    @property
    def suffix(self) -> str:
        """What follows a metric's name: ``.paper``; nothing for validation."""
        return "" if self is Protocol.VALIDATION else f".{self.name.lower()}"


#: What the test part is ranked by.
TEST_PROTOCOLS = (Protocol.PAPER, Protocol.TEMPORAL, Protocol.TEMPORAL_EXCLUDE)


def pack(protocol: int, relevant: Sequence[np.ndarray], excluded: Sequence[np.ndarray]) -> Tensor:
    """Labels of a ranking batch.

    Args:
        protocol: Number of the protocol.
        relevant: Relevant item ids of each of the U users.
        excluded: Item ids of each user that are not ranked.

    Returns:
        ``(U, 2, 1 + M)`` int64, M being the largest number of ids in a list (at least 1).

    Raises:
        DataError: There are no users, the lists differ in number, or an id is not positive.
    """
    if not relevant or len(relevant) != len(excluded):
        raise DataError(
            f"ranking labels: {len(relevant)} lists of relevant and {len(excluded)} of excluded "
            "items; there must be one of each for every user, and at least one user"
        )
    lists = [np.asarray(part, dtype=np.int64) for pair in zip(relevant, excluded, strict=True)
             for part in pair]  # fmt: skip
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    ids = np.concatenate(lists)
    if ids.size and ids.min() < 1:
        raise DataError(f"ranking labels: item {ids.min()}: items are numbered from 1")
    labels = np.zeros((len(lists), 1 + max(int(lengths.max()), 1)), dtype=np.int64)
    labels[:, 0] = protocol
    labels[:, 1:][np.arange(labels.shape[1] - 1) < lengths[:, None]] = ids
    return torch.from_numpy(labels.reshape(len(relevant), 2, -1))


def is_ranking(labels: Tensor) -> bool:
    """Whether labels are those of a ranking batch, and not of a loss batch."""
    return labels.dim() == 3


def unpack(labels: Tensor) -> tuple[int, Tensor, Tensor]:
    """What :func:`pack` packed.

    Returns:
        The protocol, and relevant and excluded ids ``(U, M)``, both padded with 0.
    """
    if not is_ranking(labels):
        raise DataError(
            f"ranking labels: expected (U, 2, 1 + M), got {tuple(labels.shape)}: these are the "
            "labels of a loss batch"
        )
    return int(labels[0, 0, 0]), labels[:, 0, 1:], labels[:, 1, 1:]


def loss_labels(items: np.ndarray, log_q: np.ndarray, rewards: np.ndarray) -> Tensor:
    """Labels of a loss batch: the three columns, ``(B, 3)`` float64."""
    return torch.from_numpy(np.stack([items, log_q, rewards], axis=1).astype(np.float64))
