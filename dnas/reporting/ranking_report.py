"""Write the report of a study of rank correlation. Any time, any number of times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dnas.files import read_json, write_text
from dnas.quality import Quality
from dnas.reporting.drawing import file_name, save_figure
from dnas.reporting.judging import quality_of
from dnas.reporting.ranking_figures import HOW_NAMES, draw_correlations, draw_scatter
from dnas.reporting.ranking_frames import HOW, scores_frame, truths_frame
from dnas.reporting.ranking_numbers import (
    Scorer,
    choices_frame,
    correlations_frame,
    differences_frame,
    noise_frame,
    scorers_of,
)
from dnas.reporting.report import write_table
from dnas.reporting.text import duration, plural
from dnas.runs import RunFolder


def make_ranking_report(run: RunFolder) -> str:
    """Write tables, pictures and ``ranking.md`` into the study's folder ``ranking/``.

    ``truths.csv`` (subnet x seed), ``scores.csv`` (subnet x supernet x scoring x how),
    ``correlations.csv`` (Tables 2 and 3 of arXiv 2207.07187, with intervals),
    ``differences.csv`` (paired), ``choices.csv`` (overlap of the best, regret), ``noise.csv`` (how
    well two trainings agree), ``scatter.<how>.png`` (Figure 3), ``correlations.png``.

    Args:
        run: The run folder of a study, finished or not.

    Returns:
        The text of ``ranking.md``.

    Raises:
        JobError: ``run`` is not that of a study.
    """
    truths = truths_frame(run)
    scores = scores_frame(run, truths)
    scorers = scorers_of(scores)
    tables = {
        "truths": truths,
        "scores": scores,
        "correlations": correlations_frame(scorers),
        "differences": differences_frame(scorers),
        "choices": choices_frame(scorers),
        "noise": noise_frame(truths),
    }
    for name, table in tables.items():
        write_table(run.ranking / f"{name}.csv", table)
    pictures = _draw(run, scorers, tables)
    text = ranking_text(run.path.resolve().name, _asked(run), scorers, tables, pictures)
    write_text(run.ranking / "ranking.md", text)
    return text


def ranking_text(
    title: str,
    asked: Mapping[str, Any],
    scorers: Sequence[Scorer],
    tables: Mapping[str, pd.DataFrame],
    pictures: Sequence[str] = (),
) -> str:
    """The report in Markdown.

    Args:
        title: The study's name.
        asked: Content of ``study.json``.
        scorers: Of the study.
        tables: By name, as :func:`make_ranking_report` writes them.
        pictures: File names.
    """
    quality = quality_of(tables["truths"])
    metric = quality.words
    parts = [f"# Rank correlation: {title}", _ground_truth(asked, tables, quality)]
    if not scorers:
        parts.append("No supernet has scored 3 subnets with ground truth yet.")
        return "\n\n".join(parts) + "\n"
    parts += [
        "## Correlation with ground truth",
        _correlations(tables["correlations"]),
        f"{metric[:1].upper() + metric[1:]} with shared weights against {metric} of training from "
        "scratch; 1 is the same order. [95 % BCa bootstrap intervals over subnets]; they do not "
        "cover what another training of the supernet would give.",
    ]
    if len(tables["differences"]):
        parts += [
            "## Differences",
            _differences(tables["differences"]),
            "First minus second, all else equal, paired over the same subnets; **bold**: the "
            "interval excludes 0. None is corrected for their number.",
        ]
    parts += [
        "## What choosing by score gives",
        _choices(tables["choices"]),
        f"Regret: how much worse the best true {metric} among the k best by score is than the best "
        "of all subnets. In brackets what k random subnets give.",
    ]
    parts += [f"![{name}]({name})" for name in pictures]
    return "\n\n".join(parts) + "\n"


def _asked(run: RunFolder) -> Mapping[str, Any]:
    value = read_json(run.study)
    return value if isinstance(value, dict) else {}


def _draw(
    run: RunFolder, scorers: Sequence[Scorer], tables: Mapping[str, pd.DataFrame]
) -> list[str]:
    """Draw the pictures and return their names."""
    names = []
    for how in HOW:
        shown = [scorer for scorer in scorers if scorer.how == how]
        if shown:
            names.append(file_name("scatter", how, "png"))
            title = f"{run.path.resolve().name}: {len(shown[0].subnets)} random subnets"
            save_figure(draw_scatter(shown, how, title), run.ranking / names[-1])
    if scorers:
        names.append("correlations.png")
        labels = [scorer.label for scorer in scorers]
        figure = draw_correlations(tables["correlations"], labels, tables["noise"])
        save_figure(figure, run.ranking / names[-1])
    return names


def _ground_truth(
    asked: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], quality: Quality
) -> str:
    """What there is to be ordered, and how sure that is."""
    lines = []
    seconds = tables["truths"]["seconds"].sum()
    for _, row in tables["noise"].iterrows():
        where = f" ({row['setting']})" if row["setting"] else ""
        lines.append(
            f"- {plural(int(row['subnets']), 'subnet')}{where} of "
            f"{asked.get('num_subnets', '?')} asked for, each trained from scratch "
            f"{plural(int(row['trainings']), 'time')}"
            + (f"; {int(row['left_out'])} left out" if row["left_out"] else "")
        )
        if not math.isfinite(row["pearson"]):
            lines.append(
                "  - how noisy this truth is, is not known: train subnets with two seeds or more"
            )
            continue
        lines.append(
            f"  - two trainings of the same subnets agree by ρ {_with(row, 'pearson')}, "
            f"τ {_with(row, 'kendall')}; standard deviation of the {quality.words} of subnets "
            f"{row['spread']:.2g}, of the trainings of one subnet {row['noise']:.2g}"
        )
        if not row["pearson_low"] > 0:
            lines.append(
                "  - CAUTION: it is not shown that they agree at all, so what follows is mostly "
                "noise: train longer, on more rows, or with more seeds"
            )
        lines.append(
            "  - a score as noisy as one training cannot be expected to do better than that with "
            "one training; one without any error would correlate with the mean of "
            f"{int(row['trainings'])} by about ρ {_number(row['pearson_attainable'])}, "
            f"τ {_number(row['kendall_attainable'])}"
        )
    lines.append(f"- training them took {duration(seconds)} of jobs")
    return "\n".join(lines)


def _correlations(table: pd.DataFrame) -> str:
    """Tables 2 and 3 as one: a row for each supernet, columns with and without fine-tuning."""
    flags = _flags(table)
    hows = [how for how in HOW if (table["how"] == how).any()]
    head = [*map(_plain, flags), "supernet trained in"]
    for how in hows:
        head += [f"ρ, {HOW_NAMES[how]}", f"τ, {HOW_NAMES[how]}"]
    head.append("subnets")
    rows = []
    for key, group in table.groupby(["setting", *flags], sort=False, dropna=False):
        first = group.iloc[0]
        seconds = first["supernet_seconds"]
        cells = [*map(str, key[1:]), duration(seconds) if math.isfinite(seconds) else "-"]
        if first["supernets"] > 1:
            cells[-1] += f" (x {first['supernets']})"
        for how in hows:
            here = group[group["how"] == how]
            for name in ("pearson", "kendall"):
                cells.append(_with(here.iloc[0], name) if len(here) else "-")
        rows.append([*cells, str(first["subnets"])])
    return markdown_table(head, rows)


def _differences(table: pd.DataFrame) -> str:
    rows = []
    for _, row in table.iterrows():
        first, second = (HOW_NAMES.get(v, v) for v in (row["first"], row["second"]))
        rows.append(
            [
                f"{_plain(row['differs'])}: {first} − {second}",
                ", ".join(HOW_NAMES.get(v, v) for v in str(row["common"]).split(", ")),
                _with(row, "pearson", bold=True),
                _with(row, "kendall", bold=True),
            ]
        )
    return markdown_table(["difference", "all else", "Δρ", "Δτ"], rows)


def _choices(table: pd.DataFrame) -> str:
    flags = _flags(table)
    sizes = sorted(table["k"].unique())
    head = [*map(_plain, flags), "score"]
    head += [f"of the best {k} found" for k in sizes if k > 1]
    head += [f"regret of the best {k}" if k > 1 else "regret of the best" for k in sizes]
    rows = []
    for key, group in table.groupby(["setting", *flags, "how"], sort=False, dropna=False):
        by_k = group.set_index("k")
        cells = [*map(str, key[1:-1]), HOW_NAMES[str(key[-1])]]
        for k in sizes:
            if k > 1:
                cells.append(_beside_chance(by_k, k, "overlap", ".0%"))
        cells += [_beside_chance(by_k, k, "regret", ".5f") for k in sizes]
        rows.append(cells)
    return markdown_table(head, rows)


def _beside_chance(by_k: pd.DataFrame, k: int, name: str, form: str) -> str:
    """A value of the best k, and what chance gives; nothing where there are no k to choose from."""
    if k not in by_k.index:
        return "-"
    row = by_k.loc[k]
    return f"{row[name]:{form}} ({row[f'{name}_by_chance']:{form}})"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned, so that it reads as plain text too."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def _flags(table: pd.DataFrame) -> list[str]:
    """The scorers' flags; the setting of the space where there are none."""
    flags = [str(name) for name in table.columns if "." in str(name)]
    if not flags and table["setting"].nunique() > 1:
        return ["setting"]
    return flags


def _plain(flag: str) -> str:
    return {"how": "score"}.get(flag, flag.removeprefix("supernet.").removeprefix("scoring."))


def _with(row: pd.Series, name: str, *, bold: bool = False) -> str:
    """A value with its interval."""
    value, low, high = (row[name + end] for end in ("", "_low", "_high"))
    text = _number(value)
    if math.isfinite(low):
        text += f" [{_number(low)}, {_number(high)}]"
    return f"**{text}**" if bold and (low > 0 or high < 0) else text


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"
