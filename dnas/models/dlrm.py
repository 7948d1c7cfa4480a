"""DLRM (arXiv:1906.00091), the backbone of the paper's search spaces (VI-B), as a plain module.

bottom MLP -> x (B, D); embeddings (B, F, D); interaction of the F + 1 vectors; top MLP -> logit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from dnas.data.batch import Bags
from dnas.errors import ConfigError
from dnas.models.embeddings import EmbeddingTables
from dnas.models.interaction import make_interaction
from dnas.models.mlp import MLP


@dataclass(frozen=True, kw_only=True)
class DLRMSpec:
    """Everything that determines a DLRM, as plain numbers."""

    bottom: tuple[int, ...]
    """Widths of the bottom MLP, number of dense features first, D last."""
    top: tuple[int, ...]
    """Widths of the top MLP's hidden layers; input width and the final 1 follow."""
    rows: tuple[int, ...]
    """Rows of each feature's table."""
    dims: tuple[int, ...]
    """Dimension of each feature's table, at most D."""
    interaction: str = "dot"
    """``dot`` or ``cat``."""
    self_interaction: bool = False
    """Keep the diagonal of the dot interaction."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class DLRM(nn.Module):
    """A discrete DLRM. Outputs logits: train with BCE-with-logits, apply the sigmoid to serve."""

    def __init__(self, spec: DLRMSpec) -> None:
        super().__init__()
        if len(spec.bottom) < 2:
            raise ConfigError(f"bottom MLP needs an input and an output, got {spec.bottom}")
        dim = spec.bottom[-1]
        self.spec = spec
        self.bottom = MLP(spec.bottom, last_activation=True)
        self.embeddings = EmbeddingTables(spec.rows, spec.dims, dim)
        self.interaction = make_interaction(
            spec.interaction, len(spec.rows) + 1, dim, self_interaction=spec.self_interaction
        )
        self.top = MLP((self.interaction.output_width, *spec.top, 1), last_activation=False)

    def forward(self, dense: Tensor, ids: Tensor | Bags) -> Tensor:
        """``(B, n_dense)`` and ``(B, F)`` ids (or Bags) to logits ``(B,)``."""
        x = self.bottom(dense)
        return self.top(self.interaction(x, self.embeddings(ids))).squeeze(1)


def chain(*parts: int | Sequence[int]) -> tuple[int, ...]:
    """Join widths and lists of widths into one tuple."""
    widths: list[int] = []
    for part in parts:
        widths += [part] if isinstance(part, int) else list(part)
    return tuple(widths)
