"""The first-order part of factorization-based models: ``<w, x>``, a weight for each id and number.

Letters: B rows of a batch, F categorical features, N numeric features.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dnas.costs.formulas import linear_flops
from dnas.data.batch import Bags
from dnas.models.embeddings import EmbeddingTables
from dnas.models.initialization import make_linear


class FirstOrder(nn.Module):
    """``sum_f w_f[id_f] + sum_n w_n x_n``, the weights of ids in a fused table of one column.

    There is no constant: models add the bias of their MLP's last layer.

    Args:
        num_dense: N.
        rows: Rows of each of the F tables; ids are taken modulo these.
    """

    def __init__(self, num_dense: int, rows: Sequence[int]) -> None:
        super().__init__()
        self.table = EmbeddingTables(rows, (1,) * len(rows), 1)
        self.numbers = make_linear(num_dense, 1, bias=False)
        self.flops = linear_flops(num_dense, 1)
        self.params = sum(rows) + num_dense

    def forward(self, dense: Tensor, ids: Tensor | Bags) -> Tensor:
        """``(B, N)`` and ``(B, F)`` ids (or Bags) to ``(B,)``."""
        return self.table(ids).sum(dim=(1, 2)) + self.numbers(dense).squeeze(1)
