"""What DeepFM, AutoInt+ and xDeepFM share: a logit that is a sum of parts over the same vectors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dnas.data.batch import Bags
from dnas.errors import ConfigError
from dnas.models.fields import FieldVectors
from dnas.models.first_order import FirstOrder
from dnas.models.mlp import MLP


class FieldModel(nn.Module):
    """``<w, x>`` (where there is one) + interaction(vectors) + MLP(concatenated vectors).

    The one bias of the sum is that of the MLP's last layer. Neither dropout nor batch
    normalisation, so that models differ in how fields interact and in nothing else.

    Args:
        num_dense: N, numeric features.
        rows: Rows of each categorical feature's table; ids are taken modulo these.
        dim: D.
        hidden: Widths of the MLP's hidden layers.
        interaction: ``(B, M, D)`` to ``(B,)``.
        first_order: Whether there is a first-order part.
    """

    def __init__(
        self,
        num_dense: int,
        rows: Sequence[int],
        dim: int,
        hidden: Sequence[int],
        interaction: nn.Module,
        *,
        first_order: bool,
    ) -> None:
        super().__init__()
        self.fields = FieldVectors(num_dense, rows, dim)
        self.first_order = FirstOrder(num_dense, rows) if first_order else None
        self.interaction = interaction
        self.deep = MLP(deep_sizes(num_dense + len(rows), dim, hidden), last_activation=False)

    def forward(self, dense: Tensor, ids: Tensor | Bags) -> Tensor:
        """``(B, N)`` and ``(B, F)`` ids (or Bags) to logits ``(B,)``."""
        vectors = self.fields(dense, ids)
        logits = self.interaction(vectors) + self.deep(vectors.flatten(1)).squeeze(1)
        return logits if self.first_order is None else logits + self.first_order(dense, ids)


def deep_sizes(num_vectors: int, dim: int, hidden: Sequence[int]) -> tuple[int, ...]:
    """Widths of an MLP from the concatenated vectors to a logit, input first."""
    if not hidden:
        raise ConfigError("hidden: at least one hidden width is needed")
    return (num_vectors * dim, *hidden, 1)
