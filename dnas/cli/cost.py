"""``dnas cost``: what an architecture file costs, without training or data."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dnas.cli.run import guarded
from dnas.core import ArchitectureRecord
from dnas.errors import ArchitectureError
from dnas.files import read_json
from dnas.spaces import find_space, known_spaces, space_config


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``dnas cost``; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="dnas cost",
        description="Costs of an architecture file for one row: one that a search wrote, or one in "
        "the form that the authors of NASRec publish (configs/nasrec).",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="architecture file (JSON)")
    parser.add_argument(
        "--dataset", help="for a published architecture: criteo, avazu or kdd2012; default: its own"
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_args(argv)
    return guarded(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    report = cost_report(Path(options.file), options.dataset)
    if options.json:
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
        return 0
    width = max(map(len, report))
    for name, value in report.items():
        shown = f"{value:,}" if isinstance(value, int | float) else value
        sys.stdout.write(f"{name:{width}}  {shown}\n")
    return 0


def cost_report(path: Path, data_set: str | None = None) -> dict[str, Any]:
    """Costs of the architecture file at ``path`` by name.

    Args:
        path: A file of this framework, or one that a search space knows to read.
        data_set: Columns to count for where the file does not say.

    Raises:
        DnasError: The file is missing, damaged, or of no known form.
    """
    value = read_json(path)
    if isinstance(value, Mapping) and "space" in value and "decisions" in value:
        return _own_report(ArchitectureRecord.from_json(value, str(path)), str(path))
    for name in known_spaces():
        report = find_space(name).cost_report(value, str(path), data_set)
        if report is not None:
            return report
    raise ArchitectureError(
        f"{path}: neither an architecture file of this framework nor of a form that one of the "
        f"search spaces {', '.join(known_spaces())} knows"
    )


def _own_report(record: ArchitectureRecord, source: str) -> dict[str, Any]:
    """The costs in the file, exact when it was written, and what its space adds.

    By default what reaches the output is all there is in an architecture of this framework, so that
    executed and live costs are the same.
    """
    costs = dict(record.costs)
    missing = [name for name in ("flops", "params", "embedding_params") if name not in costs]
    if missing:
        raise ArchitectureError(f"{source}: costs has no {', '.join(missing)}")
    macs = int(costs["flops"] // 2)
    space = find_space(record.space)
    config = space_config(space, record.space_config, source)
    spec = space.spec_from_json(record.data_spec)
    return {
        "space": record.space,
        "canonical_id": record.canonical_id,
        "macs_live": macs,
        "macs_executed": macs,
        "dense_parameters": int(costs["params"] - costs["embedding_params"]),
        **costs,
        **space.complexity(config, spec, record.architecture),
    }
