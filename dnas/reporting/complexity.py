"""Quality against size of each architecture, as in Table 5 of NASRec (arXiv:2207.07187, 5.3).

There "FLOPs" are what fvcore counts, one for a multiplication with its addition; here ``flops``
counts both, so half of it stands in the table, as millions of multiply-accumulates.
"""

from __future__ import annotations

import pandas as pd

from dnas.reporting.comparison import architecture_keys, best_trainings
from dnas.reporting.frames import COST_PREFIX, KNOWN_COSTS, of_stage
from dnas.reporting.judging import by_loss, metrics_of, values_of
from dnas.reporting.statistics import GIVEN, RANDOM, SEARCHED, diverged_rows, population
from dnas.runs import FINAL, SAMPLED

#: Roles in the order of the table.
ROLES = (FINAL, SEARCHED, RANDOM, GIVEN)
FLOPS_PER_MMAC = 2e6

_IDENTITY = (
    "role", "stage", "job", "architecture_id", "canonical_id", "origin", "search_space",
    "trainings",
)  # fmt: skip
_SIZE = ("mmacs", "params", "embedding_params")
_METRICS = 2


def complexity_frame(results: pd.DataFrame, last_stage: str = FINAL) -> pd.DataFrame:
    """One row for each sampled architecture and each final model, those that diverged left out.

    A sampled architecture stands by its best training, as everywhere in the report. A final model,
    one of the last stage, stands by the mean over its jobs, its repetitions; ``job`` names the
    first of them.

    Args:
        results: As from ``results_frame``, all stages.
        last_stage: The stage whose models are the final ones.

    Returns:
        Columns ``role`` (one of :data:`ROLES`), ``stage``, ``job``, ``architecture_id``,
        ``canonical_id``, ``origin``, ``search_space``, ``trainings``, validation and test values
        of the first two of :func:`~dnas.reporting.judging.metrics_of` (log loss and AUC of click
        models), ``mmacs`` (``flops / 2 / 1e6``), ``params``, ``embedding_params``; by role, then
        the best in validation first.
    """
    names = metrics_of(results)[:_METRICS]
    measured = [f"{split}_{name}" for split in ("validation", "test") for name in names]
    kept = results[~diverged_rows(results)]
    sampled = of_stage(kept, SAMPLED)
    rows = best_trainings(sampled).copy()
    counts = architecture_keys(sampled).value_counts()
    rows["trainings"] = architecture_keys(rows).map(counts)
    rows["role"] = population(rows)
    table = pd.concat([_final_rows(of_stage(kept, last_stage), measured), rows])
    for name in ("flops", "params", "embedding_params"):
        column = name if name in KNOWN_COSTS else COST_PREFIX + name
        table[name] = values_of(table, column)
    table["mmacs"] = table["flops"] / FLOPS_PER_MMAC
    table["_order"] = table["role"].map({role: number for number, role in enumerate(ROLES)})
    table = by_loss(table, "_order")
    return table.reindex(columns=[*_IDENTITY, *measured, *_SIZE]).reset_index(drop=True)


def _final_rows(final: pd.DataFrame, measured: list[str]) -> pd.DataFrame:
    """A row for each final model: the first of its jobs, with the mean of all in its metrics."""
    rows = []
    for _, jobs in final.groupby(architecture_keys(final), sort=False):
        row = jobs.sort_values("job", kind="stable").iloc[0].copy()
        for name in measured:
            row[name] = values_of(jobs, name).mean()
        row["trainings"], row["role"] = len(jobs), FINAL
        rows.append(row)
    columns = dict.fromkeys([*final.columns, *measured, "trainings", "role"])
    return pd.DataFrame(rows, columns=list(columns))
