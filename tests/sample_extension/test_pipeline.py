"""The README's command, as it stands there: search, train, report, in a new folder."""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample_extension"
STEMS = ("config_cnn_dnas_search", "config_cnn_sampled_search")


def commands() -> list[str]:
    """The command lines in the README's code blocks."""
    lines = (SAMPLE / "README.md").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("python run_dnas_pipeline")]


@pytest.mark.parametrize("stem", STEMS)
def test_configs_say_first_what_they_are(stem: str) -> None:
    assert (SAMPLE / stem).read_text(encoding="utf-8").startswith("# ")


def test_configs_have_valid_flags(capsys: pytest.CaptureFixture[str]) -> None:
    from dnas.cli import search
    from dnas.jobs import expand, load_config

    targets = set()
    for job in expand(load_config(SAMPLE / STEMS[0])):
        assert search.main([*job.argv[2:], "--print_config"]) == 0
        values = json.loads(capsys.readouterr().out)
        assert values["sample_extremes"]
        targets |= set(values["cost_target"])
    assert len(targets) == 2
    assert len(expand(load_config(SAMPLE / STEMS[1]))) == 1


@pytest.mark.slow
def test_the_readmes_command(tmp_path: Path) -> None:
    (command,) = commands()
    words = shlex.split(command)
    assert words[:2] == ["python", "run_dnas_pipeline.py"]
    assert words[2:4] == [f"sample_extension/{stem}" for stem in STEMS]
    done = subprocess.run(
        [sys.executable, *words[1:], "--runs_dir", str(tmp_path), "--no_live"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "cnn"
    for name in ("results.csv", "pareto.csv", "statistics.csv", "summary.txt"):
        assert (run / name).stat().st_size > 0
    assert len(list((run / "figures").glob("*.operator.heatmap.png"))) == 2
    assert (run / "figures" / "front.flops.png").exists()

    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    with (run / "results.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            kind = {"draw": "searched", "most_likely": "searched"}.get(row["origin"], row["origin"])
            rows[kind].append({key: float(row[key]) for key in ("flops", "test_accuracy")})
    (smallest,), (largest,) = rows["smallest"], rows["largest"]
    assert (smallest["flops"], largest["flops"]) == (35_456, 2_886_272)
    assert len(rows["random"]) == 5
    assert 3 <= len(rows["searched"]) <= 14
    for row in (*rows["searched"], *rows["random"]):
        assert smallest["flops"] < row["flops"] < largest["flops"]
    # Two targets: cheap ones and others, all of them far from the largest.
    costs = [row["flops"] for row in rows["searched"]]
    assert min(costs) < 3e5 < max(costs) < largest["flops"] / 2
    best = max(row["test_accuracy"] for row in rows["searched"])
    assert best > 0.96
    assert best > smallest["test_accuracy"] + 0.02
    assert best > largest["test_accuracy"] - 0.02
