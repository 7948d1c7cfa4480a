"""AutoInt+: self-attention between fields, and an MLP beside it.

.. [Song2019autoint] AutoInt, arXiv:1810.11921, section 4; the joint model AutoInt+ of section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

from dnas.models.field_model import FieldModel
from dnas.models.interacting import InteractingStack


class AutoInt(FieldModel):
    """``logit = w^T [e_1, ..., e_M] + MLP([v_1, ..., v_M])``: AutoInt+ of [Song2019autoint]_.

    ``e`` are the vectors after the interacting layers, ``v`` before them. A numeric feature has a
    vector that is multiplied by its value (equation 4). Several ids of one field are summed, as
    in all models here; equation 3 takes their mean. Without the paper's dropout.

    Args:
        num_dense: Numeric features.
        rows: Rows of each categorical feature's table.
        dim: Dimension of the vectors; 16 in the paper.
        hidden: Widths of the MLP's hidden layers; two of them in the paper.
        layers: Interacting layers; 3 in the paper.
        heads: Heads of each; 2 in the paper.
        head_dim: d', width of a head; 32 in the paper.
    """

    def __init__(
        self,
        num_dense: int,
        rows: Sequence[int],
        dim: int,
        hidden: Sequence[int],
        *,
        layers: int,
        heads: int,
        head_dim: int,
    ) -> None:
        interaction = InteractingStack(
            num_dense + len(rows), dim, layers=layers, heads=heads, head_dim=head_dim
        )
        super().__init__(num_dense, rows, dim, hidden, interaction, first_order=False)
