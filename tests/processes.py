"""The training scripts as processes, alone or under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.toys import DATA_FLAGS, SPACE_FLAGS

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

#: A search with sparse gradients and a cost target; no batch size divides its data evenly.
SEARCH = (
    "--search_space=emb_card", *DATA_FLAGS, *SPACE_FLAGS,
    "--host_gpu_id=cpu", "--weights_batch_size=63", "--arch_params_batch_size=31",
    "--eval_batch_size=9", "--architecture_sampling=1:2", "--n_total_s_net_training_epochs=2",
    "--weights_optimizer=adagrad", "--weights_lr=0.1", "--log_every_steps=2",
    "--cardinality_options", "1.0", "0.1", "0.02", "--cost_target=40",
)  # fmt: skip
TRAIN = (
    *DATA_FLAGS, "--host_gpu_id=cpu", "--batch_size=63", "--eval_batch_size=9", "--n_epochs=2",
    "--optimizer=adam", "--lr=0.05", "--log_every_steps=2", "--check_test_set_performance",
)  # fmt: skip


def command(script: str, flags: Sequence[str], result: Path, processes: int = 1) -> list[str]:
    """The argument list of a job, under torchrun if it has several processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [
        sys.executable,
        *(launcher if processes > 1 else []),
        str(ROOT / script),
        *flags,
        f"--save_metrics_param={result}",
    ]


def run(argv: Sequence[str], timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    return subprocess.run(
        argv, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=timeout_s
    )


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[Any], log: Path) -> None:
    """Until ``reached``, while the process lives."""
    deadline = time.monotonic() + 60
    while not reached():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


def result_of(folder: Path) -> dict[str, Any]:
    """The result without what differs from run to run."""
    result = json.loads((folder / "result.json").read_text())
    for name in ("seconds", "peak_memory_bytes", "settings", "processes"):
        result.pop(name)
    return result


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without times."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def theta_of(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of theta.npz."""
    with np.load(folder / "theta.npz") as found:
        return dict(found)
