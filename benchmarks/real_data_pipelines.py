"""All four search spaces through the whole pipeline on real data.

    python benchmarks/real_data_pipelines.py --data FOLDER --runs_dir runs --out OUT

FOLDER holds ``kdd2012_click_prediction_small.csv.zst`` and ``criteo_1tb_day0_10k.tsv.zst``, which
are not shipped; Adult is. A data set whose file is missing is left out, with a line that says so.
For each run the summary goes to OUT/<experiment>.txt and its pictures beside it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Name of the configs -> the cost whose front is kept.
SPACES = {
    "emb_card": "embedding_rows",
    "emb_dim": "embedding_params",
    "mlp": "flops",
    "joint": "params",
}
#: Name of the configs -> file they need.
DATA = {
    "kdd2012": "kdd2012_click_prediction_small.csv.zst",
    "small": None,
    "criteo_day0": "criteo_1tb_day0_10k.tsv.zst",
}


def main() -> int:
    """Run everything; the exit code is the number of runs that failed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs_dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    settings = parser.parse_args()
    settings.out.mkdir(parents=True, exist_ok=True)
    runs_dir = settings.runs_dir.resolve()
    failed = 0
    for data, needed in DATA.items():
        if needed and not (settings.data / needed).exists():
            sys.stdout.write(f"{data}: {needed} is not in {settings.data}, left out\n")
            continue
        # The configs name data files and the schema relative to the working folder.
        work = runs_dir / "work"
        work.mkdir(parents=True, exist_ok=True)
        for name, source in (("configs", ROOT / "configs"), (needed, settings.data / str(needed))):
            if name and not (work / name).exists():
                os.symlink(source.resolve(), work / name)
        for space in SPACES:
            experiment = f"{'adult' if data == 'small' else data}_{space}"
            command = [
                *(sys.executable, str(ROOT / "run_dnas_pipeline.py")),
                *(f"configs/{data}_{space}_dnas_search", f"configs/{data}_sampled_search"),
                *("--experiment_id", experiment, "--runs_dir", str(runs_dir)),
            ]
            code = subprocess.run(command, cwd=work, stderr=subprocess.DEVNULL).returncode
            failed += code != 0
            sys.stdout.write(f"{experiment}: exit code {code}\n")
            sys.stdout.flush()
            run = runs_dir / experiment
            summary = (run / "summary.txt").read_text(encoding="utf-8")
            summary = summary.replace(str(runs_dir), "runs")
            (settings.out / f"{experiment}.txt").write_text(summary, encoding="utf-8")
            for picture in sorted((run / "figures").glob("0000-*.heatmap.png")):
                choice = picture.name.rsplit(".", 3)[1]
                shutil.copy(picture, settings.out / f"{experiment}.{choice}.png")
            front = run / "figures" / f"front.{SPACES[space]}.png"
            if front.exists():
                shutil.copy(front, settings.out / f"{experiment}.front.png")
    return failed


if __name__ == "__main__":
    sys.exit(main())
