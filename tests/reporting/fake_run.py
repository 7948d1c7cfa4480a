"""Writes run folders as jobs and manager would, with numbers chosen by the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dnas.files import write_json
from dnas.runs import FINAL, SAMPLED, SUPERNET, JobFolder, RunFolder, stage_before

CRITEO_CARDINALITIES = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992,
    5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip


class FakeRun:
    """A run folder under construction."""

    def __init__(self, path: Path, experiment_id: str = "criteo_demo") -> None:
        self.run = RunFolder(path)
        path.mkdir(parents=True)
        write_json(self.run.experiment, {"experiment_id": experiment_id, "version": "1.0"})

    def run_status(self, state: str = "finished", **more: Any) -> None:
        write_json(self.run.status, {"state": state, "stage": "sampled", "updated": 1e9, **more})

    def job(
        self,
        kind: str,
        job_id: str,
        *,
        state: str | None = "succeeded",
        settings: dict[str, str] | None = None,
        result: object = None,
        **status: Any,
    ) -> JobFolder:
        """Write job.json, the manager's status.json, and result.json if ``result`` is given."""
        folder = self.run.job(kind, job_id)
        folder.path.mkdir(parents=True)
        job = {"id": job_id, "kind": kind, "argv": ["python"], "settings": settings or {}}
        write_json(folder.job, {**job, "architecture": None, "canonical_id": None})
        if state is not None:
            write_json(folder.status, {"state": state, "attempts": 1, "slot": ["gpu 0"], **status})
        if isinstance(result, str):
            folder.result.write_text(result, encoding="utf-8")
        elif result is not None:
            # Not write_json: a foreign program may write NaN.
            folder.result.write_text(json.dumps(result), encoding="utf-8")
        return folder

    def supernet(self, job_id: str, *, logloss: float = 0.46, **more: Any) -> JobFolder:
        """A supernet job that succeeded."""
        settings = more.pop("settings", {})
        resolved = {"search_space": "emb_card", **more.pop("resolved", {})}
        result = {
            "status": "succeeded",
            "kind": SUPERNET,
            "error": None,
            "seconds": 100.0,
            "search_space": "emb_card",
            "architectures": ["architectures/0000.json"],
            "validation": {"logloss": logloss, "auc": 0.78, "ne": 0.8, "calibration": 1.01},
            "settings": resolved,
        }
        return self.job(SUPERNET, job_id, settings=settings, result=result, **more)

    def sampled(self, job_id: str, logloss: float, **more: Any) -> JobFolder:
        """A sampled job that succeeded; see :func:`sampled_result`."""
        settings = more.pop("settings", {"weights_lr": "0.5"})
        return self.job(SAMPLED, job_id, settings=settings, result=sampled_result(logloss, **more))

    def judged(
        self,
        job_id: str,
        selection: dict[str, Any] | None,
        validation: dict[str, float],
        *,
        kind: str = SAMPLED,
        test: dict[str, float] | None = None,
        **more: Any,
    ) -> JobFolder:
        """A job that is no click model; ``more`` as for :func:`sampled_result`."""
        result = sampled_result(0.0, **more) | {"validation": validation, "test": test}
        result["epochs"] = [{"epoch": 1.0, "train_loss": 0.5, "validation": validation}]
        if selection is not None:
            result["selection"] = selection
        return self.job(kind, job_id, settings={"lr": "0.5"}, result=result)

    def final(self, job_id: str, logloss: float, **more: Any) -> JobFolder:
        """A job of the final stage that succeeded."""
        settings = more.pop("settings", {"seed": job_id})
        kind = more.pop("kind", FINAL)
        return self.job(kind, job_id, settings=settings, result=sampled_result(logloss, **more))

    def choice(self, *chosen: tuple[str, str, float], **more: Any) -> None:
        """What the choice of (job, architecture, value) leaves, for the final stage or ``kind``."""
        kind = more.pop("kind", FINAL)
        content: dict[str, Any] = {
            "format": "dnas.choice/1",
            "metric": "logloss",
            "maximize": False,
            "number": len(chosen),
            "chosen": [
                {
                    "job": f"{stage_before(kind)}/{job}",
                    "value": value,
                    "architecture": "supernet/0/architectures/0000.json",
                    "canonical_id": f"canonical-{arch}",
                    "origin": "draw",
                    "jobs": 1,
                }
                for job, arch, value in chosen
            ],
            "runner_up": None,
            "candidates": 3,
            "controls": 0,
            "without_value": [],
        }
        write_json(self.run.choice(kind), content | more)


def sampled_result(
    logloss: float,
    *,
    arch: str = "a0",
    origin: str = "draw",
    supernet: str = "0",
    rows: float = 1e6,
    flops: float = 2e6,
    calibration: float = 1.01,
    space: str = "emb_card",
    test: bool = False,
    ne: float | None = 0.8,
    costs: dict[str, float] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The result of one training, in the form of dnas' own jobs."""
    metrics = {"logloss": logloss, "auc": 0.8, "ne": ne, "calibration": calibration}
    costs = costs or {"flops": flops, "params": 32 * rows, "embedding_rows": rows}
    architecture = {
        "format": "dnas.architecture/1",
        "space": space,
        "id": f"id-{arch}",
        "canonical_id": f"canonical-{arch}",
        "decisions": {"emb_card/C1": 1460},
        "costs": costs,
        "provenance": {
            "kind": origin,
            "job": supernet,
            "step": 1200,
            "theta_epochs": 4.0,
            "log_probability": -3.25,
        },
    }
    return {
        "status": "succeeded",
        "kind": SAMPLED,
        "error": None,
        "seconds": 60.0,
        "peak_memory_bytes": 1000,
        "experiment_id": "criteo_demo",
        "search_space": space,
        "architecture": architecture,
        "settings": {"weights_lr": 0.5, "seed": 1, "n_epochs": 6, "path": "/somewhere"},
        "epochs": [{"epoch": 1.0, "train_loss": 0.5, "validation": metrics}],
        "best_epoch": 3.0,
        "validation": metrics,
        "test": {**metrics, "logloss": logloss - 0.001} if test else None,
        "costs": costs,
        **more,
    }


def write_theta(
    path: Path,
    name: str,
    rows: list[str],
    columns: list[str],
    *,
    notes: list[str] | None = None,
    probability: np.ndarray | None = None,
    absent: list[tuple[int, int]] | None = None,
    moments: int = 5,
    row_title: str = "feature",
    column_title: str = "fraction of rows kept",
    more_choices: int = 0,
    sharpness: float = 4.0,
) -> None:
    """Write theta.npz for one choice and its picture, sharpening over time.

    ``probability`` (rows, columns) is what the last moment shows; random when not given.
    """
    generator = np.random.default_rng(0)
    theta = generator.normal(size=(len(rows), len(columns))) * sharpness
    if probability is not None:
        theta = np.log(probability)
    for row, column in absent or []:
        theta[row, column] = -np.inf
    series = np.stack([theta * (t + 1) / moments for t in range(moments)])  # (T, rows, columns)
    with np.errstate(invalid="ignore"):  # a row may have no option at all
        p = np.exp(series - series.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
    options = np.isfinite(theta).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(np.where(p > 0, p * np.log(p), 0.0), -1) / np.log(
            np.maximum(options, 2)
        )
    shown = np.where(np.isfinite(series), p, np.nan)
    choices = [name, *(f"{name}/{i}" for i in range(more_choices))]
    meta = {
        "choices": {c: {"decisions": rows, "columns": columns, "options": []} for c in choices},
        "pictures": {
            name: {
                "rows": rows,
                "row_notes": notes,
                "columns": columns,
                "row_title": row_title,
                "column_title": column_title,
            }
        },
    }
    arrays: dict[str, Any] = {
        "meta": np.array(json.dumps(meta)),
        "step": np.arange(moments, dtype=np.int64) * 100,
        "theta_epochs": np.arange(moments) * 1.0,
        f"probability/{name}": shown.astype(np.float32),
    }
    for i, choice in enumerate(choices):
        arrays[f"theta/{choice}"] = series.astype(np.float32)
        arrays[f"entropy/{choice}"] = (entropy.sum(-1) / max(len(rows), 1)) ** (1 + i / 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
