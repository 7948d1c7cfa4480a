"""Recorded steps: what surrounds the recording, with a recorder that runs the function again.

A recording repeats the device's work at the addresses it was made with. The recorder here calls the
recorded function again, on the batch it was recorded with, which is the same thing on a CPU, as
long as all that changes is changed in place.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dnas.costs import BudgetPenalty
from dnas.data import ClickBatch
from dnas.errors import ConfigError
from dnas.strategies.phases import THETA, WEIGHTS
from dnas.training.graphs import WARM_UP_STEPS, RecordedStep, check_step_mode
from dnas.training.optim import OPTIMIZERS
from tests.toys import click_batches, click_manager


class Again:
    """Repeats a function into the memory of its first output."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.function: Callable[[], Tensor] | None = None
        self.output = torch.empty(())

    def warm_up(self, function: Callable[[], Tensor]) -> Tensor:
        self.calls.append("warm up")
        return function()

    def record(self, function: Callable[[], Tensor]) -> Tensor:
        self.calls.append("record")
        self.function = function  # nothing runs yet
        return self.output

    def replay(self) -> None:
        self.calls.append("replay")
        assert self.function is not None
        self.output.copy_(self.function())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_recorded_steps_are_the_steps(optimizer):
    managers = [
        click_manager(
            w_optim_class=OPTIMIZERS[optimizer],
            penalty=BudgetPenalty({"params": 100.0}, rate=0.3),
        )
        for _ in range(2)
    ]
    batches = click_batches(7)
    losses: list[list[Tensor]] = [[], []]
    for kind in (WEIGHTS, THETA):
        for number, manager in enumerate(managers):
            manager.turns.train_only(kind)

            def eager(batch: ClickBatch, manager=manager, kind=kind) -> Tensor:
                return manager.run_one_dnas_step(batch, kind, 0.7)

            step = RecordedStep(eager, Again()) if number else eager
            losses[number] += [step(batch) for batch in batches]
    assert torch.stack(losses[0]).tolist() == torch.stack(losses[1]).tolist()
    assert len(set(torch.stack(losses[0]).tolist())) == 14
    plain, recorded = (manager.super_net.state_dict() for manager in managers)
    for name, value in plain.items():
        assert torch.equal(value, recorded[name]), name
    multipliers = [float(manager.penalty.multipliers["params"]) for manager in managers]
    assert multipliers[0] == multipliers[1] != 0.0


def test_recording_comes_after_the_warm_up_and_runs_nothing():
    seen: list[float] = []

    def step(batch: ClickBatch) -> Tensor:
        seen.append(float(batch.inputs[0][0, 0]))
        return batch.inputs[0].sum()

    recorder = Again()
    recorded = RecordedStep(step, recorder)
    batches = click_batches(6)
    losses = [recorded(batch) for batch in batches]
    assert recorder.calls == ["warm up"] * WARM_UP_STEPS + ["record"] + ["replay"] * 3
    assert seen == [float(batch.dense[0, 0]) for batch in batches]
    # Each loss is a tensor of its own, not the place that the next step writes to.
    torch.testing.assert_close(torch.stack(losses), torch.stack([b.dense.sum() for b in batches]))


def test_a_batch_of_another_shape_runs_as_it_is():
    recorder = Again()
    recorded = RecordedStep(lambda batch: batch.inputs[0].sum(), recorder)
    for batch in click_batches(5):
        recorded(batch)
    (short,) = click_batches(1, rows=3)
    assert float(recorded(short)) == pytest.approx(float(short.dense.sum()))
    assert recorder.calls.count("replay") == 2


def test_what_cannot_be_recorded_says_so():
    class Refuses(Again):
        def record(self, function: Callable[[], Tensor]) -> Tensor:
            raise RuntimeError("operation not permitted when stream is capturing")

    recorded = RecordedStep(lambda batch: batch.dense.sum(), Refuses())
    *first, last = click_batches(WARM_UP_STEPS + 1)
    for batch in first:
        recorded(batch)
    with pytest.raises(ConfigError, match=r"cannot be recorded \(operation not .* --step_mode eag"):
        recorded(last)


def test_refusals():
    with pytest.raises(ConfigError, match="needs a GPU, but the device is cpu"):
        click_manager(step_mode="cuda_graph")
    with pytest.raises(ConfigError, match="must be eager or cuda_graph, but got 'fast'"):
        click_manager(step_mode="fast")
    with pytest.raises(ConfigError, match="records one process, but this job has 2"):
        check_step_mode("cuda_graph", torch.device("cuda"), 2, {})
    with pytest.raises(ConfigError, match="but with --weights_sampling hard something changes on"):
        check_step_mode(
            "cuda_graph",
            torch.device("cuda"),
            1,
            {"--update_lrs_every_step": False, "--weights_sampling hard": True},
        )
    check_step_mode("eager", torch.device("cpu"), 2, {"--update_lrs_every_step": True})
