"""Watching the loss without making the device wait for the host."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dnas.errors import DivergenceError


class LossMonitor:
    """Accumulates losses on the device; reads them once an interval.

    A loss that is not finite is remembered with its step and the last finite one, and ends the run
    at the next reading. So does an interval whose mean exceeds that of the first interval by
    ``factor`` times its size: a diverged run is a failure, not a result of 20.55.

    Args:
        device: Where the losses are.
        factor: Times the first interval's mean loss that counts as divergence.
    """

    def __init__(self, device: torch.device, *, factor: float = 10.0) -> None:
        self.factor = factor
        self.device = device
        self.reference: float | None = None
        self._bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self._last_good = torch.full((), math.nan, dtype=torch.float32, device=device)
        self._reset()

    def _reset(self) -> None:
        self._sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self._count = 0

    def update(self, step: int, loss: Tensor) -> None:
        """Note the loss (scalar) of a global step."""
        value = loss.detach().float()
        finite = torch.isfinite(value)
        sound = self._bad_step < 0
        self._bad_step = torch.where(
            sound & ~finite, torch.full_like(self._bad_step, step), self._bad_step
        )
        self._last_good = torch.where(sound & finite, value, self._last_good)
        self._sum += torch.where(finite, value, torch.zeros_like(value)).double()
        self._count += 1

    def read(self, step: int) -> float | None:
        """Mean loss since the last reading, None if there was none.

        Raises:
            DivergenceError: A loss was not finite, or the mean is absurd.
        """
        if self._count == 0:
            return None
        bad_step = int(self._bad_step)
        last_good = float(self._last_good)
        if bad_step >= 0:
            raise DivergenceError(
                f"the loss is not finite at step {bad_step}; the last finite loss was "
                f"{last_good:.6g}; lower the learning rate or clip_grad_norm_value",
                step=bad_step,
                last_good={"loss": last_good},
            )
        mean = float(self._sum) / self._count
        self._reset()
        if self.reference is None:
            self.reference = mean
        elif mean > self.reference + self.factor * max(abs(self.reference), 1e-3):
            raise DivergenceError(
                f"the mean loss before step {step} is {mean:.6g}, far above the "
                f"{self.reference:.6g} of the first interval; lower the learning rate, or raise "
                f"divergence_factor ({self.factor:g})",
                step=step,
                last_good={"loss": last_good},
            )
        return mean

    def state_dict(self) -> dict[str, float | int | None]:
        """The reference and the running sums, for an exact resume."""
        return {
            "reference": self.reference,
            "sum": float(self._sum),
            "count": self._count,
            "bad_step": int(self._bad_step),
            "last_good": float(self._last_good),
        }

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        """Restore what ``state_dict`` gave."""
        self.reference = state["reference"]
        self._sum.fill_(state["sum"])  # type: ignore[arg-type]
        self._count = int(state["count"] or 0)
        self._bad_step.fill_(state["bad_step"])  # type: ignore[arg-type]
        self._last_good.fill_(state["last_good"])  # type: ignore[arg-type]
