"""What the summary says of the final models: what was chosen, how they did, how large they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dnas.quality import Quality
from dnas.reporting.comparison import architecture_keys
from dnas.reporting.complexity import ROLES
from dnas.reporting.judging import metrics_of, values_of
from dnas.reporting.statistics import EXTREMES, GIVEN, RANDOM
from dnas.reporting.text import columns, compact, fixed, plural, shorten
from dnas.runs import FINAL, RunFolder

#: Architectures of each role that the summary shows.
_SHOWN = {FINAL: 3, GIVEN: 5}
#: Metrics of one model that fit on a line.
MOST_METRICS = 4
_JOB_WIDTH = 48
_NAMED = 3


def final_lines(
    choices: Mapping[str, Mapping[str, Any]], finals: Mapping[str, pd.DataFrame]
) -> list[str]:
    """What each final stage chose, and how the models did that the last of them made.

    Args:
        choices: Kind of each final stage -> content of its choice's file; empty if there is none.
        finals: Kind of each final stage that the run is to have, in order -> its rows, as from
            ``results_frame``.

    Returns:
        No line if there is nothing of either.
    """
    lines: list[str] = []
    for kind, rows in finals.items():
        last = kind == [*finals][-1]
        found = _stage_lines(kind, choices.get(kind, {}), rows, with_models=last)
        if len(finals) > 1 and found:
            found[0] = f"{kind}: {found[0]}"
        lines += found
    return lines


def _stage_lines(
    kind: str, choice: Mapping[str, Any], final: pd.DataFrame, *, with_models: bool
) -> list[str]:
    """A choice; of the last stage, how each model did, of another the first of the chosen."""
    models = dict(iter(final.groupby(architecture_keys(final), sort=False))) if len(final) else {}
    chosen = [found for found in _listed(choice.get("chosen")) if isinstance(found, Mapping)]
    if not chosen:
        file = RunFolder(Path()).choice(kind)
        lines = [f"final models (no usable {file} says by what they were chosen)"]
        lines += [line for jobs in models.values() for line in _model(jobs)]
        return lines if models and with_models else []
    metric = str(choice.get("metric"))
    among = plural(int(_number(choice.get("candidates"), 0.0)), "architecture")
    way = Quality(metric, bool(choice.get("maximize", False))).direction
    lines = [f"chosen by validation {metric} ({way}) among {among}"]
    runner_up = choice.get("runner_up")
    if isinstance(runner_up, Mapping):
        gap = abs(_number(runner_up.get("value")) - _number(chosen[-1].get("value")))
        lines[0] += f"; the next is {fixed(gap)} behind"
    shown = chosen if with_models else chosen[:_NAMED]
    for found in shown:
        job = shorten(str(found.get("job")), _JOB_WIDTH)
        lines.append(f"  {job}  {metric} {fixed(_number(found.get('value')))}")
        jobs = models.get(found.get("canonical_id"))
        waiting = ["    its final model has not been trained yet"]
        if with_models:
            lines += waiting if jobs is None else _model(jobs)
        if found.get("origin") == RANDOM:
            lines.append("  CAUTION: it was drawn at random; no searched architecture took part")
    if len(shown) < len(chosen):
        lines.append(f"  and {len(chosen) - len(shown)} more")
    missing = [str(name) for name in _listed(choice.get("without_value"))]
    if missing:
        names = ", ".join(shorten(name, 30) for name in missing[:_NAMED])
        names += ", ..." if len(missing) > _NAMED else ""
        who = plural(len(missing), "job")
        lines.append(f"  {who} without a result took no part: {names}")
    return lines


def complexity_lines(table: pd.DataFrame) -> list[str]:
    """The table of quality and size, of the final models and the best of each other role.

    Args:
        table: As from ``complexity_frame``.
    """
    if table.empty or not table[["mmacs", "params"]].notna().any(axis=None):
        return []
    prefix = "validation_"
    metrics = [str(c).removeprefix(prefix) for c in table.columns if str(c).startswith(prefix)]
    tested = any(values_of(table, f"test_{name}").notna().any() for name in metrics)
    splits = ("validation", "test") if tested else ("validation",)
    heads = [name if s == "validation" else f"{s} {name}" for s in splits for name in metrics]
    embeddings = ["embedding_params"] if table["embedding_params"].notna().any() else []
    rows = [["", *heads, "MMACs", "params", *(["embedding"] if embeddings else [])]]
    for role in ROLES:
        for _, row in table[table["role"] == role].head(_SHOWN.get(role, 1)).iterrows():
            who = row["origin"] if row["origin"] in EXTREMES else role
            name = f"{'' if role in _SHOWN else 'best '}{who} {row['architecture_id']}"
            cells = [shorten(name, 27)]
            cells += [fixed(row[f"{s}_{name}"]) for s in splits for name in metrics]
            cells.append(f"{row['mmacs']:.4g}" if pd.notna(row["mmacs"]) else "-")
            cells += [compact(row[name]) for name in ("params", *embeddings)]
            rows.append(cells)
    return ["complexity", *columns(rows)]


def _model(jobs: pd.DataFrame) -> list[str]:
    """How the final model of one architecture did, over its jobs."""
    several = f" and {len(jobs) - 1} more: mean ± standard deviation" if len(jobs) > 1 else ""
    tests = [
        f"    test{' ' * bool(variant)}{variant}: {means}"
        for variant in _variants(jobs)
        if (means := _means(jobs, "test", variant))
    ]
    return [
        f"    {jobs['stage'].iloc[0]}/{shorten(str(jobs['job'].iloc[0]), _JOB_WIDTH)}{several}",
        f"    validation: {_means(jobs, 'validation')}",
        *(tests or ["    test: not read; see --check_test_set_performance"]),
    ]


def _variants(jobs: pd.DataFrame) -> list[str]:
    """The ways in which metrics of the test are measured, as recall under several protocols.

    A metric of the test is called ``NAME`` or ``NAME.VARIANT``.
    """
    columns = [column for column in map(str, jobs.columns) if column.startswith("test_")]
    return list(dict.fromkeys(column.partition(".")[2] for column in columns))


def _means(jobs: pd.DataFrame, split: str, variant: str = "") -> str:
    suffix = f".{variant}" if variant else ""
    parts: list[str] = []
    for name in metrics_of(jobs):
        values = values_of(jobs, f"{split}_{name}{suffix}").dropna()
        if len(values):
            spread = f" ± {fixed(float(values.std()))}" if len(values) > 1 else ""
            parts.append(f"{name} {fixed(float(values.mean()))}{spread}")
    return " ".join(parts[: 2 if len(jobs) > 1 else MOST_METRICS])


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: object, otherwise: float = math.nan) -> float:
    return float(value) if isinstance(value, int | float) else otherwise
