"""One-shot training: which path when, learning rates, and exact resume."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from dnas.core import Architecture, UniformPrior
from dnas.data import TensorBatch
from dnas.errors import ConfigError, DivergenceError, JobError, Preempted
from dnas.runs import JobFolder
from dnas.strategies.one_shot import OneShotTraining
from dnas.strategies.path_plan import PathPlan, full_path_probability
from dnas.strategies.path_step import make_path_step
from dnas.training.general_path_step import GeneralPathStep
from tests.one_shot_toys import FullPathPrior
from tests.toys import (
    Recording,
    Scales,
    all_equal,
    card_net,
    click_batches,
    scale_batches,
    snapshot,
)

BCE = nn.functional.binary_cross_entropy_with_logits


def clicks(folder=None, net=None, **changes):
    """12 steps on random clicks, with sparse gradients."""
    net = net or card_net()
    arguments = {
        "loader": Recording(click_batches(8, seed=1)),
        "loss_function": BCE,
        "n_epochs": "1.5",
        "optimizer_params": {"eps": 1e-2},
        "lr": 0.1,
        "folder": None if folder is None else JobFolder(folder),
        "log_every_steps": 5,
        "divergence_factor": 1e6,
    }
    return OneShotTraining(net, FullPathPrior(net), **{**arguments, **changes})


def scales(net, prior=None, **changes):
    arguments = {
        "loader": Recording(scale_batches(20)),
        "loss_function": nn.functional.mse_loss,
        "divergence_factor": 1e6,
    }
    return OneShotTraining(net, prior or FullPathPrior(net), **{**arguments, **changes})


# -------------------------------------------------------------------------------- paths


def test_probability_of_the_full_path_by_hand():
    assert [full_path_probability(t, 4) for t in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert full_path_probability(0, 0) == 0.0


def test_full_paths_come_up_as_often_as_said():
    """One coin a step: of the 8 steps the expected number is 1 + 7/8 + ... + 1/8 = 4.5.

    A coin for each of the 12 decisions would give about 1.6.
    """
    net = Scales(decisions=12)
    full = FullPathPrior(net).full_path()
    counts = [0] * 10
    seeds = 400
    for seed in range(seeds):
        plan = PathPlan(FullPathPrior(net), "uniform", 8, seed)
        for step in range(10):
            path, is_full = plan(step)
            assert is_full == (path == full)  # 1 in 3^12 draws would be it by chance
            counts[step] += is_full
    assert counts[0] == seeds
    assert counts[8:] == [0, 0]
    for step in range(1, 8):
        p = 1 - step / 8
        assert counts[step] / seeds == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / seeds))


def test_the_path_of_a_step_depends_on_seed_and_step_alone():
    net = Scales(decisions=12)
    prior = FullPathPrior(net)
    forwards = [PathPlan(prior, "uniform", 4, 7)(step) for step in range(20)]
    backwards = [PathPlan(prior, "uniform", 4, 7)(step) for step in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert forwards != [PathPlan(prior, "uniform", 4, 8)(step) for step in range(20)]


def test_spaces_without_a_full_path_are_trained_without_warm_up():
    net = Scales()
    training = scales(net, UniformPrior(net), lr=0.01)
    assert training.train() == 20
    assert training.full_paths == 0


# -------------------------------------------------------------------------------- steps


def test_learning_rates_by_hand():
    """W = 4 of T = 20 steps up to 0.12; then (1 + cos(pi (t - 4) / 16)) / 2 of it."""
    training = scales(Scales(), lr=0.12, lr_warmup_fraction=0.2)
    rates = []
    step = training.one_step

    class Watched:
        set_lr, state_dict, load_state_dict = step.set_lr, step.state_dict, step.load_state_dict

        def __call__(self, batch, path):
            rates.append(step.optimizer.members[0][0].param_groups[0]["lr"])
            return step(batch, path)

    training.one_step = Watched()
    training.train()
    assert rates[:7] == pytest.approx([0, 0.03, 0.06, 0.09, 0.12, 0.11885, 0.11543], abs=5e-6)
    assert rates[12] == pytest.approx(0.06)
    assert rates[-1] == pytest.approx(0.00115, abs=5e-6)


def test_a_step_by_hand():
    """One weight, one row: y = 2 w x, loss (2 w x - t)^2, Adagrad's first step is lr g / (|g| + e).

    w = 1, x = 3, t = 4: g = 2 (6 - 4) 6 = 24; clipped to 5: 0.5 * 5 / (5 + 1).
    """
    net = Scales(decisions=1)
    training = scales(net, lr=0.5, optimizer_params={"eps": 1.0})
    batch = TensorBatch((torch.tensor([[3.0]]),), torch.tensor([4.0]))
    loss = training.one_step(batch, Architecture({"scale/d0": 2}))
    assert float(loss) == pytest.approx(4.0)
    assert not loss.requires_grad
    assert net.w.item() == pytest.approx(1 - 0.5 * 5 / 6, rel=1e-5)
    training.one_step.set_lr(0.0)
    training.one_step(batch, Architecture({"scale/d0": 2}))
    assert net.w.item() == pytest.approx(1 - 0.5 * 5 / 6, rel=1e-5)


def test_only_what_the_path_uses_is_trained_and_never_theta():
    net = card_net()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    training = clicks(net=net)
    path = UniformPrior(net).candidate(torch.Generator().manual_seed(2))
    training.one_step(click_batches(1)[0], path)
    table = next(name for name, p in net.named_parameters() if p.shape[0] > 50)
    changed = (dict(net.named_parameters())[table] != before[table]).any(dim=1)
    assert 0 < int(changed.sum()) <= 16 * 3
    clicks(net=net).train()
    for name, choice in net.choices.items():
        assert torch.equal(choice.theta, torch.zeros_like(choice.theta)), name


def test_a_supernet_may_bring_a_step_of_its_own():
    class Own(Scales):
        def path_step(self, *arguments):
            self.arguments = arguments
            return self.made

    net = Own()
    net.made = object.__new__(GeneralPathStep)
    step = make_path_step(net, torch.optim.SGD, 0.5, {}, 5.0, BCE, torch.device("cpu"))
    assert step is net.made
    assert net.arguments == (torch.optim.SGD, 0.5, {}, 5.0, BCE, torch.device("cpu"))


def test_training_is_of_fractions_of_epochs():
    training = clicks()
    assert training.train() == training.total_steps == 12
    assert training.loader.steps == list(range(12))
    assert clicks(n_epochs="0.01").total_steps == 1


# -------------------------------------------------------------------------------- resume


def lines(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in found]


def stop_after(steps):
    count = iter(range(10**6))
    return lambda: next(count) >= steps


@pytest.mark.parametrize("optimizer", [torch.optim.Adagrad, torch.optim.Adam])
@pytest.mark.parametrize("stop", [0, 1, 5, 7, 11])
def test_resumed_equals_uninterrupted(tmp_path, stop, optimizer):
    options = {"optimizer_class": optimizer}
    whole = clicks(tmp_path / "a", **options)
    whole.train()
    with pytest.raises(Preempted, match=f"stopped at step {stop}"):
        clicks(tmp_path / "b", should_stop=stop_after(stop), **options).train()
    torch.manual_seed(12345)
    resumed = clicks(tmp_path / "b", **options)
    with torch.no_grad():
        for parameter in resumed.super_net.parameters():
            parameter.add_(1.0)  # the checkpoint decides, not what is in memory
    assert resumed.train() == 12
    assert all_equal(
        snapshot(whole.super_net.parameters()), snapshot(resumed.super_net.parameters())
    )
    assert whole.full_paths == resumed.full_paths > 0
    assert lines(tmp_path / "a") == lines(tmp_path / "b")


def test_a_run_that_was_killed_between_checkpoints(tmp_path):
    """Steps after the checkpoint are done again, and their lines are not there twice."""
    whole = clicks(tmp_path / "a")
    whole.train()

    class Killed(Exception):
        pass

    def kill(loader):
        for number, batch in enumerate(click_batches(8, seed=1) * 2):
            if number == 11:
                raise Killed
            yield batch

    cut = clicks(tmp_path / "b", checkpoint_every_s=-1.0)
    cut.loader.batches = lambda start, stop: kill(cut.loader)
    with pytest.raises(Killed):
        cut.train()
    resumed = clicks(tmp_path / "b")
    resumed.train()
    assert resumed.loader.steps == [10, 11]
    assert all_equal(
        snapshot(whole.super_net.parameters()), snapshot(resumed.super_net.parameters())
    )
    assert lines(tmp_path / "a") == lines(tmp_path / "b")


def test_a_finished_training_is_not_done_again(tmp_path):
    first = clicks(tmp_path)
    first.train()
    again = clicks(tmp_path, net=card_net(seed=9))
    assert again.train() == 12
    assert again.loader.steps == []
    assert all_equal(snapshot(first.super_net.parameters()), snapshot(again.super_net.parameters()))


def test_checkpoints_of_other_settings_are_refused(tmp_path):
    clicks(tmp_path).train()
    with pytest.raises(JobError, match=r"was made with lr=0.1, this run has lr=0.2"):
        clicks(tmp_path, lr=0.2).train()


# -------------------------------------------------------------------------------- errors


def test_divergence_is_seen():
    batches = scale_batches(4)
    batches[2].labels.fill_(float("nan"))
    with pytest.raises(DivergenceError, match="not finite at step 3"):
        scales(Scales(), loader=Recording(batches), log_every_steps=1).train()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_epochs": 0}, "n_epochs must be positive"),
        ({"warmup_fraction": 1.5}, r"warmup_fraction must be in \[0, 1\]"),
        ({"log_every_steps": 0}, "log_every_steps must be at least 1"),
        ({"path_sampling": "any"}, "--path_sampling=any: this space has uniform"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        scales(Scales(), **changes)
