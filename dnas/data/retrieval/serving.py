"""What a service asks a two-tower model with: the corpus, and users as they are now.

Evaluation asks for users as they were at some moment of a protocol; here all interactions that are
in the data count, those of validation and test too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dnas.data.retrieval.prepare import RetrievalData
from dnas.data.retrieval.timeline import Windows
from dnas.errors import DataError


@dataclass(frozen=True)
class UserRequests:
    """The inputs of a user tower for U users, and what they know.

    Attributes:
        fields: ``(U, Fu)`` int64.
        history: ``(U, L, Fh)`` int64, the last L interactions, padded on the left with zeros.
        seen: ``(U, X)`` int64, the items of all their interactions, padded with 0: what ``top_k``
            takes as ``excluded``.
    """

    fields: Tensor
    history: Tensor
    seen: Tensor


def corpus_inputs(data: RetrievalData) -> tuple[Tensor, Tensor]:
    """The inputs of an item tower for all N items, row j being item ``j + 1``.

    Returns:
        Fields ``(N, Fi)`` and bags ``(N, G)``, both int64.
    """
    found = data.interactions
    return _long(found.item_fields[1:]), _long(found.item_bags[1:])


def user_requests(data: RetrievalData, users: ArrayLike) -> UserRequests:
    """The inputs of a user tower for some users, after all their interactions in the data.

    Args:
        data: The data.
        users: ``(U,)`` numbers of users; of the publisher's ids
            :meth:`~dnas.data.retrieval.Interactions.user_numbers` makes them.

    Raises:
        DataError: There is no such user.
    """
    numbers = np.asarray(users)
    wrong = numbers[(numbers < 1) | (numbers > data.spec.num_users)]
    if wrong.size:
        raise DataError(f"user {wrong[0]}: numbers of users are 1 to {data.spec.num_users}")
    timeline = data.timeline
    starts, ends = timeline.starts[numbers], timeline.starts[numbers + 1]
    history = Windows(timeline.items, data.spec.seq_len).take(starts, ends)
    seen = [np.unique(timeline.items[a:b]) for a, b in zip(starts, ends, strict=True)]
    padded = np.zeros((len(seen), max(map(len, seen), default=0)), dtype=np.int64)
    for row, items in zip(padded, seen, strict=True):
        row[: len(items)] = items
    return UserRequests(
        fields=_long(data.interactions.user_fields[numbers]),
        history=_long(data.interactions.history_fields()[history]),
        seen=_long(padded),
    )


def _long(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))
