"""How do the time and the memory of a step grow with batch, rows, features, options and layers?

Each curve lets one quantity grow, by factors of 2 or 4. Printed and drawn: the exponent p of
``quantity ** p``, by least squares on logarithms over a curve's last three points, where constant
parts weigh least, beside the order that arithmetic says of what dominates a large step.

*Time* of whole steps, on one thread: all points of a curve, weights and theta steps alike, take
turns in one process; medians. *Memory* is the growth of the resident set in a fresh process for
each point: its peak over three steps (``VmHWM``, begun anew after the supernet is made) above what
there was before the supernet, in two parts. *Held* are the bytes of weights, theta and the
optimizer's state, which are counted; the *step's* is all the rest: activations, gradients, what the
allocator leaves unused. Needs Linux.

    python benchmarks/growth.py --json growth.json --figures docs/images

Curves that ``--only`` leaves out are taken from the file that ``--json`` names, if it is there, so
that a slow machine can be given its work in pieces.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from step_cases import Shape, SupernetSteps, interleaved, make_batches

from dnas.files import read_json, write_json
from dnas.reporting.drawing import COLORS, new_figure, save_figure
from dnas.strategies.phases import THETA, WEIGHTS
from dnas.training.allocator import keep_freed_memory
from supernets.config import DLRMSpaceConfig

KINDS = (WEIGHTS, THETA)
#: Points that exponents are taken over.
FITTED = 3
MIB = 2**20

#: MLPs so small that the embeddings are what one sees.
NARROW = DLRMSpaceConfig(arch_mlp_bot=(64, 64), arch_mlp_top=(64, 64))
TABLES = Shape(batch=512, rows=2000, config=NARROW)
#: Tables so small that the MLPs are what one sees.
MLPS = Shape(
    batch=256,
    features=8,
    rows=100,
    config=DLRMSpaceConfig(mlp_size_options=(64, 128, 256), mlp_bottom_layers=3, mlp_top_layers=3),
)


@dataclass(frozen=True)
class Curve:
    """What grows in which space, and how time and memory should."""

    space: str
    grows: str
    points: tuple[int, ...]
    grow: Callable[[Shape, int], Shape]
    time: float
    """Expected exponent of a step's time."""
    memory: float
    """Expected exponent of a step's memory, beyond what is held between steps."""
    base: Shape = TABLES

    @property
    def name(self) -> str:
        """Of the curve in files and for ``--only``."""
        return f"{self.space}: {self.grows}"

    def shape(self, point: int) -> Shape:
        """The step of a point."""
        return self.grow(self.base, point)


def configured(shape: Shape, **fields: Any) -> Shape:
    """``shape`` with other fields of its search space's config."""
    return replace(shape, config=replace(shape.config, **fields))


def grow_dot(shape: Shape, count: int) -> Shape:
    """Features that all interact with each other."""
    return replace(shape, features=count)


def grow_cat(shape: Shape, count: int) -> Shape:
    """Features that are put side by side."""
    return configured(replace(shape, features=count), arch_interaction_op="cat")


def grow_dims(shape: Shape, count: int) -> Shape:
    """Options below the same largest dimension."""
    dims = tuple(128 * (number + 1) // count for number in range(count))
    return configured(shape, dim_options=dims)


def grow_row_options(shape: Shape, count: int) -> Shape:
    """Tables of nearly the same size, each as dear as the other."""
    assert isinstance(shape.rows, int)
    options = tuple(str(shape.rows - number) for number in range(count))
    return configured(shape, cardinality_options=options)


def grow_widths(shape: Shape, count: int) -> Shape:
    """Widths of nearly the same size: their sum, on which the work depends, grows as ``count``."""
    return configured(shape, mlp_size_options=tuple(96 + 2 * number for number in range(count)))


def grow_layers(shape: Shape, count: int) -> Shape:
    """Layers of both MLPs between the first and the last, which have one node below or above."""
    return configured(shape, mlp_bottom_layers=count + 2, mlp_top_layers=count + 2)


def grow_batch(shape: Shape, count: int) -> Shape:
    """Rows of a batch."""
    return replace(shape, batch=count)


def grow_rows(shape: Shape, count: int) -> Shape:
    """Rows of each table; the batch touches as many as ever."""
    return replace(shape, rows=count)


def all_curves() -> list[Curve]:
    """Each with what arithmetic says."""
    curves = []
    for space in ("emb_dim", "emb_card"):
        curves += [
            Curve(space, "batch", (128, 512, 2048, 8192), grow_batch, 1, 1),
            Curve(space, "rows of each table", (500, 2000, 8000, 32000, 128000), grow_rows, 0, 0),
            Curve(space, "features, cat", (8, 16, 32, 64, 128, 256), grow_cat, 1, 1),
            Curve(space, "features, dot", (8, 16, 32, 64, 128, 256), grow_dot, 2, 2),
        ]
    options = (2, 4, 8, 16, 32)
    wide = Shape(batch=512, rows=2000)
    return [
        *curves,
        Curve("emb_dim", "options", options, grow_dims, 0, 0),
        Curve("emb_card", "options", options, grow_row_options, 1, 1),
        Curve("emb_card, MLPs of 1024", "options", options, grow_row_options, 0, 1, wide),
        Curve("mlp", "batch", (128, 512, 2048, 8192), grow_batch, 1, 1, MLPS),
        Curve("mlp", "widths", (2, 4, 8, 16), grow_widths, 2, 2, MLPS),
        Curve("mlp", "inner layers", (2, 4, 8, 16, 32), grow_layers, 1, 1, MLPS),
    ]


# ---------------------------------------------------------------------- measuring


def make_steps(curve: Curve, point: int, batches: int) -> SupernetSteps:
    """Of one point."""
    shape = curve.shape(point)
    return SupernetSteps(curve.space.split(",")[0], shape, make_batches(shape, batches))


def times_ms(curve: Curve, repeats: int) -> dict[str, list[float]]:
    """Kind of step -> medians of the points."""
    steps = {point: make_steps(curve, point, 8) for point in curve.points}
    cases = {
        f"{kind} {point}": lambda made=made, kind=kind: made.begin(kind)
        for kind in KINDS
        for point, made in steps.items()
    }
    taken = interleaved(cases, repeats)
    return {k: [statistics.median(taken[f"{k} {point}"]) for point in steps] for k in KINDS}


def memory_mib(curve: Curve, point: int, kind: str) -> tuple[float, float]:
    """What is held between steps, and what three steps need above it at their peak."""
    make_steps(TINY, TINY.points[0], 1).begin(kind)()  # libraries are loaded before the count
    before = resident_bytes("VmRSS")
    made = make_steps(curve, point, 1)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM begins anew
    except OSError as error:
        raise SystemExit(f"memory cannot be measured on this system: {error}") from None
    for _ in range(3):
        made.begin(kind)()
    grown = resident_bytes("VmHWM") - before
    held = held_bytes(made)
    return held / MIB, (grown - held) / MIB


#: What :func:`memory_mib` warms up with.
TINY = Curve(
    "joint",
    "batch",
    (2,),
    grow_batch,
    0,
    0,
    Shape(
        features=2,
        rows=2,
        config=DLRMSpaceConfig(
            mlp_size_options=(2, 4), mlp_bottom_layers=3, mlp_top_layers=3, dim_options=(2, 4)
        ),
    ),
)


def resident_bytes(field: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process, from ``/proc/self/status``."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise SystemExit(f"/proc/self/status has no {field}")
    return 1024 * int(found.group(1))


def held_bytes(made: SupernetSteps) -> int:
    """Bytes of the tensors that stay between steps: weights, theta, optimizers' state."""
    tensors: list[torch.Tensor] = list(made.manager.super_net.parameters())
    for optimizers in made.manager.optimizers.values():
        for optimizer, _ in optimizers.members:
            for state in optimizer.state.values():
                tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def measured(curve: Curve, repeats: int) -> dict[str, Any]:
    """Everything of one curve, as JSON."""
    found: dict[str, Any] = {
        "points": curve.points,
        "held_mib": [],
        "step_mib": {kind: [] for kind in KINDS},
    }
    for point in curve.points:
        for kind in KINDS:
            held, step = in_child(memory_mib, curve, point, kind)
            found["step_mib"][kind].append(step)
        found["held_mib"].append(held)
    found["step_ms"] = in_child(times_ms, curve, repeats)
    return found


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's value from a process of its own, forked: it need not import torch again."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def exponent(points: Sequence[float], values: Sequence[float]) -> float:
    """p of ``values ~ points ** p`` over the last points."""
    x, y = np.log(points[-FITTED:]), np.log(values[-FITTED:])
    return round(float(np.polyfit(x, y, 1)[0]), 2) + 0.0  # + 0.0: never minus zero


# ---------------------------------------------------------------------- output


def time_table(curves: Sequence[Curve], results: Mapping[str, Any]) -> str:
    """Exponents, and figures of the ends, of weights / theta steps, in Markdown."""
    lines = ["| grows | space | from .. to | ms | expected | measured |", "|---" * 6 + "|"]
    for curve in curves:
        found = results[curve.name]
        lines.append(f"{_head(curve, found)} {_of_kinds(found, 'step_ms', curve.time)} |")
    return "\n".join(lines) + "\n"


def memory_table(curves: Sequence[Curve], results: Mapping[str, Any]) -> str:
    """As :func:`time_table`; and what is held between steps."""
    lines = [
        "| grows | space | from .. to | a step's MiB | expected | measured | held MiB | measured |",
        "|---" * 8 + "|",
    ]
    for curve in curves:
        found = results[curve.name]
        held = found["held_mib"]
        lines.append(
            f"{_head(curve, found)} {_of_kinds(found, 'step_mib', curve.memory)} "
            f"| {held[0]:,.0f} .. {held[-1]:,.0f} | {exponent(found['points'], held):.2f} |"
        )
    return "\n".join(lines) + "\n"


def _head(curve: Curve, found: Mapping[str, Any]) -> str:
    first, *_, last = found["points"]
    return f"| {curve.grows} | {curve.space} | {first:,} .. {last:,} |"


def _of_kinds(found: Mapping[str, Any], field: str, order: float) -> str:
    of_kinds = [found[field][kind] for kind in KINDS]
    first, last = (" / ".join(f"{values[end]:,.0f}" for values in of_kinds) for end in (0, -1))
    powers = " / ".join(f"{exponent(found['points'], values):.2f}" for values in of_kinds)
    return f"{first} .. {last} | {order:g} | {powers}"


def draw(curves: Sequence[Curve], results: Mapping[str, Any], field: str, path: Path) -> None:
    """A picture of small multiples, one for each quantity that grows.

    Args:
        curves: All that are drawn.
        results: By name of the curve.
        field: ``"step_ms"`` or ``"step_mib"``.
        path: Of the PNG.
    """
    spaces = list(dict.fromkeys(curve.space for curve in curves))
    grown = list(dict.fromkeys(curve.grows for curve in curves))
    figure = new_figure(12, 6.6)
    panels = figure.subplots(2, 4, sharey=True).flatten().tolist()
    for axes, grows in zip(panels, grown, strict=False):
        for curve in (curve for curve in curves if curve.grows == grows):
            order = curve.time if field == "step_ms" else curve.memory
            color = COLORS[spaces.index(curve.space)]
            _draw_curve(axes, results[curve.name], field, order, color)
        axes.set_title(grows, fontsize=12)
        ticks = max((results[c.name]["points"] for c in curves if c.grows == grows), key=len)
        axes.set_xticks(ticks, [_short(point) for point in ticks], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
    unit = "ms for a step" if field == "step_ms" else "MiB at the peak"
    for axes in panels[::4]:
        axes.set_ylabel(unit, fontsize=12)
    _draw_legend(panels[len(grown) :], spaces, field)
    save_figure(figure, path)


def _draw_curve(axes: Axes, found: Mapping[str, Any], field: str, order: float, color: str) -> None:
    points = found["points"]
    for kind, face in zip(KINDS, (color, "white"), strict=True):
        values = found[field][kind]
        axes.loglog(points, values, "o-", color=color, mfc=face, markersize=5, linewidth=1.2)
    last = found[field][WEIGHTS][-1]
    expected = [last * (point / points[-1]) ** order for point in points]
    axes.plot(points, expected, "--", color="0.55", linewidth=1.2, zorder=1)
    if field == "step_mib":
        axes.plot(points, found["held_mib"], ":", color=color, linewidth=1.6)


def _short(number: int) -> str:
    return f"{number // 1000}k" if number % 1000 == 0 else str(number)


def _draw_legend(panels: Sequence[Axes], spaces: Sequence[str], field: str) -> None:
    for axes in panels:
        axes.axis("off")
    axes = panels[0]
    for space, color in zip(spaces, COLORS, strict=False):
        axes.plot([], [], "s", color=color, label=space)
    axes.plot([], [], "o-", color="black", label="weights step")
    axes.plot([], [], "o-", color="black", mfc="white", label="theta step")
    axes.plot([], [], "--", color="0.55", label="expected slope")
    if field == "step_mib":
        axes.plot([], [], ":", color="black", label="held between steps")
    axes.legend(loc="center", fontsize=11, frameon=False)


def main() -> None:
    """The tables, and the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", help="curves whose name has this, e.g. mlp or rows")
    parser.add_argument("--repeats", type=int, default=9, help="steps of each kind that count")
    parser.add_argument("--quick", action="store_true", help="three small points, three steps")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--figures", type=Path, help="folder for the pictures")
    settings = parser.parse_args()
    curves = all_curves()
    repeats = settings.repeats
    if settings.quick:
        curves = [replace(curve, points=curve.points[:FITTED]) for curve in curves]
        repeats = 3
    chosen = [curve for curve in curves if settings.only in curve.name]
    if not chosen:
        names = ", ".join(curve.name for curve in curves)
        parser.error(f"--only: no curve has {settings.only!r} in its name; there are {names}")
    logging.basicConfig(level="ERROR")
    torch.set_num_threads(1)
    keep_freed_memory()  # as every job does
    known = settings.json is not None and settings.json.exists()
    results: dict[str, Any] = read_json(settings.json) if known else {}
    for curve in chosen:
        sys.stderr.write(f"{curve.name}\n")
        results[curve.name] = measured(curve, repeats)
        if settings.json is not None:
            write_json(settings.json, results)
    there = [curve for curve in curves if curve.name in results]
    sys.stdout.write(f"{time_table(there, results)}\n{memory_table(there, results)}")
    if settings.figures is not None:
        for field, name in (("step_ms", "growth_time.png"), ("step_mib", "growth_memory.png")):
            draw(there, results, field, settings.figures / name)


if __name__ == "__main__":
    main()
