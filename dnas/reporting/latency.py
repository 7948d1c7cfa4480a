"""Latency of trained architectures: what a cost table predicted against what was measured.

All latencies are microseconds a forward pass of ``rows`` rows. Those measured under
other conditions (device, rows, threads, number format, clock) or predicted by another table are
different quantities, so each such setting has numbers of its own. An architecture
counts once in each: measurements of several jobs that trained it are represented by their median.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dnas.reporting.bootstrap import Floats, Interval, bca_interval, resamples
from dnas.reporting.drawing import COLORS, new_figure, scale_costs
from dnas.reporting.frames import LATENCY, MEASURED_LATENCY, mapping, number
from dnas.reporting.rank_correlation import kendall_tau_b, spearman
from dnas.reporting.records import SUCCEEDED, RunRecords
from dnas.reporting.text import plural, shorten

#: Fewer architectures than this have no order worth a number.
FEWEST = 3
#: Fewer than this have no interval worth printing.
FEWEST_FOR_INTERVAL = 8
_WORDS = ["device", "device_name", "dtype", "clock", "hash"]
_NUMBERS = ["rows", "threads"]
#: What a measurement and its prediction are of; ``hash`` is the table's.
SETTING = ["device", "device_name", *_NUMBERS, "dtype", "clock", "hash"]
_COLUMNS = [
    "canonical_id", "architecture_id", "job", *SETTING, "predicted_us", "error_us",
    "measured_us", "spread_us", "measurements",
]  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """Predicted against measured latency, under one set of conditions and by one table."""

    setting: str
    """For people, e.g. ``cpu, 512 rows, 1 thread``; empty if results do not say."""
    count: int
    """Architectures with both numbers; all else is NaN if they are fewer than :data:`FEWEST`."""
    kendall: Interval
    """tau-b; its ends are NaN below :data:`FEWEST_FOR_INTERVAL` architectures."""
    spearman: Interval
    relative_error: float
    """Median of ``|predicted / measured - 1|``."""
    bias: float
    """Median of ``predicted / measured``."""
    inside: int
    """Architectures measured within ``predicted ± error``."""
    with_error: int
    """Architectures whose prediction states an error."""


def latency_frame(records: RunRecords) -> pd.DataFrame:
    """One row for each architecture and setting in which its latency was predicted or measured.

    Columns: ``canonical_id``, ``architecture_id``, ``job`` (the first), those of :data:`SETTING`,
    ``predicted_us``, ``error_us``, ``measured_us``, ``spread_us`` (of these two, the median over
    jobs), ``measurements`` (jobs that measured it). A final model of another size than the sampled
    one, hence with another prediction, is a row of its own.
    """
    rows = []
    for record in records.trainings:
        if record.state != SUCCEEDED or record.result is None:
            continue
        found = mapping(record.result.get("latency"))
        costs = mapping(record.result.get("costs"))
        predicted = _positive(found.get("predicted", costs.get(LATENCY)))
        measured = _positive(found.get("measured", costs.get(MEASURED_LATENCY)))
        if math.isnan(predicted) and math.isnan(measured):
            continue
        architecture = mapping(record.result.get("architecture"))
        own = architecture.get("id")
        canonical = architecture.get("canonical_id") or record.job.get("canonical_id") or own
        row: dict[str, Any] = {name: str(found.get(name) or "") for name in _WORDS}
        row |= {name: number(found.get(name)) for name in _NUMBERS}
        row |= {"canonical_id": canonical or record.name, "architecture_id": own}
        row |= {"job": record.name, "predicted_us": predicted, "measured_us": measured}
        row |= {f"{name}_us": number(found.get(name)) for name in ("error", "spread")}
        rows.append(row)
    table = pd.DataFrame(rows, columns=_COLUMNS)
    same = ["canonical_id", *SETTING, "predicted_us"]
    merged = []
    for _, jobs in table.groupby(same, sort=False, dropna=False):
        first = jobs.iloc[0].copy()
        first["measurements"] = int(jobs["measured_us"].notna().sum())
        for name in ("measured_us", "spread_us"):
            first[name] = jobs[name].median()
        merged.append(first)
    return pd.DataFrame(merged, columns=_COLUMNS)


def latency_agreements(table: pd.DataFrame) -> list[Agreement]:
    """How well prediction and measurement agree in each setting that has both.

    Args:
        table: As from :func:`latency_frame`.
    """
    return [_agreement(setting, rows) for setting, rows in _settings(table)]


def latency_lines(agreements: Sequence[Agreement]) -> list[str]:
    """What the summary says of them; no line if nothing was both predicted and measured."""
    if not agreements:
        return []
    lines = ["latency: predicted against measured (µs a forward pass)"]
    for found in agreements:
        head = f"  {found.setting + ': ' if found.setting else ''}"
        head += plural(found.count, "architecture")
        if found.count < FEWEST:
            lines.append(f"{head}, too few to say how well they agree")
            continue
        if found.with_error:
            head += f", {found.inside} of {found.with_error} inside predicted ± error"
        lines += [
            head,
            f"    Kendall's τ-b {_with_interval(found.kendall)}, "
            f"Spearman's ρ {_with_interval(found.spearman)}",
            f"    median error {found.relative_error:.1%}, "
            f"median of predicted / measured {found.bias:.3g}",
        ]
    return lines


def draw_latency(table: pd.DataFrame, title: str) -> Figure:
    """Draw measured against predicted latency, with their errors and the line where both are equal.

    Bars are the prediction's error to both sides, and half the measurement's spread (an
    interquartile range) to both sides. Axes are logarithmic when latencies differ tenfold.

    Args:
        table: As from :func:`latency_frame`, with both numbers in at least one row.
        title: What is shown.
    """
    figure = new_figure(6.4, 5.6)
    axes = figure.add_subplot()
    settings = _settings(table)
    for place, (setting, rows) in enumerate(settings):
        axes.errorbar(
            rows["predicted_us"], rows["measured_us"],
            xerr=rows["error_us"].fillna(0.0), yerr=rows["spread_us"].fillna(0.0) / 2,
            fmt="o", markersize=5, alpha=0.8, linewidth=0.9, capsize=2,
            color=COLORS[place % len(COLORS)],
            label=f"{shorten(setting, 60) or 'architectures'} ({len(rows)})",
        )  # fmt: skip
    shown = pd.concat([rows for _, rows in settings])[["predicted_us", "measured_us"]]
    values = shown.to_numpy(np.float64).ravel()
    low, high = float(values.min()), float(values.max())
    ends = (low, high) if high > low else (0.9 * low, 1.1 * high)
    axes.plot(ends, ends, color="black", linewidth=1.0, zorder=1, label="predicted = measured")
    scale_costs(axes, "x", values)
    scale_costs(axes, "y", values)
    axes.set_xlabel("predicted latency (µs a forward pass)")
    axes.set_ylabel("measured latency (µs a forward pass)")
    axes.grid(alpha=0.25)
    axes.set_title(shorten(title, 70), fontsize=10)
    axes.legend(loc="upper left", fontsize=8, framealpha=0.9)
    return figure


def _settings(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows that have both numbers, by setting, each with its name for people."""
    both = table[table[["predicted_us", "measured_us"]].notna().all(axis=1)]
    return [
        (_setting_name(rows.iloc[0]), rows)
        for _, rows in both.groupby(SETTING, sort=False, dropna=False)
    ]


def _setting_name(row: pd.Series) -> str:
    device = " ".join(str(row[name]) for name in ("device", "device_name") if row[name])
    parts = [device] if device else []
    for name in _NUMBERS:
        if math.isfinite(row[name]):
            parts.append(plural(int(row[name]), name.removesuffix("s")))
    formats = {"dtype": "{}", "clock": "{} clock", "hash": "table {}"}
    parts += [text.format(row[name]) for name, text in formats.items() if row[name]]
    return ", ".join(parts)


def _positive(value: object) -> float:
    """A latency, NaN if it is none."""
    found = number(value)
    return found if math.isfinite(found) and found > 0 else math.nan


def _agreement(setting: str, rows: pd.DataFrame) -> Agreement:
    n = len(rows)
    unknown = Interval(math.nan, math.nan, math.nan)
    if n < FEWEST:
        return Agreement(setting, n, unknown, unknown, math.nan, math.nan, 0, 0)
    predicted, measured, error = (
        rows[f"{name}_us"].to_numpy(np.float64) for name in ("predicted", "measured", "error")
    )
    kendall, rho = (
        _correlation(function, predicted, measured) for function in (kendall_tau_b, spearman)
    )
    ratios = predicted / measured
    known = np.isfinite(error)
    inside = known & (np.abs(measured - predicted) <= error)
    return Agreement(
        setting=setting,
        count=n,
        kendall=kendall,
        spearman=rho,
        relative_error=float(np.median(np.abs(ratios - 1))),
        bias=float(np.median(ratios)),
        inside=int(inside.sum()),
        with_error=int(known.sum()),
    )


def _correlation(function: Callable[..., Floats], predicted: Floats, measured: Floats) -> Interval:
    """The correlation, with an interval if there are architectures enough for one."""
    if len(predicted) < FEWEST_FOR_INTERVAL:
        return Interval(float(function(predicted, measured)), math.nan, math.nan)
    return bca_interval(
        lambda counts: function(predicted, measured, counts), resamples(len(predicted))
    )


def _with_interval(found: Interval) -> str:
    text = f"{found.value:.2f}" if math.isfinite(found.value) else "-"
    if math.isfinite(found.low):
        text += f" [{found.low:.2f}, {found.high:.2f}]"
    return text
