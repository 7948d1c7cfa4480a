"""Cost targets of searches beside what their last sampling gave.

A target is about the mean over draws from theta, not about each architecture; where options are few
and coarse, no single architecture may be near it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from dnas.errors import DnasError
from dnas.files import read_json
from dnas.reporting.frames import mapping, number
from dnas.reporting.records import SUCCEEDED, JobRecord, RunRecords
from dnas.reporting.text import compact, plural, shorten

_HEAD = "cost targets of searches (of the mean over draws, not of each architecture)"
_MOST_SHOWN = 6
_NAME_WIDTH = 12


def target_lines(records: RunRecords) -> list[str]:
    """A head and a line for each target of each search that ended; none without targets."""
    lines = [
        _line(record, name, target, architectures)
        for record in records.supernet
        if record.state == SUCCEEDED and (targets := _targets(record))
        for architectures in [_last_sampled(record)]
        for name, target in targets.items()
    ]
    if not lines:
        return []
    more = len(lines) - _MOST_SHOWN
    return [
        _HEAD,
        *lines[:_MOST_SHOWN],
        *([f"  and {plural(more, 'target')} more"] if more > 0 else []),
    ]


def _targets(record: JobRecord) -> dict[str, float]:
    """Cost name -> amount, of ``cost_target`` as resolved: words ``name=amount``."""
    words = mapping(mapping(record.result).get("settings")).get("cost_target")
    found = {}
    for word in words if isinstance(words, list) else []:
        name, equals, amount = str(word).partition("=")
        try:
            found[name] = float(amount) if equals else math.nan
        except ValueError:
            continue
    return {name: amount for name, amount in found.items() if math.isfinite(amount)}


def _line(
    record: JobRecord, name: str, target: float, sampled: list[tuple[str, Mapping[str, Any]]]
) -> str:
    at_most = mapping(mapping(record.result).get("settings")).get("cost_at_most")
    values = [(kind, number(costs.get(name))) for kind, costs in sampled]
    drawn = [value for kind, value in values if kind == "draw" and math.isfinite(value)]
    likely = [value for kind, value in values if kind == "most_likely" and math.isfinite(value)]
    got = [f"{len(drawn)} drawn {compact(fmean(drawn))} in the mean"] if drawn else []
    got += [f"most likely {compact(likely[0])}"] if likely else []
    return (
        f"  supernet/{shorten(record.id, _NAME_WIDTH)}: target "
        f"{name}{'<=' if at_most is True else '='}{compact(target)}: "
        f"{', '.join(got) or 'no costs in its architecture files'}"
    )


def _last_sampled(record: JobRecord) -> list[tuple[str, Mapping[str, Any]]]:
    """Kind and costs of the architectures that were sampled from the last theta."""
    found = list(_sampled(record))
    last = max((step for step, _, _ in found), default=math.nan)
    return [(kind, costs) for step, kind, costs in found if step == last]


def _sampled(record: JobRecord) -> Iterator[tuple[float, str, Mapping[str, Any]]]:
    """Step, kind and costs of the architectures sampled from theta; unreadable files left out."""
    names = mapping(record.result).get("architectures")
    for name in names if isinstance(names, list) else []:
        try:
            content = mapping(read_json(record.folder.path / str(name)))
        except DnasError:
            continue
        provenance = mapping(content.get("provenance"))
        kind, step = provenance.get("kind"), number(provenance.get("step"))
        if kind in ("draw", "most_likely") and math.isfinite(step):
            yield step, str(kind), mapping(content.get("costs"))
