"""One vector for each field, categorical or numeric, which factorization-based models start from.

Letters: B rows of a batch, F categorical features, N numeric features, M = N + F fields,
D dimension.

A categorical field's vector is its embedding, or the sum of its ids' embeddings where it has
several. A numeric field's is a vector of its own times its value, ``e_m = v_m x_m`` (equation 4 of
arXiv:1810.11921, and what a factorization machine makes of a number).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dnas.data.batch import Bags
from dnas.models.embeddings import EmbeddingTables

#: Of the numeric fields' vectors at the start. They are in every row, times values of any size, so
#: that products of them begin near 0.
_NUMBERS_STD = 0.01


class FieldVectors(nn.Module):
    """Embedding tables, and a vector for each numeric feature.

    Args:
        num_dense: N.
        rows: Rows of each of the F tables; ids are taken modulo these.
        dim: D.
    """

    def __init__(self, num_dense: int, rows: Sequence[int], dim: int) -> None:
        super().__init__()
        self.num_dense = num_dense
        self.embeddings = EmbeddingTables(rows, (dim,) * len(rows), dim)
        self.numbers = nn.Parameter(torch.empty(num_dense, dim))
        with torch.no_grad():
            self.numbers.normal_(0.0, _NUMBERS_STD)

    def forward(self, dense: Tensor, ids: Tensor | Bags) -> Tensor:
        """``(B, N)`` and ``(B, F)`` ids (or Bags) to ``(B, M, D)``, numeric fields first."""
        numeric = dense.unsqueeze(2) * self.numbers  # (B, N, D)
        return torch.cat([numeric, self.embeddings(ids)], dim=1)
