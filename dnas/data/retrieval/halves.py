"""Half of the users of a data set, as a data set of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dnas.data.retrieval.config import UserHalf
from dnas.data.retrieval.interactions import Interactions, codes_of
from dnas.errors import DataError

#: Beside the streams of :mod:`dnas.data.retrieval.split`, which begin with the same seed.
_STREAM_HALVES = 3


def half_of_users(interactions: Interactions, half: UserHalf, seed: int) -> Interactions:
    """The rows of a random half of the users; the other half is the rest.

    Users and items that are left are numbered from 1 again, in the order of before, so that
    nothing of the other half remains, not even an item that only it has. The other fields keep
    their values, and those that are bins keep borders of the whole.

    Args:
        interactions: Of all users.
        half: "first" has one user more where their number is odd; "all" changes nothing.
        seed: Of the division.

    Raises:
        DataError: The half would be empty.
    """
    if half == "all":
        return interactions
    users = interactions.spec.num_users
    drawn = np.random.default_rng([seed, _STREAM_HALVES]).permutation(users) + 1
    middle = (users + 1) // 2
    chosen = np.zeros(users + 1, dtype=bool)
    chosen[drawn[:middle] if half == "first" else drawn[middle:]] = True
    rows = chosen[interactions.users]
    if not rows.any():
        raise DataError(f"--user_half={half}: no interaction of {users} users is in it; use all")
    spec = interactions.spec
    user_ids, user_numbers = codes_of(interactions.users[rows])
    item_ids, item_numbers = codes_of(interactions.items[rows])
    user_fields, item_fields = (
        _renumbered(table, ids)
        for table, ids in (
            (interactions.user_fields, user_ids),
            (interactions.item_fields, item_ids),
        )
    )
    return Interactions(
        users=user_numbers,
        items=item_numbers,
        times=interactions.times[rows],
        user_fields=user_fields,
        item_fields=item_fields,
        item_bags=interactions.item_bags[np.concatenate(([0], item_ids))],
        spec=replace(
            spec,
            user_sizes=(len(user_ids) + 1, *spec.user_sizes[1:]),
            item_sizes=(len(item_ids) + 1, *spec.item_sizes[1:]),
        ),
        user_keys=interactions.user_keys[np.append(0, user_ids)],
        item_keys=interactions.item_keys[np.append(0, item_ids)],
    )


def _renumbered(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Rows 0 and ``ids`` of a table of fields, whose first column is the id."""
    found = table[np.concatenate(([0], ids))]
    found[1:, 0] = np.arange(1, len(ids) + 1)
    return found
