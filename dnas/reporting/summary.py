"""The one-screen summary of a run: at most 40 lines of at most 100 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dnas.quality import LOGLOSS
from dnas.reporting.comparison import Comparison, Group, best_trainings, compare
from dnas.reporting.entropy import NEARLY_UNIFORM
from dnas.reporting.failures import failure_lines
from dnas.reporting.final import MOST_METRICS, complexity_lines, final_lines
from dnas.reporting.frames import cost_name, setting_columns, unit_of
from dnas.reporting.judging import by_loss, losses_of, metrics_of, quality_of, values_of
from dnas.reporting.latency import Agreement, latency_lines
from dnas.reporting.records import DIVERGED, JobRecord, RunRecords, count_states
from dnas.reporting.statistics import (
    CALIBRATION_DISTANCE,
    GIVEN,
    RANDOM,
    SEARCHED,
    STATISTICS,
    diverged_rows,
    population,
    statistics_frame,
)
from dnas.reporting.targets import target_lines
from dnas.reporting.text import columns, compact, cut, fixed, plural, shorten

MOST_LINES = 40
MOST_COLUMNS = 100
#: How much log loss one may give away for a cheaper model; 0.001 is what counts in click
#: prediction.
CHEAPEST_WITHIN = 0.001
#: The same of another metric, as a share of its best value.
CHEAPEST_WITHIN_SHARE = 0.01
_MOST_LIKELY_SHOWN = 3
_NAME_WIDTH = 12
_REASONS_SHOWN = 3


@dataclass(frozen=True)
class Findings:
    """All that the summary says, before it is said.

    Attributes:
        records: The run.
        results: As from ``results_frame``, the sampled stage, all judged by one metric.
        cost: The main cost column, or None.
        finals: As from ``results_frame``, those of each final stage, in order.
        other_quality: Trainings left out of both, since they are judged by another metric.
        complexity: As from ``complexity_frame``.
        latency: As from ``latency_agreements``.
        entropy: Final mean entropy of theta of each supernet job that recorded one.
        trouble: What else could not be read, one line each.
        files: Names of the files written, inside the run folder.
    """

    records: RunRecords
    results: pd.DataFrame
    cost: str | None
    finals: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    other_quality: int = 0
    complexity: pd.DataFrame = field(default_factory=pd.DataFrame)
    latency: Sequence[Agreement] = ()
    entropy: Mapping[str, float] = field(default_factory=dict)
    trouble: Sequence[str] = ()
    files: Sequence[str] = ()


def summary_text(findings: Findings) -> str:
    """The summary, ending in a newline."""
    kept = findings.results[~diverged_rows(findings.results)]
    head = _head(findings, len(kept))
    body = final_lines(findings.records.choices, findings.finals)
    if len(kept):
        body += _best(kept, findings.cost)
    body += target_lines(findings.records)
    body += complexity_lines(findings.complexity)
    body += latency_lines(findings.latency)
    if len(kept):
        body += _most_likely(kept, findings)
        body += _against_random(findings)
    body += _uniform_warning(findings.entropy)
    if len(kept):
        body += _statistics(findings)
    tail = _failures(findings) + _files(findings)
    # Should a run have more to say than fits, its statistics are dropped: they are in a file.
    room = MOST_LINES - len(head) - len(tail)
    if len(body) > room:
        body = [*body[: room - 1], "  …"]
    return "".join(cut(line, MOST_COLUMNS) + "\n" for line in [*head, *body, *tail])


def _head(findings: Findings, usable: int) -> list[str]:
    records, frame = findings.records, findings.results
    state = str(records.status.get("state") or "state unknown")
    lines = [f"experiment {records.experiment_id}: {state}"]
    for kind, jobs in records.stages:
        counts = [f"{n} {state.replace('_', ' ')}" for state, n in count_states(jobs).items()]
        lines.append(
            f"{kind + ' jobs':<14}{len(jobs)}" + (": " + ", ".join(counts) if jobs else "")
        )
    quality = quality_of(frame)
    other = []
    if findings.other_quality:
        who = plural(findings.other_quality, "training")
        other = [f"{'':<14}{who} not judged by {quality.words}: in results.csv only"]
    if frame.empty:
        lines.append("no architecture has been trained to an end yet, so there is no table of them")
        return lines + other
    best = best_trainings(frame)
    counts_of = population(best).value_counts()
    others = [f"{counts_of[who]} of them {who}" for who in (RANDOM, GIVEN) if who in counts_of]
    spaces = ", ".join(sorted(frame["search_space"].dropna().astype(str).unique())) or "unnamed"
    text = f"{plural(len(frame), 'training')} of {plural(len(best), 'architecture')}"
    text += f" ({', '.join(others)})" if others else ""
    lines.append(f"{'results':<14}{text}, search space {spaces}")
    if usable < len(frame):
        why = "loss absurd" if quality == LOGLOSS else f"no finite {quality.words}"
        lines.append(f"{'':<14}{len(frame) - usable} diverged ({why}) and left out below")
    return lines + other


def _best(kept: pd.DataFrame, cost: str | None) -> list[str]:
    """The best row, and the cheapest that is nearly as good."""
    quality = quality_of(kept)
    best = by_loss(kept).iloc[0]
    lines = [f"best by validation {quality.words} ({quality.direction})"]
    lines += _model(best, kept, cost)
    if cost is None or pd.isna(best[cost]):
        return lines
    losses = losses_of(kept)
    margin, shown = CHEAPEST_WITHIN, f"{CHEAPEST_WITHIN}"
    if quality != LOGLOSS:
        margin, shown = CHEAPEST_WITHIN_SHARE * abs(losses.min()), f"{CHEAPEST_WITHIN_SHARE:.0%}"
    cheapest = by_loss(kept[losses <= losses.min() + margin], cost).iloc[0]
    if not cheapest[cost] < best[cost]:
        lines.append(f"no cheaper one within {shown} of its {quality.words}")
        return lines
    lines.append(f"cheapest within {shown} of it{_times(best[cost], cheapest[cost], cost)}")
    return lines + _model(cheapest, kept, cost)


def _times(more: float, less: float, cost: str) -> str:
    return f": {more / less:.3g}x less {cost_name(cost)}" if less > 0 else ""


def _model(row: pd.Series, kept: pd.DataFrame, cost: str | None) -> list[str]:
    """Two or three lines about one row."""
    origin = str(row["origin"] or "unknown origin").replace("_", " ")
    source = f" of supernet/{row['supernet_job']}" if pd.notna(row["supernet_job"]) else ""
    settings = " ".join(
        f"{name.removeprefix('setting.')}={row[name]}"
        for name in setting_columns(kept)
        if pd.notna(row[name])
    )
    where = f"  sampled/{row['job']}  architecture {row['architecture_id']} ({origin}{source})"
    lines = [f"{where}  {settings}" if settings else where]
    epoch = f"epoch {row['best_epoch']:g}: " if pd.notna(row["best_epoch"]) else ""
    price = f", {cost_name(cost)} {_priced(row[cost], cost)}" if cost else ""
    names = metrics_of(kept)[:MOST_METRICS]
    lines.append(f"  {epoch}{_metrics(row, 'validation', names)}{price}")
    test = _metrics(row, "test", names)
    return [*lines, f"  test: {test}"] if test else lines


def _priced(value: float, cost: str) -> str:
    """A cost with its unit."""
    unit = unit_of(cost)
    if not unit or not np.isfinite(value):
        return compact(value)
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.4g} {unit}"


def _metrics(row: pd.Series, split: str, names: Sequence[str]) -> str:
    values = [(name, row.get(f"{split}_{name}")) for name in names]
    return " ".join(f"{name} {fixed(value)}" for name, value in values if pd.notna(value))


def _most_likely(kept: pd.DataFrame, findings: Findings) -> list[str]:
    """How the architectures that each supernet thought best turned out."""
    ranked = best_trainings(kept).reset_index(drop=True)
    rows = ranked[ranked["origin"] == "most_likely"]
    if rows.empty:
        return []
    metric = quality_of(kept).metric
    shared = {
        record.id: (record.result.get("validation") or {}).get(metric)
        for record in findings.records.supernet
        if record.result is not None and isinstance(record.result.get("validation"), dict)
    }
    lines = [f"most likely architectures of theta, retrained (rank among {len(ranked)})"]
    price = [cost_name(findings.cost)] if findings.cost else []
    table = [["", "rank", metric, f"{metric} with shared weights", *price]]
    for rank, row in rows.head(_MOST_LIKELY_SHOWN).iterrows():
        before = shared.get(row["supernet_job"])
        cells = [
            f"supernet/{shorten(str(row['supernet_job']), _NAME_WIDTH)} -> "
            f"sampled/{shorten(str(row['job']), _NAME_WIDTH)}",
            str(int(str(rank)) + 1),
            fixed(row[f"validation_{metric}"]),
            fixed(before) if isinstance(before, float) else "-",
        ]
        if findings.cost:
            cells.append(_priced(row[findings.cost], findings.cost))
        table.append(cells)
    lines += columns(table)
    more = len(rows) - _MOST_LIKELY_SHOWN
    return [*lines, f"  and {more} more in results.csv"] if more > 0 else lines


def _against_random(findings: Findings) -> list[str]:
    """The comparison with random choice, for each search space."""
    frame = findings.results
    spaces = frame["search_space"].fillna("").astype(str)
    lines: list[str] = []
    for space in sorted(spaces.unique()):
        found = compare(frame[spaces == space], findings.cost)
        suffix = f" ({space})" if spaces.nunique() > 1 else ""
        if found is None:
            known = set(population(frame[spaces == space]))
            if known == {GIVEN}:  # nobody searched there
                continue
            absent = SEARCHED if RANDOM in known else RANDOM
            lines.append(f"against random{suffix}: not known, no {absent} architecture was trained")
        else:
            lines += _comparison(found, findings.cost, suffix)
    return lines


def _comparison(found: Comparison, cost: str | None, suffix: str) -> list[str]:
    price = [f"{cost_name(cost)} best", "mean"] if cost else []
    quality, signed = found.quality, found.quality.signed
    metric = quality.metric
    table = [["", "architectures", "trainings", f"best {metric}", f"mean {metric}", *price]]
    for name, group in (("searched", found.searched), ("random", found.random)):
        cells = [name, str(group.count), str(group.trainings)]
        cells += [fixed(signed(group.best)), fixed(signed(group.mean))]
        if cost:
            cells += [_priced(group.best_cost, cost), _priced(group.mean_cost, cost)]
        table.append(cells)
    difference = [
        "difference", "", "", f"{signed(found.searched.best - found.random.best):+.5f}",
        f"{signed(found.mean_difference):+.5f}",
    ]  # fmt: skip
    if cost:
        difference += [
            _percent(found.searched.best_cost, found.random.best_cost),
            _percent(found.searched.mean_cost, found.random.mean_cost),
        ]
    table.append(difference)
    error = found.standard_error
    k = min(found.searched.count, found.random.count)
    detail = f"  standard error of the mean's {fixed(error)}; " if np.isfinite(error) else "  "
    if found.searched.count != found.random.count:
        detail += f"best of {k} each {signed(found.best_difference):+.5f}; "
    lines = [
        f"against random architectures{suffix}, trained by the same jobs",
        *columns(table),
        detail + f"searched is better in {found.win_rate:.0%} of pairs",
    ]
    if cost:
        lines.append(
            f"  in {quality.words} and cost together: "
            f"{_share(found.random_beaten, found.random)} random ones are beaten, "
            f"{_share(found.searched_beaten, found.searched)} searched ones"
        )
    if not found.same_budget:
        lines.append(
            "  CAUTION: the two were not trained under the same settings (see results.csv)"
        )
    return [*lines, "  " + found.verdict]


def _share(count: int, group: Group) -> str:
    return f"{count} of {group.count}"


def _percent(value: float, base: float) -> str:
    known = np.isfinite(value) and np.isfinite(base) and base > 0
    return f"{100 * (value / base - 1):+.1f} %" if known else "-"


def _statistics(findings: Findings) -> list[str]:
    """Tables III-V for what the search proposed, also when it is not known who proposed; where
    nothing was searched, for what was given.
    """
    table = statistics_frame(findings.results)
    quality = quality_of(findings.results)
    lines: list[str] = []
    for space in table["search_space"].unique():
        rows_of = table[table["search_space"] == space]
        who = SEARCHED if (rows_of["population"] == SEARCHED).any() else GIVEN
        group = rows_of[rows_of["population"] == who].set_index("statistic")
        if group.empty or not group.loc["rows", quality.column]:
            continue
        bad = int(group.loc["diverged", quality.column])
        bad += sum(_diverged(record, who) for record in findings.records.sampled)
        left_out = f", {bad} diverged left out" if bad else ""
        count = int(group.loc["rows", quality.column])
        title = f"{space} " if table["search_space"].nunique() > 1 else ""
        lines.append(f"{title}{who}, best epoch of each of {plural(count, 'training')}{left_out}")
        calibrated = bool(values_of(group, CALIBRATION_DISTANCE).notna().any())
        head = ["", quality.metric, *(["|calibration - 1|"] if calibrated else [])]
        head += [cost_name(findings.cost)] if findings.cost else []
        rows = [head]
        for statistic in STATISTICS:
            values = group.loc[statistic]
            cells = [statistic, fixed(values[quality.column])]
            cells += [fixed(values[CALIBRATION_DISTANCE])] if calibrated else []
            cells += [_priced(values[findings.cost], findings.cost)] if findings.cost else []
            rows.append(cells)
        lines += columns(rows)
    return lines


def _diverged(record: JobRecord, who: str) -> bool:
    """Whether a job stopped as diverged, and its architecture is of the population ``who``."""
    architecture = (record.result or {}).get("architecture")
    provenance = architecture.get("provenance") if isinstance(architecture, dict) else None
    kind = provenance.get("kind") if isinstance(provenance, dict) else None
    return record.state == DIVERGED and (kind if kind in (RANDOM, GIVEN) else SEARCHED) == who


def _uniform_warning(entropy: Mapping[str, float]) -> list[str]:
    """Say so when theta has hardly moved: its draws are then random architectures."""
    uniform = [job for job, value in entropy.items() if value > NEARLY_UNIFORM]
    if not uniform:
        return []
    jobs = shorten(", ".join(uniform), 40)
    return [f"CAUTION: theta is nearly uniform in {jobs}: draws from it are random choice"]


def _failures(findings: Findings) -> list[str]:
    jobs = findings.records.jobs
    lines = failure_lines(jobs, most_reasons=_REASONS_SHOWN, width=MOST_COLUMNS)
    return lines + [shorten(text, MOST_COLUMNS) for text in findings.trouble[:2]]


def _files(findings: Findings) -> list[str]:
    figures = [name for name in findings.files if name.endswith(".png")]
    tables = [name.removesuffix(".csv") for name in findings.files if name.endswith(".csv")]
    texts = [name for name in findings.files if not name.endswith((".csv", ".png"))]
    where = shorten(str(findings.records.folder.path), 60)
    lines = [f"in {where}:"]
    shown = "  " + ", ".join([f"{{{','.join(tables)}}}.csv", *texts])
    pictures = f"figures/ ({plural(len(figures), 'picture')})" if figures else ""
    if len(f"{shown}, {pictures}") > MOST_COLUMNS:
        return [*lines, shown, f"  {pictures}"]
    return [*lines, f"{shown}, {pictures}" if pictures else shown]
