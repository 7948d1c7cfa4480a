"""The job table of ``--dry_run``: what would run, and where the first wave would go."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from dnas.jobs.config import TuningConfig
from dnas.jobs.job import KINDS, JobSpec
from dnas.jobs.slots import SlotPool


def job_table(
    specs: Mapping[str, Sequence[JobSpec]],
    configs: Mapping[str, TuningConfig],
    slots: SlotPool,
    experiment: str,
) -> str:
    """Render the jobs of a run that has not started.

    Args:
        specs: The jobs of each kind. Sampled ones may be templates, one for each setting.
        configs: The config of each kind, for its origin.
        slots: The devices.
        experiment: Path of the run folder, for the title.
    """
    lines = [f"{experiment}: nothing is started or written (dry run)"]
    first = True
    for kind in KINDS:
        if kind not in specs:
            continue
        config, found = configs[kind], specs[kind]
        shown = ", ".join(device.name for device in slots.devices(kind))
        per_device = slots.per_device(kind)
        each = ""
        if any(spec.canonical_id is None for spec in found) and config.wants_architecture:
            each = " for each distinct architecture that the supernets sample"
        lines += [
            "",
            f"{kind}: {len(found)} {'job' if len(found) == 1 else 'jobs'}{each} ({config.path})",
            f"  on {shown}, {per_device} at a time on each",
        ]
        places = [device.name for _ in range(per_device) for device in slots.devices(kind)]
        # Whatever follows another stage or more jobs than places waits for the next free device.
        waiting = bool(each) or not first
        first = False
        rows = []
        for index, spec in enumerate(found):
            place = places[index] if index < len(places) and not waiting else "next free"
            rows.append((spec.name(index), place, shlex.join(spec.argv)))
        name_width = max((len(row[0]) for row in rows), default=0)
        place_width = max((len(row[1]) for row in rows), default=0)
        lines += [f"  {n:<{name_width}}  {p:<{place_width}}  {argv}" for n, p, argv in rows]
    return "\n".join(lines) + "\n"
