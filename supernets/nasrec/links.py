"""Links between the dense and the sparse output of a block."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from supernets.nasrec.layers import Layer, Weights
from supernets.nasrec.shape import upto
from supernets.nasrec.site import Operator, Site


class FactorizationMachine(Operator):
    """``fm``: from the sparse output of a block, ``(B, e, N)``, for its dense output."""

    def __init__(self, site: Site, prefix: str) -> None:
        super().__init__(site, prefix)
        e, out = site.shape.dim, site.dense_dim
        self.project, self.norm = [], []
        if site.needs_linear(e, out):
            self.project = [self.linear("project", out, upto(e))]
            self.norm = self.norms("norm", out)

    def layers(self) -> Iterator[Layer]:
        yield from self.project
        yield from self.norm

    def of(self, weights: Weights, sparse: Tensor) -> Tensor:
        """``(B, D)``."""
        pairs = sparse.sum(dim=2).square() - sparse.square().sum(dim=2)
        return self.through(self.norm, weights, self.through(self.project, weights, pairs))


class Interact(Operator):
    """``interact``: Project-Concatenate, R rows ``(B, e, R)`` from the dense output ``(B, D)``."""

    def __init__(self, site: Site, prefix: str) -> None:
        super().__init__(site, prefix)
        out = site.shape.dim * site.shape.interact_rows
        self.project, self.norm = [], []
        if site.needs_linear(site.dense_dim, out):
            self.project = [self.linear("project", out, upto(site.dense_dim))]
            self.norm = self.norms("norm", out)

    def layers(self) -> Iterator[Layer]:
        yield from self.project
        yield from self.norm

    def of(self, weights: Weights, dense: Tensor) -> Tensor:
        """``(B, e, R)``."""
        rows = self.through(self.norm, weights, self.through(self.project, weights, dense))
        return rows.view(-1, self.site.shape.interact_rows, self.site.shape.dim).transpose(1, 2)
