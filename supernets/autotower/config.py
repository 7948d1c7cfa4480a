"""Settings of AutoTower's search space; every field is a flag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from dnas.errors import ConfigError
from dnas.models.towers import PAPER_POOLINGS, POOLINGS
from dnas.models.towers.norms import NORM_KINDS, NormKind
from supernets.towers.config import TwoTowerConfig

MLPForm = Literal["activated", "released"]


@dataclass(frozen=True, kw_only=True)
class AutoTowerConfig(TwoTowerConfig):
    """Sizes of the towers, and where the paper and its program differ."""

    user_blocks: int = 3
    """Blocks of the user tower; the paper searches 3 to 7."""
    item_blocks: int = 3
    """Blocks of the item tower; may differ from the user tower's."""
    block_dimension: int = 64
    """Dimension of the output of every block, and so of the vectors of users and items."""
    poolings: tuple[str, ...] = PAPER_POOLINGS
    """What pools the history: any of average, sum, self_attention, self_attentive (the paper's) and
    transformer (BST's layer, of four heads)."""
    mlp_form: MLPForm = "activated"
    """Hidden layers of MLP blocks: activated (a ReLU follows), or released (nothing follows, as in
    AutoTower's released program, so that an MLP block is one linear function of limited rank)."""
    output_relu: bool = True
    """A ReLU follows the last block, as in the released program: cosines are then in [0, 1]."""

    block_norm: NormKind = "batch"
    """What normalizes the output of every block but the last: batch, as published, or layer, each
    row by itself, so that a row's vector does not depend on the rows beside it in training, nor a
    candidate's on statistics of its own."""

    anchored: bool = False
    """One-shot training lets every path learn against the same pair of towers, which is trained
    beside the paths and left out afterwards. The paper trains paths against themselves alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least_one("user_blocks", "item_blocks", "block_dimension")
        unknown = [name for name in self.poolings if name not in POOLINGS]
        if unknown or not self.poolings or len(set(self.poolings)) < len(self.poolings):
            raise ConfigError(
                f"--poolings must be different ones of {', '.join(POOLINGS)}, but got "
                f"{' '.join(self.poolings) or 'none'}"
            )
        self._check_is_one_of("mlp_form", get_args(MLPForm))
        self._check_is_one_of("block_norm", NORM_KINDS)
