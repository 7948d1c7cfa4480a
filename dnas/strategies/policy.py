"""A factorised categorical policy over the decisions of a supernet, and its gradient.

Letters: D decisions of a choice, K options, N architectures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dnas.core import Architecture, Option, SuperNet
from dnas.core.sampling import categorical_draw

#: In the place of an option's number: the decision has no effect in that architecture.
NONE = -1


def log_probability_gradient(logits: Tensor, taken: Tensor, advantages: Tensor) -> Tensor:
    """``mean_n A_n d log pi(a_n) / d logits``, REINFORCE's estimate of the gradient of E[A].

    Of a decision that took option o, ``d log pi / d logits_k = [k = o] - pi_k``; a decision without
    an effect was not taken, and adds nothing.

    Args:
        logits: ``(D, K)``, ``-inf`` where there is no option.
        taken: ``(N, D)`` int64 numbers of options, or ``NONE``.
        advantages: ``(N,)`` A, higher is better.

    Returns:
        ``(D, K)``.
    """
    options = logits.shape[1]
    one_hot = torch.nn.functional.one_hot(taken.clamp(min=0), options).to(logits.dtype)
    has_effect = (taken != NONE).unsqueeze(2)
    difference = (one_hot - torch.softmax(logits, dim=1)) * has_effect  # (N, D, K)
    return (advantages[:, None, None] * difference).mean(0)


def entropy_gradient(logits: Tensor) -> Tensor:
    """``d H / d logits`` of the entropies H of all decisions: ``- pi_k (log pi_k + H_d)``.

    Args:
        logits: ``(D, K)``, ``-inf`` where there is no option.

    Returns:
        ``(D, K)``.
    """
    pi = torch.softmax(logits, dim=1)
    minus_plogp = torch.special.entr(pi)
    return minus_plogp - pi * minus_plogp.sum(dim=1, keepdim=True)


class Policy:
    """Independent categorical distributions of all decisions; uniform at first.

    Theta of the supernet is neither read nor written.

    Args:
        super_net: Whose decisions.
    """

    def __init__(self, super_net: SuperNet) -> None:
        self.super_net = super_net
        self._choices = super_net.choices
        self._logits = {
            name: torch.zeros(choice.valid.shape, dtype=torch.float64)
            for name, choice in self._choices.items()
        }

    def logits(self, name: str) -> Tensor:
        """``(D, K)`` float64 of a choice, ``-inf`` where there is no option."""
        return self._logits[name].masked_fill(~self._choices[name].valid.cpu(), -torch.inf)

    def draw(self, generator: torch.Generator) -> Architecture:
        """An architecture, trimmed."""
        decisions: dict[str, Option] = {}
        for name, choice in self._choices.items():
            columns = categorical_draw(self.logits(name), generator).tolist()
            for key, row, column in zip(choice.keys, choice.options, columns, strict=True):
                option = row[column]
                assert option is not None
                decisions[key] = option
        return self.super_net.validate(decisions)

    def ascend(
        self,
        architectures: Sequence[Architecture],
        advantages: Tensor,
        *,
        lr: float,
        entropy_weight: float,
    ) -> None:
        """One step along the gradient of E[A] + entropy_weight H.

        Args:
            architectures: What was drawn.
            advantages: ``(N,)`` float64 of each, higher is better.
            lr: Length of the step.
            entropy_weight: Of the sum of the decisions' entropies.
        """
        for name, choice in self._choices.items():
            rows = [
                [
                    choice.index(row, found[key]) if key in found else NONE
                    for row, key in enumerate(choice.keys)
                ]
                for found in architectures
            ]
            logits = self.logits(name)
            gradient = log_probability_gradient(logits, torch.tensor(rows), advantages)
            gradient += entropy_weight * entropy_gradient(logits)
            self._logits[name] += lr * gradient

    def state_dict(self) -> dict[str, Any]:
        """The logits, as lists."""
        return {name: logits.tolist() for name, logits in self._logits.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self._logits = {
            name: torch.tensor(logits, dtype=torch.float64) for name, logits in state.items()
        }
