"""AutoTower against hand-crafted two-tower models on MovieLens 100K, under three protocols.

    python benchmarks/tower_real_data.py --runs_dir runs --out OUT

Runs what ``tower_searches.py`` lists, or with ``--only`` a part of it, and makes tables of the
final trainings: the paper's Table 4 under each protocol with paired differences, Tables 5, 8 and
9, figures 3 and 4, and where the time went. Validation alone chooses: the epoch of a training, the
best three of a search, and of these the one that is tested. Of models there is no choice: every
row of Table 4 is one model with five seeds; where searches are compared with one another there
are three.

The working folder is the project's root, beside which ``shared/data/ml-100k`` has the publisher's
files, as the configs say. OUT gets ``towers.json`` (every figure), ``towers_*.md`` and, of figures
3 and 4 as far as they were measured, ``towers_figure_*.png``.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdd2012_front import interval
from tower_figures import draw_figure_3, draw_figure_4
from tower_runs import ROOT, Runs
from tower_searches import (
    BLOCKS,
    DIMENSIONS,
    FINAL_SEEDS,
    HALVES,
    HANDMADE,
    LIMITS,
    RESPLIT,
    SEARCHES,
    SIZES,
    VARIANTS,
)
from tower_users import mean_values, user_half_width

from dnas.data.retrieval import TEST_PROTOCOLS
from dnas.files import read_json, replacing, write_json
from dnas.runs import FINALS, SAMPLED, SUPERNET, JobFolder

logger = logging.getLogger(__name__)

#: R@50 and N@50 of the paper's Table 4 (MovieLens-100K), for comparison with its protocol.
PUBLISHED = {
    "googlednn_l": (36.49, 40.86),
    "senet_l": (34.65, 39.53),
    "bst_l": (35.71, 39.75),
    "mind_l": (35.53, 37.32),
    "l": (39.22, 43.39),
    "googlednn_m": (36.48, 40.36),
    "senet_m": (34.95, 38.74),
    "bst_m": (36.03, 40.20),
    "mind_m": (35.68, 37.50),
    "m": (40.28, 43.21),
    "googlednn_h": (34.40, 39.35),
    "senet_h": (33.09, 38.18),
    "bst_h": (35.33, 39.46),
    "mind_h": (36.58, 38.87),
    "h": (39.60, 43.72),
}
NAMES = {"googlednn": "GoogleDNN", "senet": "SENET", "bst": "BST", "mind": "MIND"}
#: Rows of Table 4 that the paper does not have, by size.
OURS = {"l": tuple(VARIANTS), "m": ("anchored", "halved"), "h": ()}
#: Pairs of which the difference is of interest, besides those to GoogleDNN in Table 4.
PAIRS = (
    ("m", "googlednn_l"),
    ("anchored", "googlednn_l"),
    ("h", "googlednn_l"),
    ("m", "bst_l"),
    ("anchored", "bst_l"),
    ("anchored", "bst_m"),
    ("anchored", "m"),
    ("h", "bst_l"),
    ("halved", "googlednn_l"),
    ("halved", "bst_l"),
    ("halved", "bst_norms"),
    ("halved", "anchored"),
    ("bst_norms", "bst_l"),
    ("later_halved", "later_bst_l"),
    ("later_halved", "later_googlednn_l"),
    ("later_bst_l", "later_googlednn_l"),
    ("mind_served", "mind_l"),
    ("mind_served", "googlednn_l"),
)
#: Table 9: found on, trained on.
TRANSFERS = tuple((one, other) for one in HALVES for other in HALVES if one != other)
#: Columns of the tables: metric and heading.
METRICS = {"recall50": "R@50", "ndcg50_hits": "N@50 of hits", "ndcg50": "N@50"}


def measure(
    runs: Runs, name: str, jobs: list[JobFolder], seeds: int = len(FINAL_SEEDS)
) -> dict[str, Any] | None:
    """The figures of one contender's final trainings; None while some are missing."""
    if len(jobs) < seeds:
        logger.info("%s: %d of %d final trainings, left out", name, len(jobs), seeds)
        return None
    results = sorted((read_json(job.result) for job in jobs), key=lambda r: r["settings"]["seed"])
    costs = results[0]["costs"]
    return {
        "name": name,
        "seeds": [result["settings"]["seed"] for result in results],
        "architecture": results[0]["architecture"]["decisions"],
        "validation": [result["validation"] for result in results],
        "test": [result["test"] for result in results],
        "best_epochs": [result["best_epoch"] for result in results],
        "seconds": [result["seconds"] for result in results],
        "costs": costs,
        "users": mean_values(jobs, runs.work),
    }


def difference(mine: Mapping[str, Any], theirs: Mapping[str, Any], metric: str) -> dict[str, float]:
    """Mean difference in per cent, with half-widths of 95 % over seeds and over users."""
    if mine["seeds"] != theirs["seeds"]:
        raise ValueError(f"{mine['name']}, {theirs['name']}: other seeds, nothing to pair")
    pairs = zip(mine["test"], theirs["test"], strict=True)
    mean, half = interval([100 * (one[metric] - two[metric]) for one, two in pairs])
    users = 100 * user_half_width(mine["users"], theirs["users"], metric)
    return {"mean": mean, "seeds_half_width": half, "users_half_width": users}


def table_4(found: Mapping[str, dict[str, Any]], suffix: str) -> str:
    """All models of one protocol, with what AutoTower and the others differ from GoogleDNN by."""
    published = suffix == ".paper"
    heads = ["model", *METRICS.values()]
    heads += ["paper's R@50", "paper's N@50"] if published else []
    heads += ["R@50 - GoogleDNN", "over users", "N@50 - GoogleDNN", "over users"]
    heads += ["parameters, M", "MACs / 2, M", "as in the paper"]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for size in SIZES:
        reference = found.get(f"googlednn_{size}")
        for key in (*(f"{model}_{size}" for model in HANDMADE), size, *OURS[size]):
            if (one := found.get(key)) is None:
                continue
            cells = [one["name"], *(_mean(one, f"{metric}{suffix}") for metric in METRICS)]
            if published:
                cells += [f"{number:.2f}" for number in PUBLISHED.get(key, ())] or ["", ""]
            for metric in ("recall50", "ndcg50"):
                if reference is None or one is reference:
                    cells += ["", ""]
                    continue
                gap = difference(one, reference, f"{metric}{suffix}")
                cells += [_half(gap), f"± {gap['users_half_width']:.2f}"]
            costs = one["costs"]
            # What the paper counts differs from model to model: the same count of all stands first.
            numbers = (costs["paper_params"], costs["flops"] / 4, costs["paper_flops"])
            cells += [f"{number / 1e6:.3f}" for number in numbers]
            lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def table_of_pairs(found: Mapping[str, dict[str, Any]]) -> str:
    """Differences of ``PAIRS`` under every protocol."""
    heads = ["pair", "protocol", "R@50", "over users", "N@50", "over users"]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for one, other in PAIRS:
        if one not in found or other not in found:
            continue
        for protocol in TEST_PROTOCOLS:
            cells = [f"{found[one]['name']} - {found[other]['name']}", f"`{protocol.suffix}`"]
            for metric in ("recall50", "ndcg50"):
                gap = difference(found[one], found[other], f"{metric}{protocol.suffix}")
                cells += [_half(gap), f"± {gap['users_half_width']:.2f}"]
            lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def table_of(found: Mapping[str, dict[str, Any]], keys: Iterable[str]) -> str:
    """Searches side by side: costs of each tower, and R@50 and N@50 under every protocol."""
    costs = [f"{tower}_paper_{cost}" for tower in ("user", "item") for cost in ("params", "flops")]
    heads = ["search", "seeds", "UP", "UF", "IP", "IF"]
    for protocol in TEST_PROTOCOLS:
        heads += [f"R@50{protocol.suffix}", f"N@50{protocol.suffix}"]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for key in keys:
        if (one := found.get(key)) is None:
            continue
        cells = [one["name"], str(len(one["seeds"]))]
        cells += [*(f"{one['costs'][cost] / 1e6:.3f}" for cost in costs)]
        for protocol in TEST_PROTOCOLS:
            cells += [_mean(one, f"{m}{protocol.suffix}") for m in ("recall50", "ndcg50")]
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def times(runs: Runs) -> str:
    """Seconds of each part of each search."""
    lines = [
        _row(["search", "supernet and search", "candidates", "trainings", "final trainings"]),
        _row(["---"] * 5),
    ]
    for key, search in SEARCHES.items():
        folder = runs.folder(key)
        if not folder.path.exists():
            continue
        cells = [search.name]
        results = [read_json(job.result) for job in folder.jobs(SUPERNET) if job.result.exists()]
        cells.append(" + ".join(f"{result['seconds']:.0f} s" for result in results))
        cells.append(" + ".join(str(result.get("evaluations", "")) for result in results))
        for kinds in ((SAMPLED,), FINALS):
            seconds = [
                read_json(job.result)["seconds"]
                for kind in kinds
                for job in folder.jobs(kind)
                if job.result.exists()
            ]
            cells.append(f"{len(seconds)} x {statistics.mean(seconds):.0f} s" if seconds else "")
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mean(one: Mapping[str, Any], metric: str) -> str:
    values = [100 * test[metric] for test in one["test"]]
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def _half(gap: Mapping[str, float]) -> str:
    return f"{gap['mean']:+.2f} ± {gap['seeds_half_width']:.2f}"


def _name(short: str) -> str:
    """The name of a model by hand or of a search's network in tables."""
    if short in SEARCHES:
        return SEARCHES[short].name
    model, size = short.split("_")
    return f"{NAMES[model]}-{size.upper()}"


def collect(runs: Runs) -> dict[str, dict[str, Any]]:
    """Every contender whose final trainings are all there."""
    found = {}
    for size in SIZES:
        for model in HANDMADE:
            key = f"{model}_{size}"
            found[key] = measure(runs, _name(key), runs.of_handmade(key))
    for key, (_, _, name) in VARIANTS.items():
        found[key] = measure(runs, name, runs.of_variant(key))
    for key, search in SEARCHES.items():
        found[key] = measure(runs, search.name, runs.finals(key), search.seeds)
    for short in RESPLIT:
        found[f"later_{short}"] = measure(
            runs, f"{_name(short)}, temporal split", runs.of_later(short)
        )
    for source, target in TRANSFERS:
        key, seeds = f"{source}_to_{target}", SEARCHES[f"half_{target}"].seeds
        name = f"found on the {source} half, trained on the {target}"
        found[key] = measure(runs, name, runs.of_transfer(source, target), seeds)
    return {key: one for key, one in found.items() if one is not None}


def draw(found: Mapping[str, dict[str, Any]], out: Path) -> None:
    """Figures 3 and 4, of what was measured."""
    blocks = {n: found[f"blocks_{n}"] for n in BLOCKS if f"blocks_{n}" in found}
    if blocks:
        draw_figure_3(blocks, LIMITS["l"][1], out / "towers_figure_3.png")
    dims = {n: found[f"dim_{n}"] for n in DIMENSIONS if f"dim_{n}" in found}
    if dims:
        draw_figure_4(dims, out / "towers_figure_4.png")


def main() -> int:
    """Run everything; the exit code is the number of commands that failed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--runs_dir", type=Path, required=True, help="folder of run folders")
    parser.add_argument("--out", type=Path, required=True, help="folder for tables")
    transfers = {f"{source}_to_{target}": (source, target) for source, target in TRANSFERS}
    handmade = [f"handmade_{size}" for size in SIZES]
    later = {f"later_{short}": short for short in RESPLIT}
    names = [*handmade, *VARIANTS, *SEARCHES, *transfers, *later]
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    parser.add_argument("--tables_only", action="store_true", help="start nothing")
    settings = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("dnas").setLevel("WARNING")
    runs = Runs(ROOT, settings.runs_dir.resolve())
    failed = 0
    if not settings.tables_only:
        for name in settings.only:
            if name in SEARCHES:
                code = runs.search(name)
            elif name in transfers:
                code = runs.transfer(*transfers[name])
            elif name in VARIANTS:
                code = runs.variant(name)
            elif name in later:
                code = runs.later(later[name])
            else:
                code = runs.handmade(name.removeprefix("handmade_"))
            failed += code != 0
    found = collect(runs)
    settings.out.mkdir(parents=True, exist_ok=True)
    tables = {f"table_4{p.suffix}": table_4(found, p.suffix) for p in TEST_PROTOCOLS}
    tables["pairs"] = table_of_pairs(found)
    tables["table_5"] = table_of(found, ("m", "random", "reinforce", "dnas", "transformer"))
    tables["table_8"] = table_of(found, ("l", "user_l_item_h", "user_h_item_l", "h"))
    tables["figure_3"] = table_of(found, (f"blocks_{n}" for n in BLOCKS))
    tables["figure_4"] = table_of(found, (f"dim_{n}" for n in DIMENSIONS))
    tables["table_9"] = table_of(found, (*(f"half_{half}" for half in HALVES), *transfers))
    tables["later"] = table_of(found, later)
    tables["times"] = times(runs)
    draw(found, settings.out)
    for name, text in tables.items():
        with replacing(settings.out / f"towers_{name}.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}\n\n{text}\n")
    plain = {key: _plain(one) for key, one in found.items()}
    write_json(settings.out / "towers.json", plain)
    return failed


def _plain(one: Mapping[str, Any]) -> dict[str, Any]:
    """Without the values of single users, of which the means are there."""
    return {key: value for key, value in one.items() if key != "users"}


if __name__ == "__main__":
    sys.exit(main())
