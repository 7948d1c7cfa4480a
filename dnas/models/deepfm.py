"""DeepFM: a factorization machine and an MLP that share their embeddings.

.. [Guo2017deepfm] DeepFM, arXiv:1703.04247, section 2.1, equations 1 to 4.
"""

from __future__ import annotations

from collections.abc import Sequence

from dnas.models.factorization import FactorizationMachine
from dnas.models.field_model import FieldModel


class DeepFM(FieldModel):
    """``logit = <w, x> + sum_{i < j} <v_i, v_j> + MLP([v_1, ..., v_M])`` of [Guo2017deepfm]_.

    ``v_i`` is a field's vector: V_i x_i of equation 2. A numeric feature has a vector that is
    multiplied by its value (the paper's "value itself" representation). Several ids of one field
    are summed. Without the paper's dropout.

    Args:
        num_dense: Numeric features.
        rows: Rows of each categorical feature's table.
        dim: Dimension of the vectors.
        hidden: Widths of the MLP's hidden layers; 400, 400, 400 in the paper.
    """

    def __init__(
        self, num_dense: int, rows: Sequence[int], dim: int, hidden: Sequence[int]
    ) -> None:
        super().__init__(num_dense, rows, dim, hidden, FactorizationMachine(), first_order=True)
