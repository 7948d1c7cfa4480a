"""The loss of two-tower retrieval: softmax over the items of a batch, corrected for how they came.

Letters: B rows, D width of a vector; u_i and v_j unit vectors of user i and of the item of row j;
tau temperature, q_j the probability that item j is in a batch, r_i the reward of row i, K vectors
of a user and p the power of their attention.

.. [Li2019mind] MIND, arXiv:1904.08030, section 3.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dnas.errors import ConfigError, DataError
from dnas.models.towers import split

Interests = Literal["label", "served"]


@dataclass(frozen=True, kw_only=True)
class SampledSoftmax:
    """``- mean_i r_i log softmax_j(<u_i, v_j> / tau - log q_j)[i]``.

    The items of the other rows are the negatives of a row. Popular items are among them more often
    than by chance, so that a model without the correction learns scores that are too low for them
    by ``log q``; subtracting it *in training only* makes the scores of the model those of a softmax
    over all items (Yi et al., RecSys 2019, section 3; rewards weigh rows there too).

    A user of K vectors ``u_ik`` has in the loss the one of label-aware attention [Li2019mind]_,
    ``u_i = sum_k a_k u_ik`` with ``a = softmax_k(p <u_ik, v_i>)``: the interests that fit the row's
    own item learn from it. [Li2019mind]_ raises the inner products to the power p; these are
    cosines, whose powers are at most 1 and their softmax nearly even, so that here it is their
    exponentials that are raised to p. 0 is the mean of the interests, and a large p the best one,
    by which items are ranked.

    There only the row's own item chooses among the interests, and the other items are scored with
    what it chose; interests that are the same for all users, one for each kind of item, make this
    loss small and no ranking good. With ``interests="served"`` every item is scored by the interest
    that fits it best, ``max_k <u_ik, v_j>``, in the loss as in a ranking.

    The mean is over rows, whatever their rewards are. Losses of batches of different sizes are not
    comparable: without the correction chance is ``log B``, and with it that is about what
    popularity alone reaches.

    Attributes:
        temperature: tau.
        corrected: Whether ``log q`` is subtracted.
        mask_accidental_hits: Leave out of a row's softmax the other rows with the same item, which
            are not negatives. The published loss keeps them.
        attention_power: p.
        interests: How K vectors of a user score an item: "label" or "served", see above.
    """

    temperature: float = 0.05
    corrected: bool = True
    mask_accidental_hits: bool = False
    attention_power: float = 20.0
    interests: Interests = "label"

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(f"--temperature must be positive, but got {self.temperature}")
        if not 0 <= self.attention_power < math.inf:
            raise ConfigError(
                f"--attention_power must be a number of at least 0, but got {self.attention_power}"
            )
        if self.interests not in get_args(Interests):
            raise ConfigError(
                f"--interests_in_loss must be one of {', '.join(get_args(Interests))}, but got "
                f"{self.interests!r}"
            )

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean loss.

        Args:
            outputs: ``(2 B, D)`` unit vectors, users first; ``(2 B, K, D)`` with K of a user, see
                :func:`dnas.models.towers.join`.
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
        users, items = split(outputs, len(labels))
        if users.dim() == 3 and self.interests == "label":
            users = attended(users, items, self.attention_power)
        logits = (users / self.temperature) @ items.T  # (B, B), or (B, K, B)
        if logits.dim() == 3:
            logits = logits.amax(1)
        if self.corrected:
            logits = logits - labels[:, 1].to(logits.dtype)
        if self.mask_accidental_hits:
            same = labels[:, 0, None] == labels[None, :, 0]
            same.fill_diagonal_(False)
            logits = logits.masked_fill(same, -torch.inf)
        own = torch.arange(len(logits), device=logits.device)
        losses = F.cross_entropy(logits, own, reduction="none")
        return (losses * labels[:, 2].to(losses.dtype)).mean()


def attended(users: Tensor, items: Tensor, power: float) -> Tensor:
    """Label-aware attention: ``sum_k softmax_k(p <u_ik, v_i>) u_ik``.

    Args:
        users: ``(B, K, D)``.
        items: ``(B, D)``, those of the users' rows.
        power: p.

    Returns:
        ``(B, D)``, vectors of length at most 1.
    """
    cosines = (users * items.unsqueeze(1)).sum(2)  # (B, K)
    weights = torch.softmax(power * cosines, dim=1)
    return (weights.unsqueeze(2) * users).sum(1)
