"""A search that is interrupted and resumed is, bit for bit, the one that was not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dnas.errors import JobError, Preempted
from dnas.metrics import BinaryMetrics
from tests.toys import all_equal, card_net, click_batches, click_manager, snapshot

ADAGRAD = {"w_optim_class": torch.optim.Adagrad, "w_optim_init_params": {"weight_decay": 1e-3}}
ADAM = {"w_optim_class": torch.optim.Adam, "cost_target": {"embedding_rows": 20.0}}
STEPS = 5 * 3 + 5 * 2


def manager(folder, **changes):
    return click_manager(
        card_net(),
        folder=folder,
        log_every_steps=2,
        weights_initial_lrs=[0.05],
        num_random_archs=2,
        valid_dataloader=click_batches(1, seed=7),
        make_metrics=BinaryMetrics,
        arch_sampling={1: 2, 2: 1},
        **changes,
    )


def stop_after(steps: int):
    count = iter(range(10**6))
    return lambda: next(count) >= steps


def lines(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in found]


def check_equal(first, second, results, folders):
    assert results[0] == results[1]
    assert all_equal(
        snapshot(first.super_net.parameters()), snapshot(second.super_net.parameters())
    )
    assert lines(folders[0]) == lines(folders[1])
    with np.load(folders[0] / "theta.npz") as a, np.load(folders[1] / "theta.npz") as b:
        assert set(a) == set(b)
        for name in a:
            assert a[name].tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize("options", [ADAGRAD, ADAM], ids=["adagrad", "adam, target"])
@pytest.mark.parametrize("stop", [0, 3, 7, 13, 20])
def test_resumed_equals_uninterrupted(tmp_path, stop, options):
    """Phases end after 5, 10, 15, 20 and 25 steps; the stops are inside all kinds of them."""
    folders = tmp_path / "a", tmp_path / "b"
    whole = manager(folders[0], **options)
    expected = whole.train_dnas()
    assert expected.steps == STEPS
    with pytest.raises(Preempted, match=f"stopped at step {stop}"):
        manager(folders[1], should_stop=stop_after(stop), **options).train_dnas()
    torch.manual_seed(12345)
    resumed = manager(folders[1], **options)
    with torch.no_grad():
        for parameter in resumed.super_net.parameters():
            parameter.add_(1.0)  # the checkpoint decides, not what is in memory
    check_equal(whole, resumed, (expected, resumed.train_dnas()), folders)


def test_interrupted_again_and_again(tmp_path):
    folders = tmp_path / "a", tmp_path / "b"
    whole = manager(folders[0], **ADAGRAD)
    expected = whole.train_dnas()
    for _ in range(STEPS // 4 + 2):
        resumed = manager(folders[1], should_stop=stop_after(4), **ADAGRAD)
        try:
            result = resumed.train_dnas()
            break
        except Preempted:
            continue
    check_equal(whole, resumed, (expected, result), folders)


def test_a_crash_goes_on_from_the_last_checkpoint(tmp_path):
    """Without a chance to save: from the end of the last phase."""
    folders = tmp_path / "a", tmp_path / "b"
    whole = manager(folders[0], **ADAGRAD)
    expected = whole.train_dnas()
    crashed = manager(folders[1], **ADAGRAD)
    step, count = crashed.run_one_dnas_step, iter(range(99))

    def dying(*arguments):
        if next(count) == 13:
            raise KeyboardInterrupt
        return step(*arguments)

    crashed.run_one_dnas_step = dying
    with pytest.raises(KeyboardInterrupt):
        crashed.train_dnas()
    resumed = manager(folders[1], **ADAGRAD)
    check_equal(whole, resumed, (expected, resumed.train_dnas()), folders)


def test_a_finished_search_does_nothing_again(tmp_path):
    expected = manager(tmp_path).train_dnas()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    again = manager(tmp_path, should_stop=lambda: True)
    assert again.train_dnas() == expected
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 2}, "seed=1, this run has seed=2"),
        ({"n_alt_train_amt": 0.2, "arch_sampling": {1: 1}}, "phases="),
        (
            {"use_hw_cost": True, "cost_metric": "flops"},
            "penalty=.*NoPenalty.*, this run has .*LinearPenalty",
        ),
        ({"sampling_mode": "batch"}, "sampling_mode='row', this run has"),
        ({"weights_initial_lrs": [0.2]}, "optimizers="),
        ({"init_temp": 2.0}, "temperature="),
        ({"w_optim_init_params": {"weight_decay": 0.1}}, "optimizers="),
    ],
)
def test_a_checkpoint_of_another_search_is_refused(tmp_path, changes, message):
    click_manager(folder=tmp_path).train_dnas()
    with pytest.raises(JobError, match=message):
        click_manager(folder=tmp_path, **changes).train_dnas()


def test_checkpoints_are_plain_data(tmp_path):
    manager(tmp_path).train_dnas()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["position"]["global_step"] == STEPS
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint.pt", "metrics.jsonl", "progress.json", "theta.npz"
    ]  # fmt: skip
