"""HasHead: a SuperNet whose last layer is linear and can be trained apart from the rest.

Post-training fine-tuning [Zhang2023nasrec]_ trains only the last layer of a candidate. All before
it is frozen, so its outputs on some rows need computing once, and what remains is a regression on
cached features.

.. [Zhang2023nasrec] T. Zhang et al. NASRec: Weight Sharing Neural Architecture Search for
    Recommender Systems. WWW 2023, arXiv:2207.07187. Section 4.3.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from dnas.core.architecture import Architecture


@runtime_checkable
class HasHead(Protocol):
    """An optional capability of a SuperNet: ``logits = features @ weight + bias``.

    Letters: B rows of a batch, H inputs of the last layer under the architecture.
    """

    def head_features(self, *inputs: Any, architecture: Architecture) -> Tensor:
        """``(B, H)`` inputs of the last linear layer."""

    def head(self, architecture: Architecture) -> tuple[Tensor, Tensor]:
        """Weight ``(H,)`` and bias ``()`` of the last layer: detached copies."""
