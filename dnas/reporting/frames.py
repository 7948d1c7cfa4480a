"""The numbers of a run as tables: one row for each trained architecture, one for each failure."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from dnas.quality import LOGLOSS, Quality, judged_by
from dnas.reporting.judging import SELECTION, fixed_metrics
from dnas.reporting.records import SUCCEEDED, JobRecord, RunRecords, read_run
from dnas.runs import RunFolder

logger = logging.getLogger(__name__)

#: Microseconds a forward pass, predicted from a cost table and measured on the device.
LATENCY, MEASURED_LATENCY = "latency", "measured_latency"
#: Costs that always have columns.
_FIXED_COSTS = ("flops", "params", "embedding_rows", "embedding_bytes", "average_dim")
#: Costs that have columns of their own name; any other cost NAME is the column ``cost.NAME``.
KNOWN_COSTS = (*_FIXED_COSTS, LATENCY, MEASURED_LATENCY)
COST_PREFIX = "cost."
#: Resolved settings shown although no brace lists alternatives for them.
IMPORTANT_SETTINGS = (
    "seed", "n_epochs", "batch_size", "weights_batch_size", "weights_lr", "weights_optimizer",
    "weights_optim_type",
)  # fmt: skip

_IDENTITY = (
    "job", "stage", "architecture_id", "canonical_id", "origin", "search_space", "supernet_job",
    "theta_step", "theta_epochs", "log_probability", "search_score", "search_iteration",
)  # fmt: skip
_FAILURE_COLUMNS = ("kind", "job", "state", "reason", "attempts", "exit_code", "log")


def results_frame(run: RunFolder) -> pd.DataFrame:
    """One row for each sampled or final job that succeeded and measured something in validation.

    Columns, in this order:

    - ``job``, ``stage`` (``sampled``, ``final``, ``final_2`` ...), ``architecture_id``,
      ``canonical_id``, ``origin`` (``draw``, ``most_likely``, or an algorithm's name such as
      ``evolution``; ``random`` and ``given`` ones are for comparison), ``search_space``,
      ``supernet_job``, ``theta_step``, ``theta_epochs``, ``log_probability`` (nats, of the
      architecture under theta), ``search_score`` (with shared weights, lower is better),
      ``search_iteration``;
    - ``search.<flag>``: what the braces of the supernet job chose;
    - ``setting.<flag>``: what the braces of this job chose, and the resolved ones among
      :data:`IMPORTANT_SETTINGS`;
    - ``selection``: what the row is judged by, e.g. ``max accuracy``; only there if some row is
      not judged by log loss, and missing in rows that do not say it (see ``dnas.quality``);
    - ``validation_<metric>`` at ``best_epoch``, ``best_epoch``, ``test_<metric>``; first those by
      which rows are judged, then those of clicks, always there in a run of click models;
    - costs (see :func:`cost_columns`), ``seconds``, ``peak_memory_bytes``; ``latency`` and
      ``measured_latency`` (microseconds a forward pass) only if some row has them.

    What a result does not say is missing in its row (NaN or None). Ids can look like numbers: read
    the CSV with ``dtype=str`` for them.

    Raises:
        JobError: ``run`` is not a run folder.
    """
    return results_of(read_run(run))


def results_of(records: RunRecords) -> pd.DataFrame:
    """:func:`results_frame` of a run that has been read already."""
    searches = {record.id: _brace_settings(record) for record in records.supernet}
    rows: list[dict[str, Any]] = []
    foreign = 0
    for record in records.trainings:
        if record.state != SUCCEEDED or record.result is None:
            continue
        row = _row(record, record.result, searches)
        if row is None:
            foreign += 1
        else:
            rows.append(row)
    if foreign:
        logger.info("%d jobs wrote results without validation metrics: left out", foreign)
    return pd.DataFrame(rows, columns=_column_order(rows))


def failures_frame(run: RunFolder) -> pd.DataFrame:
    """One row for each job that ended without a result that counts.

    Columns: ``kind``, ``job``, ``state``, ``reason``, ``attempts``, ``exit_code``, ``log`` (path
    inside the run folder).

    Raises:
        JobError: ``run`` is not a run folder.
    """
    return failures_of(read_run(run))


def failures_of(records: RunRecords) -> pd.DataFrame:
    """:func:`failures_frame` of a run that has been read already."""
    rows = [
        {
            "kind": record.kind,
            "job": record.id,
            "state": record.state,
            "reason": record.reason or "no reason was recorded",
            "attempts": record.status.get("attempts"),
            "exit_code": record.status.get("exit_code"),
            "log": f"{record.name}/{record.folder.log.name}",
        }
        for record in records.jobs
        if record.failed
    ]
    return pd.DataFrame(rows, columns=list(_FAILURE_COLUMNS))


def of_stage(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of jobs of ``kind``."""
    return frame[frame["stage"] == kind]


def cost_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of ``frame`` that are costs and of which at least one row says something."""
    names = [name for name in KNOWN_COSTS if name in frame]
    names += [name for name in frame.columns if str(name).startswith(COST_PREFIX)]
    return [name for name in names if frame[name].notna().any()]


def cost_name(column: str) -> str:
    """A cost column's name without its prefix, for people."""
    return column.removeprefix(COST_PREFIX)


def unit_of(column: str) -> str:
    """The unit of a cost column, ``""`` for one that is counted."""
    return "µs" if column in (LATENCY, MEASURED_LATENCY) else ""


def cost_label(column: str) -> str:
    """A cost column's name with its unit, e.g. ``latency (µs a forward pass)``."""
    name = cost_name(column).replace("_", " ") if unit_of(column) else cost_name(column)
    return f"{name} ({unit_of(column)} a forward pass)" if unit_of(column) else name


def setting_columns(frame: pd.DataFrame, prefix: str = "setting.") -> list[str]:
    """The columns of this job's settings (``"search."``: of its supernet's) that differ by row."""
    names = [str(name) for name in frame.columns if str(name).startswith(prefix)]
    return [name for name in names if frame[name].astype(str).nunique() > 1]


def _row(
    record: JobRecord, result: Mapping[str, Any], searches: Mapping[str, dict[str, Any]]
) -> dict[str, Any] | None:
    """The row of one result; None when it has no validation metric."""
    validation, best_epoch, quality = _best_validation(result)
    if not validation:
        return None
    architecture = mapping(result.get("architecture"))
    provenance = mapping(architecture.get("provenance"))
    # A provenance may name its job by id or by path (supernet/0_1).
    supernet = str(provenance.get("job") or "").rstrip("/").rsplit("/", 1)[-1] or None
    row: dict[str, Any] = {
        "job": record.id,
        "stage": record.kind,
        "architecture_id": architecture.get("id"),
        "canonical_id": architecture.get("canonical_id")
        or record.job.get("canonical_id")
        or architecture.get("id"),
        "origin": provenance.get("kind"),
        "search_space": result.get("search_space") or architecture.get("space"),
        "supernet_job": supernet,
        "theta_step": number(provenance.get("step")),
        "theta_epochs": number(provenance.get("theta_epochs")),
        "log_probability": number(provenance.get("log_probability")),
        "search_score": number(provenance.get("score")),
        "search_iteration": number(provenance.get("iteration")),
    }
    for flag, value in searches.get(supernet or "", {}).items():
        row[f"search.{flag}"] = value
    resolved = mapping(result.get("settings"))
    settings = _brace_settings(record)
    settings |= {flag: resolved[flag] for flag in IMPORTANT_SETTINGS if flag in resolved}
    for flag, value in settings.items():
        row[f"setting.{flag}"] = _plain(value)
    row[SELECTION] = None if quality is None else str(quality)
    row |= {f"validation_{name}": value for name, value in validation.items()}
    row["best_epoch"] = best_epoch
    row |= {f"test_{name}": value for name, value in _numbers(result.get("test")).items()}
    costs = _numbers(architecture.get("costs")) | _numbers(result.get("costs"))
    row |= {
        name if name in KNOWN_COSTS else COST_PREFIX + name: value for name, value in costs.items()
    }
    row["seconds"] = number(result.get("seconds"))
    row["peak_memory_bytes"] = number(result.get("peak_memory_bytes"))
    return row


def _best_validation(result: Mapping[str, Any]) -> tuple[dict[str, float], float, Quality | None]:
    """Validation metrics at the best epoch, that epoch (NaN when unknown), what they are judged by.

    A result that lists epochs and names none of them best is taken at the best of them.
    """
    validation = _numbers(result.get("validation"))
    best_epoch = number(result.get("best_epoch"))
    if validation:
        return validation, best_epoch, judged_by(result, validation)
    epochs = result.get("epochs")
    best, best_loss = None, math.inf
    for entry in epochs if isinstance(epochs, list) else []:
        metrics = _numbers(mapping(entry).get("validation"))
        quality = judged_by(result, metrics)
        if quality is None or quality.metric not in metrics:
            continue
        if quality.signed(metrics[quality.metric]) < best_loss:
            best, best_loss = quality, quality.signed(metrics[quality.metric])
            validation, best_epoch = metrics, number(entry.get("epoch"))
    return validation, best_epoch, best


def _brace_settings(record: JobRecord) -> dict[str, Any]:
    """What the braces of this job chose, by flag; typed as resolved when the result says so."""
    chosen = mapping(record.job.get("settings"))
    resolved = mapping(record.result.get("settings") if record.result else None)
    return {flag: _plain(resolved.get(flag, _parsed(text))) for flag, text in chosen.items()}


def _column_order(rows: list[dict[str, Any]]) -> list[str]:
    """All columns of ``rows`` in the order of :func:`results_frame`; the fixed ones always."""
    seen = list(dict.fromkeys(name for row in rows for name in row if name != SELECTION))
    said = dict.fromkeys(row[SELECTION] for row in rows)
    qualities = [Quality.from_str(text) for text in said if text is not None]
    metrics = {
        split: [name.removeprefix(split) for name in seen if name.startswith(split)]
        for split in ("validation_", "test_")
    }
    fixed = fixed_metrics([name for names in metrics.values() for name in names])
    first = [quality.metric for quality in qualities if quality.metric not in fixed]
    order = [*_IDENTITY]
    order += [name for name in seen if name.startswith("search.")]
    order += [name for name in seen if name.startswith("setting.")]
    order += [] if set(said) <= {str(LOGLOSS)} else [SELECTION]
    order += ["validation_" + name for name in (*first, *fixed, *metrics["validation_"])]
    order += ["best_epoch"]
    tested = [name for name in first if name in metrics["test_"]]
    order += ["test_" + name for name in (*tested, *fixed, *metrics["test_"])]
    order += [*_FIXED_COSTS, *(name for name in (LATENCY, MEASURED_LATENCY) if name in seen)]
    order += [name for name in seen if name.startswith(COST_PREFIX)]
    order += ["seconds", "peak_memory_bytes"]
    return list(dict.fromkeys(order))


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def number(value: object) -> float:
    """``value`` if it is a number (an int stays one), else NaN."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _numbers(value: object) -> dict[str, float]:
    """The entries of a mapping that are numbers or null (NaN); anything else is left out."""
    return {
        str(name): number(entry)
        for name, entry in mapping(value).items()
        if entry is None or (isinstance(entry, int | float) and not isinstance(entry, bool))
    }


def _parsed(text: object) -> object:
    """A brace's text as the number it spells, else as it is."""
    if not isinstance(text, str):
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _plain(value: object) -> object:
    """A value that fits into one cell of a table."""
    return json.dumps(value) if isinstance(value, list | dict | tuple) else value
