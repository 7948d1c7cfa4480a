"""Latency of a trained model: as the table of measured operators predicts it, and as measured."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn

from dnas.cli.profiling import input_batches
from dnas.costs import Conditions, Measurement, Price, measure_in_turns, model_case
from dnas.data.loader import Loader
from dnas.errors import ConfigError
from dnas.spaces import LatencyTable, Prepared

logger = logging.getLogger(__name__)

_ROUNDS = 5
_MIN_SECONDS = 1.0
#: Conditions without which times are of something else.
_SAME = ("device", "device_name", "threads", "dtype", "torch")


def latency_report(
    table: LatencyTable, predicted: Price, model: nn.Module, data: Prepared
) -> dict[str, Any]:
    """The fields of ``latency`` in a result file; all times in microseconds of a forward pass.

    Args:
        table: Its conditions decide batch size, device and threads.
        predicted: By the table.
        model: The built model; left on the table's device.
        data: Rows of its training part are the input.

    Returns:
        ``predicted`` and its ``error``, ``measured`` and its ``spread`` (None, with ``why_not``,
        where this machine is not the table's), and the table's ``hash`` and conditions.
    """
    conditions = table.table.conditions
    found: dict[str, Any] = {
        "predicted": predicted.us,
        "error": predicted.error_us,
        "measured": None,
        "spread": None,
        **table.describe(),
    }
    if why_not := _other_machine(conditions):
        logger.warning("latency is not measured here: %s", why_not)
        return {**found, "why_not": why_not}
    measured = _measure(model, _loader(data, conditions), conditions)
    return {**found, "measured": measured.median_us, "spread": measured.spread_us}


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
    return "; ".join(different)


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
