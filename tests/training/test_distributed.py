"""Data-parallel training gives the numbers of one process, and ends as one job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn

from dnas.errors import ConfigError
from dnas.training import distributed
from dnas.training.distributed import Ranks, merge_rows
from tests.processes import (
    ENVIRONMENT,
    SEARCH,
    TRAIN,
    command,
    metrics_of,
    result_of,
    run,
    theta_of,
    wait_until,
)

# -------------------------------------------------------------------------------- by hand


def test_merged_rows_by_hand():
    """Rows 0, 2 and rows 2, 5, 7; one rank without any."""
    rows = torch.tensor([0, 2]), torch.tensor([], dtype=torch.int64), torch.tensor([2, 5, 7])
    values = torch.tensor([[1.0], [2.0]]), torch.empty(0, 1), torch.tensor([[10.0], [20.0], [30.0]])
    union, total = merge_rows(rows, values)
    assert union.tolist() == [0, 2, 5, 7]
    assert total.tolist() == [[1.0], [12.0], [20.0], [30.0]]


def test_buckets_hold_one_dtype_and_a_bounded_number_of_elements(monkeypatch):
    monkeypatch.setattr(distributed, "BUCKET_ELEMENTS", 10)
    sizes = [(4, torch.float32), (6, torch.float32), (1, torch.float32), (20, torch.float32),
             (2, torch.float32), (2, torch.float64), (3, torch.float64)]  # fmt: skip
    parameters = [nn.Parameter(torch.zeros(n, dtype=dtype)) for n, dtype in sizes]
    found = [[p.numel() for p in bucket] for bucket in distributed._buckets(parameters)]
    assert found == [[4, 6], [1], [20], [2], [2, 3]]


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape))


def sparse(rows: list[int], values: list[list[float]], height: int) -> torch.Tensor:
    return torch.sparse_coo_tensor(
        torch.tensor([rows], dtype=torch.int64), torch.tensor(values), (height, 2)
    )


def no_rows() -> torch.Tensor:
    return torch.sparse_coo_tensor(torch.empty(1, 0, dtype=torch.int64), torch.empty(0, 2), (9, 2))


def on_a_rank(rank: int, folder: Path) -> None:
    """What one of two processes does; what it found goes into a file."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2
    )
    distributed.BUCKET_ELEMENTS = 4
    world = Ranks()
    found: dict[str, Any] = {}

    # Of 7 rows rank 0 has 3 and rank 1 has 4.
    share = world.share(7)
    loss = torch.tensor(2.0 if rank == 0 else 9.0, requires_grad=True)
    mean = world.mean(loss, share)
    (mean * 10).backward()
    found["mean"] = [float(mean), float(loss.grad)]
    cost = torch.tensor(3.0, requires_grad=True)
    (world.alike({"c": cost})["c"] ** 2).backward()
    found["alike"] = float(cost.grad)

    both, third, nobody, here, table, table_here, empty = (
        parameter(2, 2), parameter(3), parameter(2), parameter(2), parameter(9, 2),
        parameter(9, 2), parameter(9, 2),
    )  # fmt: skip
    both.grad = torch.full((2, 2), 1.0 if rank == 0 else 10.0)
    third.grad = torch.arange(3.0) * (rank + 1)
    if rank == 0:
        here.grad = torch.tensor([5.0, 6.0])
        table.grad = sparse([4, 0, 4], [[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]], 9)
        empty.grad = no_rows()
    else:
        table.grad = sparse([8, 4, 1, 2], [[1.0, 1.0], [100.0, 200.0], [2.0, 2.0], [3.0, 3.0]], 9)
        table_here.grad = sparse([7], [[1.0, 2.0]], 9)
        empty.grad = no_rows()
    world.sync_gradients([both, third, nobody, here, table, table_here, empty])
    found["dense"] = [both.grad.tolist(), third.grad.tolist(), nobody.grad, here.grad.tolist()]
    found["coalesced"] = table.grad.is_coalesced()
    found["table"] = [table.grad._indices().tolist(), table.grad._values().tolist()]
    found["table here"] = [table_here.grad._indices().tolist(), table_here.grad._values().tolist()]
    found["empty"] = [empty.grad._nnz(), list(empty.grad.shape)]

    rows = torch.arange(7.0).view(7, 1)
    found["gathered"] = world.gather(rows[share.part], share).flatten().tolist()
    one = world.share(1)
    found["one"] = [one.weight, world.gather(torch.tensor([rank + 5.0]), one).tolist()]
    found["any"] = [world.any(rank == 1), world.any(False)]
    torch.manual_seed(rank)
    model = nn.Linear(2, 1)
    world.begin(model, 3)
    found["weights"] = model.weight.flatten().tolist()
    found["mask"] = torch.rand(3).tolist()
    try:
        world.begin(nn.Sequential(nn.BatchNorm1d(2)), 0)
    except ConfigError as error:
        found["refused"] = str(error)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_two_processes_by_hand(tmp_path):
    torch.multiprocessing.spawn(on_a_rank, (tmp_path,), nprocs=2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    # 3 rows with mean 2 and 4 rows with mean 9; the gradient of 10 * mean.
    assert first["mean"] == pytest.approx([6.0, 30 / 7])
    assert second["mean"] == pytest.approx([6.0, 40 / 7])
    assert first["alike"] == second["alike"] == 3.0  # of 6
    expected = [[[11, 11], [11, 11]], [0, 3, 6], None, [5, 6]]
    assert first["dense"] == second["dense"] == expected
    assert first["coalesced"] is second["coalesced"] is True
    assert first["table"] == second["table"] == [
        [[0, 1, 2, 4, 8]], [[3, 4], [2, 2], [3, 3], [111, 222], [1, 1]]
    ]  # fmt: skip
    assert first["table here"] == second["table here"] == [[[7]], [[1, 2]]]
    assert first["empty"] == second["empty"] == [0, [9, 2]]
    assert first["gathered"] == second["gathered"] == list(range(7))
    # The only row of a batch is the second rank's.
    assert (first["one"], second["one"]) == ([0.0, [6.0]], [1.0, [6.0]])
    assert first["any"] == second["any"] == [True, False]
    assert first["weights"] == second["weights"]
    assert first["mask"] != second["mask"]
    assert "0 is a BatchNorm1d" in first["refused"]
    assert first["refused"] == second["refused"]


# -------------------------------------------------------------------------------- jobs


def close(first: Any, second: Any, where: str = "") -> None:
    """Equal but for rounding, in structures of dicts and lists."""
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            close(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, list):
        assert len(first) == len(second), where
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            close(a, b, f"{where}/{number}")
    elif isinstance(first, float):
        assert first == pytest.approx(second, rel=1e-5, abs=1e-6), where
    else:
        assert first == second, where


def check_same_search(first: Path, second: Path) -> None:
    """All but the drawn architectures: the draws are seeded with theta, with all its bits."""
    results = [result_of(folder) for folder in (first, second)]
    for result in results:
        del result["architectures"]
    close(*results)
    close(metrics_of(first), metrics_of(second))
    thetas = theta_of(first), theta_of(second)
    assert thetas[0].keys() == thetas[1].keys()
    for name in thetas[0].keys() - {"meta"}:
        np.testing.assert_allclose(thetas[0][name], thetas[1][name], rtol=1e-5, atol=1e-6)
    states = [torch.load(folder / "checkpoint.pt") for folder in (first, second)]
    for name in ("super_net", "penalty"):
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-5, atol=1e-6)
    most_likely = [
        json.loads((folder / "architectures" / "0000.json").read_text())
        for folder in (first, second)
    ]
    for record in most_likely:
        assert record["provenance"].pop("kind") == "most_likely"
        del record["provenance"]["job"]
    close(*most_likely)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return f"--data_cache={tmp_path_factory.mktemp('cache')}"


@pytest.fixture(scope="module")
def searched(tmp_path_factory, data) -> Path:
    """A search in one process."""
    folder = tmp_path_factory.mktemp("one") / "s"
    done = run(command("train_dnas.py", [*SEARCH, data], folder / "result.json"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "changes"),
    [
        (2, ()),
        # Fewer rows than processes in every batch but the first: some process has none.
        (3, ("--eval_batch_size=2",)),
    ],
)
def test_a_search_is_that_of_one_process(searched, data, tmp_path, processes, changes):
    """Sparse gradients, dual ascent on a cost, batches that do not divide evenly, validation."""
    argv = command("train_dnas.py", [*SEARCH, data, *changes], tmp_path / "result.json", processes)
    done = run(argv)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "result.json").read_text())["processes"] == processes
    check_same_search(searched, tmp_path)
    assert "[rank 1] INFO" not in done.stderr


@pytest.mark.slow
def test_a_nonlinear_penalty_sees_the_loss_of_all_rows(data, tmp_path):
    """Equation 5 multiplies the loss by the cost under the step's soft sample."""
    penalty = ["--use_hw_cost", "--exponential_cost", "--cost_exp=1.5", "--cost_coef=1"]
    flags = [*(flag for flag in SEARCH if "cost_target" not in flag), *penalty, data]
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        done = run(command("train_dnas.py", flags, folder / "result.json", processes))
        assert done.returncode == 0, done.stderr
    check_same_search(tmp_path / "1", tmp_path / "2")


@pytest.mark.slow
def test_a_training_is_that_of_one_process(searched, data, tmp_path):
    flags = [f"--sampled_arch={searched / 'architectures' / '0001.json'}", *TRAIN, data]
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        done = run(command("train_sampled.py", flags, folder / "result.json", processes))
        assert done.returncode == 0, done.stderr
    close(result_of(tmp_path / "1"), result_of(tmp_path / "2"))
    close(metrics_of(tmp_path / "1"), metrics_of(tmp_path / "2"))
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("1", "2")]
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_sigterm_to_torchrun_saves_and_any_number_of_processes_goes_on(data, tmp_path):
    flags = [*SEARCH, data, "--n_total_s_net_training_epochs=20", "--architecture_sampling=19:2"]
    whole, cut, other = (tmp_path / name for name in ("whole", "cut", "other"))
    done = run(command("train_dnas.py", flags, whole / "result.json"))
    assert done.returncode == 0, done.stderr
    argv, log = command("train_dnas.py", flags, cut / "result.json", 2), tmp_path / "log"
    with open(log, "wb") as file:
        process = subprocess.Popen(argv, env=ENVIRONMENT, stderr=file, start_new_session=True)
    try:
        wait_until(lambda: (cut / "metrics.jsonl").exists(), process, log)
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
    finally:
        process.kill()
    result = json.loads((cut / "result.json").read_text())
    assert (result["status"], result["error"]["type"]) == ("preempted", "Preempted")
    assert "user_error" not in result
    assert 0 < torch.load(cut / "checkpoint.pt")["position"]["global_step"] < 20 * 5
    subprocess.run(["cp", "-r", cut, other], check=True)
    for folder, processes in ((cut, 2), (other, 1)):
        done = run(command("train_dnas.py", flags, folder / "result.json", processes))
        assert done.returncode == 0, done.stderr
        assert "going on from step" in done.stderr
        check_same_search(whole, folder)


#: A script whose process of rank 1 ends in some way at its fourth step.
FAILING = """
import os, signal, sys
import torch, supernets
from dnas.cli import search
from dnas.errors import DataError
from dnas.strategies.search_manager import SearchManager

step = SearchManager.run_one_dnas_step

def failing(self, *arguments):
    if self.position.global_step == 3 and os.environ["RANK"] == "1":
        {how}
    return step(self, *arguments)

SearchManager.run_one_dnas_step = failing
sys.exit(search.main())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status", "message", "user_error"),
    [
        ("raise ZeroDivisionError('on purpose')", "failed", "on purpose", None),
        ("raise DataError('bad rows')", "failed", "bad rows", True),
        ("raise torch.OutOfMemoryError('CUDA out of memory')", "out_of_memory", "CUDA out", None),
        ("os.kill(os.getpid(), signal.SIGKILL)", "failed", "rank 0 of 2 waited for", None),
    ],
)
def test_one_process_ends_the_job_and_the_result_says_why(
    data, tmp_path, how, status, message, user_error
):
    script = tmp_path / "failing.py"
    script.write_text(FAILING.format(how=how))
    folder = tmp_path / "s"
    argv = command(str(script), [*SEARCH, data], folder / "result.json", 2)
    done = run(argv, timeout_s=60)
    assert done.returncode == 1
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == status
    assert message in result["error"]["message"]
    assert result["error"]["rank"] == (0 if "SIGKILL" in how else 1)
    assert result.get("user_error") is user_error


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other kernels have no such signal")
def test_workers_die_with_torchrun(data, tmp_path):
    """They would go on writing into the folder of the next attempt."""
    flags = [*SEARCH, data, "--n_total_s_net_training_epochs=200", "--architecture_sampling=199:2"]
    argv, log = command("train_dnas.py", flags, tmp_path / "result.json", 2), tmp_path / "log"
    with open(log, "wb") as file:
        process = subprocess.Popen(argv, env=ENVIRONMENT, stderr=file, start_new_session=True)
    wait_until(lambda: (tmp_path / "metrics.jsonl").exists(), process, log)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(workers) == 2
    process.kill()
    process.wait()
    for worker in workers:
        for _ in range(200):
            if not is_running(int(worker)):
                break
            time.sleep(0.01)
        assert not is_running(int(worker))
    assert not (tmp_path / "result.json").exists()


def is_running(pid: int) -> bool:
    """Whether there is such a process, other than one that only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
