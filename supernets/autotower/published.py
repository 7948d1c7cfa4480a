"""The architectures that AutoTower's paper found, by data set (Table 7).

The order of some blocks has to be inferred, for the text that we have of the table sorts the names
within a line of a cell. Of three blocks the order is fixed, for the first block and the one without
a comma behind it keep their places, and the table's parameters and FLOPs agree. MovieLens 1M's
item tower would fit its own row with the last two blocks in the other order as well: that is
``ml_1m_swapped``, whose 0.155 M parameters fit Table 4's 0.15 M less well than the 0.152 M of
``ml_1m``. In the towers of seven blocks two neighbours could be the other way round, blocks 2 and 3
of all four. Nothing decides this; here they have the order of the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnas.core import Architecture
from dnas.errors import ArchitectureError

#: The key by which a file names one of them: ``{"autotower": "ml_100k"}``.
KEY = "autotower"


def make_architecture(pooling: str, user: str, item: str) -> Architecture:
    """An architecture from the name of its pooling and the towers' operations.

    Args:
        pooling: One of ``dnas.models.towers.POOLINGS``.
        user: Names of operations, separated by spaces, the first block's first.
        item: The same for the item tower.
    """
    blocks = {
        f"{side}/block_{number}": operation
        for side, operations in (("user", user), ("item", item))
        for number, operation in enumerate(operations.split(), start=1)
    }
    return Architecture({"pooling/history": pooling, **blocks})


_ML_1M_USER = "sa_3 ew_product mlp_128"
PUBLISHED: Mapping[str, Architecture] = {
    "ml_100k": make_architecture("self_attention", "mlp_512 sa_1 sa_4", "mlp_128 mlp_512 sa_1"),
    "ml_1m": make_architecture("self_attention", _ML_1M_USER, "mlp_512 mlp_64 sa_2"),
    "ml_1m_swapped": make_architecture("self_attention", _ML_1M_USER, "mlp_512 sa_2 mlp_64"),
    "yelp": make_architecture(
        "self_attentive",
        "mlp_32 ew_avg ew_max ew_product ew_min ew_max sa_3",
        "sa_2 ew_product ew_max mlp_1024 ew_avg sa_2 mlp_256",
    ),
    "amazon_books": make_architecture(
        "self_attentive",
        "sa_1 ew_avg sa_2 ew_product ew_min mlp_32 sa_1",
        "sa_2 ew_avg ew_product ew_avg sa_1 ew_avg mlp_256",
    ),
}


def blocks_of(architecture: Architecture) -> tuple[int, int]:
    """Blocks of the user tower and of the item tower."""
    user, item = (
        sum(key.startswith(f"{side}/block_") for key in architecture) for side in ("user", "item")
    )
    return user, item


def is_published(value: Any) -> bool:
    """Whether the JSON of a file names a published architecture."""
    return isinstance(value, Mapping) and set(value) == {KEY}


def published_by_name(value: Mapping[str, Any], source: str) -> Architecture:
    """The architecture that a file names.

    Args:
        value: For which :func:`is_published` holds.
        source: The file, for errors.

    Raises:
        ArchitectureError: There is none of that name.
    """
    name = value[KEY]
    if not isinstance(name, str) or name not in PUBLISHED:
        raise ArchitectureError(
            f"{source}: {KEY} is {name!r}; published are {', '.join(PUBLISHED)}"
        )
    return PUBLISHED[name]
