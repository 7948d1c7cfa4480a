"""Latency of a trained model: as the table of measured operators predicts it, and as measured."""

from __future__ import annotations

import logging
import os
from typing import Any

from torch import nn

from dnas.cli.profiling import ProcessorShare, input_batches, warn_if_busy
from dnas.costs import Conditions, Measurement, Price, measure_in_turns, model_case
from dnas.data.loader import Loader
from dnas.errors import ConfigError
from dnas.spaces import Prepared, SpaceLatency

logger = logging.getLogger(__name__)

_ROUNDS = 5
_MIN_SECONDS = 1.0
#: Conditions without which times are of something else. The others are the table's by construction.
_SAME = ("device_name", "torch")


class LatencyReport:
    """``latency`` in the result file of a training; all times in microseconds of a forward pass.

    Made before the training, so that a table that the data cannot serve is told then.

    Args:
        latency: By its table; the table's conditions decide batch size, device and threads.
        predicted: By the table.
        data: Rows of its training part are the input.

    Raises:
        ConfigError: The data has fewer training rows than a batch of the table.
    """

    def __init__(self, latency: SpaceLatency, predicted: Price, data: Prepared) -> None:
        self._conditions = latency.table.conditions
        self._fields: dict[str, Any] = {
            "predicted": predicted.us,
            "error": predicted.error_us,
            "measured": None,
            "spread": None,
            **latency.describe(),
        }
        self._why_not = _other_machine(self._conditions)
        self._loader = None if self._why_not else _loader(data, self._conditions)

    def of(self, model: nn.Module) -> dict[str, Any]:
        """The fields, with ``model`` measured where this machine is the table's.

        Args:
            model: The built model; left on the table's device.

        Returns:
            ``predicted`` and its ``error``, ``measured`` and its ``spread`` (None, with
            ``why_not``, where it could not be measured), ``processor_share`` of the measurement,
            and the table's ``hash`` and conditions.
        """
        if self._loader is None:
            return self._not_measured(self._why_not)
        begun = ProcessorShare()
        try:
            measured = _measure(model, self._loader, self._conditions)
        except Exception as error:  # the training is done; its result must not be lost for this
            logger.debug("measuring the trained model failed", exc_info=True)
            return self._not_measured(f"{type(error).__name__}: {error}")
        share = begun.so_far(self._conditions.threads)
        warn_if_busy(self._conditions, share)
        return {
            **self._fields,
            "measured": measured.median_us,
            "spread": measured.spread_us,
            "processor_share": share,
        }

    def _not_measured(self, why_not: str) -> dict[str, Any]:
        logger.warning("latency is not measured here: %s", why_not)
        return {**self._fields, "why_not": why_not}


def _other_machine(conditions: Conditions) -> str:
    """Why a time measured here says nothing about the table's; empty if it does."""
    try:
        here = Conditions.here(
            conditions.device,
            rows=conditions.rows,
            threads=conditions.threads,
            dtype=conditions.dtype,
            clock=conditions.clock,
        )
    except ConfigError as error:
        return str(error)
    different = [
        f"{name} {getattr(conditions, name)} in the table, {getattr(here, name)} here"
        for name in _SAME
        if getattr(conditions, name) != getattr(here, name)
    ]
    if conditions.device == "cpu" and (cores := _cores()) < conditions.threads:
        different.append(f"threads {conditions.threads} in the table, {cores} processors here")
    return "; ".join(different)


def _cores() -> int:
    """Processors that this process may use: fewer than there are under taskset."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _loader(data: Prepared, conditions: Conditions) -> Loader:
    return data.loader(
        "train",
        conditions.rows,
        shuffle=True,
        seed=0,
        drop_last=True,
        device=None,
        flag="rows of --cost_table",
    )


def _measure(model: nn.Module, loader: Loader, conditions: Conditions) -> Measurement:
    turns = measure_in_turns(
        {"model": model_case(lambda: model, input_batches(loader), conditions)},
        rounds=_ROUNDS,
        min_seconds=_MIN_SECONDS,
        threads=conditions.threads,
        clock=conditions.timer(),
    )
    return Measurement.of([turn for _, turn in turns])
