"""Devices, their load, and the environment that a job gets."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import pytest

from dnas.errors import ConfigError, JobError
from dnas.jobs.command import check_programs, command, resolve_program, variables, with_torchrun
from dnas.jobs.job import Job, JobSpec
from dnas.jobs.slots import (
    Device,
    SlotPool,
    Slots,
    check_visible,
    devices,
    engine_slots,
    threads_per_job,
)
from dnas.runs import SAMPLED, SUPERNET, JobFolder


def test_devices_of_gpu_ids() -> None:
    assert [d.name for d in devices(["1", "cpu", "0", "cpu"])] == [
        "gpu 1",
        "cpu 0",
        "gpu 0",
        "cpu 1",
    ]
    gpu, cpu = devices(["3", "cpu"])
    assert (gpu.visible, cpu.visible) == ("3", "")


def slots(gpu_ids: str, per_device: int = 1, per_job: int = 1) -> Slots:
    return Slots(
        devices=devices(gpu_ids.split(",")), jobs_per_device=per_device, devices_per_job=per_job
    )


def names(found: tuple[Device, ...]) -> list[str]:
    return [device.name for device in found]


def test_kinds_share_a_device_without_overloading_it() -> None:
    pool = SlotPool({SUPERNET: slots("0", 2), SAMPLED: slots("0,1", 4)})
    half, quarter = pool.share(SUPERNET), pool.share(SAMPLED)
    assert (half, quarter) == (Fraction(1, 2), Fraction(1, 4))
    assert pool.share(SAMPLED, alone=True) == 1
    found, has_room = pool.free_for(SUPERNET)
    assert (names(found), has_room) == (["gpu 0"], True)
    pool.take("a", found, half)
    pool.take("b", found, quarter)
    assert pool.free_for(SUPERNET) == (found, False)
    other, has_room = pool.free_for(SAMPLED)
    assert (names(other), has_room) == (["gpu 1"], True)
    # gpu 0 has a quarter left, and is all there is when the other is reserved.
    assert pool.free_for(SAMPLED, without=other) == (found, True)
    assert pool.free_for(SAMPLED, alone=True, without=other) == (found, False)
    pool.release("b")
    assert pool.free_for(SUPERNET) == (found, True)
    assert pool.of(SAMPLED).num_jobs == 8


def test_three_thirds_fill_a_device_exactly() -> None:
    pool = SlotPool({SUPERNET: slots("0", 3)})
    for name in "abc":
        found, has_room = pool.free_for(SUPERNET)
        assert has_room
        pool.take(name, found, pool.share(SUPERNET))
    assert not pool.free_for(SUPERNET)[1]


def test_a_job_of_several_devices_takes_whole_ones() -> None:
    pool = SlotPool({SUPERNET: slots("0,1,2,3", per_job=2), SAMPLED: slots("0,1,2,3", 2)})
    assert pool.of(SUPERNET).num_jobs == 2
    one, _ = pool.free_for(SAMPLED)
    pool.take("small", one, pool.share(SAMPLED))
    pair, has_room = pool.free_for(SUPERNET)
    assert (names(pair), has_room) == (["gpu 1", "gpu 2"], True)
    pool.take("pair", pair, pool.share(SUPERNET))
    # Only gpu 3 is empty, gpu 0 is half taken: no room, but these two may be reserved.
    assert [names(pool.free_for(SUPERNET)[0]), pool.free_for(SUPERNET)[1]] == [
        ["gpu 3", "gpu 0"],
        False,
    ]
    assert pool.free_for(SUPERNET, without=(*pair, *one)) == ((), False)
    with pytest.raises(ValueError, match="not both"):
        slots("0,1", per_device=2, per_job=2)


def test_what_a_job_asks_of_a_cluster() -> None:
    ray = engine_slots("ray", Fraction(1, 4), 100)
    found = ray.devices
    assert (ray.num_jobs, ray.num_processes, ray.threads) == (100, 1, 1)
    assert ray.num_gpus(found, alone=False) == 0.25
    assert ray.num_gpus(found, alone=True) == 1.0
    several = engine_slots("slurm", Fraction(4), 10, cpus=8)
    assert (several.num_processes, several.threads) == (4, 2)
    assert several.num_gpus(found, alone=True) == 4.0
    cpu = engine_slots("slurm", Fraction(0), 10)
    assert (cpu.num_gpus(found, alone=True), cpu.num_processes) == (0.0, 1)
    # Alone means a whole GPU, not the whole cluster.
    assert SlotPool({SUPERNET: ray}).share(SUPERNET, alone=True) == Fraction(1, 100)


def test_a_kind_without_devices_is_refused() -> None:
    with pytest.raises(JobError, match="no devices for sampled jobs"):
        SlotPool({SUPERNET: slots("0")}).of(SAMPLED)


def test_gpus_outside_the_allocation_are_refused() -> None:
    check_visible(["0", "1", "cpu"], None)
    check_visible(["4", "cpu"], "4,5")
    with pytest.raises(ConfigError, match="GPU 0, but CUDA_VISIBLE_DEVICES=4,5"):
        check_visible(["4", "0"], "4,5")
    with pytest.raises(ConfigError, match="GPU 0"):
        check_visible(["0"], "")


@pytest.mark.parametrize(
    ("slots", "cores", "threads"), [(1, 8, 8), (3, 8, 2), (16, 8, 1), (0, 4, 4)]
)
def test_threads(slots: int, cores: int, threads: int) -> None:
    assert threads_per_job(slots, cores) == threads


def make_job(tmp_path: Path, *argv: str, **fields: str) -> Job:
    spec = JobSpec(kind=SUPERNET, argv=argv, **fields)  # type: ignore[arg-type]
    return Job(spec=spec, id="0000-x", folder=JobFolder(tmp_path / "supernet" / "0000-x"))


def test_a_job_sees_its_devices_alone(tmp_path: Path) -> None:
    job = make_job(tmp_path, "x")
    job.attempts = 4
    gpu = variables(job, devices(["2"]), 3, {"PATH": "p", "CUDA_VISIBLE_DEVICES": "2,3"})
    assert gpu == {
        "CUDA_VISIBLE_DEVICES": "2",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "PYTHONUNBUFFERED": "1",
        "DNAS_JOB_FOLDER": str(job.folder.path),
        "DNAS_JOB_ATTEMPT": "4",
    }
    assert variables(job, devices(["5", "7"]), 1, {})["CUDA_VISIBLE_DEVICES"] == "5,7"
    cpu = variables(job, devices(["cpu"]), 3, {"OMP_NUM_THREADS": "7"})
    assert (cpu["CUDA_VISIBLE_DEVICES"], cpu["OMP_NUM_THREADS"]) == ("", "7")
    # On a cluster its engine says what is visible.
    assert "CUDA_VISIBLE_DEVICES" not in variables(job, None, 1, {})


def test_tokens_become_values(project: Path) -> None:
    job = make_job(
        project, "python", "-u", "job.py", "--g=GPU_ID_PARAM,HOST_GPU_ID", "--e", "EXPERIMENT_ID",
        "--s=SAVE_METRICS_PARAM", "--a=SAMPLED_ARCH_PARAM", architecture="a b/0.json",
    )  # fmt: skip
    assert command(job, "e1", slots("7"), on_gpu=True) == [
        sys.executable, "-u", str(project / "job.py"), "--g=0,0", "--e", "e1",
        f"--s={project}/supernet/0000-x/result.json", f"--a={project}/a b/0.json",
    ]  # fmt: skip
    assert command(job, "e1", slots("cpu"), on_gpu=False)[3] == "--g=cpu,cpu"


def test_a_job_of_several_devices_is_started_by_torchrun(project: Path) -> None:
    job = make_job(project, "python", "-u", "job.py", "--x=1")
    assert command(job, "e1", slots("0,1", per_job=2), on_gpu=True) == [
        sys.executable, "-u", "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", "2", str(project / "job.py"), "--x=1",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="NUM_GPUS_PER_JOB:2 needs a Python script"):
        with_torchrun(["bash", "job.sh"], 2)


def test_scripts_are_looked_for_here_and_then_in_the_project(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, name in ((first, "x.py"), (second, "x.py"), (second, "y.py")):
        folder.mkdir(exist_ok=True)
        (folder / name).touch()
    folders = [first, second]
    assert resolve_program(["python3", "x.py"], folders)[1] == str(first / "x.py")
    assert resolve_program(["python", "-W", "error", "y.py", "-m"], folders)[3] == str(
        second / "y.py"
    )
    assert resolve_program(["python", "-m", "y.py"], folders) == [sys.executable, "-m", "y.py"]
    assert resolve_program(["python", "-c", "0"], folders)[2] == "0"
    assert resolve_program(["env", "z.py"], folders)[1] == "z.py"
    with pytest.raises(ConfigError, match=r"no script 'z.py' in .*a or .*b"):
        resolve_program(["python", "z.py"], folders)
    with pytest.raises(ConfigError, match="'no-such-program' is not a program"):
        resolve_program(["no-such-program"], folders)


def test_a_missing_script_names_the_config(project: Path) -> None:
    specs = [JobSpec(kind=SUPERNET, argv=("python", name)) for name in ("job.py", "gone.py")]
    with pytest.raises(ConfigError, match=r"my_config:4: there is no script 'gone.py'"):
        check_programs(specs, "my_config", 4)


def test_names_are_safe_short_and_unique() -> None:
    settings = (("lr", "0.5"), ("path", "/a b/../c\n{}"), ("long", "x" * 300))
    spec = JobSpec(kind=SAMPLED, argv=("x",), settings=settings, canonical_id="9f2c01ab34de99")
    name = spec.name(3)
    assert name.startswith("0003-arch=9f2c01ab34de-lr=0.5-path=_a_b_.._c_-long=xxx")
    assert name.endswith(spec.template_hash)
    assert len(name) < 120
    assert JobSpec(kind=SAMPLED, argv=("x",)).name(12345).startswith("12345-")
