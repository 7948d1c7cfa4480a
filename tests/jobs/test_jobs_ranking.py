"""Which jobs of a study follow from which, whatever comes first; what jobs get from other jobs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from dnas.errors import ConfigError, JobError
from dnas.jobs.command import command
from dnas.jobs.job import Job, JobSpec, spec_from_description
from dnas.jobs.ranking import Draw, FollowingJobs, Study, check_study
from dnas.jobs.slots import Slots, devices
from dnas.runs import DRAWN, SAMPLED, SCORED, SUPERNET, RunFolder

SCORE = ("env", "--s=SUPERNET_PARAM", "--a=ARCHITECTURES_PARAM", "--o=SAVE_METRICS_PARAM")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "e")


def drawn(value: str) -> JobSpec:
    return JobSpec(kind=DRAWN, argv=("env", "draw", value), settings=(("space.big", value),))


def supernet(name: str) -> JobSpec:
    return JobSpec(kind=SUPERNET, argv=("env", name), settings=(("paths", name),))


#: Two supernets of one setting and one of another.
STUDY = Study(
    draw=Draw(num_subnets=3),
    draws=(drawn("yes"), drawn("no")),
    supernets=(
        (supernet("a"), drawn("yes")),
        (supernet("b"), drawn("yes")),
        (supernet("c"), drawn("no")),
    ),
    subnets=tuple(
        JobSpec(kind=SAMPLED, argv=("env", "--a=SAMPLED_ARCH_PARAM"), settings=(("seed", s),))
        for s in "12"
    ),
    scores=(JobSpec(kind=SCORED, argv=SCORE),),
)


def finished(run: RunFolder, spec: JobSpec, ids: str = "xyz") -> Job:
    name = spec.argv[-1]
    job = Job(spec=spec, id=name, folder=run.job(spec.kind, name))
    if spec.kind == DRAWN:
        job.folder.architectures.mkdir(parents=True, exist_ok=True)
        for number, canonical_id in enumerate(ids):
            file = job.folder.architectures / f"{number:04d}.json"
            file.write_text(json.dumps({"canonical_id": canonical_id}))
    return job


def test_the_same_jobs_follow_in_whatever_order_others_end(run):
    jobs = [finished(run, spec) for spec in (*STUDY.draws, *(s for s, _ in STUDY.supernets))]
    found = set()
    for order in itertools.permutations(jobs):
        following = FollowingJobs(STUDY)
        specs = [spec for job in order for spec in following.after(job)]
        assert len(specs) == len({spec.identity for spec in specs}) == 2 * 3 * 2 + 3
        found.add(frozenset(spec.identity for spec in specs))
        # Nothing is scored before both are there.
        assert following.after(finished(run, specs[0])) == []
    assert len(found) == 1


def test_a_scoring_gets_its_supernet_and_the_subnets_of_its_setting(run):
    following = FollowingJobs(STUDY)
    following.after(finished(run, drawn("yes")))
    following.after(finished(run, drawn("no")))
    (spec,) = following.after(finished(run, supernet("c")))
    assert spec.inputs == (
        ("SUPERNET_PARAM", "supernet/c"),
        ("ARCHITECTURES_PARAM", "drawn/no/architectures"),
    )
    assert spec.settings == (("supernet.paths", "c"),)
    assert spec_from_description(json.loads(json.dumps(
        Job(spec=spec, id="0", folder=run.job(SCORED, "0")).description()
    ))) == spec  # fmt: skip
    job = Job(spec=spec, id="0000-x", folder=run.job(SCORED, "0000-x"))
    words = command(job, "e", Slots(devices=devices(["cpu"])), on_gpu=False)
    assert words[1:] == [
        f"--s={run.path}/supernet/c",
        f"--a={run.path}/drawn/no/architectures",
        f"--o={run.path}/scored/0000-x/result.json",
    ]
    # The same job wherever the run is moved to, another one for another supernet.
    (other,) = following.after(finished(run, supernet("a")))
    assert other.identity != spec.identity
    assert other.name(0) != spec.name(0)


def test_networks_that_were_drawn_twice_are_trained_once(run):
    specs = FollowingJobs(STUDY).after(finished(run, drawn("yes"), ids="xyx"))
    assert [(s.canonical_id, s.architecture and Path(s.architecture).name) for s in specs] == [
        ("x", "0000.json"), ("x", "0000.json"), ("y", "0001.json"), ("y", "0001.json"),
    ]  # fmt: skip
    assert specs[0].settings == (("space.big", "yes"), ("seed", "1"))


def test_supernets_of_other_configs_are_left_alone(run):
    following = FollowingJobs(STUDY)
    following.after(finished(run, drawn("yes")))
    assert following.after(finished(run, supernet("d"))) == []


def test_a_draw_without_architectures_has_failed(run):
    with pytest.raises(JobError, match="left no architecture"):
        FollowingJobs(STUDY).after(finished(run, drawn("yes"), ids=""))


def test_numbers_of_a_study_are_checked(run):
    with pytest.raises(ConfigError, match="--num_subnets 2"):
        Draw(num_subnets=2)
    check_study(run, Draw())
    run.path.mkdir(parents=True)
    run.study.write_text('{"num_subnets": 100, "subnet_seed": 3}')
    check_study(run, Draw(subnet_seed=3))
    with pytest.raises(JobError, match="started with --subnet_seed 3, now it is 1"):
        check_study(run, Draw())
