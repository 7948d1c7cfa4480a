"""The job table of ``--dry_run``: what would run, and where the first wave would go."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from dnas.jobs.config import TuningConfig
from dnas.jobs.job import KINDS, JobSpec
from dnas.jobs.slots import SlotPool, Slots
from dnas.runs import FINALS, stage_before


def job_table(
    specs: Mapping[str, Sequence[JobSpec]],
    configs: Mapping[str, TuningConfig],
    slots: SlotPool,
    experiment: str,
) -> str:
    """Render the jobs of a run that has not started.

    Args:
        specs: The jobs of each kind. Those of later stages may be templates, one for each setting.
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
        slots_of = slots.of(kind)
        each = ""
        if any(spec.canonical_id is None for spec in found) and config.wants_architecture:
            each = " for each distinct architecture that the supernets sample"
            if kind in FINALS:
                best = config.num_best_archs
                each = f" for each of the {best} best" if best > 1 else " for the best"
                each += f" of the {stage_before(kind)} architectures, when all of them are trained"
        lines += [
            "",
            f"{kind}: {len(found)} {'job' if len(found) == 1 else 'jobs'}{each} ({config.path})",
            f"  {_where(slots_of)}",
        ]
        places = [] if slots_of.chosen_by_engine else _first_wave(slots_of)
        # Whatever follows another stage or more jobs than places waits for the next free device.
        waiting = bool(each) or not first
        first = False
        later = "cluster" if slots_of.chosen_by_engine else "next free"
        rows = []
        for index, spec in enumerate(found):
            place = places[index] if index < len(places) and not waiting else later
            rows.append((spec.name(index), place, shlex.join(spec.argv)))
        name_width = max((len(row[0]) for row in rows), default=0)
        place_width = max((len(row[1]) for row in rows), default=0)
        lines += [f"  {n:<{name_width}}  {p:<{place_width}}  {argv}" for n, p, argv in rows]
    return "\n".join(lines) + "\n"


def _where(slots: Slots) -> str:
    """Where jobs go and how many at a time."""
    if slots.engine_gpus is not None:
        gpus = f"{float(slots.engine_gpus):g} {'GPU' if slots.engine_gpus == 1 else 'GPUs'}"
        gpus = gpus if slots.engine_gpus else "no GPU"
        return (
            f"on the cluster of {slots.devices[0].name}, {gpus} each, at most {slots.num_jobs} "
            "submitted at a time"
        )
    shown = ", ".join(device.name for device in slots.devices)
    threads = f"{slots.threads} {'thread' if slots.threads == 1 else 'threads'}"
    if slots.num_processes > 1:
        return (
            f"on {shown}, {slots.num_jobs} at a time, {slots.num_processes} devices each: a "
            f"process on each, with {threads}"
        )
    return f"on {shown}, {slots.jobs_per_device} at a time on each, {threads} each"


def _first_wave(slots: Slots) -> list[str]:
    """The places of the first jobs, in the order in which they are taken."""
    names = [device.name for device in slots.devices]
    step = slots.devices_per_job
    wave = [" + ".join(names[i : i + step]) for i in range(0, len(names), step)]
    return wave * slots.jobs_per_device
