"""SearchManager: Table I, what a step does, schedules, sampling, validation, files."""

from __future__ import annotations

import inspect
import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from dnas.core import Choice, SuperNet
from dnas.costs import BudgetPenalty, LinearPenalty, NoPenalty
from dnas.data import TensorBatch
from dnas.errors import ConfigError, DataError, DivergenceError
from dnas.metrics import BinaryMetrics
from dnas.strategies.search_manager import SearchManager
from tests.toys import (
    Recording,
    Scales,
    all_equal,
    card_net,
    click_batches,
    click_manager,
    scale_batches,
    scale_manager,
    snapshot,
)

ROOT = Path(__file__).resolve().parents[2]

TABLE_I = (
    "super_net", "num_warmup_epochs", "arch_sampling", "n_total_s_net_training_epochs",
    "n_alt_train_amt", "init_temp", "temp_decay", "host_device", "update_lrs_every_step",
    "experiment_id", "logfile", "clip_grad_norm_value", "w_dataloader", "m_dataloader",
    "w_optim_class", "w_optim_init_params", "w_optim_params_func", "weights_lr_lambdas",
    "weights_initial_lrs", "m_optim_class", "m_optim_init_params", "m_optim_params_func",
    "mask_lr_lambdas", "mask_initial_lrs", "loss_function", "use_hw_cost", "cost_exp",
    "cost_coef", "exponential_cost", "cost_multiplier",
)  # fmt: skip


def metrics(folder: Path, event: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


class Prescribed(Scales):
    """Remembers the samples it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x, *, sample):
        self.seen.append(sample[self.choice].detach().clone())
        return super().forward(x, sample=sample)


# -------------------------------------------------------------------------------- Table I


def test_every_name_of_table_1_is_an_argument_and_all_together_are_accepted(tmp_path):
    assert set(TABLE_I) <= set(inspect.signature(SearchManager).parameters)
    values = {
        "super_net": Scales(),
        "num_warmup_epochs": 0.5,
        "arch_sampling": {0.5: 2},
        "n_total_s_net_training_epochs": 1,
        "n_alt_train_amt": 0.5,
        "init_temp": 1.0,
        "temp_decay": 0.1,
        "host_device": torch.device("cpu"),
        "update_lrs_every_step": True,
        "experiment_id": "table 1",
        "logfile": str(tmp_path / "log.txt"),
        "clip_grad_norm_value": 100.0,
        "w_dataloader": scale_batches(),
        "m_dataloader": scale_batches(),
        "w_optim_class": torch.optim.SGD,
        "w_optim_init_params": {"momentum": 0.9},
        "w_optim_params_func": lambda net: net.weight_parameters(),
        "weights_lr_lambdas": [lambda epoch: 0.9**epoch],
        "weights_initial_lrs": [0.01],
        "m_optim_class": torch.optim.Adam,
        "m_optim_init_params": {"betas": (0.5, 0.999)},
        "m_optim_params_func": lambda net: net.architecture_parameters(),
        "mask_lr_lambdas": [lambda epoch: 0.9**epoch],
        "mask_initial_lrs": [0.01],
        "loss_function": nn.functional.mse_loss,
        "use_hw_cost": True,
        "cost_exp": 1.5,
        "cost_coef": 0.01,
        "exponential_cost": True,
        "cost_multiplier": 1000.0,
    }
    assert set(values) == set(TABLE_I)
    result = SearchManager(**values).train_dnas()
    assert result.steps == 4 + 2
    assert [s.kind for s in result.architectures] == ["most_likely", "draw", "draw"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling_mode": "rows"}, "sampling_mode must be 'row' or 'batch', but got 'rows'"),
        ({"init_temp": 0.0}, "init_temp must be at least min_temp, .* got 0.0 and 0.001"),
        ({"init_temp": math.nan}, "init_temp must be at least min_temp"),
        ({"log_every_steps": 0}, "log_every_steps must be at least 1"),
        ({"valid_dataloader": scale_batches(1)}, "valid_dataloader needs make_metrics"),
        ({"weights_initial_lrs": [0.1, 0.2]}, "1 parameter groups but 2 initial learning rates"),
        ({"w_optim_class": "adam"}, "w_optim_class is 'adam'; give a class, such as torch.optim.A"),
        ({"m_optim_class": None}, "m_optim_class is None; give a class"),
        ({"weights_initial_lrs": 0.02}, r"weights_initial_lrs is 0.02; .* such as \[0.02\]"),
        ({"mask_initial_lrs": ["0.1"]}, r"mask_initial_lrs is \['0.1'\]; give a list with a learn"),
        ({"weights_lr_lambdas": abs}, "weights_lr_lambdas is <built-in .*; give a list with"),
        ({"mask_lr_lambdas": [0.9]}, r"mask_lr_lambdas is \[0.9\]; give a list with a function"),
        ({"mask_lr_lambdas": [abs, abs]}, "2 learning-rate lambdas for 1 theta parameter groups"),
        ({"use_hw_cost": True, "cost_metric": "flops"}, r"'flops': this search space has \['u"),
        ({"cost_target": {"flops": 1.0}}, r"'flops': this search space has \['units'\]"),
        ({"num_warmup_epochs": 1}, "theta would never be trained"),
        ({"arch_sampling": {0.7: 1}}, "no theta phase ends at 0.7"),
        ({"w_optim_params_func": SuperNet.parameters}, "w_optim_params_func returns theta"),
        ({"m_optim_params_func": SuperNet.parameters}, "m_optim_params_func returns weights"),
        ({"w_optim_params_func": lambda net: []}, "no parameters"),
        ({"min_temp": 0.0}, "init_temp must be at least min_temp, and that at least 0.0001"),
        ({"clip_grad_norm_value": -1.0}, "clip_grad_norm_value"),
        ({"exponential_cost": True}, "use_hw_cost"),
        ({"cost_target": {"units": 5.0}, "use_hw_cost": True}, "cost_target"),
    ],
)  # fmt: skip
def test_contradictory_arguments_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        scale_manager(**changes)


def test_a_net_without_choices_is_refused():
    net = Scales()
    del net.choice
    with pytest.raises(ConfigError, match="Scales has no Choice: there is nothing to search"):
        scale_manager(net)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, NoPenalty),
        ({"use_hw_cost": True}, LinearPenalty),
        ({"cost_target": {"units": 5.0}}, BudgetPenalty),
        ({"penalty": LinearPenalty(1.0, metric="units"), "use_hw_cost": False}, LinearPenalty),
    ],
)
def test_the_penalty_that_was_asked_for(changes, kind):
    assert type(scale_manager(**changes).penalty) is kind


# -------------------------------------------------------------------------------- steps


@pytest.mark.parametrize(("mode", "draws"), [("row", 32), ("batch", 1)])
def test_a_draw_for_each_row_or_for_the_batch(mode, draws):
    net = Prescribed()
    scale_manager(net, sampling_mode=mode).train_dnas()
    assert {tuple(sample.shape) for sample in net.seen} == {(draws, 4, 3)}
    assert len({tuple(row) for row in torch.cat(net.seen)[:, 0].tolist()}) == 8 * draws


def test_each_kind_of_step_trains_its_own_parameters_only():
    net = card_net()
    manager = click_manager(net)
    for kind, own, other in (
        ("weights", net.weight_parameters(), net.architecture_parameters()),
        ("theta", net.architecture_parameters(), net.weight_parameters()),
    ):
        before = snapshot(own), snapshot(other)
        manager._train_only(kind)
        manager.run_one_dnas_step(click_batches(1)[0], kind, 1.0)
        assert not all_equal(before[0], snapshot(own))
        assert all_equal(before[1], snapshot(other))
        assert all(parameter.grad is None for parameter in other)


def test_the_cost_is_in_the_loss_of_theta_steps_by_hand():
    """With a constant task loss theta moves by -lr * d(penalty)/d(theta) alone."""
    net = Scales(1, (1, 3))
    manager = scale_manager(
        net,
        loss_function=lambda outputs, labels: 0.0 * outputs.sum(),
        m_optim_class=torch.optim.SGD,
        mask_initial_lrs=[1.0],
        penalty=BudgetPenalty({"units": 1.0}, rate=0.001, rho=1.0),
    )
    manager._train_only("theta")
    manager.run_one_dnas_step(scale_batches(1, decisions=1)[0], "theta", 1.0)
    # C = (1 + 3) / 2 = 2, loss = log(C)^2 / 2, dC/dtheta = p (c - C) = (-1/2, 1/2).
    gradient = math.log(2) / 2 * 0.5
    torch.testing.assert_close(net.choice.theta.detach(), torch.tensor([[gradient, -gradient]]))
    # The multiplier moved by rate * g.
    assert float(manager.penalty.multipliers["units"]) == pytest.approx(0.001 * math.log(2))


def test_weights_steps_do_not_see_the_cost():
    nets = Scales(), Scales()
    managers = [
        scale_manager(nets[0], weights_initial_lrs=[0.01]),
        scale_manager(nets[1], weights_initial_lrs=[0.01], use_hw_cost=True, cost_coef=1e3),
    ]
    for manager in managers:
        manager._train_only("weights")
        manager.run_one_dnas_step(scale_batches(1)[0], "weights", 1.0)
    assert torch.equal(nets[0].w, nets[1].w)
    assert not torch.equal(nets[0].w, torch.ones(4))


def test_a_strong_cost_makes_the_cheapest_architecture_most_likely():
    found = {}
    for coef in (0.0, 1e3):
        net = Scales()
        scale_manager(
            net, n_total_s_net_training_epochs=10, use_hw_cost=True, cost_coef=coef
        ).train_dnas()
        found[coef] = set(net.sample_arch(most_likely=True).values())
    assert found == {0.0: {4}, 1e3: {1}}


def test_gradients_are_clipped_jointly():
    net = Scales()
    manager = scale_manager(net, weights_initial_lrs=[1.0], clip_grad_norm_value=1e-3)
    manager._train_only("weights")
    manager.run_one_dnas_step(scale_batches(1)[0], "weights", 1.0)
    assert float((net.w - 1).detach().norm()) == pytest.approx(1e-3, rel=1e-3)


# -------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    ("every_step", "expected"),
    [
        (False, [0, 0, 0, 0, 1, 1, 1, 1]),
        (True, [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]),
    ],
)
def test_learning_rates_follow_by_phase_or_by_step(every_step, expected):
    """Weights by weights epochs, theta by theta epochs."""
    seen = {"weights": [], "theta": []}
    scale_manager(
        n_total_s_net_training_epochs=2,
        num_warmup_epochs=1,
        weights_lr_lambdas=[lambda epoch: seen["weights"].append(epoch) or 1.0],
        mask_lr_lambdas=[lambda epoch: seen["theta"].append(epoch) or 1.0],
        update_lrs_every_step=every_step,
    ).train_dnas()
    assert seen["weights"] == pytest.approx(expected)
    assert seen["theta"] == pytest.approx(expected[:4])


@pytest.mark.parametrize(
    ("every_step", "exponents"),
    [
        (False, [0] * 4 + [1] * 4 + [1] * 4),
        (True, [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 1, 1.25, 1.5, 1.75]),
    ],
)
def test_temperature_follows_the_epoch_counter(every_step, exponents, monkeypatch):
    manager = scale_manager(
        n_total_s_net_training_epochs=2,
        num_warmup_epochs=1,
        init_temp=2.0,
        temp_decay=0.5,
        update_temp_every_step=every_step,
    )
    taus = []
    step = manager.run_one_dnas_step
    monkeypatch.setattr(
        manager, "run_one_dnas_step", lambda b, k, tau: (taus.append(tau), step(b, k, tau))[1]
    )
    manager.train_dnas()
    assert taus == pytest.approx([2.0 * math.exp(-0.5 * e) for e in exponents])


def test_each_loader_is_read_once_in_order():
    w, m = Recording(scale_batches(10)), Recording(scale_batches(5))
    scale_manager(
        w_dataloader=w,
        m_dataloader=m,
        n_total_s_net_training_epochs=2,
        num_warmup_epochs=0.4,
        n_alt_train_amt=0.2,
    ).train_dnas()
    assert w.steps == list(range(20))
    assert m.steps == list(range(8))


def test_a_torch_data_loader_will_do():
    x = torch.randn(40, 4)
    data = torch.utils.data.TensorDataset(x, 4 * x.sum(1))
    loaders = [torch.utils.data.DataLoader(data, batch_size=8, shuffle=True) for _ in range(2)]
    result = scale_manager(w_dataloader=loaders[0], m_dataloader=loaders[1]).train_dnas()
    assert result.steps == 10


# -------------------------------------------------------------------------------- sampling


def test_architectures_come_with_what_is_known_of_them():
    net = Scales()
    manager = scale_manager(
        net, n_total_s_net_training_epochs=2, arch_sampling={1: 2, 2: 1}, num_random_archs=-1
    )
    result = manager.train_dnas()
    kinds = [(s.kind, s.step, s.theta_epochs) for s in result.architectures]
    assert kinds[:5] == [
        ("most_likely", 8, 1.0), ("draw", 8, 1.0), ("draw", 8, 1.0),
        ("most_likely", 16, 2.0), ("draw", 16, 2.0),
    ]  # fmt: skip
    searched = {s.architecture.id for s in result.architectures[:5]}
    assert [s.kind for s in result.architectures[5:]] == ["random"] * len(searched)
    last = result.architectures[4]
    assert last.costs == {"units": float(sum(last.architecture.values()))}
    assert last.log_probability == pytest.approx(net.log_probability(last.architecture))


def test_draws_differ_by_seed_phase_and_theta():
    net = Scales(12)
    manager = scale_manager(
        net,
        w_dataloader=scale_batches(1, decisions=12),
        m_dataloader=scale_batches(1, decisions=12),
    )

    def drawn(phase: int) -> list[str]:
        return [s.architecture.id for s in manager.sample_archs(4, phase)]

    first = drawn(1)
    assert drawn(1) == first
    assert drawn(2)[1:] != first[1:]
    with torch.no_grad():
        net.choice.theta[0, 0] += 1e-6
    assert drawn(1)[1:] != first[1:]
    with torch.no_grad():
        net.choice.theta[0, 0] = 0.0
    assert drawn(1) == first
    manager.seed = 2
    assert drawn(1)[1:] != first[1:]


def test_sampled_architectures_are_the_same_in_another_process():
    code = (
        "from tests.toys import click_manager\n"
        "result = click_manager(num_random_archs=3).train_dnas()\n"
        "print([s.architecture.id for s in result.architectures])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    here = click_manager(num_random_archs=3).train_dnas()
    assert found == str([s.architecture.id for s in here.architectures])


def test_another_seed_is_another_search():
    ids = [
        [
            s.architecture.id
            for s in scale_manager(
                Scales(12),
                w_dataloader=scale_batches(1, decisions=12),
                m_dataloader=scale_batches(1, decisions=12),
                arch_sampling={1: 3},
                seed=seed,
            )
            .train_dnas()
            .architectures
        ]
        for seed in (1, 1, 2)
    ]
    assert ids[0] == ids[1] != ids[2]


# -------------------------------------------------------------------------------- validation


def test_a_metric_that_is_nan_is_refused_with_its_name():
    class Undefined(BinaryMetrics):
        def compute(self):
            return {**super().compute(), "lift": math.nan}

    manager = click_manager(valid_dataloader=click_batches(3, seed=8), make_metrics=Undefined)
    with pytest.raises(DataError, match="metric 'lift' of the validation part is nan"):
        manager.train_dnas()


def test_validation_after_every_phase_is_in_eval_mode_and_changes_nothing():
    class Watched(type(card_net())):
        modes: ClassVar[list[tuple[bool, bool, int]]] = []

        def forward(self, dense, ids, *, sample):
            self.modes.append((self.training, torch.is_grad_enabled(), sample.batch_size))
            return super().forward(dense, ids, sample=sample)

    def net():
        made = card_net()
        made.__class__ = Watched
        return made

    nets = net(), net()
    Watched.modes.clear()
    click_manager(nets[0]).train_dnas()
    assert {mode[:2] for mode in Watched.modes} == {(True, True)}
    Watched.modes.clear()
    result = click_manager(
        nets[1], valid_dataloader=click_batches(3, seed=8), make_metrics=BinaryMetrics
    ).train_dnas()
    validations = [mode for mode in Watched.modes if mode != (True, True, 16)]
    # 5 phases, 3 batches, soft and most likely.
    assert validations == ([(False, False, 16)] * 3 + [(False, False, 1)] * 3) * 5
    assert all_equal(snapshot(nets[0].parameters()), snapshot(nets[1].parameters()))
    assert result.validation["rows"] == 48


# -------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize(("where", "step"), [("w_dataloader", 2), ("m_dataloader", 6)])
def test_nan_in_the_data_is_divergence_at_its_step(where, step):
    batches = scale_batches()
    batches[1] = TensorBatch((batches[1].inputs[0] * math.nan,), batches[1].labels)
    with pytest.raises(DivergenceError, match=f"not finite at step {step}") as error:
        scale_manager(**{where: batches}).train_dnas()
    assert error.value.step == step
    assert error.value.last_good["loss"] > 0


def test_an_absurd_loss_is_divergence():
    with pytest.raises(DivergenceError, match="far above the"):
        scale_manager(
            weights_initial_lrs=[1.0],
            w_dataloader=scale_batches(20),
            log_every_steps=5,
            divergence_factor=10.0,
            clip_grad_norm_value=1e9,
        ).train_dnas()


def test_equation_5_is_refused_where_its_logarithm_is_not_positive():
    manager = scale_manager(
        use_hw_cost=True, exponential_cost=True, cost_exp=0.5, cost_multiplier=1e-9
    )
    with pytest.raises(ConfigError, match=r"units is 9\.33333, .* raise cost_multiplier"):
        manager.train_dnas()


def test_equation_5_with_a_cheap_row_keeps_theta_finite():
    net = Scales()
    manager = scale_manager(
        net, use_hw_cost=True, exponential_cost=True, cost_exp=0.5, cost_multiplier=0.11
    )
    manager._train_only("theta")
    manager.run_one_dnas_step(scale_batches(1)[0], "theta", 1.0)
    assert bool(torch.isfinite(net.choice.theta).all())


def test_theta_that_is_no_number_is_divergence():
    """The last theta step of all: no later loss would show it."""

    class Wrong(LinearPenalty):
        calls = 0

        def __call__(self, task_loss, costs):
            self.calls += 1
            return super().__call__(task_loss, costs) * (math.nan if self.calls == 4 else 1.0)

    with pytest.raises(DivergenceError, match="'scale' is not finite after step 8"):
        scale_manager(penalty=Wrong(1.0, metric="units")).train_dnas()


def test_theta_that_is_no_number_is_divergence_in_a_run_folder_too(tmp_path):
    class Wrong(LinearPenalty):
        def __call__(self, task_loss, costs):
            return super().__call__(task_loss, costs) * math.nan

    with pytest.raises(DivergenceError):
        scale_manager(
            penalty=Wrong(1.0, metric="units"), folder=tmp_path, log_every_steps=1
        ).train_dnas()


# -------------------------------------------------------------------------------- files


def test_theta_file(tmp_path):
    net = Scales(2)
    net.choice = Choice("scale", {"a": (1, 2, 4), "b": (1, None, 4)}, row_title="factor")
    manager = scale_manager(
        net,
        w_dataloader=scale_batches(decisions=2),
        m_dataloader=scale_batches(decisions=2),
        n_total_s_net_training_epochs=2,
        num_warmup_epochs=1,
        log_every_steps=2,
        folder=tmp_path,
    )
    manager.train_dnas()
    with np.load(tmp_path / "theta.npz", allow_pickle=False) as found:
        arrays = dict(found)
    assert set(arrays) == {
        "meta", "step", "theta_epochs", "theta/scale", "entropy/scale", "probability/scale"
    }  # fmt: skip
    assert arrays["step"].tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert arrays["theta_epochs"].tolist() == [0, 0, 0, 0, 0, 0.5, 1.0]
    theta = arrays["theta/scale"]
    assert theta.shape == (7, 2, 3)
    assert (theta[:5] == 0).all()
    assert (theta[5:] != 0).any()
    np.testing.assert_array_equal(theta[-1], net.choice.theta.detach().numpy())
    assert arrays["entropy/scale"][0] == pytest.approx(1.0)
    probability = arrays["probability/scale"]
    np.testing.assert_allclose(probability[0], [[1 / 3] * 3, [0.5, np.nan, 0.5]], rtol=1e-6)
    meta = json.loads(str(arrays["meta"]))
    assert meta["choices"]["scale"] == {
        "decisions": ["a", "b"],
        "columns": ["0", "1", "2"],
        "options": [[1, 2, 4], [1, None, 4]],
    }
    assert meta["pictures"]["scale"]["row_title"] == "factor"


def test_lines_of_an_interval(tmp_path):
    scale_manager(
        n_total_s_net_training_epochs=2, num_warmup_epochs=1, folder=tmp_path, log_every_steps=3
    ).train_dnas()
    found = metrics(tmp_path, "interval")
    # Every third step, and the last of each phase.
    assert [(line["step"], line["phase"]) for line in found] == [
        (3, "weights"), (4, "weights"), (6, "weights"), (8, "weights"), (9, "theta"), (12, "theta")
    ]  # fmt: skip
    assert found[0]["cost"] == {"units": pytest.approx(28 / 3)}
    assert found[0]["entropy"] == {"scale": pytest.approx(1.0)}
    assert [line["epoch"] for line in found] == [0.75, 1.0, 1.5, 2.0, 1.25, 2.0]
    assert [line["theta_epochs"] for line in found] == [0, 0, 0, 0, 0.25, 1.0]
    assert found[0]["temperature"] == 1.0
    assert found[-1]["temperature"] == pytest.approx(math.exp(-0.1))


def test_a_logfile_has_the_lines_of_one_search(tmp_path):
    """Also where the program has not set up logging."""
    logger = logging.getLogger("dnas")
    before = list(logger.handlers), logger.level
    for name in ("first", "second"):
        scale_manager(logfile=tmp_path / name, experiment_id=name).train_dnas()
    for name in ("first", "second"):
        assert (tmp_path / name).read_text().count("step 8/8") == 1
    assert (list(logger.handlers), logger.level) == before


def test_a_logfile_says_which_search_it_is_of(tmp_path):
    scale_manager(
        logfile=tmp_path / "log", experiment_id="mine", cost_target={"units": 9.0}
    ).train_dnas()
    text = (tmp_path / "log").read_text()
    assert "mine: 2 phases" in text
    assert "of the target" in text
