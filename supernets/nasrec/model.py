"""A network of the space on its own."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dnas.data.batch import Bags
from dnas.models import EmbeddingTables
from supernets.nasrec.genome import Genome
from supernets.nasrec.network import Network
from supernets.nasrec.shape import Shape


class NASRecModel(nn.Module):
    """Embedding tables and the network of one genome, without what does not reach the logit.

    Args:
        shape: Of the space.
        genome: Every block. Widths need not be options of the space.
        table_rows: Rows of each feature's table; ids are taken modulo these.
    """

    def __init__(self, shape: Shape, genome: Genome, table_rows: Sequence[int]) -> None:
        super().__init__()
        self.embeddings = EmbeddingTables(table_rows, [shape.dim] * len(table_rows), shape.dim)
        self.network = Network(shape, genome)
        self.weights = nn.ParameterDict(
            {parameter_name(w.name): nn.Parameter(w.init()) for w in self.network.weights}
        )

    def forward(self, dense: Tensor, ids: Tensor | Bags) -> Tensor:
        """``(B, num_dense)`` and ``(B, F)`` ids (or Bags) to logits ``(B,)``."""
        sparse = self.embeddings(ids).transpose(1, 2).contiguous()
        weights = {w.name: self.weights[parameter_name(w.name)] for w in self.network.weights}
        return self.network(weights, dense, sparse)


def parameter_name(name: str) -> str:
    """A weight's name as torch allows it for a parameter."""
    return name.replace(".", "/")
