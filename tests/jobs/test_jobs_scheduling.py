"""The real queue in virtual time against greedy list scheduling, on experiments that are drawn."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dnas.errors import EXIT_OUT_OF_MEMORY, EXIT_PREEMPTED
from dnas.runs import SAMPLED, SUPERNET, RunFolder
from dnas.testing.workloads import (
    Distribution,
    Measured,
    Workload,
    gpus,
    simulate,
    waiting_times,
)

pytestmark = pytest.mark.usefixtures("no_fsync")

#: (jobs per device, devices per job) of supernets and of sampled jobs.
WHOLE = [((1, 1), (1, 1)), ((1, 4), (1, 1)), ((1, 1), (1, 2)), ((1, 4), (1, 2))]
SHARED = [((1, 4), (4, 1)), ((1, 2), (3, 1)), ((2, 1), (1, 4)), ((4, 1), (3, 1))]


@pytest.fixture
def measure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[[Workload], Measured]:
    """Run a workload in a folder of its own; retries are not logged."""
    caplog.set_level(logging.CRITICAL, "dnas.jobs")
    number = iter(range(1000))
    return lambda workload: simulate(workload, RunFolder(tmp_path / f"e{next(number)}"))


def workload(
    kinds: tuple[tuple[int, int], tuple[int, int]],
    seed: int = 0,
    num_gpus: int = 8,
    distribution: Distribution = "lognormal",
    **changed: Any,
) -> Workload:
    (per_device, each), (per_device_sampled, each_sampled) = kinds
    values = {"num_supernets": num_gpus, "sampled_each": 12} | changed
    return Workload(
        slots={
            SUPERNET: gpus(range(num_gpus), jobs_per_device=per_device, devices_per_job=each),
            SAMPLED: gpus(
                range(num_gpus), jobs_per_device=per_device_sampled, devices_per_job=each_sampled
            ),
        },
        seed=seed,
        distribution=distribution,
        **values,
    )


def check_every_job_has_ended(drawn: Workload, found: Measured) -> None:
    counts = found.outcome.counts
    assert {state for of in counts.values() for state in of} <= {"succeeded", "failed"}
    names = set(drawn.supernets)
    for span in found.spans:
        names |= set(drawn.followers(span.name)) if span.exit_code == 0 else set()
    assert {span.name for span in found.spans} == names
    assert sum(number for of in counts.values() for number in of.values()) == len(names)
    assert found.lower_bound_s <= found.makespan_s * (1 + 1e-9)
    attempts = {(span.name, span.attempt): span for span in found.spans}
    assert len(attempts) == len(found.spans)
    for span in found.spans:
        again = span.exit_code in (EXIT_OUT_OF_MEMORY, EXIT_PREEMPTED, -9)
        assert again == ((span.name, span.attempt + 1) in attempts)
        if span.exit_code == EXIT_OUT_OF_MEMORY:
            assert attempts[span.name, span.attempt + 1].share == 1


@pytest.mark.parametrize(("seed", "distribution"), [(0, "lognormal"), (1, "pareto")])
@pytest.mark.parametrize("kinds", WHOLE + SHARED)
def test_the_queue_takes_as_long_as_list_scheduling(
    kinds: Any, seed: int, distribution: Distribution, measure: Callable[[Workload], Measured]
) -> None:
    drawn = workload(kinds, seed, distribution=distribution, late_supernets=True)
    found = measure(drawn)
    check_every_job_has_ended(drawn, found)
    assert found.makespan_s == pytest.approx(found.list_schedule_s, rel=1e-9)
    # Where jobs have whole devices, knowing when jobs end is of no use.
    if kinds in WHOLE:
        assert found.makespan_s == pytest.approx(found.clairvoyant_s, rel=1e-9)
    else:
        assert found.makespan_s < 1.1 * found.clairvoyant_s


def test_devices_of_the_two_kinds_that_overlap(measure: Callable[[Workload], Measured]) -> None:
    drawn = Workload(
        slots={
            SUPERNET: gpus(range(4), devices_per_job=2),
            SAMPLED: gpus(range(2, 8)),
        },
        num_supernets=8,
        sampled_each=20,
    )
    found = measure(drawn)
    check_every_job_has_ended(drawn, found)
    for span in found.spans:
        allowed = {device.visible for device in drawn.slots[span.kind].devices}
        assert set(span.devices) <= allowed
    assert found.makespan_s == pytest.approx(found.list_schedule_s, rel=1e-9)


@pytest.mark.parametrize("kinds", [((1, 4), (1, 1)), ((1, 4), (4, 1)), ((1, 2), (3, 1))])
@pytest.mark.parametrize("seed", range(2))
def test_a_job_of_several_devices_waits_no_longer_than_what_runs_already(
    kinds: Any, seed: int, measure: Callable[[Workload], Measured]
) -> None:
    drawn = workload(kinds, seed, late_supernets=True)
    spans = measure(drawn).spans
    waits = waiting_times(drawn, spans)
    supernets = [span for span in spans if span.kind == SUPERNET]
    late = [span for span in supernets if span.name not in drawn.supernets]
    assert any(waits[span.name, span.attempt] > 0 for span in late)
    for span in supernets:
        there_s = span.begun_s - waits[span.name, span.attempt]
        # From then on it was the first in the queue.
        others = [o.begun_s for o in supernets if o is not span and o.begun_s <= span.begun_s]
        first_s = max([there_s, *(begun_s for begun_s in others if begun_s >= there_s)])
        running = [o.ended_s for o in spans if o.begun_s <= first_s < o.ended_s and o is not span]
        assert span.begun_s <= max(running, default=first_s)


def test_supernets_go_first(measure: Callable[[Workload], Measured]) -> None:
    drawn = workload(((1, 1), (1, 1)), late_supernets=True)
    spans = measure(drawn).spans
    waits = waiting_times(drawn, spans)
    waiting = [
        (span.begun_s - waits[span.name, span.attempt], span.begun_s)
        for span in spans
        if span.kind == SUPERNET
    ]
    sampled = [span for span in spans if span.kind == SAMPLED]
    assert min(span.begun_s for span in sampled) < max(begun_s for _, begun_s in waiting)
    for span in sampled:
        assert not any(there_s < span.begun_s < begun_s for there_s, begun_s in waiting)


def test_an_experiment_is_the_same_for_the_same_seed(
    measure: Callable[[Workload], Measured],
) -> None:
    first, second, other = (
        measure(workload(((1, 2), (3, 1)), seed, sampled_each=4)) for seed in (1, 1, 2)
    )
    assert (first.spans, first.starts) == (second.spans, second.starts)
    assert first.spans != other.spans


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [((2, 1), (4, 1))])
def test_three_thousand_jobs_on_64_gpus(
    kinds: Any, measure: Callable[[Workload], Measured]
) -> None:
    drawn = workload(kinds, num_gpus=64, num_supernets=64, sampled_each=52)
    found = measure(drawn)
    assert len(found.spans) > 3000
    assert found.makespan_s == pytest.approx(found.list_schedule_s, rel=1e-9)
    assert found.makespan_s < 1.03 * found.clairvoyant_s
    # About 3 ms on a slow core; what grows with the queue or with the devices takes ten times that.
    assert found.cpu_ms < 20
