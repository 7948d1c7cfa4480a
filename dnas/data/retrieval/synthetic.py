"""Made-up interactions with a known structure, for tests and first steps.

Users and items belong to one of G groups. User u draws items without replacement; the probability
of item i is proportional to ``popularity_i * exp(TASTE * [group_u = group_i])`` among those not
drawn yet, popularity being 1 / rank. What models see: an item's group is its field ``category``;
its multi-hot ``tags`` are its group's tag and, for every second item, the tag of the group after
it. A user's group is not in its fields but for ``hint``, which is the group with probability
:data:`HINT` and a random one otherwise: it has to be learned from the user's id, or read off the
history. The best ranking for a user, by the definition above, is :meth:`Truth.weights`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnas.data.retrieval.interactions import Interactions
from dnas.data.retrieval.spec import TowerSpec
from dnas.errors import DataError

#: By how much the logarithm of an item's weight is larger in a user's own group.
TASTE = 3.0
#: Probability that a user's hint is meant.
HINT = 0.5


@dataclass(frozen=True)
class Truth:
    """What was planted.

    Attributes:
        user_groups: ``(users + 1,)``; entry 0 is padding.
        item_groups: ``(items + 1,)``; entry 0 is padding.
        popularity: ``(items + 1,)``; 0 for the padding.
    """

    user_groups: np.ndarray
    item_groups: np.ndarray
    popularity: np.ndarray

    def weights(self, users: np.ndarray) -> np.ndarray:
        """``(len(users), items + 1)``: to what an item's probability is proportional."""
        own = self.user_groups[users][:, None] == self.item_groups[None, :]
        return self.popularity * np.exp(TASTE * own)


def synthetic(
    *, users: int, items: int, events: int, groups: int, seq_len: int, seed: int
) -> tuple[Interactions, Truth]:
    """Make a data set up.

    Args:
        users: Number of users.
        items: Number of items.
        events: Mean number of interactions of a user; they have from half of it to one and a half.
        groups: G.
        seq_len: Length of histories.
        seed: Of everything.

    Raises:
        DataError: A user would need more items than there are.
    """
    most = events + events // 2
    if most > items:
        raise DataError(
            f"--synthetic_events={events}: a user may have {most} of only {items} items: use fewer "
            "events, or more --synthetic_items"
        )
    rng = np.random.default_rng([seed, users, items])
    truth = Truth(
        user_groups=np.concatenate(([-1], rng.integers(groups, size=users))),
        item_groups=np.concatenate(([-2], rng.permutation(np.arange(items) % groups))),
        popularity=np.concatenate(([0.0], 1.0 / (1 + rng.permutation(items)))),
    )
    counts = rng.integers(max(events - events // 2, 1), most + 1, size=users)
    # The order of log weights with Gumbel noise is that of draws without replacement.
    keys = np.log(truth.weights(np.arange(1, users + 1))[:, 1:]) + rng.gumbel(size=(users, items))
    drawn = np.argsort(-keys, axis=1, kind="stable")[:, :most] + 1
    chosen = np.arange(most) < counts[:, None]
    times = rng.integers(10**6, size=(users, 1)) + np.arange(most) * 60
    order = rng.permutation(int(counts.sum()))  # raw files are in no useful order
    who = np.broadcast_to(np.arange(1, users + 1)[:, None], drawn.shape)
    hint = np.where(
        rng.random(users) < HINT, truth.user_groups[1:], rng.integers(groups, size=users)
    )
    user_fields = np.zeros((users + 1, 2), dtype=np.int32)
    user_fields[1:] = np.stack([np.arange(1, users + 1), hint], axis=1)
    item_fields = np.zeros((items + 1, 2), dtype=np.int32)
    item_fields[1:] = np.stack([np.arange(1, items + 1), truth.item_groups[1:]], axis=1)
    bags = np.full((items + 1, 2), groups, dtype=np.int32)
    bags[1:, 0] = truth.item_groups[1:]
    bags[2::2, 1] = (truth.item_groups[2::2] + 1) % groups
    data = Interactions(
        users=who[chosen][order].astype(np.int32),
        items=drawn[chosen][order].astype(np.int32),
        times=times[chosen][order].astype(np.int64),
        user_fields=user_fields,
        item_fields=item_fields,
        item_bags=bags,
        spec=TowerSpec(
            user_names=("user_id", "hint"),
            user_sizes=(users + 1, groups),
            item_names=("item_id", "category"),
            item_sizes=(items + 1, groups),
            bag_name="tags",
            bag_size=groups,
            bag_width=2,
            history_names=("item_id", "category", "tags"),
            seq_len=seq_len,
        ),
    )
    return data, truth
