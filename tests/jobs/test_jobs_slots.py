"""Devices, their load, and the environment that a job gets."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import pytest

from dnas.errors import ConfigError, JobError
from dnas.jobs.command import check_programs, command, environment, resolve_program
from dnas.jobs.job import Job, JobSpec
from dnas.jobs.slots import Device, SlotPool, check_visible, devices, threads_per_job
from dnas.runs import SAMPLED, SUPERNET, JobFolder


def test_devices_of_gpu_ids() -> None:
    assert [d.name for d in devices(["1", "cpu", "0", "cpu"])] == [
        "gpu 1",
        "cpu 0",
        "gpu 0",
        "cpu 1",
    ]
    gpu, cpu = devices(["3", "cpu"])
    assert (gpu.visible, gpu.id_inside_job) == ("3", "0")
    assert (cpu.visible, cpu.id_inside_job) == ("", "cpu")


def test_kinds_share_a_device_without_overloading_it() -> None:
    pool = SlotPool({SUPERNET: (devices(["0"]), 2), SAMPLED: (devices(["0", "1"]), 4)})
    gpu0 = pool.devices(SUPERNET)[0]
    half, quarter = pool.share(SUPERNET, alone=False), pool.share(SAMPLED, alone=False)
    assert (half, quarter) == (Fraction(1, 2), Fraction(1, 4))
    assert pool.share(SAMPLED, alone=True) == 1
    pool.take("a", gpu0, half)
    pool.take("b", gpu0, quarter)
    assert not pool.has_room(gpu0, half)
    assert pool.has_room(gpu0, quarter)
    assert pool.emptiest(pool.devices(SAMPLED)).name == "gpu 1"
    pool.release("b")
    assert pool.has_room(gpu0, half)
    assert pool.num_slots(SAMPLED) == 8


def test_three_thirds_fill_a_device_exactly() -> None:
    pool = SlotPool({SUPERNET: (devices(["0"]), 3)})
    device = pool.devices(SUPERNET)[0]
    for name in "abc":
        assert pool.has_room(device, pool.share(SUPERNET, alone=False))
        pool.take(name, device, pool.share(SUPERNET, alone=False))
    assert not pool.has_room(device, pool.share(SUPERNET, alone=False))


def test_a_kind_without_devices_is_refused() -> None:
    with pytest.raises(JobError, match="no devices for sampled jobs"):
        SlotPool({SUPERNET: (devices(["0"]), 1)}).devices(SAMPLED)


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


def test_a_job_sees_its_device_alone(tmp_path: Path) -> None:
    job = make_job(tmp_path, "x")
    gpu = environment(job, Device("gpu 2", "2"), 3, {"PATH": "p", "CUDA_VISIBLE_DEVICES": "2,3"})
    assert gpu == {
        "PATH": "p",
        "CUDA_VISIBLE_DEVICES": "2",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "PYTHONUNBUFFERED": "1",
        "DNAS_JOB_FOLDER": str(job.folder.path),
    }
    cpu = environment(job, Device("cpu 0", ""), 3, {"OMP_NUM_THREADS": "7"})
    assert (cpu["CUDA_VISIBLE_DEVICES"], cpu["OMP_NUM_THREADS"]) == ("", "7")


def test_tokens_become_values(project: Path) -> None:
    job = make_job(
        project, "python", "-u", "job.py", "--g=GPU_ID_PARAM,HOST_GPU_ID", "--e", "EXPERIMENT_ID",
        "--s=SAVE_METRICS_PARAM", "--a=SAMPLED_ARCH_PARAM", architecture="a b/0.json",
    )  # fmt: skip
    assert command(job, "e1", Device("gpu 7", "7")) == [
        sys.executable, "-u", str(project / "job.py"), "--g=0,0", "--e", "e1",
        f"--s={project}/supernet/0000-x/result.json", f"--a={project}/a b/0.json",
    ]  # fmt: skip
    assert command(job, "e1", Device("cpu 0", ""))[3] == "--g=cpu,cpu"


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
