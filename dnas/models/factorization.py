"""Factorization machine: the sum of all pairwise dot products, in linear time.

.. [Rendle2010fm] Factorization Machines, ICDM 2010, lemma 3.1.
"""

from __future__ import annotations

from torch import Tensor, nn


def sum_of_pairwise_dots(vectors: Tensor) -> Tensor:
    """``sum_{i < j} <v_i, v_j> = 1/2 sum_d ((sum_i v_id)^2 - sum_i v_id^2)``, [Rendle2010fm]_.

    Args:
        vectors: ``(B, M, D)``.

    Returns:
        ``(B,)``.
    """
    return 0.5 * (vectors.sum(dim=1).square() - vectors.square().sum(dim=1)).sum(dim=1)


class FactorizationMachine(nn.Module):
    """The second-order term of a factorization machine over field vectors; no weights of its own.

    Pairs of ids inside one field of several ids are not among the pairs: a field has one vector.
    """

    #: Element-wise operations are not counted; see ``dnas.costs.formulas``.
    flops = 0
    params = 0

    def forward(self, vectors: Tensor) -> Tensor:
        """``(B, M, D)`` to ``(B,)``."""
        return sum_of_pairwise_dots(vectors)
