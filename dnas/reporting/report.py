"""Write the whole report of a run: tables, pictures, summary. Any time, any number of times."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from dnas.errors import DnasError
from dnas.files import replacing, write_text
from dnas.reporting.complexity import complexity_frame
from dnas.reporting.distribution import distribution_numbers, draw_distribution, worth_drawing
from dnas.reporting.drawing import file_name, save_figure
from dnas.reporting.entropy import draw_entropy, entropy_numbers
from dnas.reporting.frames import cost_name, failures_of, of_stage, results_of
from dnas.reporting.front import draw_front, front_numbers
from dnas.reporting.heatmap import draw_heatmap, heatmap_numbers
from dnas.reporting.judging import quality_of, rows_of_one_quality
from dnas.reporting.latency import draw_latency, latency_agreements, latency_frame
from dnas.reporting.maincost import main_cost, varying_costs
from dnas.reporting.records import JobRecord, RunRecords, read_run
from dnas.reporting.statistics import statistics_frame
from dnas.reporting.summary import Findings, summary_text
from dnas.reporting.theta import read_theta
from dnas.runs import SAMPLED, RunFolder

logger = logging.getLogger(__name__)


def make_report(run: RunFolder) -> str:
    """Write tables, pictures and summary into the run folder.

    ``results.csv`` (every training of the sampled and of the final stages), ``pareto.csv`` (the
    fronts of quality against each cost that varies, the main cost first; its column
    ``cost_metric`` says which), ``statistics.csv`` (Tables III-V), ``complexity.csv`` (NASRec's
    Table 5), ``cdf.csv`` (its Figure 5), ``failures.csv``, ``summary.txt``, and in ``figures/``
    ``<job>.<picture>.heatmap.png`` and ``<job>.entropy.png`` for each supernet job,
    ``front.<cost>.png`` for each cost that varies, ``cdf.validation_<metric>.png``. Where results
    tell a latency there are ``latency.csv`` and ``latency.png`` too. Fronts, statistics and
    distributions are those of the sampled stage, whose jobs are all alike. A run that is still
    going is reported as far as it is; every file is replaced as a whole.

    Quality is the metric that results say they are judged by (``dnas.quality``). Trainings judged
    by another one than most of the sampled stage are in ``results.csv`` only, and counted.

    Args:
        run: The run folder.

    Returns:
        The text of ``summary.txt``.

    Raises:
        JobError: ``run`` is not a run folder.
    """
    records = read_run(run)
    every = results_of(records)
    judged = rows_of_one_quality(every, of_stage(every, SAMPLED))
    quality = quality_of(judged)
    results = of_stage(judged, SAMPLED)
    cost = main_cost(results, records)
    complexity = complexity_frame(judged, records.last_stage)
    distribution = distribution_numbers(results)
    latency = latency_frame(records)
    agreements = latency_agreements(latency)
    files = [
        write_table(run.results, every),
        write_table(run.pareto, _fronts(results, cost)),
        write_table(run.statistics, statistics_frame(results)),
        write_table(run.complexity, complexity),
        write_table(run.distribution, distribution),
        write_table(run.failures, failures_of(records)),
    ]
    if len(latency):
        files.append(write_table(run.latency, latency))
    trouble: list[str] = []
    entropy: dict[str, float] = {}
    for record in records.supernet:
        if record.folder.theta.exists():
            try:
                pictures, entropy[record.name] = _draw_search(records, record)
                files += pictures
            except DnasError as error:
                logger.warning("%s", error)
                trouble.append(
                    f"{record.name}: {record.folder.theta.name} cannot be used ({error})"
                )
    for column in varying_costs(results):
        name = file_name("front", cost_name(column), "png")
        title = f"{records.experiment_id}: {quality.words} against {cost_name(column)}"
        save_figure(draw_front(front_numbers(results, column), title), run.figures / name)
        files.append(f"{run.figures.name}/{name}")
    if worth_drawing(distribution):
        name = file_name("cdf", quality.column, "png")
        title = f"{records.experiment_id}: distribution of {quality.words} over architectures"
        save_figure(draw_distribution(distribution, quality, title), run.figures / name)
        files.append(f"{run.figures.name}/{name}")
    if agreements:
        title = f"{records.experiment_id}: latency, predicted and measured"
        save_figure(draw_latency(latency, title), run.figures / "latency.png")
        files.append(f"{run.figures.name}/latency.png")
    for record in records.jobs:
        for problem in record.problems:
            logger.warning("%s/%s", record.name, problem)
    text = summary_text(
        Findings(
            records=records,
            results=results,
            finals={kind: of_stage(judged, kind) for kind in records.finals},
            other_quality=len(every) - len(judged),
            complexity=complexity,
            latency=agreements,
            cost=cost,
            entropy=entropy,
            trouble=trouble,
            files=[*files, run.summary.name],
        )
    )
    write_text(run.summary, text)
    return text


def _fronts(results: pd.DataFrame, cost: str | None) -> pd.DataFrame:
    """The rows on the front of each cost, the main cost first, each front by rising cost."""
    costs = [cost, *(name for name in varying_costs(results) if name != cost)] if cost else []
    fronts = []
    for column in costs:
        front = front_numbers(results, column).front.drop(columns="on_front")
        front.insert(0, "cost_metric", cost_name(column))
        fronts.append(front)
    return pd.concat(fronts) if fronts else pd.DataFrame(columns=["cost_metric", *results.columns])


def _draw_search(records: RunRecords, record: JobRecord) -> tuple[list[str], float]:
    """Draw the pictures of one supernet job; return their names and the final mean entropy."""
    history = read_theta(record.folder.theta)
    figures = records.folder.figures
    where = f"{records.experiment_id} / {record.name}"
    names = []
    for picture in history.pictures:
        if not picture.rows or not picture.columns:
            continue
        name = file_name(record.id, picture.name, "heatmap", "png")
        numbers = heatmap_numbers(history, picture.name)
        save_figure(draw_heatmap(numbers, f"{where} / {picture.name}"), figures / name)
        names.append(name)
    final = float("nan")
    if history.entropy:
        name = file_name(record.id, "entropy", "png")
        save_figure(
            draw_entropy(entropy_numbers(history), f"{where}: entropy of θ"), figures / name
        )
        names.append(name)
        # Choices of a single option have no entropy; some programs write that as NaN.
        final = float(pd.Series([e[-1] for e in history.entropy.values()], dtype=float).mean())
    return [f"{figures.name}/{name}" for name in names], final


def write_table(path: Path, table: pd.DataFrame) -> str:
    """Write a table as CSV by write-then-rename and return its name."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)
    return path.name
