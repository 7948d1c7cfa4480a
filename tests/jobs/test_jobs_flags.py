"""Flags of the queue, devices of configs, ``--dry_run``, and jobs inside the manager's process."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from dnas.cli import pipeline as pipeline_script
from dnas.cli import tune as tune_script
from dnas.cli.queue import add_queue_flags, executor_of, max_submitted_of, policy_of
from dnas.errors import ConfigError
from dnas.jobs.config import load_config
from dnas.jobs.executors import DebugExecutor, Executor, Handle, LocalExecutor, Order
from dnas.jobs.policy import Policy
from dnas.jobs.retries import Retries
from dnas.jobs.stages import MAX_SUBMITTED, check_config, slot_pool
from dnas.jobs.table import job_table
from dnas.runs import SUPERNET, JobFolder, RunFolder

GIB = 1 << 30


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_queue_flags(parser)
    return parser.parse_args(words)


# ---- flags ------------------------------------------------------------------------------------


def test_without_flags_it_is_the_policy_of_the_library() -> None:
    assert policy_of(options()) == Policy()
    assert max_submitted_of(options()) == MAX_SUBMITTED
    assert isinstance(executor_of(options(), RunFolder(Path("run"))), LocalExecutor)
    assert isinstance(
        executor_of(options("--executor=debug"), RunFolder(Path("run"))), DebugExecutor
    )


def test_flags_change_what_they_name() -> None:
    found = policy_of(
        options(
            "--timeout_s=3.5", "--retries=lost=7,crashed=1", "--max_same_failures=0",
            "--stop_grace_s=9", "--lost_after_s=30", "--min_free_memory_gb=2.5",
            "--min_free_disk_gb=0",
        )
    )  # fmt: skip
    assert found.timeout_s == 3.5
    assert found.retries == Retries(lost=7, crashed=1)
    assert (found.max_same_failures, found.stop_grace_s, found.lost_after_s) == (0, 9.0, 30.0)
    assert found.guards.min_free_memory_bytes == 5 * GIB // 2
    assert found.guards.min_free_disk_bytes == 0
    assert max_submitted_of(options("--executor=ray", "--max_submitted=5")) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--timeout_s=0", "--timeout_s 0: a number of more than 0 is needed"),
        ("--timeout_s=-1", "--timeout_s -1: a number of more than 0"),
        ("--timeout_s=nan", "--timeout_s nan: a number of more than 0"),
        ("--timeout_s=inf", "--timeout_s inf: a number of more than 0"),
        ("--stop_grace_s=0", "--stop_grace_s 0"),
        ("--lost_after_s=0", "--lost_after_s 0"),
        ("--min_free_memory_gb=-1", "--min_free_memory_gb -1: a number of 0 or more"),
        ("--min_free_disk_gb=nan", "--min_free_disk_gb nan: a number of 0 or more"),
        ("--max_same_failures=-1", "--max_same_failures -1: a number of 0 or more"),
        ("--retries=gone=1", "--retries gone=1: 'gone=1' is not NAME=NUMBER"),
        ("--executor=debug --timeout_s=1", "--timeout_s would be ignored with --executor debug; "
         "it is for --executor local or ray or slurm"),
        ("--executor=debug --stop_grace_s=1", "--stop_grace_s would be ignored"),
        ("--executor=debug --lost_after_s=1", "--lost_after_s would be ignored"),
        ("--executor=debug --cold_start", "--cold_start would be ignored"),
        ("--executor=slurm --cold_start", "--cold_start would be ignored"),
        ("--executor=ray --min_free_memory_gb=1", "--min_free_memory_gb would be ignored"),
        ("--max_submitted=7", "--max_submitted would be ignored with --executor local"),
        ("--ray_address=x", "--ray_address would be ignored with --executor local"),
        ("--executor=ray --slurm_partition=x", "it is for --executor slurm"),
        ("--executor=ray --slurm_option=x=1", "--slurm_option would be ignored"),
    ],
)  # fmt: skip
def test_flags_that_are_wrong_or_would_be_ignored(words: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy_of(options(*words.split()))
    assert message in str(caught.value)


def test_a_cold_start_keeps_no_processes_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []
    monkeypatch.setattr(
        "dnas.cli.queue.LocalExecutor", lambda *, warm=True: made.append(warm) or LocalExecutor()
    )
    executor_of(options("--cold_start"), RunFolder(Path("run")))
    executor_of(options(), RunFolder(Path("run")))
    assert made == [False, True]


def test_a_mistaken_flag_is_a_message_before_anything_is_written(
    write_config: Callable[..., Path], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config("--do=ok")
    for words in (["--timeout_s=0"], ["--retries=x"], ["--executor=slurm", "--max_submitted=0"]):
        assert tune_script.main([str(config), "e1", *words]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert not (project / "runs").exists()


# ---- devices of configs -----------------------------------------------------------------------


class Cluster(Executor):
    """An engine that places jobs, in name only."""

    name = "slurm"
    places_jobs = True

    def submit(self, orders: Sequence[tuple[JobFolder, Order]]) -> list[Handle]:
        raise NotImplementedError

    def adopt(self, folder: JobFolder, attempt: int, token: Mapping[str, Any]) -> Handle | None:
        raise NotImplementedError

    def poll(self, timeout_s: float) -> list[Handle]:
        raise NotImplementedError

    def cancel(self, handle: Handle, *, kill: bool = False) -> None:
        raise NotImplementedError


@pytest.fixture
def keyed(project: Path) -> Callable[..., Path]:
    """Write a config with these keys from line 3 on."""

    def write(*keys: str, command: str = "python job.py") -> Path:
        path = project / "config"
        lines = ["# a comment", f"{command} --n={{1, 2, 3}} --save=SAVE_METRICS_PARAM", *keys]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.mark.parametrize(
    ("keys", "line", "message"),
    [
        ([], 2, "GPU_IDS is missing; add a line such as GPU_IDS:0,1 or GPU_IDS:cpu"),
        (["GPU_IDS:0,1,2", "NUM_GPUS_PER_JOB:2"], 4, "NUM_GPUS_PER_JOB:2 does not divide the 3 "
         "devices of GPU_IDS, so that 1 of them would never be used"),
        (["GPU_IDS:0", "NUM_GPUS_PER_JOB:4"], 4, "does not divide the 1 devices"),
        (["GPU_IDS:0,cpu", "NUM_GPUS_PER_JOB:2"], 3, "needs them of one sort"),
        (["GPU_IDS:cpu", "NUM_GPUS_PER_JOB:0"], 4, "is for clusters; here, say GPU_IDS:cpu"),
        (["GPU_IDS:9"], 3, "GPU_IDS names GPU 9, but CUDA_VISIBLE_DEVICES=0,1,2 of this shell"),
        (["GPU_IDS:0,0"], 3, "GPU 0 is listed twice"),
        (["GPU_IDS:0,1", "NUM_GPUS_PER_JOB:2", "NUM_JOBS_PER_GPU:2"], 4, "contradict each other"),
        (["GPU_IDS:0", "NUM_GPUS_PER_JOB:two"], 4, "'two' is not a whole number of 0 or more"),
        (["GPU_IDS:0", "NUM_CPUS_PER_JOB:0"], 4, "'0' is not a whole number of 1 or more"),
        (["GPU_IDS:0", "NUM_JOBS_PER_GPU:0"], 4, "'0' is not a whole number of 1 or more"),
        (["GPU_IDS:0", "NUM_GPU_PER_JOB:1"], 4, "did you mean NUM_GPUS_PER_JOB?"),
    ],
)  # fmt: skip
def test_devices_that_are_missing_or_impossible(
    keyed: Callable[..., Path], keys: list[str], line: int, message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    path = keyed(*keys)
    with pytest.raises(ConfigError) as caught:
        check_config(load_config(path), SUPERNET, needs_architecture=False)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)


def test_several_devices_need_a_script_that_torchrun_can_start(
    keyed: Callable[..., Path],
) -> None:
    path = keyed("GPU_IDS:0,1", "NUM_GPUS_PER_JOB:2", command="sh job.sh")
    with pytest.raises(ConfigError, match=r"config:4: NUM_GPUS_PER_JOB:2 needs a Python script"):
        check_config(load_config(path), SUPERNET, needs_architecture=False)


def test_a_cluster_chooses_devices_itself(keyed: Callable[..., Path]) -> None:
    path = keyed("GPU_IDS:0", "NUM_GPUS_PER_JOB:2")
    with pytest.raises(ConfigError) as caught:
        check_config(load_config(path), SUPERNET, needs_architecture=False, executor=Cluster())
    assert str(caught.value).startswith(f"{path}:3: GPU_IDS would be ignored: with --executor slur")
    for keys, gpus, processes in [
        (["NUM_GPUS_PER_JOB:2"], Fraction(2), 2),
        (["NUM_GPUS_PER_JOB:0"], Fraction(0), 1),
        (["NUM_JOBS_PER_GPU:4"], Fraction(1, 4), 1),
        ([], Fraction(1), 1),
    ]:
        config = load_config(keyed(*keys, "NUM_CPUS_PER_JOB:6"))
        check_config(config, SUPERNET, needs_architecture=False, executor=Cluster())
        slots = slot_pool({SUPERNET: config}, Cluster(), 50).of(SUPERNET)
        assert (slots.engine_gpus, slots.num_jobs) == (gpus, 50)
        assert (slots.num_processes, slots.threads) == (processes, 6 // processes)


# ---- dry runs ---------------------------------------------------------------------------------


def rows(text: str) -> list[str]:
    """What the table says of where each job goes."""
    return [
        line[line.index("  ", 3) :].split("  python")[0].strip()
        for line in text.splitlines()
        if line.startswith("  0")
    ]


def test_a_dry_run_shows_where_jobs_of_several_devices_go(
    keyed: Callable[..., Path], capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    config = keyed("GPU_IDS:0,1,2,3", "NUM_GPUS_PER_JOB:2", "NUM_CPUS_PER_JOB:6")
    assert tune_script.main([str(config), "e1", "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("runs/e1: nothing is started or written (dry run)\n")
    assert f"supernet: 3 jobs ({config})" in out
    where = "on gpu 0, gpu 1, gpu 2, gpu 3, 2 at a time, 2 devices each: a process on each"
    assert f"{where}, with 3 threads\n" in out
    assert rows(out) == ["gpu 0 + gpu 1", "gpu 2 + gpu 3", "next free"]
    assert not (project / "runs").exists()


def test_a_dry_run_shows_jobs_that_share_a_device(
    keyed: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = keyed("GPU_IDS:cpu", "NUM_JOBS_PER_GPU:2", "NUM_CPUS_PER_JOB:1")
    assert tune_script.main([str(config), "e1", "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "  on cpu 0, 2 at a time on each, 1 thread each\n" in out
    assert rows(out) == ["cpu 0", "cpu 0", "next free"]


@pytest.mark.parametrize(
    ("key", "gpus"),
    [("NUM_GPUS_PER_JOB:0", "no GPU"), ("NUM_JOBS_PER_GPU:4", "0.25 GPUs"), ("", "1 GPU")],
)
def test_a_dry_run_on_a_cluster(keyed: Callable[..., Path], key: str, gpus: str) -> None:
    config = load_config(keyed(*filter(None, [key])))
    specs = check_config(config, SUPERNET, needs_architecture=False, executor=Cluster())
    slots = slot_pool({SUPERNET: config}, Cluster(), 7)
    out = job_table({SUPERNET: specs}, {SUPERNET: config}, slots, "runs/e1")
    assert f"  on the cluster of slurm, {gpus} each, at most 7 submitted at a time\n" in out
    assert rows(out) == ["cluster"] * 3


# ---- jobs inside the manager's process --------------------------------------------------------

_SCRIPT = """
import argparse, json, os, signal, sys
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--gpu")
parser.add_argument("--save")
options = parser.parse_args()
import beside
os.chdir("/")
os.environ["LEFT"] = "behind"
signal.signal(signal.SIGINT, signal.SIG_IGN)
if __name__ != "__main__":
    raise AssertionError(__name__)
if options.lr == 3:
    raise RuntimeError("three is too much")
if options.lr == 4:
    sys.exit("four is refused")
if options.lr == 5:
    sys.exit(3)
with open(options.save, "w") as file:
    json.dump({"status": "succeeded", "pid": os.getpid(), "gpu": options.gpu, "lr": options.lr,
               "folder": os.environ["DNAS_JOB_FOLDER"], "beside": beside.NAME}, file)
"""


def test_jobs_run_one_after_the_other_where_a_debugger_can_stop_them(
    project: Path,
    seen: Callable[[Path], Any],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = project / "scripts"
    folder.mkdir()
    (folder / "train.py").write_text(_SCRIPT)
    (folder / "beside.py").write_text("NAME = 'found'\n")
    config = project / "config"
    config.write_text(
        "python scripts/train.py --lr={1, 2, 3, 4, 5} --gpu=GPU_ID_PARAM --save=SAVE_METRICS_PARAM"
        "\nGPU_IDS:cpu,cpu\n"
    )
    before = os.getcwd(), list(sys.argv), list(sys.path), signal.getsignal(signal.SIGINT)
    code = tune_script.main(
        [str(config), "e1", "--executor=debug", "--retries=out_of_memory=1", "--no_live"]
    )
    assert code == 1
    assert before == (os.getcwd(), sys.argv, sys.path, signal.getsignal(signal.SIGINT))
    assert "LEFT" not in os.environ
    assert "DNAS_JOB_FOLDER" not in os.environ
    run = seen(project / "runs" / "e1")
    assert run.states() == ["succeeded", "succeeded", "failed", "failed", "out_of_memory"]
    assert [s["attempts"] for s in run.statuses()] == [1, 1, 1, 1, 2]
    jobs = sorted((run.path / "supernet").iterdir())
    for result, job, lr in zip(run.results(), jobs, (1, 2), strict=False):
        assert result == {
            "status": "succeeded", "pid": os.getpid(), "gpu": "cpu", "lr": lr,
            "folder": str(job), "beside": "found",
        }  # fmt: skip
    assert "RuntimeError: three is too much" in (jobs[2] / "stdout.log").read_text()
    assert "RuntimeError: three is too much" in run.statuses()[2]["reason"]
    err = capfd.readouterr().err
    assert "four is refused" in err
    assert "Traceback" not in err
    sys.modules.pop("beside", None)


def test_programs_that_are_no_script_run_as_children(
    project: Path, seen: Callable[[Path], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    config = project / "config"
    config.write_text(
        """sh -c 'echo "{\\"x\\": \\"$$\\"}" > "$0"; exit $1' SAVE_METRICS_PARAM {0, 6}\n"""
        "GPU_IDS:cpu\n"
    )
    assert tune_script.main([str(config), "e1", "--executor=debug"]) == 1
    run = seen(project / "runs" / "e1")
    assert run.states() == ["succeeded", "failed"]
    assert run.results()[0]["x"] != str(os.getpid())
    assert run.statuses()[1]["exit_code"] == 6


def test_the_pipeline_runs_in_process_too(
    project: Path,
    seen: Callable[[Path], Any],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    supernet, sampled = project / "supernet", project / "sampled"
    supernet.write_text("python job.py --save=SAVE_METRICS_PARAM --do=arch:A,B+ok\nGPU_IDS:cpu\n")
    sampled.write_text(
        "python job.py --save=SAVE_METRICS_PARAM --a=SAMPLED_ARCH_PARAM --do=ok\nGPU_IDS:cpu\n"
    )
    words = [str(supernet), str(sampled), "--experiment_id=e1", "--executor=debug", "--no_report"]
    assert pipeline_script.main(words) == 0, capfd.readouterr().err
    run = seen(project / "runs" / "e1")
    assert run.states("sampled") == ["succeeded", "succeeded"]
    assert json.loads((run.path / "status.json").read_text())["state"] == "finished"
