"""Who is ranked: for each protocol the users, their histories, what is relevant, what is excluded.

All items of the corpus are candidates but for the excluded ones. A user's relevant items are the
different items of the part, without those that are excluded (an item that was interacted with
again); users without any are left out.

- ``paper`` (test), as released with AutoTower: the history is that of one random test row of the
  user, so that some of it *are* test items; excluded are train items, so that validation items
  compete, and count as wrong.
- ``temporal`` (test): the history ends where the user's test part begins; excluded are train items.
- ``temporal_exclude`` (test): the history of ``temporal``; train and validation items are excluded.
- ``validation``: the history is the user's last train items; excluded are train items. No test row,
  and no validation row, is in it. With the temporal split that is the history at the moment when
  the user's validation part begins. With the paper's it may hold items later than relevant ones:
  that is how this split divides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dnas.data.retrieval.relevance import Protocol
from dnas.data.retrieval.split import STREAM_MOMENTS
from dnas.data.retrieval.timeline import Timeline, Windows


@dataclass(frozen=True)
class Lists:
    """Lists of items, one after the other: list k is ``items[starts[k]:starts[k + 1]]``."""

    items: np.ndarray
    starts: np.ndarray

    def take(self, first: int, last: int) -> list[np.ndarray]:
        """The lists ``first .. last - 1``."""
        return [self.items[a:b] for a, b in pairwise(self.starts[first : last + 1])]


@dataclass(frozen=True)
class Ranking:
    """The U users of a protocol.

    Attributes:
        protocol: Which.
        users: ``(U,)`` their ids, ascending.
        histories: ``(U, L)`` int32 items, padded on the left with 0.
        relevant: Items of each user, ascending.
        excluded: Items of each user, ascending.
    """

    protocol: Protocol
    users: np.ndarray
    histories: np.ndarray
    relevant: Lists
    excluded: Lists

    def __len__(self) -> int:
        return len(self.users)


def make_rankings(
    timeline: Timeline, parts: Mapping[str, np.ndarray], *, length: int, seed: int
) -> dict[Protocol, Ranking]:
    """The rankings of all protocols.

    Args:
        timeline: The interactions.
        parts: Of :func:`~dnas.data.retrieval.split.split_timeline`.
        length: L.
        seed: Of the random test moments.
    """
    pairs = {name: _pairs(timeline, parts[name]) for name in ("train", "validation", "test")}
    seen = _distinct(np.concatenate([pairs["train"], pairs["validation"]]))
    test = parts["test"]
    first = _first_of_users(timeline, test)
    moments = _moments(timeline, test, seed)
    before = timeline.histories(first, length)
    train = parts["train"]
    train_starts = np.searchsorted(timeline.users[train], np.arange(len(timeline.starts)))
    validated = _users(pairs["validation"])
    last_trained = Windows(timeline.items[train], length).take(
        train_starts[validated], train_starts[validated + 1]
    )
    tested = _users(pairs["test"])
    made = (
        (Protocol.PAPER, tested, timeline.histories(moments, length), "test", pairs["train"]),
        (Protocol.TEMPORAL, tested, before, "test", pairs["train"]),
        (Protocol.TEMPORAL_EXCLUDE, tested, before, "test", seen),
        (Protocol.VALIDATION, validated, last_trained, "validation", pairs["train"]),
    )
    return {
        protocol: _ranking(protocol, users, histories, pairs[part], excluded)
        for protocol, users, histories, part, excluded in made
    }


#: A pair of user and item is one number: the user in the bits from this one on, the item below.
_BITS = 32


def _pairs(timeline: Timeline, positions: np.ndarray) -> np.ndarray:
    """The different pairs of some positions, ascending."""
    users = timeline.users[positions].astype(np.int64)
    return _distinct((users << _BITS) | timeline.items[positions])


def _distinct(values: np.ndarray) -> np.ndarray:
    """``np.unique``, which hashes many numbers before it sorts them."""
    values = np.sort(values)
    return values[np.diff(values, prepend=-1) != 0]


def _users(pairs: np.ndarray) -> np.ndarray:
    """The different users of ascending pairs."""
    return _distinct(pairs >> _BITS)


def _ranking(
    protocol: Protocol,
    users: np.ndarray,
    histories: np.ndarray,
    relevant: np.ndarray,
    excluded: np.ndarray,
) -> Ranking:
    relevant = relevant[~_among(relevant, excluded)]
    kept = _among(users, _users(relevant))
    users = users[kept]
    return Ranking(
        protocol, users, histories[kept], _lists(relevant, users), _lists(excluded, users)
    )


def _lists(pairs: np.ndarray, users: np.ndarray) -> Lists:
    """The items of each of ``users``, from ascending pairs."""
    pairs = pairs[_among(pairs >> _BITS, users)]
    starts = np.searchsorted(pairs, users << _BITS)
    items = pairs & ((1 << _BITS) - 1)
    return Lists(items.astype(np.int32), np.append(starts, len(pairs)))


def _among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which values are known; both ascending, ``known`` without repetition."""
    if not len(known):
        return np.zeros(len(values), dtype=bool)
    return known.take(np.searchsorted(known, values), mode="clip") == values


def _first_of_users(timeline: Timeline, positions: np.ndarray) -> np.ndarray:
    """The first position of each user that has one; ``positions`` are ascending."""
    users = timeline.users[positions]
    is_first = np.ones(len(positions), dtype=bool)
    is_first[1:] = users[1:] != users[:-1]
    return positions[is_first]


def _moments(timeline: Timeline, positions: np.ndarray, seed: int) -> np.ndarray:
    """A random position of each user that has one, users ascending."""
    rng = np.random.default_rng([seed, STREAM_MOMENTS])
    starts = np.searchsorted(positions, _first_of_users(timeline, positions))
    return positions[rng.integers(starts, np.append(starts[1:], len(positions)))]
