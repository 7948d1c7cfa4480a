"""DLRM with any subset of its parts searched, arXiv:2110.14812 VI-B: a supernet of supernets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dnas.core import Architecture, Operator, Option, Sample, SuperNet
from dnas.costs.formulas import mlp_flops, mlp_params
from dnas.data.batch import Bags
from dnas.models import DLRM, MLP, DLRMSpec, make_interaction
from dnas.models.operators import mlp_operators
from supernets.embedding import EmbeddingSuperNet
from supernets.mlp import MLPSuperNet


class DLRMSuperNet(SuperNet):
    """Bottom MLP, embeddings, interaction, top MLP; each MLP plain or searched.

    Outputs logits. The last layer of the top MLP has no activation on its edges, so its node is a
    weighted sum of *logits*, one for each candidate; the loss applies one sigmoid to the sum. (The
    authors' code applies the sigmoid on each edge and mixes probabilities, with a clamp against
    log(0).) With activations on the edges, one-hot samples give the same network either way, and
    only the logit form has a loss that is stable for any logit.

    Args:
        bottom: MLP or MLPSuperNet from the dense features to D, with a last activation.
        embeddings: Tables, searched or not, with ``output_dim`` D.
        top_hidden: Plain widths of the hidden layers, or a function from the interaction's width
            to an MLPSuperNet that ends in 1 without activation.
        interaction: ``"dot"`` or ``"cat"``.
        self_interaction: Keep the diagonal of the dot interaction.
    """

    def __init__(
        self,
        bottom: MLP | MLPSuperNet,
        embeddings: EmbeddingSuperNet,
        top: MLP | MLPSuperNet,
        *,
        interaction: str = "dot",
        self_interaction: bool = False,
    ) -> None:
        super().__init__()
        self.bottom = bottom
        self.embeddings = embeddings
        self.interaction = make_interaction(
            interaction,
            len(embeddings.cardinalities) + 1,
            embeddings.output_dim,
            self_interaction=self_interaction,
        )
        self.top = top
        self.interaction_kind = interaction
        self.self_interaction = self_interaction

    def forward(self, dense: Tensor, ids: Tensor | Bags, *, sample: Sample) -> Tensor:
        """``(B, n_dense)`` and ``(B, F)`` ids (or Bags) to logits ``(B,)``."""
        x = _run(self.bottom, dense, sample)
        embedded = self.embeddings(ids, sample=sample)
        return _run(self.top, self.interaction(x, embedded), sample).squeeze(1)

    def fixed_costs(self) -> Mapping[str, float]:
        """The interaction, and the MLPs that are not searched."""
        plain = [part for part in (self.bottom, self.top) if isinstance(part, MLP)]
        return {
            "flops": self.interaction.flops + sum(mlp_flops(part.sizes) for part in plain),
            "params": sum(mlp_params(part.sizes) for part in plain),
        }

    def fixed_operators(self) -> Sequence[Operator]:
        """The interaction, and the MLPs that are not searched."""
        plain = [part for part in (self.bottom, self.top) if isinstance(part, MLP)]
        linears = [
            operator
            for part in plain
            for operator in mlp_operators(part.sizes, last_activation=part.last_activation)
        ]
        return [self.interaction.operator, *linears]

    def spec(self, architecture: Mapping[str, Option]) -> DLRMSpec:
        """The discrete DLRM of ``architecture``, as numbers."""
        rows, dims = self.embeddings.rows_and_dims(architecture)
        return DLRMSpec(
            bottom=_sizes(self.bottom, architecture),
            top=_sizes(self.top, architecture)[1:-1],
            rows=rows,
            dims=dims,
            interaction=self.interaction_kind,
            self_interaction=self.self_interaction,
        )

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> DLRM:
        """The discrete DLRM, every vector padded to the backbone's dimension."""
        architecture = self.validate(architecture)
        model = DLRM(self.spec(architecture))
        if inherit_weights:
            model.bottom = _inherit(self.bottom, architecture)
            model.top = _inherit(self.top, architecture)
            self.embeddings.copy_tables_(model.embeddings)
        return model


def _run(part: nn.Module, x: Tensor, sample: Sample) -> Tensor:
    return part(x, sample=sample) if isinstance(part, SuperNet) else part(x)


def _sizes(part: MLP | MLPSuperNet, architecture: Mapping[str, Option]) -> tuple[int, ...]:
    return part.sizes(architecture) if isinstance(part, MLPSuperNet) else part.sizes


def _inherit(part: MLP | MLPSuperNet, architecture: Architecture) -> MLP:
    if isinstance(part, MLPSuperNet):
        return part.build(architecture, inherit_weights=True)
    copy = MLP(part.sizes, last_activation=part.last_activation)
    with torch.no_grad():
        copy.load_state_dict(part.state_dict())
    return copy
