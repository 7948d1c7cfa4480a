"""What ``tower_real_data.py`` compares: hand-crafted two-tower models, and searches.

- Hand-crafted: four models in three sizes; MIND's smallest also with a loss that scores items as
  they are served, and BST's with the layer norms that the anchored search has.
- Searches: the stages of ``configs/autotower_ml100k*``, with a longer supernet and more candidates.
  The best three of a search are trained, the best by validation is trained with new seeds and
  tested. Searches that differ in the algorithm or in the limits search the same supernet.
- Successive halving (``halved``): a search's best 24 are trained for eight epochs, the best four of
  these to the end, and the best of these by validation with five new seeds.
- The temporal split: two models by hand and the network of successive halving, trained and tested
  where each user's validation is later than its training (``later_*``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Table 3 of the paper: parameters and MACs / 2 of both towers together.
LIMITS = {"l": (240_000, 150_000), "m": (480_000, 280_000), "h": (1_200_000, 800_000)}
#: Of figures 3 and 4: blocks of a tower, dimensions of the tables.
BLOCKS = (3, 4, 5, 6, 7)
DIMENSIONS = (8, 16, 32, 64)
#: Steps of a supernet: 48 to an epoch.
STEPS = 10_000
SIZES = ("l", "m", "h")
HANDMADE = ("googlednn", "senet", "bst", "mind")
#: Hand-crafted models with other settings: model, flags of the space, name in tables.
VARIANTS: dict[str, tuple[str, tuple[str, str], str]] = {
    "mind_served": ("mind_l", ("--interests_in_loss", "served"), "MIND-L, scored as served"),
    "bst_norms": ("bst_l", ("--dense_norm", "layer"), "BST-L with layer norms"),
}
#: Trained on the temporal split too, under whose validation none of them was chosen: two models by
#: hand and what successive halving found.
RESPLIT = ("googlednn_l", "bst_l", "halved")
#: Flags of the space of the anchored searches, as their configs have them.
ANCHORED_SPACE = (
    *("--poolings", "average", "sum", "self_attention", "self_attentive", "transformer"),
    *("--block_norm", "layer", "--no_output_relu"),
)
#: Of the configs' final trainings, new to everything that was chosen by.
FINAL_SEEDS = (11, 12, 13, 14, 15)
#: Seeds where searches are compared with one another and with nothing else.
FEW = 3


def limit(user: str | None = None, item: str | None = None, total: str | None = None) -> str:
    """``--cost_limit`` for scenarios of Table 3, for both towers or each."""
    words = []
    for tower, size in (("", total), ("user_", user), ("item_", item)):
        if size is not None:
            params, flops = LIMITS[size]
            words += [f"{tower}paper_params={params}", f"{tower}paper_flops={flops}"]
    return ",".join(words)


@dataclass(frozen=True)
class Search:
    """A search, the trainings of what it found, and the final ones.

    Attributes:
        name: In tables.
        flags: Of ``train_dnas.py``, in the place of the config's.
        supernet: The search whose supernet this one uses; None: it trains one.
        config: Of its first stage.
        data: Flags of the data, of all stages.
        seeds: How many final trainings, of ``FINAL_SEEDS``.
        sampled: Of its second stage.
        second_round: Config of a second round of trainings, of the best of the first; empty: none.
    """

    name: str
    flags: Mapping[str, str] = field(default_factory=dict)
    supernet: str | None = None
    config: str = "autotower_ml100k_search"
    data: Mapping[str, str] = field(default_factory=dict)
    seeds: int = len(FINAL_SEEDS)
    sampled: str = "autotower_ml100k_sampled_search"
    second_round: str = ""


def _genetic(
    name: str,
    cost_limit: str,
    supernet: str | None = "m",
    *,
    seeds: int = len(FINAL_SEEDS),
    data: Mapping[str, str] | None = None,
    n_epochs: str | None = None,
    **flags: str,
) -> Search:
    given = {"cost_limit": cost_limit, **flags}
    if n_epochs is not None:
        given["n_epochs"] = n_epochs
    return Search(name, given, supernet, data=data or {}, seeds=seeds)


_TRAINING = f"{STEPS / 48:.4f}"
#: What is compared, by short name.
SEARCHES: dict[str, Search] = {
    "m": _genetic("AutoTower-M", limit(total="m"), None, n_epochs=_TRAINING),
    "transformer": _genetic(
        "AutoTower-M with a Transformer pooling",
        limit(total="m"),
        None,
        poolings="average sum self_attention self_attentive transformer",
        n_epochs=_TRAINING,
    ),
    "anchored": Search("AutoTower-M anchored", config="autotower_ml100k_anchored_search"),
    "halved": Search(
        "AutoTower-M halving",
        supernet="anchored",
        config="autotower_ml100k_halving_search",
        sampled="autotower_ml100k_halving_sampled_search",
        second_round="autotower_ml100k_halving_second_round",
    ),
    "l": _genetic("AutoTower-L", limit(total="l")),
    "h": _genetic("AutoTower-H", limit(total="h")),
    "random": _genetic(
        "random search, M", limit(total="m"), search_algorithm="random_search", seeds=FEW
    ),
    "reinforce": _genetic(
        "REINFORCE, M", limit(total="m"), search_algorithm="reinforce", seeds=FEW
    ),
    "dnas": Search(
        "gradient search, M",
        {"num_random_archs": "0"},
        config="autotower_ml100k_dnas_search",
        seeds=FEW,
    ),
    "user_l_item_h": _genetic("user tower L, item tower H", limit(user="l", item="h"), seeds=FEW),
    "user_h_item_l": _genetic("user tower H, item tower L", limit(user="h", item="l"), seeds=FEW),
}
#: Figure 3: blocks of both towers, within L, each with a supernet as the config has it.
SEARCHES |= {
    f"blocks_{n}": _genetic(
        f"{n} blocks",
        limit(total="l"),
        None,
        user_blocks=str(n),
        item_blocks=str(n),
        seeds=FEW,
    )
    for n in BLOCKS
}
#: Figure 4: dimension of the tables, within M.
SEARCHES |= {
    f"dim_{n}": _genetic(
        f"dimension {n}", limit(total="m"), None, embedding_dimension=str(n), seeds=FEW
    )
    for n in DIMENSIONS
}
HALVES = ("first", "second")
#: Table 9: one half of the users, within M.
SEARCHES |= {
    f"half_{half}": _genetic(
        f"{half} half", limit(total="m"), None, data={"user_half": half}, seeds=FEW
    )
    for half in HALVES
}
