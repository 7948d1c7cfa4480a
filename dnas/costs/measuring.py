"""How long operators and models take, measured in turns.

On a machine that others use as well, times drift within minutes. So nothing is measured to its end
before the next: in each of several rounds everything has its turn, and what counts is the median
over the rounds. A turn is a block of ``torch.utils.benchmark``'s timer: calls in a row, as many as
fill the time given, with gradients off, after calls that do not count; on a GPU the clock is read
when the device has finished.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from dnas.core import Operator
from dnas.core.modes import evaluating
from dnas.costs.conditions import DTYPES, Conditions
from dnas.costs.kinds import completed, find_kind
from dnas.errors import ConfigError

#: What is called again and again.
Call = Callable[[], object]
#: Makes ready for a turn.
Prepare = Callable[[], Call]
Key = TypeVar("Key", bound=Hashable)

_MICRO = 1e6
#: Calls before each turn that do not count.
_WARM_UP = 3
#: The least share of a call that is left for the operators in it when the baseline is subtracted.
_LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Turn:
    """What one turn gave.

    Attributes:
        median_us: Microseconds of a call.
        spread_us: Range of the middle half of the calls.
        calls: Calls that count.
    """

    median_us: float
    spread_us: float
    calls: int


@dataclass(frozen=True)
class Measurement:
    """What all turns gave together.

    Attributes:
        median_us: Median over the turns, microseconds of a call.
        spread_us: Range of the middle half: of the turns, or within a turn, whichever is larger.
        repeats: Calls that count.
        rounds: Turns.
        turns: All of them, so that more can be added; empty where they were not kept.
    """

    median_us: float
    spread_us: float
    repeats: int
    rounds: int
    turns: tuple[Turn, ...] = ()

    @classmethod
    def of(cls, turns: Sequence[Turn]) -> Measurement:
        """The measurement that consists of ``turns``, at least one."""
        medians = np.array([turn.median_us for turn in turns])
        low, middle, high = np.quantile(medians, [0.25, 0.5, 0.75])
        within = float(np.median([turn.spread_us for turn in turns]))
        return cls(
            median_us=float(middle),
            spread_us=max(float(high - low), within),
            repeats=sum(turn.calls for turn in turns),
            rounds=len(turns),
            turns=tuple(turns),
        )


def measure_in_turns(
    cases: Mapping[Key, Prepare],
    *,
    rounds: int,
    min_seconds: float,
    threads: int,
    clock: Callable[[], float] | None = None,
) -> Iterator[tuple[Key, Turn]]:
    """Give every case a turn in each round.

    Args:
        cases: Name -> what makes it ready for a turn; what that holds is released after the turn.
        rounds: Turns of each case.
        min_seconds: Least time of each case, over all its turns.
        threads: Threads of one operator on the CPU.
        clock: Seconds; None: those that pass, also until a GPU has finished.

    Yields:
        Case and turn, as they are done.

    Raises:
        ConfigError: A number is out of range.
    """
    if rounds < 1 or not min_seconds > 0:
        raise ConfigError(
            f"--rounds {rounds} --min_seconds {min_seconds}: at least one round and a positive "
            "time are needed"
        )
    for _, (key, prepare) in itertools.product(range(rounds), cases.items()):
        yield key, _turn(prepare(), min_seconds / rounds, threads, clock)


def _turn(call: Call, min_seconds: float, threads: int, clock: Callable[[], float] | None) -> Turn:
    options: dict[str, Any] = {} if clock is None else {"timer": clock}
    timer = Timer("call()", globals={"call": call}, num_threads=threads, **options)
    with torch.inference_mode():
        timer.timeit(_WARM_UP)
        taken = timer.blocked_autorange(min_run_time=min_seconds)
    return Turn(
        median_us=taken.median * _MICRO,
        spread_us=taken.iqr * _MICRO,
        calls=len(taken.raw_times) * taken.number_per_run,
    )


def measure_operators(
    operators: Sequence[Operator],
    conditions: Conditions,
    *,
    rounds: int,
    min_seconds: float,
    seed: int = 1,
    clock: Callable[[], float] | None = None,
) -> Iterator[tuple[Operator, Turn]]:
    """Give every operator a turn in each round; the arguments are those of ``measure_in_turns``.

    The clock is that of the conditions, unless another one is given.

    Yields:
        Operator, with its kind's defaults, and turn: microseconds of one operator, of which a call
        may run several, without what the kind's baseline takes.

    Raises:
        CostError: An operator's kind is not known, or its sizes do not fit the kind.
    """
    distinct = list(dict.fromkeys(map(completed, operators)))
    baselines = {operator: _baseline(operator) for operator in distinct}
    # A baseline comes before the operators that it is subtracted from, once in each round.
    order = [*(b for b in baselines.values() if b is not None), *distinct]
    cases = {o: operator_case(o, conditions, seed=seed) for o in dict.fromkeys(order)}
    latest: dict[Operator, Turn] = {}
    clock = clock or conditions.timer()
    for operator, turn in measure_in_turns(
        cases, rounds=rounds, min_seconds=min_seconds, threads=conditions.threads, clock=clock
    ):
        latest[operator] = turn
        if operator in baselines:
            yield operator, _share(operator, turn, latest, baselines[operator])


def _baseline(operator: Operator) -> Operator | None:
    baseline = find_kind(operator).baseline
    return None if baseline is None else completed(baseline(**dict(operator.sizes)))


def _share(
    operator: Operator, turn: Turn, latest: Mapping[Operator, Turn], baseline: Operator | None
) -> Turn:
    """The part of a call that falls to one of the operators in it."""
    per_call = find_kind(operator).per_call
    median, spread = turn.median_us, turn.spread_us
    if baseline is not None:
        median = max(median - latest[baseline].median_us, _LEAST_SHARE * median)
        spread = float(np.hypot(spread, latest[baseline].spread_us))
    return Turn(median / per_call, spread / per_call, turn.calls)


def operator_case(operator: Operator, conditions: Conditions, *, seed: int = 1) -> Prepare:
    """What makes ready for a turn of ``operator``: its module and inputs, on the device."""
    kind, sizes = find_kind(operator), dict(operator.sizes)

    def prepare() -> Call:
        generator = torch.Generator().manual_seed(seed)
        batches = [kind.inputs(conditions.rows, generator, **sizes) for _ in range(kind.batches)]
        return _call(kind.make(**sizes), batches, conditions)

    return prepare


def model_case(
    make: Callable[[], nn.Module], batches: Sequence[tuple[Any, ...]], conditions: Conditions
) -> Prepare:
    """What makes ready for a turn of the module that ``make`` gives.

    Args:
        make: Gives the module.
        batches: Positional arguments of its ``forward``; calls take them in turns.
        conditions: Device and number format, to which both are brought.
    """
    return lambda: _call(make(), batches, conditions)


def measure_model(
    module: nn.Module,
    batches: Sequence[tuple[Any, ...]],
    *,
    device: str | torch.device = "cpu",
    threads: int = 1,
    min_seconds: float = 1.0,
    rounds: int = 5,
    clock: Callable[[], float] | None = None,
) -> Measurement:
    """Time of a forward pass of a whole model, in evaluation mode and without gradients.

    Args:
        module: Already on ``device``; its training mode is as before afterwards.
        batches: Positional arguments of ``forward``; calls take them in turns.
        device: Where the inputs are brought.
        threads: As in ``measure_in_turns``, like the rest.
        min_seconds: Over all rounds.
        rounds: Turns.
        clock: ``Conditions.timer()``, if sums of operators are to be compared with it.
    """
    on_device = [tuple(_moved(part, device, None) for part in batch) for batch in batches]
    with evaluating(module):
        call = _cycling(module, on_device)
        turns = measure_in_turns(
            {"model": lambda: call},
            rounds=rounds,
            min_seconds=min_seconds,
            threads=threads,
            clock=clock,
        )
        return Measurement.of([turn for _, turn in turns])


def _call(module: nn.Module, batches: Sequence[tuple[Any, ...]], conditions: Conditions) -> Call:
    dtype = DTYPES[conditions.dtype]
    on_device = [
        tuple(_moved(part, conditions.device, dtype) for part in batch) for batch in batches
    ]
    return _cycling(module.to(conditions.device, dtype).eval(), on_device)


def _cycling(module: nn.Module, batches: Sequence[tuple[Any, ...]]) -> Call:
    if len(batches) == 1:
        return lambda: module(*batches[0])
    turns = itertools.cycle(batches)
    return lambda: module(*next(turns))


def _moved(value: Any, device: str | torch.device, dtype: torch.dtype | None) -> Any:
    """A tensor, or a tuple of them, on ``device``; floating-point numbers as ``dtype``."""
    if isinstance(value, Tensor):
        return value.to(device, dtype if value.is_floating_point() else None)
    if isinstance(value, tuple):
        parts = [_moved(part, device, dtype) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
