"""A clock that only what is measured moves, and operators that take as long as they say."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from dnas.core import Operator
from dnas.costs import Conditions, OperatorKind

CONDITIONS = Conditions(
    device="cpu",
    device_name="a processor",
    rows=4,
    threads=1,
    dtype="float32",
    torch="2.0",
    python="3.11",
)


class Clock:
    """Seconds that pass as ``wait`` says; ``pace`` of the time makes the machine drift."""

    def __init__(self, pace: Callable[[float], float] = lambda now: 1.0) -> None:
        self.now = 0.0
        self.pace = pace

    def __call__(self) -> float:
        return self.now

    def wait(self, us: float) -> None:
        self.now += us * 1e-6 * self.pace(self.now)


class Wait(nn.Module):
    """Takes ``us`` on ``clock``."""

    def __init__(self, clock: Clock, us: float) -> None:
        super().__init__()
        self.clock, self.us = clock, us

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert torch.is_inference_mode_enabled()
        assert not self.training
        self.clock.wait(self.us)
        return x


def waiting_kind(name: str, clock: Clock, law: Callable[..., float], **options) -> OperatorKind:
    """Operators of sizes a and b (default 1) that take ``law(a, b)`` microseconds a call."""

    def make(a: float, b: float = 1) -> nn.Module:
        return Wait(clock, law(a, b))

    def inputs(batch: int, generator: torch.Generator, /, **sizes: float):
        return (torch.randn(batch, 1, generator=generator),)

    return OperatorKind(name, make, inputs, **options)


def op(kind: str, **sizes: float) -> Operator:
    return Operator.of(kind, **sizes)
