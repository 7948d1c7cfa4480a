"""Weights of fields by squeeze and excitation.

Letters: N rows, F fields, D dimension of a field's vector, H hidden units.

.. [Hu2018senet] Squeeze-and-Excitation Networks, arXiv:1709.01507, section 3.
.. [Huang2019fibinet] FiBiNET, arXiv:1905.09433, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnas.costs.formulas import linear_flops


class FieldExcitation(nn.Module):
    """Every field's vector times a weight that depends on all fields, [Huang2019fibinet]_.

    ``z_f = mean_d e_fd``, ``a = sigmoid(W_2 relu(W_1 z))``, ``v_f = a_f e_f``, without biases.

    The last function is the sigmoid of [Hu2018senet]_. With a ReLU in its place a field whose row
    of ``W_2`` starts negative has the weight 0 for every input and never learns: with one hidden
    unit, as three fields have, that is every second field.

    Args:
        fields: F.
        reduction: Fields for each hidden unit; ``H = max(F // reduction, 1)``.

    Attributes:
        flops: Of a row.
    """

    def __init__(self, fields: int, reduction: int) -> None:
        super().__init__()
        self.fields = fields
        hidden = max(fields // reduction, 1)
        self.squeeze = nn.Linear(fields, hidden, bias=False)
        self.excite = nn.Linear(hidden, fields, bias=False)
        self.flops = linear_flops(fields, hidden) + linear_flops(hidden, fields)

    def forward(self, vectors: Tensor) -> Tensor:
        """``(N, F * D)`` to ``(N, F * D)``."""
        apart = vectors.unflatten(1, (self.fields, -1))  # (N, F, D)
        weights = self.excite(torch.relu(self.squeeze(apart.mean(2)))).sigmoid()
        return (apart * weights.unsqueeze(2)).flatten(1)
