"""Architectures drawn from a supernet, with what is to be remembered of each draw."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dnas.core import Architecture, Prior, SuperNet
from dnas.strategies.search_state import SampledArchitecture
from dnas.training.seeding import derive_seed, make_generator


@dataclass(frozen=True)
class Draws:
    """Draws architectures at one moment of a search.

    Attributes:
        super_net: Its theta decides.
        seed: Of the search.
        step: Steps done.
        theta_epochs: Theta epochs done.
    """

    super_net: SuperNet
    seed: int
    step: int
    theta_epochs: float

    def from_theta(
        self, count: int, phase: int, device: torch.device, *, most_likely: bool
    ) -> list[SampledArchitecture]:
        """Draw from softmax(theta).

        The draws depend on the seed *and* on theta: searches that differ in a learning rate alone
        do not draw the same architectures from nearly equal distributions.

        Args:
            count: How many.
            phase: Number of the phase, for its own stream of randomness.
            device: Where theta is.
            most_likely: Give the most likely architecture too, first.
        """
        theta = tuple(
            parameter.detach().float().cpu().numpy().tobytes()
            for parameter in self.super_net.architecture_parameters()
        )
        generator = make_generator(device, self.seed, "sample_archs", phase, theta)
        drawn = []
        if most_likely:
            drawn.append(self._noted(self.super_net.sample_arch(most_likely=True), "most_likely"))
        for _ in range(count):
            drawn.append(self._noted(self.super_net.sample_arch(generator=generator), "draw"))
        return drawn

    def at_random(self, count: int, prior: Prior) -> list[SampledArchitecture]:
        """Draw candidates of the space, whatever theta is: a baseline."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "random_archs"))
        return [self._noted(prior.candidate(generator), "random") for _ in range(count)]

    def _noted(self, architecture: Architecture, kind: str) -> SampledArchitecture:
        return SampledArchitecture(
            architecture=architecture,
            kind=kind,
            step=self.step,
            theta_epochs=self.theta_epochs,
            log_probability=self.super_net.log_probability(architecture),
            costs=self.super_net.cost(architecture),
        )
