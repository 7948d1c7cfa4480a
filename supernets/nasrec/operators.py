"""The operators of a block, section 3.1 of [Zhang2023nasrec]_, as in the paper and as released.

Sparse tensors are ``(B, e, N)`` here, embedding coordinates before rows, so that everything which
acts on rows is a plain matrix product on the last axis.

*Paper* (default). Everything is projected to the block's dimensions ("operator outputs are linearly
projected to dim_d"), always: whether two widths happen to be equal changes no network's form, so
that weights mean the same in all networks that share them.

=============  ==========================================================================
fc             ``relu(norm(W x))``
gate           ``norm(sigmoid(W1 left + b) * (W2 right))``, both to D: no square matrix
sum            ``norm(W1 left + W2 right)``
dot            products of pairs of ``[W1 x ; rows]``, then ``norm(W ...)``; rows are the sparse
               input, projected to ``round(sqrt(2 D))`` rows where the dot product is balanced
embed_fc       ``relu(norm(W x))`` on rows
attention      ``softmax(y^T y / sqrt(e)) y`` with ``y = norm(W x)``: no queries, keys or values
fm             ``norm(W ((sum_i v_i)^2 - sum_i v_i^2))`` of the sparse output, for the dense output
interact       Project-Concatenate: ``norm(W dense)`` as R rows of the sparse output
=============  ==========================================================================

*Released* (``pad_inputs``): gate and sum pad the shorter input with zeros, gate has a square matrix
of the padded width, and a linear is left out where it would keep the width. Several sources of one
side are added up, where the released code has one. ``transformer_attention``: attention with
learned projections, residuals and a feed-forward part. Both are options of their own.
"""

from __future__ import annotations

from supernets.nasrec.dense_operators import DotProduct, FullyConnected, Gate, Sum
from supernets.nasrec.site import Operator
from supernets.nasrec.sparse_operators import Attention, EmbedFC

OPERATORS: dict[str, type[Operator]] = {
    "fc": FullyConnected,
    "gate": Gate,
    "sum": Sum,
    "dot": DotProduct,
    "embed_fc": EmbedFC,
    "attention": Attention,
}
