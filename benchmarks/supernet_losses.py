"""Task losses of supernets while they were trained, in one picture.

    python benchmarks/supernet_losses.py --jobs "as published=runs/a/supernet/JOB" \
        "anchored=runs/b/supernet/JOB" --alone runs/c/sampled/JOB --out losses.png

Each job is one of ``train_dnas.py --search_algorithm=...``: a point is the mean of the sampled
paths' losses over an interval of steps. ``--alone`` adds networks that were trained by themselves
(``train_sampled.py``), for scale.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dnas.errors import ConfigError
from dnas.files import read_json_lines
from dnas.reporting.drawing import COLORS, new_figure, save_figure
from dnas.runs import JobFolder


def losses(folder: Path, key: str) -> tuple[list[int], list[float]]:
    """Steps and losses of a job's intervals.

    Raises:
        ConfigError: It has none.
    """
    lines = [line for line in read_json_lines(JobFolder(folder).metrics) if key in line]
    if not lines:
        raise ConfigError(f"{folder}: no interval with {key!r} in its metrics")
    return [line["step"] for line in lines], [line[key] for line in lines]


def draw(jobs: Sequence[tuple[str, Path]], alone: Sequence[Path], out: Path) -> None:
    """The picture.

    Args:
        jobs: Label and folder of each supernet.
        alone: Folders of networks that were trained alone.
        out: A PNG file.
    """
    figure = new_figure(7.0, 3.8)
    axes = figure.subplots()
    for number, folder in enumerate(alone):
        steps, values = losses(folder, "loss")
        label = "networks trained alone" if number == 0 else None
        axes.plot(steps, values, color="0.6", linewidth=1, label=label)
    for (label, folder), color in zip(jobs, COLORS, strict=False):
        steps, values = losses(folder, "task_loss")
        axes.plot(steps, values, color=color, linewidth=1.8, label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("loss of the trained paths")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    save_figure(figure, out)


def main() -> None:
    """Read and draw."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--jobs", nargs="+", required=True, help="LABEL=FOLDER of supernet jobs")
    parser.add_argument("--alone", nargs="*", type=Path, default=[], help="folders of jobs")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if wrong := [job for job in options.jobs if "=" not in job]:
        parser.error(f"--jobs {wrong[0]!r}: expected LABEL=FOLDER")
    pairs = [job.split("=", 1) for job in options.jobs]
    draw([(label, Path(folder)) for label, folder in pairs], options.alone, options.out)


if __name__ == "__main__":
    main()
