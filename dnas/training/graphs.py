"""Steps as CUDA graphs: recorded once, then started with one call instead of hundreds.

A training step of a recommender is some hundred small kernels, which a GPU finishes faster than the
host starts them. A graph takes the host out: shapes, addresses and Python numbers (learning rates,
the temperature) are those of the recording, so a graph serves the steps of one phase, in which they
do not change, and only batches of one shape. Everything else that changes must live in tensors that
are changed in place: batches, weights, optimizer states, multipliers of penalties, the state of the
generators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from dnas.data.batch import Batch
from dnas.errors import ConfigError

#: Steps that run as they are before the recording: optimizers make their states, libraries choose
#: their algorithms.
WARM_UP_STEPS = 3

StepMode = Literal["eager", "cuda_graph"]
StepFunction = Callable[[Batch], Tensor]


class Recorder(Protocol):
    """What records and repeats the work of a device."""

    def warm_up(self, function: Callable[[], Tensor]) -> Tensor:
        """Run the function in the surroundings that a recording wants to find."""

    def record(self, function: Callable[[], Tensor]) -> Tensor:
        """Record the function without running it; its output, filled by :meth:`replay`."""

    def replay(self) -> None:
        """Run what is recorded."""


class CudaRecorder:
    """A ``torch.cuda.CUDAGraph``.

    Args:
        generators: Sources of randomness in the recorded work, besides the default one.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)
        self._stream = torch.cuda.Stream()

    def warm_up(self, function: Callable[[], Tensor]) -> Tensor:
        """Run on a side stream, on which autograd's and the libraries' workspaces then are."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            output = function()
        torch.cuda.current_stream().wait_stream(self._stream)
        return output

    def record(self, function: Callable[[], Tensor]) -> Tensor:
        """Record."""
        with torch.cuda.graph(self._graph, stream=self._stream):
            return function()

    def replay(self) -> None:
        """Run what is recorded."""
        self._graph.replay()


def check_step_mode(
    step_mode: str, device: torch.device, processes: int, changing: Mapping[str, bool]
) -> None:
    """Refuse what cannot be recorded.

    Args:
        step_mode: Asked for.
        device: Where to train.
        processes: Of the job.
        changing: Settings by which something changes on the host at every step, and whether they
            are on.

    Raises:
        ConfigError: An unknown mode, or ``cuda_graph`` without a GPU, with several processes, or
            with one of ``changing``.
    """
    if step_mode not in get_args(StepMode):
        raise ConfigError(f"--step_mode must be eager or cuda_graph, but got {step_mode!r}")
    if step_mode == "cuda_graph" and device.type != "cuda":
        raise ConfigError(f"--step_mode cuda_graph needs a GPU, but the device is {device}")
    if step_mode == "cuda_graph" and processes > 1:
        raise ConfigError(
            f"--step_mode cuda_graph records one process, but this job has {processes}: the "
            "exchange of gradients asks the host"
        )
    for setting, on in changing.items():
        if step_mode == "cuda_graph" and on:
            raise ConfigError(
                f"--step_mode cuda_graph repeats a recorded step, but with {setting} something "
                "changes on the host at every step: switch off one of them"
            )


class RecordedStep:
    """A step function that is recorded after some steps and repeated from then on.

    Batches of another shape than the first run as they are.

    Args:
        function: One step; gives its loss.
        recorder: Records it.
    """

    def __init__(self, function: StepFunction, recorder: Recorder) -> None:
        self._function = function
        self._recorder = recorder
        self._warmed_up = 0
        self._inputs: list[Tensor] = []
        self._loss: Tensor | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """One step of ``batch``, which is on the device.

        Raises:
            ConfigError: The step does something that cannot be recorded.
        """
        tensors = _tensors(batch)
        if self._warmed_up < WARM_UP_STEPS:
            self._warmed_up += 1
            return self._recorder.warm_up(lambda: self._function(batch))
        if self._loss is None:
            self._loss = self._record(batch)
        elif [t.shape for t in tensors] != [t.shape for t in self._inputs]:
            return self._function(batch)
        for kept, given in zip(self._inputs, tensors, strict=True):
            kept.copy_(given)
        self._recorder.replay()
        return self._loss.clone()

    def _record(self, batch: Batch) -> Tensor:
        own = _copied(batch)
        self._inputs = _tensors(own)
        try:
            return self._recorder.record(lambda: self._function(own))
        except RuntimeError as error:
            raise ConfigError(
                f"--step_mode cuda_graph: this step cannot be recorded ({error}); a model that "
                "asks the device for numbers, or an optimizer that counts on the host, needs "
                "--step_mode eager"
            ) from error


def _tensors(batch: Batch) -> list[Tensor]:
    """All tensors of a batch, in a fixed order."""
    found: list[Tensor] = []

    def collect(value: Any) -> None:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            for item in value:
                collect(item)

    collect(batch.inputs)
    collect(batch.labels)
    return found


class _Copy:
    """A batch of the same inputs and labels in memory of its own."""

    def __init__(self, inputs: tuple[Any, ...], labels: Tensor) -> None:
        self.inputs = inputs
        self.labels = labels

    def to(self, device: torch.device) -> _Copy:
        return self


def _copied(batch: Batch) -> _Copy:
    def copy(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.clone()
        if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named tuple
            return type(value)(*map(copy, value))
        if isinstance(value, tuple | list):
            return type(value)(map(copy, value))
        return value

    return _Copy(copy(batch.inputs), copy(batch.labels))
