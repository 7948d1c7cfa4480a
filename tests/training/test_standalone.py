"""StandaloneTrainer: best epoch, test set, resume, patience, schedules."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from torch import nn

from dnas.data import IterableLoader, TensorBatch
from dnas.data.loader import as_loader
from dnas.errors import ConfigError, DataError, DivergenceError, JobError, Preempted
from dnas.metrics import BinaryMetrics
from dnas.runs import JobFolder
from dnas.training.evaluate import evaluate
from dnas.training.standalone import StandaloneTrainer, evaluation_steps
from dnas.training.task import CLICKS, Task
from supernets import EMB_CARD
from tests.toys import SPACE, SPEC, Recording, all_equal, click_batches, snapshot


class Scripted:
    """A metric that gives the numbers it was told, one for each evaluation."""

    def __init__(self, values: list[float | None]) -> None:
        self.values = list(values)

    def __call__(self):
        return self

    def update(self, outputs, labels):
        assert not outputs.requires_grad

    def compute(self):
        return {"score": self.values.pop(0)}


class Forbidden:
    """A loader that must not be read."""

    def __len__(self):
        return 3

    def batches(self, start, stop):
        raise AssertionError("this data must not be read")


def regression(steps: int = 3) -> list[TensorBatch]:
    torch.manual_seed(5)
    return [TensorBatch((torch.randn(4, 2),), torch.randn(4, 1)) for _ in range(steps)]


def trainer(model: nn.Module | None = None, values: list[float | None] | None = None, **changes):
    """Three steps an epoch, validation scores as told."""
    if model is None:
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
    arguments = {
        "train_loader": as_loader(regression()),
        "valid_loader": as_loader(regression(1)),
        "n_epochs": 4,
        "lr": 0.01,
    }
    task = Task(nn.functional.mse_loss, Scripted(values or [1.0] * 99), "score")
    return StandaloneTrainer(model, task, **{**arguments, **changes})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((3, 1, 10), (10, 20, 30)),
        ((2.5, 1, 10), (10, 20, 25)),
        ((1, 0.1, 10), tuple(range(1, 11))),
        ((1, 0.3, 10), (3, 6, 9, 10)),
        ((0.3, 0.1, 10), (1, 2, 3)),
        ((2, 5, 10), (20,)),
        ((0.01, 1, 10), (1,)),
        ((1, 0.01, 4), (1, 2, 3, 4)),
    ],
)
def test_evaluation_steps(arguments, expected):
    assert evaluation_steps(*arguments) == expected


def test_the_best_epoch_is_by_validation_and_its_weights_are_kept():
    model = nn.Linear(2, 1)
    run = trainer(model, [0.5, 0.2, 0.2, 0.4])
    weights = []
    evaluate_ = run._evaluate
    run._evaluate = lambda: (evaluate_(), weights.append(snapshot(model.parameters())))
    result = run.train()
    assert [e.epoch for e in result.epochs] == [1.0, 2.0, 3.0, 4.0]
    assert [e.validation["score"] for e in result.epochs] == [0.5, 0.2, 0.2, 0.4]
    assert (result.best_epoch, result.validation, result.test) == (2.0, {"score": 0.2}, None)
    assert all_equal(snapshot(model.parameters()), weights[1])
    assert not all_equal(weights[1], weights[3])


def test_a_larger_score_may_be_better_and_an_undefined_one_never_is():
    run = trainer(values=[None, 0.6, 0.7, 0.65])
    run.task = Task(run.task.loss, run.task.metrics, "score", maximize=True)
    assert run.train().best_epoch == 3.0


def test_test_rows_are_read_once_at_the_end_with_the_best_weights():
    model = nn.Linear(2, 1)
    test = Recording(regression(2))
    run = trainer(model, [0.5, 0.2, 0.3, 0.4, 0.123], test_loader=test)
    result = run.train()
    assert result.test == {"score": 0.123}
    assert test.steps == [0, 1]
    assert result.validation == {"score": 0.2}


def test_a_loader_that_was_not_given_is_not_read(monkeypatch):
    given = trainer(test_loader=Forbidden())
    with pytest.raises(AssertionError, match="must not be read"):
        given.train()
    assert trainer(test_loader=None).train().test is None


def test_the_test_set_does_not_choose():
    """The loader raises: it is not touched before the training is over."""
    run = trainer(values=[0.4, 0.3, 0.2, 0.1], test_loader=Forbidden())
    with pytest.raises(AssertionError):
        run.train()
    assert [e.epoch for e in run.result.epochs] == [1.0, 2.0, 3.0, 4.0]
    assert run.result.best_epoch == 4.0


@pytest.mark.parametrize(("patience", "epochs"), [(0, 6), (1, 3), (2, 4), (3, 6)])
def test_patience(patience, epochs):
    run = trainer(values=[0.5, 0.4, 0.45, 0.45, 0.3, 0.35], n_epochs=6, patience=patience)
    assert len(run.train().epochs) == epochs


def test_train_loss_is_the_mean_over_the_epochs_steps():
    losses = iter([1.0, 2.0, 6.0, 4.0, 5.0, 0.0])

    def loss(outputs, labels):
        return outputs.sum() * 0 + next(losses)

    run = trainer(n_epochs=2, log_every_steps=2)
    run.task = Task(loss, run.task.metrics, "score")
    assert [e.train_loss for e in run.train().epochs] == [3.0, 3.0]


@pytest.mark.parametrize(
    ("every_step", "expected"),
    [(False, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]), (True, [0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3])],
)
def test_the_learning_rate_follows_by_epoch_or_by_step(every_step, expected):
    seen = []
    trainer(
        n_epochs=2,
        lr_lambda=lambda epoch: seen.append(epoch) or 1.0,
        update_lr_every_step=every_step,
    ).train()
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize(
    "changes", [{"n_epochs": 0}, {"eval_every_epochs": 0}, {"n_epochs": math.nan}]
)
def test_lengths_must_be_positive(changes):
    with pytest.raises(ConfigError, match="n_epochs and eval_every_epochs must be positive"):
        trainer(**changes)


def test_divergence_is_an_error_with_its_step(tmp_path):
    batches = regression()
    batches[1].inputs[0].fill_(math.nan)
    run = trainer(train_loader=as_loader(batches), folder=JobFolder(tmp_path))
    with pytest.raises(DivergenceError, match="not finite at step 2"):
        run.train()


def test_outputs_that_are_not_finite_in_validation_are_divergence():
    model = EMB_CARD.make_model(SPACE, SPEC, architecture())
    batches = click_batches(1)
    batches[0].dense.fill_(math.inf)
    run = StandaloneTrainer(
        model, CLICKS, train_loader=as_loader(click_batches(2)), valid_loader=as_loader(batches),
        n_epochs=1, lr=0.1,
    )  # fmt: skip
    with pytest.raises(DivergenceError, match="evaluation at step 2"):
        run.train()


# -------------------------------------------------------------------------------- resume


def architecture():
    return EMB_CARD.make_supernet(SPACE, SPEC).sample_arch(most_likely=True)


def click_trainer(folder, optimizer_class=torch.optim.Adagrad, **changes) -> StandaloneTrainer:
    torch.manual_seed(4)
    model = EMB_CARD.make_model(SPACE, SPEC, architecture())
    model.top = nn.Sequential(nn.Dropout(0.2), model.top)  # draws from torch's generator
    arguments = {
        "train_loader": IterableLoader(click_batches(5)),
        "valid_loader": as_loader(click_batches(2, seed=9)),
        "n_epochs": 3,
        "eval_every_epochs": 0.6,
        "lr": 0.05,
        "log_every_steps": 2,
        "optimizer_class": optimizer_class,
        "weight_decay": 1e-3,
    }
    return StandaloneTrainer(model, CLICKS, folder=JobFolder(folder), **{**arguments, **changes})


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def stop_after(steps: int):
    count = iter(range(10**6))
    return lambda: next(count) >= steps


@pytest.mark.parametrize(
    ("optimizer_class", "renew"),
    [(torch.optim.Adagrad, False), (torch.optim.Adam, False), (torch.optim.Adam, True)],
)
@pytest.mark.parametrize("stop", [0, 3, 4, 10])  # epochs have 5 steps
def test_resume_is_bit_identical(tmp_path, stop, optimizer_class, renew):
    changes = {"optimizer_class": optimizer_class, "renew_optimizer": renew}
    whole = click_trainer(tmp_path / "a", **changes)
    expected = whole.train()
    cut = click_trainer(tmp_path / "b", **changes, should_stop=stop_after(stop))
    with pytest.raises(Preempted, match=f"stopped at step {stop}"):
        cut.train()
    torch.manual_seed(999)
    resumed = click_trainer(tmp_path / "b", **changes)
    found = resumed.train()
    assert resumed.step == 15
    assert found == expected
    assert all_equal(snapshot(resumed.model.parameters()), snapshot(whole.model.parameters()))
    assert lines(tmp_path / "b") == lines(tmp_path / "a")


def test_train_loss_is_the_same_after_a_stop_inside_an_interval(tmp_path):
    whole = click_trainer(tmp_path / "a", eval_every_epochs=1.0).train()
    cut = click_trainer(tmp_path / "b", eval_every_epochs=1.0, should_stop=stop_after(3))
    with pytest.raises(Preempted):
        cut.train()
    found = click_trainer(tmp_path / "b", eval_every_epochs=1.0).train()
    assert [e.train_loss for e in found.epochs] == [e.train_loss for e in whole.epochs]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_killed_before_an_evaluation(tmp_path, number):
    """With a checkpoint after every step that may have one."""
    expected = click_trainer(tmp_path / "a").train()
    cut = click_trainer(tmp_path / "b", checkpoint_every_s=-1.0, log_every_steps=1)
    evaluate_, left = cut._evaluate, iter(range(number - 1))

    def killed():
        next(left)
        evaluate_()

    cut._evaluate = killed
    with pytest.raises(StopIteration):
        cut.train()
    assert click_trainer(tmp_path / "b", log_every_steps=1).train() == expected


def test_a_finished_training_does_nothing_again(tmp_path):
    expected = click_trainer(tmp_path).train()
    again = click_trainer(tmp_path, train_loader=_of_length(Forbidden(), 5))
    again.valid_loader = Forbidden()
    assert again.train() == expected


def test_an_optimizer_may_be_made_anew_for_every_epoch():
    """Two epochs are then one after another trained for an epoch each."""
    adam = {"optimizer_class": torch.optim.Adam, "lr": 0.1}
    whole, parts, kept = (nn.Linear(2, 1) for _ in range(3))
    parts.load_state_dict(whole.state_dict())
    kept.load_state_dict(whole.state_dict())
    trainer(whole, [2.0, 1.0], n_epochs=2, renew_optimizer=True, **adam).train()
    for _ in range(2):
        trainer(parts, n_epochs=1, **adam).train()
    trainer(kept, [2.0, 1.0], n_epochs=2, **adam).train()
    assert all_equal(snapshot(whole.parameters()), snapshot(parts.parameters()))
    assert not all_equal(snapshot(whole.parameters()), snapshot(kept.parameters()))


def _of_length(loader, length):
    loader = copy.copy(loader)
    type(loader).__len__ = lambda self: length
    return loader


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    click_trainer(tmp_path).train()
    with pytest.raises(JobError, match=r"checkpoint\.pt: the checkpoint was made with lr=0\.05"):
        click_trainer(tmp_path, lr=0.1).train()


def test_files_of_a_training(tmp_path):
    run = click_trainer(tmp_path, eval_every_epochs=1)
    run.train()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint.pt", "metrics.jsonl", "model.safetensors", "progress.json"
    ]  # fmt: skip
    validations = [line for line in lines(tmp_path) if line["event"] == "validation"]
    assert [line["step"] for line in validations] == [5, 10, 15]
    assert set(validations[0]["validation"]) >= {"logloss", "auc", "ne", "calibration"}


def test_a_metric_that_is_nan_names_the_part():
    with pytest.raises(DataError, match="metric 'score' of the validation part is nan"):
        trainer(values=[1.0, float("nan")]).train()
    with pytest.raises(DataError, match="metric 'score' of the test part is nan"):
        trainer(
            values=[1.0, float("nan")], n_epochs=1, test_loader=as_loader(regression(1))
        ).train()


# -------------------------------------------------------------------------------- evaluate


def test_evaluation_is_in_eval_mode_without_gradients_and_restores_the_mode():
    model = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.5))
    seen = []

    def forward(batch, share):
        seen.append((model.training, model[1].training, torch.is_grad_enabled()))
        return model(*batch.inputs).squeeze(1)

    batches = [
        TensorBatch((torch.randn(n, 2),), torch.tensor([0.0, 1.0] * (n // 2))) for n in (4, 2)
    ]
    for training in (True, False):
        model.train(training)
        metrics = evaluate(model, forward, as_loader(batches), BinaryMetrics(), torch.device("cpu"))
        assert model.training is training
        assert metrics["rows"] == 6
    assert set(seen) == {(False, False, False)}
    model.train()
    with pytest.raises(ZeroDivisionError):
        evaluate(
            model,
            lambda batch, share: 1 / 0,
            as_loader(batches),
            BinaryMetrics(),
            torch.device("cpu"),
        )
    assert model.training
