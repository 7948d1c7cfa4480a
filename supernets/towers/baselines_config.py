"""Settings of the two-tower baselines; every field is a flag."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from dnas.errors import ConfigError
from dnas.training.sampled_softmax import Interests, SampledSoftmax
from supernets.towers.config import TwoTowerConfig

DenseNorm = Literal["none", "batch", "layer"]
_USUAL_POWER = SampledSoftmax.attention_power


@dataclass(frozen=True, kw_only=True)
class TowerBaselinesConfig(TwoTowerConfig):
    """What is set of the hand-crafted models besides what all two-tower models have.

    With ``dense_norm="batch"`` the defaults are the sizes of AutoTower's Table 4, but for BST's
    Transformer layer, which is smaller than the table's.
    """

    output_dimension: int = 64
    """Dimension of the vectors of users and items."""
    dense_norm: DenseNorm = "none"
    """What normalizes hidden layers, except MIND's: none, batch (as the published numbers of
    parameters say it was done), or layer, each row by itself."""
    senet_reduction: int = 3
    """SENET: fields for each hidden unit of the excitation."""
    bst_heads: int = 4
    """BST: heads of the Transformer layer."""
    bst_feed_forward: int = 0
    """BST: hidden units of the Transformer layer; 0: the width of a position."""
    bst_dropout: float = 0.2
    """BST: dropout of the Transformer layer."""
    mind_interests: int = 3
    """MIND: vectors of a user."""
    mind_iterations: int = 2
    """MIND: iterations of the routing."""
    attention_power: float = _USUAL_POWER
    """MIND: how much more, in training, the interest learns that fits the row's item best. 0: as
    much as the others."""
    interests_in_loss: Interests = "label"
    """MIND: which of a user's vectors score an item in the loss. label: as published, all items are
    scored by those that fit the row's own item. served: each item by the one that fits it best, as
    items are ranked."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least_one(
            "output_dimension", "senet_reduction", "bst_heads", "mind_interests", "mind_iterations"
        )
        self._check_is_one_of("dense_norm", get_args(DenseNorm))
        if self.interests_in_loss == "served" and self.attention_power != _USUAL_POWER:
            raise ConfigError(
                f"--attention_power={self.attention_power} has no effect with "
                "--interests_in_loss=served; leave one of them out"
            )
        if self.bst_feed_forward < 0:
            raise ConfigError(
                f"--bst_feed_forward must be 0 or more, but got {self.bst_feed_forward}"
            )
        if not 0 <= self.bst_dropout < 1:
            raise ConfigError(f"--bst_dropout must be in [0, 1), but got {self.bst_dropout}")

    def loss(self) -> SampledSoftmax:
        """The loss of training with these settings."""
        return replace(
            super().loss(),
            attention_power=self.attention_power,
            interests=self.interests_in_loss,
        )
