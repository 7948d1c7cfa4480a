"""Single training steps of supernets and of plain DLRMs, made ready to be timed by the scripts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from dnas.core import Architecture, SuperNet
from dnas.data.batch import Batch, ClickBatch
from dnas.data.spec import DataSpec
from dnas.spaces import SearchSpace
from dnas.strategies.phases import THETA, WEIGHTS
from dnas.strategies.search_manager import SearchManager
from dnas.training.graphs import CudaRecorder, RecordedStep
from dnas.training.optim import OPTIMIZERS
from dnas.training.seeding import seed_everything
from dnas.training.standalone import StandaloneTrainer
from dnas.training.task import CLICKS
from supernets import EMB_CARD, EMB_DIM, JOINT, TOP_BOTTOM_MLPS
from supernets.config import DLRMSpaceConfig

SPACES: dict[str, SearchSpace] = {
    "emb_dim": EMB_DIM,
    "emb_card": EMB_CARD,
    "mlp": TOP_BOTTOM_MLPS,
    "joint": JOINT,
}
#: What each case's penalty is on.
COSTS = {"emb_dim": "params", "emb_card": "params", "mlp": "flops", "joint": "flops"}
NUM_DENSE = 13

Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What decides how much work a step is."""

    batch: int = 1024
    features: int = 26
    rows: int | tuple[int, ...] = 20_000
    """Rows of every feature's table, or of each."""
    optimizer: str = "sgd"
    device: str = "cpu"
    config: DLRMSpaceConfig = field(default_factory=DLRMSpaceConfig)
    precision: str = "float32"
    step_mode: str = "eager"
    search: tuple[tuple[str, object], ...] = ()
    """Further arguments of SearchManager."""

    @property
    def spec(self) -> DataSpec:
        """The columns."""
        rows = (self.rows,) * self.features if isinstance(self.rows, int) else self.rows
        return DataSpec(
            tuple(f"I{i}" for i in range(NUM_DENSE)),
            tuple(f"C{i}" for i in range(self.features)),
            tuple(rows),
        )


def make_batches(shape: Shape, count: int = 8) -> list[ClickBatch]:
    """Random rows on the device; ids are uniform, which is the dearest case: few repeat."""
    generator = torch.Generator().manual_seed(1)
    limits = torch.tensor(shape.spec.cardinalities)
    device = torch.device(shape.device)
    batches = []
    for _ in range(count):
        uniform = torch.rand((shape.batch, shape.features), generator=generator, dtype=torch.double)
        batches.append(
            ClickBatch(
                torch.randn((shape.batch, NUM_DENSE), generator=generator),
                (uniform * limits).long(),
                torch.randint(2, (shape.batch,), generator=generator).float(),
            ).to(device)
        )
    return batches


def largest(net: SuperNet) -> Architecture:
    """The architecture of the most parameters and FLOPs: the largest option everywhere."""
    decisions = {}
    for choice in net.choices.values():
        for key, row in zip(choice.keys, choice.options, strict=True):
            numbers = [option for option in row if isinstance(option, int | float)]
            decisions[key] = max(numbers)
    return net.trim(Architecture(decisions))


class SupernetSteps:
    """Whole steps of a search: forward, loss with cost, backward, clip, optimizer, bookkeeping."""

    def __init__(self, space: str, shape: Shape, batches: Sequence[ClickBatch]) -> None:
        seed_everything(1)
        net = SPACES[space].make_supernet(shape.config, shape.spec)
        self.batches = batches
        self.manager = SearchManager(
            net,
            w_dataloader=batches,
            m_dataloader=batches,
            loss_function=CLICKS.loss,
            n_total_s_net_training_epochs=2,
            arch_sampling={},
            w_optim_class=OPTIMIZERS[shape.optimizer],
            weights_initial_lrs=[0.01],
            use_hw_cost=True,
            cost_coef=0.01,
            cost_metric=COSTS[space],
            host_device=shape.device,
            precision=shape.precision,
            step_mode=shape.step_mode,
            **dict(shape.search),  # type: ignore[arg-type]
        )
        self.count = 0
        self.steps = {kind: self._step(kind, shape.step_mode) for kind in (WEIGHTS, THETA)}

    def begin(self, kind: str) -> Step:
        """Take turns to ``kind``; the function that does one step of it."""
        manager = self.manager
        manager.turns.train_only(kind)
        manager.super_net.train()

        def step() -> Tensor:
            batch = self.batches[self.count % len(self.batches)]
            self.count += 1
            loss = self.steps[kind](batch)
            manager.monitors[kind].update(self.count, loss)
            return loss

        return step

    def _step(self, kind: str, step_mode: str) -> Callable[[Batch], Tensor]:
        def step(batch: Batch) -> Tensor:
            return self.manager.run_one_dnas_step(batch, kind, 1.0)

        if step_mode == "eager":
            return step
        return RecordedStep(step, CudaRecorder([self.manager.noise]))


class PlainSteps:
    """Whole steps of the training of the largest discrete DLRM of a space."""

    def __init__(self, space: str, shape: Shape, batches: Sequence[ClickBatch]) -> None:
        seed_everything(1)
        with torch.device("meta"):
            net = SPACES[space].make_supernet(shape.config, shape.spec)
            architecture = largest(net)
        model = SPACES[space].make_model(shape.config, shape.spec, architecture)
        self.batches = batches
        self.trainer = StandaloneTrainer(
            model,
            CLICKS,
            train_loader=_NoData(),
            valid_loader=_NoData(),
            n_epochs=1,
            optimizer_class=OPTIMIZERS[shape.optimizer],
            lr=0.01,
            device=shape.device,
            precision=shape.precision,
            step_mode=shape.step_mode,
        )
        self.trainer.model.train()
        self.count = 0

    def begin(self) -> Step:
        """The function that does one step."""
        return self._step

    def _step(self) -> Tensor:
        batch = self.batches[self.count % len(self.batches)]
        self.count += 1
        loss = self.trainer.step_of(batch)
        self.trainer.monitor.update(self.count, loss)
        return loss


class _NoData:
    """Steps are given their batches; loaders are only asked for their length."""

    def __len__(self) -> int:
        return 1

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        raise NotImplementedError


def interleaved(
    cases: Mapping[str, Callable[[], Step]], repeats: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Milliseconds of the steps of each case, taken in turns: all see the same disturbances.

    Args:
        cases: Name -> what makes ready for a step, outside of the clock, and gives the step.
        repeats: Steps of each that count, after two that do not.
        device: Waited for before the clock is read.
    """
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(repeats + 2):
        for name, prepare in cases.items():
            step = prepare()
            _wait(device)
            begun = time.perf_counter()
            step()
            _wait(device)
            if repeat >= 2:
                taken[name].append(1000 * (time.perf_counter() - begun))
    return taken


def steady(step: Step, steps: int, device: str = "cpu") -> float:
    """Seconds a step in a run of steps, after which alone the device is waited for."""
    for _ in range(5):
        step()
    _wait(device)
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    return (time.perf_counter() - begun) / steps


def median_ratio(taken: Mapping[str, Sequence[float]], over: str, under: str) -> float:
    """Median of the ratios of steps that were taken one after the other."""
    return statistics.median(a / b for a, b in zip(taken[over], taken[under], strict=True))


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def operator_calls(step: Step) -> tuple[int, int]:
    """Calls of torch operators in one step.

    Returns:
        Operators that reach a kernel or make a view, and all that the profiler sees: those that
        operators are made of too, such as the three views in a transpose.
    """
    step()
    with _Count() as counted:
        step()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    nested = sum(
        event.name.startswith("aten::") and event.device_type == DeviceType.CPU
        for event in recorded.events() or []
    )
    return counted.calls, nested


class _Count(TorchDispatchMode):
    """Counts what autograd and the code above it call."""

    calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        self.calls += func.namespace == "aten"
        return func(*args, **(kwargs or {}))
