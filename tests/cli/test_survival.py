"""Jobs that are killed, or find damaged files, end as if nothing had happened."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import dnas.training.job_files
from dnas.cli import search, train
from dnas.cli.job import StopRequest
from dnas.training.standalone import StandaloneTrainer
from tests.processes import (
    ENVIRONMENT,
    ROOT,
    SEARCH,
    TRAIN,
    command,
    metrics_of,
    result_of,
    run,
    wait_until,
)

#: A checkpoint after every step, so that a process is often killed while it writes one.
OFTEN = ("--checkpoint_every_s=0", "--log_every_steps=1")
SEARCH_FLAGS = (*SEARCH, *OFTEN)
#: A learning rate at which the best epoch is not the last one.
TRAIN_FLAGS = (*TRAIN, *OFTEN, "--n_epochs=4", "--lr=0.1")
KINDS = ("search", "training")
MAINS = {"search": search.main, "training": train.main}


class Jobs:
    """A quiet run of both scripts, and what is needed to run them again elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.quiet = {kind: folder / kind for kind in KINDS}
        cache = f"--data_cache={folder / 'cache'}"
        architecture = self.quiet["search"] / "architectures" / "0001.json"
        self.flags = {
            "search": [*SEARCH_FLAGS, cache],
            "training": [*TRAIN_FLAGS, cache, f"--sampled_arch={architecture}"],
        }
        for kind in KINDS:
            assert self.run(kind, self.quiet[kind]) == 0

    def run(self, kind: str, folder: Path) -> int:
        """In this process."""
        result = f"--save_metrics_param={folder / 'result.json'}"
        return MAINS[kind]([*self.flags[kind], result])

    def check(self, kind: str, folder: Path) -> None:
        """That ``folder`` is what the quiet run has left, bit for bit."""
        quiet = self.quiet[kind]
        assert result_of(folder) == result_of(quiet)
        assert metrics_of(folder) == metrics_of(quiet)
        kept = {"search": ("theta.npz",), "training": ("model.safetensors",)}[kind]
        for name in kept:
            assert (folder / name).read_bytes() == (quiet / name).read_bytes(), name
        for path in (quiet / "architectures").glob("*"):
            records = [
                json.loads((where / "architectures" / path.name).read_text())
                for where in (quiet, folder)
            ]
            for record in records:
                del record["provenance"]["job"]
            assert records[0] == records[1]
        names = {str(p.relative_to(folder)) for p in folder.rglob("*")}
        assert names - {"checkpoint.damaged.pt"} == {
            str(p.relative_to(quiet)) for p in quiet.rglob("*")
        }


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> Jobs:
    """Both scripts after a quiet run."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    made = Jobs(tmp_path_factory.mktemp("quiet"))
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert result_of(made.quiet["training"])["best_epoch"] == 2.0
    return made


@pytest.fixture
def stopped(jobs, monkeypatch, tmp_path) -> Callable[[str, int], Path]:
    """Runs a job that stops after some steps; gives its folder."""

    def stop(kind: str, steps: int) -> Path:
        count = iter(range(10**6))
        with monkeypatch.context() as patch:
            patch.setattr(StopRequest, "__call__", lambda self: next(count) >= steps)
            assert jobs.run(kind, tmp_path) == 75
        return tmp_path

    return stop


# -------------------------------------------------------------------------------- killed


def _job(kind: str, argv: list[str]) -> None:
    sys.exit(MAINS[kind](argv))


@pytest.fixture(scope="module")
def forks():
    """Starts processes from one that has imported everything: a fraction of a second each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["supernets", "dnas.cli.search", "dnas.cli.train", __name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the server does not take over sys.path
        process = context.Process(target=print)
        process.start()
        process.join()
    return context


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_random_moments(jobs, forks, tmp_path, kind):
    chosen = random.Random(1)
    argv = [*jobs.flags[kind], f"--save_metrics_param={tmp_path / 'result.json'}"]
    kills = 0
    while True:
        process = forks.Process(target=_job, args=(kind, argv))
        size = _size(tmp_path / "metrics.jsonl")
        process.start()
        while process.is_alive() and _size(tmp_path / "metrics.jsonl") <= size:
            time.sleep(0.002)
        process.join(chosen.uniform(0.0, 0.1) if kills < 4 else None)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
    assert process.exitcode == 0
    assert kills > 0
    jobs.check(kind, tmp_path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_scripts_killed_at_random_moments(jobs, tmp_path, kind):
    """The processes that people start, killed from their first second to their last."""
    chosen = random.Random(2)
    script = {"search": "train_dnas.py", "training": "train_sampled.py"}[kind]
    argv = command(script, jobs.flags[kind], tmp_path / "result.json")
    for left in reversed(range(5)):
        process = subprocess.Popen(argv, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=chosen.uniform(1, 5) if left else 60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            continue
        break
    assert process.returncode == 0
    jobs.check(kind, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("kind", KINDS)
def test_scripts_asked_to_stop(jobs, tmp_path, kind, number):
    script = {"search": "train_dnas.py", "training": "train_sampled.py"}[kind]
    argv = command(script, jobs.flags[kind], tmp_path / "result.json")
    log = tmp_path.parent / f"{tmp_path.name}.log"
    with open(log, "wb") as file:
        process = subprocess.Popen(argv, env=ENVIRONMENT, stderr=file)
    wait_until(lambda: (tmp_path / "metrics.jsonl").exists(), process, log)
    process.send_signal(number)
    assert process.wait(timeout=60) == 75, log.read_text()
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "preempted"
    done = run(argv)
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stderr
    jobs.check(kind, tmp_path)


def test_what_a_killed_writer_left_is_removed_and_the_managers_files_are_not(jobs, tmp_path):
    (tmp_path / "architectures").mkdir()
    mine = ".checkpoint.0123abcd.tmp.pt", "architectures/.0000.89abcdef.tmp.json"
    others = ".status.0123abcd.tmp.json", ".checkpoint.tmp.pt", "notes.tmp"
    for name in (*mine, *others):
        (tmp_path / name).touch()
    assert jobs.run("search", tmp_path) == 0
    assert not any((tmp_path / name).exists() for name in mine)
    for name in others:
        (tmp_path / name).unlink()
    jobs.check("search", tmp_path)


def test_a_result_of_an_earlier_attempt_is_not_taken_for_this_ones(jobs, tmp_path, monkeypatch):
    (tmp_path / "result.json").write_text('{"status": "preempted"}')

    def killed(*_):
        assert not (tmp_path / "result.json").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(search.SearchManager, "train_dnas", killed)
    with pytest.raises(KeyboardInterrupt):
        jobs.run("search", tmp_path)


# -------------------------------------------------------------------------------- damaged


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip(path: Path) -> None:
    """One bit in the middle, where the numbers are."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


DAMAGE = [_cut, _empty, _flip]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_checkpoint_is_set_aside(jobs, stopped, caplog, kind, damage):
    folder = stopped(kind, 7)
    damage(folder / "checkpoint.pt")
    damaged = (folder / "checkpoint.pt").read_bytes()
    (folder / "checkpoint.damaged.pt").write_text("an older one")
    with caplog.at_level(logging.WARNING, "dnas"):
        assert jobs.run(kind, folder) == 0
    (warning,) = [r.getMessage() for r in caplog.records if "starting from the begin" in r.message]
    assert str(folder / "checkpoint.pt") in warning
    assert "checkpoint.damaged.pt" in warning
    assert (folder / "checkpoint.damaged.pt").read_bytes() == damaged
    jobs.check(kind, folder)


@pytest.mark.parametrize("damage", [*DAMAGE, Path.unlink])
@pytest.mark.parametrize("finished", [False, True])
def test_damaged_best_weights_are_made_again(jobs, stopped, tmp_path, damage, finished):
    """Of the checkpoint's own epoch they are written from it, else training starts again."""
    if finished:
        assert jobs.run("training", tmp_path) == 0
    else:
        stopped("training", 3 * 5 + 2)
    damage(tmp_path / "model.safetensors")
    assert jobs.run("training", tmp_path) == 0
    assert (tmp_path / "checkpoint.damaged.pt").exists()
    jobs.check("training", tmp_path)


def test_best_weights_of_the_checkpoints_epoch_are_written_from_it(jobs, tmp_path, monkeypatch):
    """Killed between the checkpoint and the best weights, those of the second epoch."""
    save = StandaloneTrainer._save_best

    def killed(self):
        if len(self.result.epochs) == 2:
            raise KeyboardInterrupt
        save(self)

    with monkeypatch.context() as patch:
        patch.setattr(StandaloneTrainer, "_save_best", killed)
        with pytest.raises(KeyboardInterrupt):
            jobs.run("training", tmp_path)
    assert jobs.run("training", tmp_path) == 0
    assert not (tmp_path / "checkpoint.damaged.pt").exists()
    jobs.check("training", tmp_path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_other_damaged_files_of_a_search_are_written_again(jobs, tmp_path, damage):
    """Also by a search that had trained to its end."""
    assert jobs.run("search", tmp_path) == 0
    for name in ("theta.npz", "architectures/0000.json", "architectures/0001.json"):
        damage(tmp_path / name)
    assert jobs.run("search", tmp_path) == 0
    jobs.check("search", tmp_path)


@pytest.mark.parametrize("end", [b'{"event": "interval", "st', b"\x00\x00\xff\n", b"17\n", b"\n"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_torn_last_line_of_the_metrics_is_dropped(jobs, stopped, kind, end):
    folder = stopped(kind, 7)
    with open(folder / "metrics.jsonl", "ab") as file:
        file.write(end)
    assert jobs.run(kind, folder) == 0
    jobs.check(kind, folder)


def test_lines_of_an_attempt_without_a_checkpoint_are_dropped(jobs, stopped):
    folder = stopped("search", 7)
    (folder / "checkpoint.pt").unlink()
    assert jobs.run("search", folder) == 0
    jobs.check("search", folder)


def test_a_checkpoint_of_another_configuration_is_refused(jobs, stopped, capsys):
    folder = stopped("search", 7)
    before = (folder / "checkpoint.pt").read_bytes()
    jobs.flags["search"].append("--weights_lr=0.2")
    try:
        assert jobs.run("search", folder) == 2
    finally:
        jobs.flags["search"].pop()
    assert "checkpoint.pt: the checkpoint was made with optimizers=" in capsys.readouterr().err
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["user_error"]) == ("failed", True)
    assert (folder / "checkpoint.pt").read_bytes() == before


# -------------------------------------------------------------------------------- full disk


@pytest.mark.parametrize("result_fits", [True, False])
def test_a_full_disk_is_named(jobs, stopped, monkeypatch, capsys, result_fits):
    folder = stopped("search", 7)
    before = (folder / "checkpoint.pt").read_bytes()

    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(dnas.training.job_files, "save_checkpoint", full)
        if not result_fits:
            patch.setattr("dnas.cli.job.write_json", full)
            patch.setattr("dnas.cli.job._prepare_folder", lambda *_: None)
        assert jobs.run("search", folder) == 1
    shown = capsys.readouterr().err
    assert f"No space left on device: '{folder / 'checkpoint.pt'}'; make room" in shown
    assert (folder / "checkpoint.pt").read_bytes() == before
    result = json.loads((folder / "result.json").read_text())
    if result_fits:
        assert result["status"] == "failed"
        assert "No space left on device" in result["error"]["message"]
    else:
        assert f"error: {folder / 'result.json'}: the result (failed) is not written" in shown
    assert jobs.run("search", folder) == 0
    jobs.check("search", folder)


def test_progress_is_there_while_a_job_runs(jobs, stopped):
    before = time.time()
    folder = stopped("search", 7)
    progress = json.loads((folder / "progress.json").read_text())
    assert progress.keys() == {"step", "total_steps", "phase", "epoch", "metric", "time"}
    # 5 and 3 steps an epoch: a warm-up epoch, then weights, then theta.
    assert (progress["step"], progress["phase"]) == (7, "weights")
    lines = metrics_of(folder)
    assert progress["metric"] == {"weights loss": lines[-1]["task_loss"]}
    assert progress["epoch"] == lines[-1]["epoch"]
    assert before <= progress["time"] <= time.time()
    quiet = json.loads((jobs.quiet["training"] / "progress.json").read_text())
    assert (quiet["phase"], quiet["epoch"], quiet["step"]) == ("train", 4.0, quiet["total_steps"])
    assert quiet["metric"] == {
        "logloss": metrics_of(jobs.quiet["training"])[-1]["validation"]["logloss"]
    }
