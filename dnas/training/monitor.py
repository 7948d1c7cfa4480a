"""Watching the loss without making the device wait for the host."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dnas.errors import DivergenceError

#: Scalars on the device are put together when there are so many.
_PACKED = 1000


class LossMonitor:
    """Keeps losses where they are, on the device; reads them once an interval.

    A loss that is not finite is remembered with its step and the last finite one, and ends the run
    at the next reading. So does an interval whose mean exceeds that of the first interval by
    ``factor`` times its size: a diverged run is a failure, not a result of 20.55.

    Args:
        factor: Times the first interval's mean loss that counts as divergence.
    """

    def __init__(self, *, factor: float = 10.0) -> None:
        self.factor = factor
        self.reference: float | None = None
        self._bad_step = -1
        self._last_good = math.nan
        self._sum = 0.0
        self._count = 0
        self.last_count = 0
        """How many losses the last mean was of."""
        # Not yet read: scalars, and what of them has been put together.
        self._scalars: list[Tensor] = []
        self._packed: list[Tensor] = []
        self._steps: list[int] = []

    def update(self, step: int, loss: Tensor) -> None:
        """Note the loss (scalar) of a global step."""
        self._scalars.append(loss.detach())
        self._steps.append(step)
        if len(self._scalars) == _PACKED:
            self._pack()

    def _pack(self) -> None:
        """Many scalars take a lot more memory than one tensor of them."""
        if self._scalars:
            self._packed.append(torch.stack(self._scalars).float())
            self._scalars = []

    def _take_in(self) -> None:
        """Read what is on the device, which the host waits for."""
        self._pack()
        losses = torch.cat(self._packed).tolist() if self._packed else []
        for step, loss in zip(self._steps, losses, strict=True):
            if math.isfinite(loss):
                self._sum += loss
                if self._bad_step < 0:
                    self._last_good = loss
            elif self._bad_step < 0:
                self._bad_step = step
        self._count += len(losses)
        self._packed, self._steps = [], []

    def read(self, step: int) -> float | None:
        """Mean loss since the last reading, None if there was none.

        Raises:
            DivergenceError: A loss was not finite, or the mean is absurd.
        """
        self._take_in()
        if self._count == 0:
            return None
        if self._bad_step >= 0:
            raise DivergenceError(
                f"the loss is not finite at step {self._bad_step}; the last finite loss was "
                f"{self._last_good:.6g}; lower the learning rate or clip_grad_norm_value",
                step=self._bad_step,
                last_good={"loss": self._last_good},
            )
        mean, self.last_count = self._sum / self._count, self._count
        self._sum, self._count = 0.0, 0
        if self.reference is None:
            self.reference = mean
        elif mean > self.reference + self.factor * max(abs(self.reference), 1e-3):
            raise DivergenceError(
                f"the mean loss before step {step} is {mean:.6g}, far above the "
                f"{self.reference:.6g} of the first interval; lower the learning rate, or raise "
                f"divergence_factor ({self.factor:g})",
                step=step,
                last_good={"loss": self._last_good},
            )
        return mean

    def state_dict(self) -> dict[str, float | int | None]:
        """The reference and the running sums, for an exact resume."""
        self._take_in()
        return {
            "reference": self.reference,
            "sum": self._sum,
            "count": self._count,
            "bad_step": self._bad_step,
            "last_good": self._last_good,
        }

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        """Restore what ``state_dict`` gave."""
        self.reference = state["reference"]
        self._sum = float(state["sum"] or 0.0)
        self._count = int(state["count"] or 0)
        self._bad_step = int(state["bad_step"])  # type: ignore[arg-type]
        self._last_good = float(state["last_good"])  # type: ignore[arg-type]
        self._scalars, self._packed, self._steps = [], [], []
