"""xDeepFM: a linear part, a compressed interaction network and an MLP.

.. [Lian2018xdeepfm] xDeepFM, arXiv:1803.05170, section 3.2, equation 9.
"""

from __future__ import annotations

from collections.abc import Sequence

from dnas.models.cin import CompressedInteraction
from dnas.models.field_model import FieldModel


class XDeepFM(FieldModel):
    """``logit = w_linear^T a + w_dnn^T x_dnn + w_cin^T p^+ + b`` of [Lian2018xdeepfm]_.

    Several ids of one field are summed (section 2.1). The paper speaks of categorical fields only;
    a numeric feature has a vector that is multiplied by its value, in the CIN as in the other
    models here. Without the paper's dropout and L2.

    Args:
        num_dense: Numeric features.
        rows: Rows of each categorical feature's table.
        dim: Dimension of the vectors; 10 in the paper.
        hidden: Widths of the MLP's hidden layers; 400, 400 in the paper, for Criteo.
        cin_sizes: Vectors of each CIN layer; 200, 200, 200 in the paper, for Criteo.
    """

    def __init__(
        self,
        num_dense: int,
        rows: Sequence[int],
        dim: int,
        hidden: Sequence[int],
        *,
        cin_sizes: Sequence[int],
    ) -> None:
        interaction = CompressedInteraction(num_dense + len(rows), dim, cin_sizes)
        super().__init__(num_dense, rows, dim, hidden, interaction, first_order=True)
