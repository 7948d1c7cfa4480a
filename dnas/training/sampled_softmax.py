"""The loss of two-tower retrieval: softmax over the items of a batch, corrected for how they came.

Letters: B rows, D width of a vector; u_i and v_j unit vectors of user i and of the item of row j;
tau temperature, q_j the probability that item j is in a batch, r_i the reward of row i.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dnas.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class SampledSoftmax:
    """``- mean_i r_i log softmax_j(<u_i, v_j> / tau - log q_j)[i]``.

    The items of the other rows are the negatives of a row. Popular items are among them more often
    than by chance, so that a model without the correction learns scores that are too low for them
    by ``log q``; subtracting it *in training only* makes the scores of the model those of a softmax
    over all items (Yi et al., RecSys 2019, section 3; rewards weigh rows there too).

    The mean is over rows, whatever their rewards are. Losses of batches of different sizes are not
    comparable: chance is ``log B``.

    Attributes:
        temperature: tau.
        corrected: Whether ``log q`` is subtracted.
        mask_accidental_hits: Leave out of a row's softmax the other rows with the same item, which
            are not negatives. The published loss keeps them.
    """

    temperature: float = 0.05
    corrected: bool = True
    mask_accidental_hits: bool = False

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(f"--temperature must be positive, but got {self.temperature}")

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean loss.

        Args:
            outputs: ``(2 B, D)`` unit vectors, users first.
            labels: ``(B, 3)`` item id, log q and reward of each row.

        Returns:
            A scalar in the dtype of ``outputs``.

        Raises:
            DataError: The shapes do not fit.
        """
        if labels.dim() != 2 or labels.shape[1] != 3 or len(outputs) != 2 * len(labels):
            raise DataError(
                f"sampled softmax: outputs {tuple(outputs.shape)} with labels "
                f"{tuple(labels.shape)}; expected (2 B, D) vectors with (B, 3) labels: item id, "
                "log q, reward"
            )
        users, items = outputs.chunk(2)
        logits = (users / self.temperature) @ items.T  # (B, B)
        if self.corrected:
            logits = logits - labels[:, 1].to(logits.dtype)
        if self.mask_accidental_hits:
            same = labels[:, 0, None] == labels[None, :, 0]
            same.fill_diagonal_(False)
            logits = logits.masked_fill(same, -torch.inf)
        own = torch.arange(len(logits), device=logits.device)
        losses = F.cross_entropy(logits, own, reduction="none")
        return (losses * labels[:, 2].to(losses.dtype)).mean()
