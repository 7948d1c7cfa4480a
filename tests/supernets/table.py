"""Every supernet of the project, small, with inputs: one table for all contract tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import nasrec_cases as nasrec
import torch

from dnas.core import SuperNet
from dnas.data import Bags
from supernets import (
    AUTOTOWER,
    CTR_BASELINES,
    EMB_CARD,
    EMB_DIM,
    JOINT,
    TOP_BOTTOM_MLPS,
    TOWER_BASELINES,
    AutoTowerConfig,
    BaselinesConfig,
    EmbeddingCardSuperNet,
    EmbeddingDimSuperNet,
    MLPSuperNet,
    TowerBaselinesConfig,
)
from supernets.config import DLRMSpaceConfig
from tests import tower_cases as towers
from tests.toys import CARDINALITIES, SPEC
from tests.toys import SPACE as CONFIG

CAT = DLRMSpaceConfig(
    **{**CONFIG.__dict__, "arch_interaction_op": "cat", "cardinality_options": ("1.0", "0.1")}
)
ITSELF = DLRMSpaceConfig(**{**CONFIG.__dict__, "arch_interaction_itself": True})
BASELINES = BaselinesConfig(
    embedding_dimension=4,
    mlp_width_options=(5, 7),
    mlp_depth_options=(1, 2),
    attention_layers=2,
    attention_heads=2,
    attention_dimension=3,
    cin_sizes=(3, 2),
)
CAPPED = BaselinesConfig(**{**BASELINES.__dict__, "max_embedding_rows": 6})

TOWERS = TowerBaselinesConfig(embedding_dimension=3, output_dimension=4)
TOWERS_NORMALIZED = TowerBaselinesConfig(**{**TOWERS.__dict__, "dense_norm": "batch"})

AUTOTOWERS = AutoTowerConfig(
    embedding_dimension=2, block_dimension=4, user_blocks=2, item_blocks=1, output_relu=False
)
AUTOTOWERS_LAYER_NORMS = AutoTowerConfig(
    embedding_dimension=3,
    block_dimension=4,
    user_blocks=2,
    item_blocks=1,
    block_norm="layer",
    output_relu=False,
    poolings=("sum", "transformer"),
)
AUTOTOWERS_RELEASED = AutoTowerConfig(
    embedding_dimension=2,
    block_dimension=5,
    user_blocks=1,
    item_blocks=1,
    mlp_form="released",
    poolings=("transformer", "sum", "self_attention"),
)

NASREC_SMALL_SHAPE = replace(
    nasrec.FULL, dense_operators=("fc", "dot"), sparse_operators=("embed_fc",)
)
NASREC_LINKS = replace(
    nasrec.FULL,
    num_blocks=2,
    balanced_dot=False,
    layer_norm=False,
    fm_link=True,
    interact_rows=2,
    transformer_attention=True,
)


def ids(rows: int) -> torch.Tensor:
    return torch.stack([torch.randint(count, (rows,)) for count in CARDINALITIES], dim=1)


def bags(rows: int) -> Bags:
    """Bags of 0 to 3 ids."""
    lengths = torch.randint(0, 4, (rows * len(CARDINALITIES),))
    lengths[0] = 0
    offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    counts = torch.tensor(CARDINALITIES).repeat(rows).repeat_interleave(lengths)
    return Bags((torch.rand(counts.shape) * counts).long(), offsets)


def one_hot(rows: int) -> tuple[Any, ...]:
    return torch.randn(rows, 2), ids(rows)


def multi_hot(rows: int) -> tuple[Any, ...]:
    return torch.randn(rows, 2), bags(rows)


def vectors(width: int) -> Callable[[int], tuple[Any, ...]]:
    return lambda rows: (torch.randn(rows, width),)


TABLE: dict[str, tuple[Callable[[], SuperNet], Callable[[int], tuple[Any, ...]]]] = {
    "mlp": (lambda: MLPSuperNet(5, 3, (4, 6), 4), vectors(5)),
    "mlp top": (lambda: MLPSuperNet(5, 1, (4, 6, 8), 3, last_activation=False), vectors(5)),
    "mlp free ends": (
        lambda: MLPSuperNet(
            4, 6, (4, 6), 3, fix_first=False, fix_last=False, last_activation=False
        ),
        vectors(4),
    ),
    "mlp one size": (lambda: MLPSuperNet(5, 2, (4,), 4), vectors(5)),
    "embedding dim": (
        lambda: EmbeddingDimSuperNet(CARDINALITIES, (1, 2, 5), own_options={"1": (2, 3)}),
        lambda rows: (ids(rows),),
    ),
    "embedding dim, bags": (
        lambda: EmbeddingDimSuperNet(CARDINALITIES, (1, 2, 5)),
        lambda rows: (bags(rows),),
    ),
    "embedding card": (
        lambda: EmbeddingCardSuperNet(
            CARDINALITIES, (1.0, 0.1, 0.01), 4, own_options={"0": (1.0, "20")}
        ),
        lambda rows: (ids(rows),),
    ),
    "embedding card, bags": (
        lambda: EmbeddingCardSuperNet(CARDINALITIES, (1.0, 0.1, 0.01), 4),
        lambda rows: (bags(rows),),
    ),
    "dlrm mlps": (lambda: TOP_BOTTOM_MLPS.make_supernet(CONFIG, SPEC), one_hot),
    "dlrm emb_dim": (lambda: EMB_DIM.make_supernet(CONFIG, SPEC), one_hot),
    "dlrm emb_dim self": (lambda: EMB_DIM.make_supernet(ITSELF, SPEC), one_hot),
    "dlrm emb_card": (lambda: EMB_CARD.make_supernet(CONFIG, SPEC), one_hot),
    "dlrm joint": (lambda: JOINT.make_supernet(CONFIG, SPEC), one_hot),
    "dlrm joint, cat, bags": (lambda: JOINT.make_supernet(CAT, SPEC), multi_hot),
    "nasrec full": (nasrec.net, nasrec.inputs),
    "nasrec small": (lambda: nasrec.net(NASREC_SMALL_SHAPE), nasrec.inputs),
    "nasrec unbalanced, links": (lambda: nasrec.net(NASREC_LINKS), nasrec.inputs),
    "baselines": (lambda: CTR_BASELINES.make_supernet(BASELINES, SPEC), one_hot),
    "baselines capped, bags": (lambda: CTR_BASELINES.make_supernet(CAPPED, SPEC), multi_hot),
    "towers": (lambda: TOWER_BASELINES.make_supernet(TOWERS, towers.SPEC), towers.inputs),
    "towers normalized, no bags": (
        lambda: TOWER_BASELINES.make_supernet(TOWERS_NORMALIZED, towers.PLAIN),
        lambda rows: towers.inputs(rows, towers.PLAIN),
    ),
    "autotower": (lambda: AUTOTOWER.make_supernet(AUTOTOWERS, towers.SPEC), towers.inputs),
    "autotower, anchored": (
        lambda: AUTOTOWER.make_supernet(replace(AUTOTOWERS, anchored=True), towers.SPEC),
        towers.inputs,
    ),
    "autotower, layer norms": (
        lambda: AUTOTOWER.make_supernet(AUTOTOWERS_LAYER_NORMS, towers.SPEC),
        towers.inputs,
    ),
    "autotower of one block, released, no bags": (
        lambda: AUTOTOWER.make_supernet(AUTOTOWERS_RELEASED, towers.PLAIN),
        lambda rows: towers.inputs(rows, towers.PLAIN),
    ),
}
#: Names of those with batch norm.
BATCH_NORM = ("autotower", "autotower, anchored", "towers normalized, no bags")
