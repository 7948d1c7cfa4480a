"""Real training jobs through the queue: stopped, killed and gone on with, to the same bits."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONFIG = """python train_dnas.py
--search_space=emb_card --data_set=adult --data_cache=DATA
--embedding_dimension 4 --cardinality_options 1.0 0.5 0.1 --arch_mlp_bot 16 --arch_mlp_top 16
--weights_batch_size=256 --arch_params_batch_size=256
--n_total_s_net_training_epochs=12 --num_warmup_epochs=1 --n_alt_train_amt=0.5
--architecture_sampling=2:2 --weights_optimizer=adagrad --weights_lr={0.03, 0.06}
--checkpoint_every_s=0
--experiment_id=EXPERIMENT_ID --host_gpu_id=GPU_ID_PARAM --save_metrics_param=SAVE_METRICS_PARAM
GPU_IDS:cpu,cpu
"""


class Run:
    """``tuning.py`` on a config, under one experiment id."""

    def __init__(self, folder: Path, name: str, config: str) -> None:
        self._folder, self._name = folder, name
        (folder / f"{name}.config").write_text(config)
        self.path = folder / "runs" / name
        self._live: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        manager = subprocess.Popen(
            [sys.executable, str(ROOT / "tuning.py"), f"{self._name}.config", self._name],
            cwd=self._folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._live.append(manager)
        return manager

    def finish(self) -> None:
        manager = self.start()
        output, _ = manager.communicate(timeout=200)
        assert manager.returncode == 0, output

    def end(self) -> None:
        for manager in self._live:
            if manager.poll() is None:
                manager.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    manager.communicate(timeout=30)
            manager.kill()

    def steps(self) -> list[int]:
        """The step that each job says it is at."""
        files = sorted(self.path.glob("supernet/[!.]*/progress.json"))
        return [json.loads(file.read_text())["step"] for file in files]

    def statuses(self) -> list[dict[str, Any]]:
        return [
            json.loads(p.read_text()) for p in sorted(self.path.glob("supernet/[!.]*/status.json"))
        ]

    def outputs(self) -> dict[str, bytes]:
        """All that the jobs have found out, times left out."""
        found = {}
        for job in sorted(self.path.glob("supernet/[0-9]*")):
            name = job.name
            found[f"{name}/theta"] = (job / "theta.npz").read_bytes()
            result = json.loads((job / "result.json").read_text())
            for key in ("seconds", "peak_memory_bytes", "settings", "experiment_id"):
                result.pop(key, None)
            found[f"{name}/result"] = json.dumps(without_times(result), sort_keys=True).encode()
            for file in sorted((job / "architectures").glob("*.json")):
                value = without_times(json.loads(file.read_text()))
                found[f"{name}/{file.name}"] = json.dumps(value, sort_keys=True).encode()
        return found


def without_times(value: Any) -> Any:
    """The value without what differs between two runs of the same job."""
    if isinstance(value, dict):
        left_out = ("seconds", "time", "job", "run", "experiment_id", "path", "versions")
        return {k: without_times(v) for k, v in value.items() if k not in left_out}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    made: list[Run] = []

    def make(name: str, config: str = CONFIG) -> Run:
        made.append(Run(tmp_path, name, config.replace("DATA", str(tmp_path / "data"))))
        return made[-1]

    yield make
    for run in made:
        run.end()


def wait_for_steps(
    run: Run, manager: subprocess.Popen[str], more_than: int, num_jobs: int = 2
) -> None:
    deadline = time.monotonic() + 100
    while sum(step > more_than for step in run.steps()) < num_jobs:
        assert manager.poll() is None, manager.communicate()[0]
        assert time.monotonic() < deadline, f"steps: {run.steps()}"
        time.sleep(0.02)


def test_stopped_and_killed_a_search_ends_with_the_same_bits(
    make_run: Callable[..., Run],
) -> None:
    quiet = make_run("quiet")
    quiet.finish()
    rough = make_run("rough")
    manager = rough.start()
    wait_for_steps(rough, manager, 20)
    manager.send_signal(signal.SIGINT)
    output, _ = manager.communicate(timeout=60)
    assert manager.returncode == 130, output
    assert {status["state"] for status in rough.statuses()} == {"queued"}
    assert "save a checkpoint" in output
    stopped_at = min(rough.steps())
    manager = rough.start()
    wait_for_steps(rough, manager, stopped_at + 20)
    # One job is killed, and the manager with it; the other one goes on alone.
    os.kill(rough.statuses()[0]["pid"], signal.SIGKILL)
    manager.kill()
    manager.communicate()
    rough.finish()
    assert [status["state"] for status in rough.statuses()] == ["succeeded", "succeeded"]
    assert rough.statuses()[0]["attempts"] == 3
    assert rough.outputs() == quiet.outputs()


def test_a_job_of_two_processes_is_stopped_and_ends_as_one_process_does(
    make_run: Callable[..., Run],
) -> None:
    config = CONFIG.replace("{0.03, 0.06}", "0.03").replace("epochs=12", "epochs=6")
    config = config.replace("sampling=2:2", "sampling=1:2")
    one = make_run("one", config)
    one.finish()
    two = make_run("two", config + "NUM_GPUS_PER_JOB:2\n")
    manager = two.start()
    wait_for_steps(two, manager, 20, num_jobs=1)
    manager.send_signal(signal.SIGINT)
    output, _ = manager.communicate(timeout=100)
    assert manager.returncode == 130, output
    (status,) = two.statuses()
    assert (status["state"], status["slot"]) == ("queued", ["cpu 0", "cpu 1"])
    assert "stopped for another attempt" in status["reason"]
    two.finish()
    (status,) = two.statuses()
    assert (status["state"], status["attempts"]) == ("succeeded", 2)
    (alone,), (together,) = (
        [json.loads(file.read_text()) for file in run.path.glob("supernet/[!.]*/result.json")]
        for run in (one, two)
    )
    assert (alone["processes"], together["processes"]) == (1, 2)
    assert together["steps"] == alone["steps"]
    assert together["validation"] == pytest.approx(alone["validation"], rel=1e-4)
