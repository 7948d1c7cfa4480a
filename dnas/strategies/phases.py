"""The alternation of Algorithm 1 as a list of phases in whole steps.

Epochs are exact fractions here and steps are integers: 0.1 epochs ten times are one epoch, each
batch of which is trained once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from dnas.errors import ConfigError

WEIGHTS = "weights"
THETA = "theta"

Number = int | float | str | Fraction


@dataclass(frozen=True)
class Phase:
    """A run of steps that train either the weights or theta.

    Attributes:
        kind: ``"weights"`` or ``"theta"``.
        start: First step, counted over all phases of this kind; batch ``start`` of its loader.
        stop: One past the last step.
        epoch: Epoch counter of Algorithm 1 (warm-up included) when the phase starts.
        epoch_span: How far that counter gets in this phase.
        epochs_done: Epochs of this kind completed when the phase ends.
        samples: Architectures to sample when the phase ends.
    """

    kind: str
    start: int
    stop: int
    epoch: Fraction
    epoch_span: Fraction
    epochs_done: Fraction
    samples: int = 0

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.stop - self.start

    def epoch_at(self, step: int) -> float:
        """The epoch counter at a step of this phase."""
        return float(self.epoch + self.epoch_span * (step - self.start) / self.steps)


def exact(name: str, value: Number) -> Fraction:
    """``value`` as the decimal that a person would write: 0.1 is 1/10.

    Raises:
        ConfigError: Not a finite number.
    """
    try:
        number = value if isinstance(value, Fraction) else Fraction(str(value))
        # A third as a float is not the number that was meant.
        return number.limit_denominator(10**6) if isinstance(value, float) else number
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"{name} must be a number, but got {value!r}") from None


def plan_phases(
    *,
    total_epochs: Number,
    warmup_epochs: Number,
    alternate_epochs: Number,
    w_steps_per_epoch: int,
    m_steps_per_epoch: int,
    arch_sampling: Mapping[Any, int],
) -> list[Phase]:
    """The phases of a search (Algorithm 1; fractional alternation of paper section IV-C1).

    After ``warmup_epochs`` of weights alone, weights and theta alternate every
    ``alternate_epochs``. All ends are cut at ``total_epochs`` of weights training, so that theta
    is trained for ``total_epochs - warmup_epochs``.

    Args:
        total_epochs: Weights epochs, warm-up included.
        warmup_epochs: Weights epochs before theta is touched.
        alternate_epochs: Length of a phase, in epochs of its own loader.
        w_steps_per_epoch: Steps of the weights loader in an epoch.
        m_steps_per_epoch: Steps of the theta loader in an epoch.
        arch_sampling: Theta epochs completed -> architectures to sample then.

    Raises:
        ConfigError: A number is out of range, a phase has no step, or a sampling time is not the
            end of a theta phase.
    """
    total = exact("n_total_s_net_training_epochs", total_epochs)
    warmup = exact("num_warmup_epochs", warmup_epochs)
    alternate = exact("n_alt_train_amt", alternate_epochs)
    if alternate <= 0:
        raise ConfigError(f"n_alt_train_amt must be positive, but got {alternate_epochs}")
    if not 0 <= warmup < total:
        raise ConfigError(
            f"num_warmup_epochs must be in [0, n_total_s_net_training_epochs), but got "
            f"{warmup_epochs} of {total_epochs}; theta would never be trained"
        )
    sampling = {exact("arch_sampling", key): count for key, count in arch_sampling.items()}
    for key, count in sampling.items():
        if not isinstance(count, int) or count < 1:
            raise ConfigError(f"arch_sampling: {float(key):g}:{count} must sample at least one")

    phases: list[Phase] = []

    def add(kind: str, begin: Fraction, end: Fraction, epoch: Fraction, samples: int = 0) -> None:
        per_epoch = w_steps_per_epoch if kind == WEIGHTS else m_steps_per_epoch
        start, stop = _nearest(begin * per_epoch), _nearest(end * per_epoch)
        if start == stop:
            raise ConfigError(
                f"n_alt_train_amt {float(alternate):g} is less than one step: the {kind} loader "
                f"has {per_epoch} steps an epoch; alternate less often or use smaller batches"
            )
        phases.append(Phase(kind, start, stop, epoch, end - begin, end, samples))

    for begin, end in _segments(Fraction(0), warmup, alternate):
        add(WEIGHTS, begin, end, begin)
    times: list[Fraction] = []
    for begin, end in _segments(warmup, total, alternate):
        add(WEIGHTS, begin, end, begin)
        times.append(end - warmup)
        add(THETA, begin - warmup, end - warmup, begin, sampling.get(end - warmup, 0))
    unknown = sorted(set(sampling) - set(times))
    if unknown:
        valid = ", ".join(f"{float(time):g}" for time in times[:12])
        raise ConfigError(
            f"arch_sampling: no theta phase ends at {float(unknown[0]):g} theta epochs; "
            f"they end at {valid}{' ...' if len(times) > 12 else ''}"
        )
    return phases


def _nearest(steps: Fraction) -> int:
    """The nearest integer, halves up: round() takes them to even numbers, unevenly spaced."""
    return math.floor(steps + Fraction(1, 2))


def _segments(begin: Fraction, end: Fraction, length: Fraction) -> list[tuple[Fraction, Fraction]]:
    """``[begin, end)`` cut into pieces of ``length``, the last one possibly shorter."""
    pieces = []
    while begin < end:
        pieces.append((begin, min(begin + length, end)))
        begin += length
    return pieces


def parse_sampling(text: str) -> dict[Fraction, int]:
    """``"1:2,4:4"`` to ``{1: 2, 4: 4}``: theta epochs completed -> architectures.

    Raises:
        ConfigError: Not of that form, or a time occurs twice.
    """
    schedule: dict[Fraction, int] = {}
    for part in text.split(","):
        time, colon, count = part.partition(":")
        if not colon or not count.strip().isdigit():
            raise ConfigError(
                f"architecture_sampling: {part!r} is not EPOCHS:COUNT, as in 4:4 or 1:2,4:4"
            )
        key = exact("architecture_sampling", time.strip())
        if key in schedule:
            raise ConfigError(f"architecture_sampling: {time} occurs twice in {text!r}")
        schedule[key] = int(count)
    return schedule
