from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_run import CRITEO_CARDINALITIES, FakeRun, write_theta
from matplotlib.image import imread

from dnas.errors import DataError
from dnas.reporting import (
    draw_front,
    draw_heatmap,
    front_numbers,
    heatmap_numbers,
    read_theta,
    results_frame,
)
from dnas.reporting.drawing import file_name, save_figure
from dnas.reporting.entropy import draw_entropy, entropy_numbers

FEATURES = [f"C{i + 1}" for i in range(26)]


def is_picture(path: Path) -> bool:
    """Whether a PNG is there that shows something: many colours, not only background."""
    pixels = imread(path)[::4, ::4]
    return pixels.shape[0] > 25 and len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50


def test_heatmap_numbers_are_those_of_the_last_moment(tmp_path: Path) -> None:
    probability = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    path = tmp_path / "theta.npz"
    write_theta(path, "emb_card", ["C1", "C2"], ["1.0", "0.1", "0.01"], probability=probability,
                notes=["1,460 ids", ""])  # fmt: skip
    history = read_theta(path)
    heatmap = heatmap_numbers(history, "emb_card")
    assert heatmap.values.to_numpy() == pytest.approx(probability, abs=1e-6)
    assert heatmap.values.index.tolist() == ["C1  (1,460 ids)", "C2"]
    assert heatmap.values.columns.tolist() == ["1.0", "0.1", "0.01"]
    assert (heatmap.step, heatmap.theta_epochs) == (400, 4.0)
    assert (heatmap.row_title, heatmap.column_title) == ("feature", "fraction of rows kept")
    assert draw_heatmap(heatmap, "t").axes[1].get_ylim() == (0.0, 1.0)
    first = heatmap_numbers(history, "emb_card", moment=0)
    assert first.step == 0
    assert first.values.iloc[0, 0] < 0.7
    with pytest.raises(KeyError, match="emb_card"):
        heatmap_numbers(history, "nothing")


def test_absent_options_are_missing_and_the_picture_says_so(tmp_path: Path) -> None:
    path = tmp_path / "theta.npz"
    absent = [(8, 1), (8, 2), (8, 3)]
    notes = [f"{c:,} ids" for c in CRITEO_CARDINALITIES]
    write_theta(path, "emb_card", FEATURES, ["1.0", "0.1", "0.01", "0.001"], notes=notes,
                absent=absent)  # fmt: skip
    heatmap = heatmap_numbers(read_theta(path), "emb_card")
    assert int(heatmap.values.isna().to_numpy().sum()) == 3
    figure = draw_heatmap(heatmap, "demo / supernet/0_0 / emb_card")
    title = figure.get_suptitle()
    assert "demo / supernet/0_0 / emb_card" in title
    assert "step 400" in title
    assert "hatched" in title
    axes, colour_bar = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()][2] == "C3  (10,131,227 ids)"
    assert len(axes.get_yticklabels()) == 26
    assert colour_bar.get_ylim() == (0.0, 1.0)
    assert len(axes.texts) == 26 * 4 - 3
    assert is_picture(save_figure(figure, tmp_path / "figures" / "h.png"))
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["h.png"]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 5), (26, 5), (40, 20), (300, 2)])
def test_heatmaps_of_any_size_fit_their_figure(tmp_path: Path, rows: int, columns: int) -> None:
    path = tmp_path / "theta.npz"
    names = [f"a_feature_with_quite_a_long_name_that_goes_on_and_on_{i}" for i in range(rows)]
    write_theta(path, "p", names, [f"option {i}" for i in range(columns)], moments=1)
    figure = draw_heatmap(heatmap_numbers(read_theta(path), "p"), "x" * 300)
    assert is_picture(save_figure(figure, tmp_path / "h.png"))
    width, height = figure.get_size_inches()
    assert width <= 24
    assert height <= 36
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [label.get_window_extent(renderer) for label in figure.axes[0].get_yticklabels()]
    boxes.sort(key=lambda box: box.y0)
    assert all(box.x0 >= 0 for box in boxes)
    assert all(low.y1 <= high.y0 + 2 for low, high in pairwise(boxes))
    across = [label.get_window_extent(renderer) for label in figure.axes[0].get_xticklabels()]
    if not any(label.get_rotation() for label in figure.axes[0].get_xticklabels()):
        assert all(a.x1 <= b.x0 + 2 for a, b in pairwise(across))
    title = figure._suptitle.get_window_extent(renderer)  # type: ignore[attr-defined]
    assert title.x0 >= 0
    assert title.x1 <= figure.bbox.width


@pytest.mark.parametrize("more_choices", [0, 3, 40])
def test_entropy_over_time(tmp_path: Path, more_choices: int) -> None:
    path = tmp_path / "theta.npz"
    write_theta(path, "emb", FEATURES[:4], ["8", "16"], more_choices=more_choices)
    numbers = entropy_numbers(read_theta(path))
    assert numbers.shape == (5, 1 + more_choices)
    assert numbers.index.name == "theta_epochs"
    assert numbers["emb"].is_monotonic_decreasing
    assert is_picture(save_figure(draw_entropy(numbers, "entropy"), tmp_path / "e.png"))


def test_entropy_falls_back_to_steps_when_theta_was_never_trained(tmp_path: Path) -> None:
    path = tmp_path / "theta.npz"
    write_theta(path, "emb", FEATURES[:4], ["8", "16"], moments=1)
    numbers = entropy_numbers(read_theta(path))
    assert numbers.index.name == "step"
    assert is_picture(save_figure(draw_entropy(numbers, "entropy"), tmp_path / "e.png"))


def test_a_theta_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "theta.npz"
    with pytest.raises(DataError, match=r"theta\.npz: there is no such file"):
        read_theta(path)
    write_theta(path, "emb", FEATURES[:4], ["8", "16"])
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"theta\.npz: not a usable theta file"):
            read_theta(path)
    np.savez(path, meta=np.array({"a": 1}, dtype=object), step=np.arange(2))
    with pytest.raises(DataError, match=r"theta\.npz"):
        read_theta(path)
    write_theta(path, "emb", FEATURES[:4], ["8", "16"])
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "probability/emb": arrays["probability/emb"][:, :, :1]})
    with pytest.raises(DataError, match="4 rows and 2 columns"):
        read_theta(path)
    np.savez(path, **{**arrays, "entropy/emb": arrays["entropy/emb"][:2]})
    with pytest.raises(DataError, match="entropy/emb has 2 moments"):
        read_theta(path)


def test_front_numbers_and_picture(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path / "demo")
    for job, (loss, rows, origin) in enumerate(
        [(0.45, 1e6, "draw"), (0.44, 2e7, "most_likely"), (0.46, 2e6, "random"),
         (0.47, 5e5, None), (0.90, 3e6, "draw")]
    ):  # fmt: skip
        fake.sampled(str(job), loss, rows=rows, origin=origin)  # type: ignore[arg-type]
    fake.sampled("bad", 20.55, ne=36.0)
    numbers = front_numbers(results_frame(fake.run), "embedding_rows")
    assert numbers.front["job"].tolist() == ["3", "0", "1"]
    assert (len(numbers.rows), numbers.diverged) == (5, 1)
    figure = draw_front(numbers, "demo")
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert "1 diverged" in axes.get_title()
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert legend == {
        "random (1)", "drawn from θ (2)", "most likely under θ (1)", "other (1)",
        "above the axis (1)", "Pareto front (job ids)",
    }  # fmt: skip
    line = axes.lines[0]
    assert line.get_xdata().tolist() == [5e5, 1e6, 2e7]
    assert axes.get_ylim()[1] < 0.7
    assert is_picture(save_figure(figure, tmp_path / "front.png"))


def test_costs_of_one_magnitude_have_a_linear_axis(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "job": ["0", "1"],
            "origin": ["draw", "random"],
            "validation_logloss": [0.4, 0.5],
            "validation_ne": [0.8, 0.9],
            "flops": [1.0, 10.0],
        }
    )
    assert draw_front(front_numbers(frame, "flops"), "t").axes[0].get_xscale() == "linear"
    frame["flops"] = [0.0, 100.0]
    assert draw_front(front_numbers(frame, "flops"), "t").axes[0].get_xscale() == "linear"
    frame["flops"] = [1.0, 11.0]
    assert draw_front(front_numbers(frame, "flops"), "t").axes[0].get_xscale() == "log"
    empty = front_numbers(frame.assign(validation_logloss=float("nan")), "flops")
    save_figure(draw_front(empty, "nothing to see"), tmp_path / "empty.png")


def test_file_names_are_safe() -> None:
    assert file_name("0_1", "mlp/top size", "heatmap", "png") == "0_1.mlp_top_size.heatmap.png"
    assert file_name("..", "x") == "_.x"


def test_drawing_leaves_the_backend_of_the_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "theta.npz"
    write_theta(path, "p", ["a", "b"], ["x", "y"])
    script = f"""
import matplotlib
matplotlib.use("svg")
from dnas.reporting import draw_heatmap, heatmap_numbers, read_theta
from dnas.reporting.drawing import save_figure
before = dict(matplotlib.rcParams)
figure = draw_heatmap(heatmap_numbers(read_theta({str(path)!r}), "p"), "t")
save_figure(figure, {str(tmp_path / "h.png")!r})
import matplotlib.pyplot as plt
assert matplotlib.get_backend() == "svg"
assert plt.get_fignums() == []
assert dict(matplotlib.rcParams) == before
"""
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", script], check=True, cwd=root)
    assert is_picture(tmp_path / "h.png")
