"""Failed jobs in few lines: those that failed for one reason are told together."""

from __future__ import annotations

from collections.abc import Sequence

from dnas.reporting.records import JobRecord
from dnas.reporting.text import cut, plural


def failure_lines(records: Sequence[JobRecord], *, most_reasons: int, width: int) -> list[str]:
    """Two lines for each reason for which jobs of ``records`` failed: what, and a log to read.

    Args:
        records: Jobs; those that did not fail are passed over.
        most_reasons: Reasons shown, the most frequent first.
        width: Longest line.
    """
    failed = [record for record in records if record.failed]
    if not failed:
        return []
    groups: dict[tuple[str, str, str], list[JobRecord]] = {}
    for record in failed:
        groups.setdefault((record.kind, record.state, record.reason), []).append(record)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    lines = [f"{plural(len(failed), 'job')} without a result"]
    for (_, state, reason), jobs in ordered[:most_reasons]:
        first = jobs[0]
        who = first.name if len(jobs) == 1 else f"{first.name} and {len(jobs) - 1} more"
        what = reason or "no reason was recorded"
        lines.append(cut(f"  {who} {state.replace('_', ' ')}: {what}", width))
        lines.append(cut(f"    log {first.name}/{first.folder.log.name}", width))
    more = sum(len(jobs) for _, jobs in ordered[most_reasons:])
    return [*lines, f"  and {plural(more, 'job')} more, for other reasons"] if more else lines
