"""The one-screen summary of a run: at most 40 lines of at most 100 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dnas.reporting.comparison import Comparison, Group, best_trainings, compare
from dnas.reporting.entropy import NEARLY_UNIFORM
from dnas.reporting.failures import failure_lines
from dnas.reporting.final import complexity_lines, final_lines
from dnas.reporting.frames import METRICS, cost_name, setting_columns
from dnas.reporting.records import DIVERGED, JobRecord, RunRecords, count_states
from dnas.reporting.statistics import (
    GIVEN,
    RANDOM,
    SEARCHED,
    STATISTICS,
    diverged_rows,
    population,
    statistics_frame,
)
from dnas.reporting.text import columns, compact, cut, fixed, plural, shorten

MOST_LINES = 40
MOST_COLUMNS = 100
#: How much loss one may give away for a cheaper model; 0.001 is what counts in click prediction.
CHEAPEST_WITHIN = 0.001
_MOST_LIKELY_SHOWN = 3
_REASONS_SHOWN = 3


@dataclass(frozen=True)
class Findings:
    """All that the summary says, before it is said.

    Attributes:
        records: The run.
        results: As from ``results_frame``, the sampled stage.
        cost: The main cost column, or None.
        final: As from ``results_frame``, the final stage.
        complexity: As from ``complexity_frame``.
        entropy: Final mean entropy of theta of each supernet job that recorded one.
        trouble: What else could not be read, one line each.
        files: Names of the files written, inside the run folder.
    """

    records: RunRecords
    results: pd.DataFrame
    cost: str | None
    final: pd.DataFrame = field(default_factory=pd.DataFrame)
    complexity: pd.DataFrame = field(default_factory=pd.DataFrame)
    entropy: Mapping[str, float] = field(default_factory=dict)
    trouble: Sequence[str] = ()
    files: Sequence[str] = ()


def summary_text(findings: Findings) -> str:
    """The summary, ending in a newline."""
    kept = findings.results[~diverged_rows(findings.results)]
    head = _head(findings, len(kept))
    body = final_lines(findings.records.choice, findings.final)
    if len(kept):
        body += _best(kept, findings.cost)
    body += complexity_lines(findings.complexity)
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
    if frame.empty:
        lines.append("no architecture has been trained to an end yet, so there is no table of them")
        return lines
    best = best_trainings(frame)
    counts_of = population(best).value_counts()
    others = [f"{counts_of[who]} of them {who}" for who in (RANDOM, GIVEN) if who in counts_of]
    spaces = ", ".join(sorted(frame["search_space"].dropna().astype(str).unique())) or "unnamed"
    text = f"{plural(len(frame), 'training')} of {plural(len(best), 'architecture')}"
    text += f" ({', '.join(others)})" if others else ""
    lines.append(f"{'results':<14}{text}, search space {spaces}")
    if usable < len(frame):
        lines.append(f"{'':<14}{len(frame) - usable} diverged (loss absurd) and left out below")
    return lines


def _best(kept: pd.DataFrame, cost: str | None) -> list[str]:
    """The best row, and the cheapest that is nearly as good."""
    best = kept.sort_values(["validation_logloss", "job"], kind="stable").iloc[0]
    lines = ["best by validation loss", *_model(best, kept, cost)]
    if cost is None or pd.isna(best[cost]):
        return lines
    near = kept[kept["validation_logloss"] <= best["validation_logloss"] + CHEAPEST_WITHIN]
    near = near.sort_values([cost, "validation_logloss", "job"], kind="stable")
    cheapest = near.iloc[0]
    if not cheapest[cost] < best[cost]:
        lines.append(f"no cheaper one within {CHEAPEST_WITHIN} of its loss")
        return lines
    lines.append(
        f"cheapest within {CHEAPEST_WITHIN} of it{_times(best[cost], cheapest[cost], cost)}"
    )
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
    price = f", {cost_name(cost)} {compact(row[cost])}" if cost else ""
    lines.append(f"  {epoch}{_metrics(row, 'validation')}{price}")
    test = _metrics(row, "test")
    return [*lines, f"  test: {test}"] if test else lines


def _metrics(row: pd.Series, split: str) -> str:
    values = [(name, row[f"{split}_{name}"]) for name in METRICS]
    return " ".join(f"{name} {fixed(value)}" for name, value in values if pd.notna(value))


def _most_likely(kept: pd.DataFrame, findings: Findings) -> list[str]:
    """How the architectures that each supernet thought best turned out."""
    ranked = best_trainings(kept).reset_index(drop=True)
    rows = ranked[ranked["origin"] == "most_likely"]
    if rows.empty:
        return []
    shared = {
        record.id: (record.result.get("validation") or {}).get("logloss")
        for record in findings.records.supernet
        if record.result is not None and isinstance(record.result.get("validation"), dict)
    }
    lines = [f"most likely architectures of theta, retrained (rank among {len(ranked)})"]
    price = [cost_name(findings.cost)] if findings.cost else []
    table = [["", "rank", "loss", "loss with shared weights", *price]]
    for rank, row in rows.head(_MOST_LIKELY_SHOWN).iterrows():
        before = shared.get(row["supernet_job"])
        cells = [
            f"supernet/{row['supernet_job']} -> sampled/{row['job']}",
            str(int(str(rank)) + 1),
            fixed(row["validation_logloss"]),
            fixed(before) if isinstance(before, float) else "-",
        ]
        if findings.cost:
            cells.append(compact(row[findings.cost]))
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
    table = [["", "architectures", "trainings", "best loss", "mean loss", *price]]
    for name, group in (("searched", found.searched), ("random", found.random)):
        cells = [name, str(group.count), str(group.trainings), fixed(group.best), fixed(group.mean)]
        if cost:
            cells += [compact(group.best_cost), compact(group.mean_cost)]
        table.append(cells)
    difference = [
        "difference", "", "", f"{found.searched.best - found.random.best:+.5f}",
        f"{found.mean_difference:+.5f}",
    ]  # fmt: skip
    if cost:
        difference += [
            _percent(found.searched.best_cost, found.random.best_cost),
            _percent(found.searched.mean_cost, found.random.mean_cost),
        ]
    table.append(difference)
    error = found.standard_error
    k = min(found.searched.count, found.random.count)
    detail = f"  standard error of the mean's {error:.5f}; " if np.isfinite(error) else "  "
    if found.searched.count != found.random.count:
        detail += f"best of {k} each {found.best_difference:+.5f}; "
    lines = [
        f"against random architectures{suffix}, trained by the same jobs",
        *columns(table),
        detail + f"searched is better in {found.win_rate:.0%} of pairs",
    ]
    if cost:
        lines.append(
            f"  in loss and cost together: {_share(found.random_beaten, found.random)} random ones "
            f"are beaten, {_share(found.searched_beaten, found.searched)} searched ones"
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
    lines: list[str] = []
    for space in table["search_space"].unique():
        rows_of = table[table["search_space"] == space]
        who = SEARCHED if (rows_of["population"] == SEARCHED).any() else GIVEN
        group = rows_of[rows_of["population"] == who].set_index("statistic")
        if group.empty or not group.loc["rows", "validation_logloss"]:
            continue
        bad = int(group.loc["diverged", "validation_logloss"])
        bad += sum(_diverged(record, who) for record in findings.records.sampled)
        left_out = f", {bad} diverged left out" if bad else ""
        count = int(group.loc["rows", "validation_logloss"])
        title = f"{space} " if table["search_space"].nunique() > 1 else ""
        lines.append(f"{title}{who}, best epoch of each of {plural(count, 'training')}{left_out}")
        head = ["", "logloss", "|calibration - 1|"]
        head += [cost_name(findings.cost)] if findings.cost else []
        rows = [head]
        for statistic in STATISTICS:
            values = group.loc[statistic]
            cells = [
                statistic,
                fixed(values["validation_logloss"]),
                fixed(values["validation_calibration_distance"]),
            ]
            rows.append([*cells, compact(values[findings.cost])] if findings.cost else cells)
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
    shown = ", ".join([f"{{{','.join(tables)}}}.csv", *texts])
    return [
        *lines,
        f"  {shown}" + (f", figures/ ({plural(len(figures), 'picture')})" if figures else ""),
    ]
