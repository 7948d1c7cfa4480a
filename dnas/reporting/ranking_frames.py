"""What a study of rank correlation measured, as tables: ground truth, and scores beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from dnas.errors import JobError
from dnas.files import read_json
from dnas.quality import LOGLOSS, Quality
from dnas.reporting.frames import mapping, number, results_of
from dnas.reporting.judging import SELECTION, losses_of, quality_of
from dnas.reporting.records import SUCCEEDED, JobRecord, read_job, read_run
from dnas.reporting.statistics import diverged_rows
from dnas.runs import DRAWN, SCORED, SUPERNET, RunFolder

#: What tells a subnet from another: the draw it is of (which stands for the setting of the search
#: space) and the network that it is.
SUBNET = ["draw", "canonical_id"]
#: Settings of these prefixes are columns: of the supernet's job, and of the scoring's own.
SUPERNET_PREFIX, SCORING_PREFIX = f"{SUPERNET}.", "scoring."
#: The one setting of which several values are repetitions and not alternatives.
SEED = "seed"
#: How a score was got, in the order in which it is shown.
AS_IS, FINETUNED = "as_is", "finetuned"
HOW = (AS_IS, FINETUNED)


def truths_frame(run: RunFolder) -> pd.DataFrame:
    """Ground truth: one row for each subnet of each draw and each seed it was trained with.

    Columns: ``draw``, ``setting`` (of the search space, ``""`` if there is one), ``file``,
    ``architecture_id``, ``canonical_id``, ``seed``, ``truth`` (the validation metric that selects,
    at the best epoch; the best of all trainings with this seed, should braces list other settings;
    NaN if none has succeeded or all diverged), ``seconds`` (of all of them together), costs, and
    ``selection`` if that metric is not log loss (see ``dnas.reporting.judging``).

    Raises:
        JobError: ``run`` is not that of a study, or its trainings are judged by different metrics.
    """
    if not run.study.exists():
        raise JobError(
            f"{run.path}: not a study of rank correlation ({run.study.name} is not in it); dnas "
            "rank starts one"
        )
    trained, quality = _trainings(run)
    costs = [name for name in trained.columns if name not in (*SUBNET, "seed", "loss", "seconds")]
    seeds = sorted(trained["seed"].unique(), key=_numeric) or [""]
    rows: list[dict[str, Any]] = []
    groups = {key: group for key, group in trained.groupby([*SUBNET, "seed"])}
    for subnet in _subnets(run):
        for seed in seeds:
            group = groups.get((subnet["draw"], subnet["canonical_id"], seed))
            row = {**subnet, "seed": seed, "truth": math.nan, "seconds": 0.0}
            if group is not None:
                truth = quality.signed(group["loss"].min())
                row |= {"truth": truth, "seconds": group["seconds"].sum()}
                row |= {name: group[name].iloc[0] for name in costs}
            rows.append(row)
    columns = ["draw", "setting", "file", "architecture_id", "canonical_id", "seed", "truth"]
    return _told(pd.DataFrame(rows, columns=[*columns, "seconds", *costs]), quality)


def scores_frame(run: RunFolder, truths: pd.DataFrame) -> pd.DataFrame:
    """One row for each score: subnet x supernet x scoring x how.

    Columns: those that name the subnet as in :func:`truths_frame`, ``supernet`` and ``scored`` (ids
    of the jobs), ``supernet.<flag>`` and ``scoring.<flag>`` (what braces chose for them),
    ``supernet_seconds``, ``how`` (:data:`HOW`), ``score`` (the same validation metric with shared
    weights; NaN: not finite), ``truth`` (mean over seeds; NaN unless there is one for every seed),
    and ``selection`` as there.

    Args:
        run: The run folder of a study.
        truths: As from :func:`truths_frame`.
    """
    quality = quality_of(truths)
    truth = truths.groupby(SUBNET, sort=False)["truth"].agg(
        lambda values: values.mean(skipna=False)
    )
    names = truths.drop_duplicates(SUBNET).set_index(SUBNET)[["setting", "file", "architecture_id"]]
    supernets = {folder.path.name: read_job(SUPERNET, folder) for folder in run.jobs(SUPERNET)}
    rows: list[dict[str, Any]] = []
    # In the order of the supernets' config; scoring jobs are numbered as they came up.
    records = [read_job(SCORED, folder) for folder in run.jobs(SCORED)]
    for record in sorted(records, key=_supernet_of):
        if record.state != SUCCEEDED or record.result is None:
            continue
        inputs = mapping(record.job.get("inputs"))
        supernet = supernets.get(_supernet_of(record))
        draw = Path(str(inputs.get("ARCHITECTURES_PARAM"))).parent.name
        if supernet is None:
            continue
        shared = {
            "draw": draw,
            "supernet": supernet.id,
            "scored": record.id,
            **_settings(supernet, SUPERNET_PREFIX),
            **{
                name: value
                for name, value in _settings(record, SCORING_PREFIX).items()
                if not name.startswith(SCORING_PREFIX + SUPERNET_PREFIX)
            },
            "supernet_seconds": number(mapping(supernet.result).get("seconds")),
        }
        for entry in record.result.get("scores") or []:
            key = (draw, entry.get("canonical_id"))
            if key not in names.index:
                continue
            for how in HOW:
                if how in entry:
                    score = number(mapping(entry[how]).get(quality.metric))
                    rows.append(
                        {**shared, "canonical_id": key[1], **names.loc[key].to_dict()}
                        | {"how": how, "score": score, "truth": truth.loc[key]}
                    )
    settings = dict.fromkeys(
        name for row in rows for name in row if name.startswith((SUPERNET_PREFIX, SCORING_PREFIX))
    )
    columns = ["draw", "setting", "file", "architecture_id", "canonical_id", "supernet", "scored"]
    columns += [*settings, "supernet_seconds", "how", "score", "truth"]
    return _told(pd.DataFrame(rows, columns=columns), quality)


def _told(table: pd.DataFrame, quality: Quality) -> pd.DataFrame:
    """The table, saying by what it is judged unless that is log loss."""
    return table if quality == LOGLOSS else table.assign(**{SELECTION: str(quality)})


def _trainings(run: RunFolder) -> tuple[pd.DataFrame, Quality]:
    """The trainings from scratch of a study's subnets, and what they are judged by.

    Columns: subnet, seed, loss (lower is better), seconds, costs.
    """
    records = read_run(run)
    results = results_of(records)
    results["loss"] = losses_of(results).mask(diverged_rows(results))
    draws = {
        record.id: Path(str(record.job.get("architecture"))).parts[-3:-2]
        for record in records.sampled
    }
    results["draw"] = [(draws.get(job) or ("",))[0] for job in results["job"]]
    seed = results["setting.seed"] if "setting.seed" in results else pd.Series("", results.index)
    results["seed"] = seed.astype(str)
    costs = [name for name in ("flops", "params", "embedding_rows") if name in results]
    return results[[*SUBNET, "seed", "loss", "seconds", *costs]], quality_of(results)


def _subnets(run: RunFolder) -> list[dict[str, str]]:
    """The subnets that were drawn, each once."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for record in (read_job(DRAWN, folder) for folder in run.jobs(DRAWN)):
        settings = {k.removeprefix("space."): v for k, v in _settings(record, "").items()}
        setting = ", ".join(f"{name}={value}" for name, value in settings.items())
        for file in record.folder.architecture_files():
            architecture = _architecture(file)
            key = (record.id, architecture["canonical_id"])
            found.setdefault(
                key,
                {"draw": record.id, "setting": setting, "file": file.name, **architecture},
            )
    return list(found.values())


def _architecture(file: Path) -> dict[str, str]:
    value = mapping(read_json(file))
    return {
        "architecture_id": str(value.get("id")),
        "canonical_id": str(value.get("canonical_id") or value.get("id")),
    }


def _supernet_of(record: JobRecord) -> str:
    """Id of the supernet's job that a scoring is of."""
    return Path(str(mapping(record.job.get("inputs")).get("SUPERNET_PARAM"))).name


def _settings(record: JobRecord, prefix: str) -> dict[str, str]:
    """What braces chose; the alternatives ``--flag`` and ``--no_flag`` read ``true``, ``false``."""
    chosen = {str(name): str(v) for name, v in mapping(record.job.get("settings")).items()}
    switches = {f"--{name}": "true" for name in chosen} | {f"--no_{n}": "false" for n in chosen}
    return {prefix + name: switches.get(value, value) for name, value in chosen.items()}


def _numeric(text: str) -> tuple[float, str]:
    """Sorts numbers as numbers."""
    try:
        return float(text), text
    except ValueError:
        return math.inf, text
