"""What is fixed in a NASRec space: numbers of features, blocks, options, and variants of operators.

Letters: B rows of a batch, e embedding dimension (the paper's ``dim_s``), D width of a dense output
(``dim_d``), N rows of a sparse output (``N_s``), R rows that Project-Concatenate adds.

.. [Zhang2023nasrec] T. Zhang et al. NASRec: Weight Sharing Neural Architecture Search for
    Recommender Systems. WWW 2023, arXiv:2207.07187.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

DENSE_OPERATORS = ("fc", "gate", "sum", "dot")
SPARSE_OPERATORS = ("embed_fc", "attention")

#: Parts of an axis: (start, length), ascending.
Ranges = tuple[tuple[int, int], ...]


def size(ranges: Ranges) -> int:
    """Length of all parts together."""
    return sum(length for _, length in ranges)


def upto(length: int) -> Ranges:
    """The first ``length`` places."""
    return ((0, length),)


@dataclass(frozen=True)
class Shape:
    """Sizes and variants; two shapes that are equal have the same weights.

    Attributes:
        num_dense: Numbers of a row.
        num_sparse: Categories of a row, F.
        dim: e.
        num_blocks: n; block numbers are 1..n, source 0 is the raw input.
        dense_operators: Those of the space, in this order.
        sparse_operators: Likewise.
        dense_dims: Options for D, ascending.
        sparse_dims: Options for N, ascending.
        interact_rows: R.
        fm_link: Whether blocks may add a factorization machine of their sparse output to their
            dense output.
        layer_norm: Normalise every operator; without it linears have biases.
        balanced_dot: Project the sparse input of a dot product to ``round(sqrt(2 D))`` rows first.
        transformer_attention: Attention is a transformer layer and not the paper's formula.
        attention_heads: Of the transformer layer.
        pad_inputs: Gate and sum pad their shorter input with zeros, and linears that would keep the
            width are left out, as in the released code; otherwise they project, see ``operators``.
    """

    num_dense: int
    num_sparse: int
    dim: int
    num_blocks: int
    dense_operators: tuple[str, ...]
    sparse_operators: tuple[str, ...]
    dense_dims: tuple[int, ...]
    sparse_dims: tuple[int, ...]
    interact_rows: int = 1
    fm_link: bool = False
    layer_norm: bool = True
    balanced_dot: bool = True
    transformer_attention: bool = False
    attention_heads: int = 8
    pad_inputs: bool = False

    @cached_property
    def dense_starts(self) -> tuple[int, ...]:
        """Where the dense output of each source begins when all are concatenated."""
        widest = self.dense_dims[-1]
        return (0, *(self.num_dense + widest * block for block in range(self.num_blocks)))

    @cached_property
    def sparse_starts(self) -> tuple[int, ...]:
        """Where the sparse output of each source begins when all are concatenated."""
        most = self.sparse_dims[-1] + self.interact_rows
        return (0, *(self.num_sparse + most * block for block in range(self.num_blocks)))
