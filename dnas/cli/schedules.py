"""Learning-rate schedules by name, for flags."""

from __future__ import annotations

from typing import Literal

from dnas.core.schedules import LrLambda, constant, cosine, exponential

ScheduleName = Literal["constant", "exponential", "cosine"]
OptimizerName = Literal["sgd", "adagrad", "adam"]
#: Of weights: row-wise Adagrad keeps one number of state for each row of an embedding table.
WeightsOptimizerName = Literal["sgd", "adagrad", "rowwise_adagrad", "adam"]


def describe_schedule(name: ScheduleName, base: float) -> str:
    """What a checkpoint must agree on; ``base`` counts where it has an effect."""
    return f"{name} {base!r}" if name == "exponential" else name


def make_schedule(name: ScheduleName, base: float, total_epochs: float) -> LrLambda:
    """The schedule called ``name``.

    Args:
        name: ``constant``, ``exponential`` (``base ** epoch``) or ``cosine``.
        base: Of ``exponential``.
        total_epochs: At which ``cosine`` reaches 0.
    """
    if name == "exponential":
        return exponential(base)
    if name == "cosine":
        return cosine(total_epochs)
    return constant()
