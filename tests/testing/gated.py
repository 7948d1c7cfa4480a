"""A tiny supernet that keeps every contract, for tests that break one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core import Architecture, Choice, Operator, Sample, SuperNet

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "double": lambda x: 2 * x,
}
INPUTS, WIDTH = 4, 3


class Plain(nn.Module):
    """One hidden layer, or two; what :class:`Gated` builds."""

    def __init__(self, outer: str, inner: str | None, width: int = WIDTH) -> None:
        super().__init__()
        self.outer, self.inner = outer, inner
        self.first, self.last = nn.Linear(INPUTS, width), nn.Linear(width, 1)
        self.second = None if inner is None else nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = FUNCTIONS[self.outer](self.first(x))
        if self.second is not None and self.inner is not None:
            hidden = FUNCTIONS[self.inner](self.second(hidden))
        output: Tensor = self.last(hidden).squeeze(1)
        return output


class Gated(SuperNet):
    """``last(f(first(x)))``, with a second layer ``g(second(...))`` if the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.last = nn.Linear(WIDTH, 1)
        self.function = Choice("function", {"outer": list(FUNCTIONS), "inner": list(FUNCTIONS)})
        self.gate = Choice("gate", {"second": (False, True)})

    def forward(self, x: Tensor, *, sample: Sample) -> Tensor:
        hidden = self.mixed(sample[self.function][:, 0], self.first(x))
        inner = self.mixed(sample[self.function][:, 1], self.second(hidden))
        hidden = self.calculate_weighted_sum(sample[self.gate][:, 0], [hidden, inner])
        output: Tensor = self.last(hidden).squeeze(1)
        return output

    def mixed(self, weights: Tensor, x: Tensor) -> Tensor:
        return self.calculate_weighted_sum(weights, [f(x) for f in FUNCTIONS.values()])

    def option_costs(self) -> Any:
        flops = 2 * WIDTH * WIDTH
        return {
            "params": {"gate": [[0, WIDTH * WIDTH + WIDTH]]},
            "flops": {"gate": [[0, flops]]},
            "steps": {"function": [[1, 5, 2], [0, 0, 0]], "gate": [[0, 3]]},
        }

    def fixed_costs(self) -> Any:
        return {"params": INPUTS * WIDTH + 2 * WIDTH + 1, "flops": 2 * (INPUTS * WIDTH + WIDTH)}

    def option_operators(self) -> Any:
        return {"gate": [[(), (Operator.of("linear", inputs=WIDTH, outputs=WIDTH),)]]}

    def fixed_operators(self) -> Any:
        return (
            Operator.of("linear", inputs=INPUTS, outputs=WIDTH),
            Operator.of("linear", inputs=WIDTH, outputs=1),
        )

    def trim(self, architecture: Architecture) -> Architecture:
        architecture = super().trim(architecture)
        if architecture["gate/second"]:
            return architecture
        return Architecture({k: v for k, v in architecture.items() if k != "function/inner"})

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> nn.Module:
        architecture = self.validate(architecture)
        inner = architecture.get("function/inner")
        model = Plain(str(architecture["function/outer"]), None if inner is None else str(inner))
        if inherit_weights:
            self.copy_to(model)
        return model

    def copy_to(self, model: Plain) -> None:
        model.first.load_state_dict(self.first.state_dict())
        model.last.load_state_dict(self.last.state_dict())
        if model.second is not None:
            model.second.load_state_dict(self.second.state_dict())


def make_batch(rows: int) -> tuple[Tensor]:
    return (torch.randn(rows, INPUTS),)
