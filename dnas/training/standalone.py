"""Training of a stand-alone model: evaluation every k epochs, best epoch by validation only."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dnas.core.schedules import LrLambda, constant
from dnas.data.batch import Batch, check_batch
from dnas.data.loader import Loader, as_loader
from dnas.errors import ConfigError, DivergenceError, Preempted
from dnas.metrics import NonFiniteError
from dnas.runs import JobFolder
from dnas.training.checkpoint import random_states, restore_random_states
from dnas.training.clipping import clip_grad_norm
from dnas.training.evaluate import evaluate
from dnas.training.graphs import CudaRecorder, RecordedStep, check_step_mode
from dnas.training.job_files import JobFiles
from dnas.training.loss import loss_of
from dnas.training.monitor import LossMonitor
from dnas.training.optim import OptimizerClass, OptimizerSet, sparse_parameter_ids
from dnas.training.precision import check_precision, computing_in, for_loss
from dnas.training.progress import Progress
from dnas.training.task import Metrics, Task
from dnas.training.weights import has_checksum, save_weights, weights_checksum
from dnas.training.world import World

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochResult:
    """One evaluation."""

    epoch: float
    train_loss: float
    validation: Metrics


@dataclass
class StandaloneResult:
    """What training a model gave; ``validation`` and ``test`` are those of the best epoch."""

    epochs: list[EpochResult] = field(default_factory=list)
    best_epoch: float = 0.0
    validation: Metrics = field(default_factory=dict)
    test: Metrics | None = None


class StandaloneTrainer:
    """Trains one plain module.

    Args:
        model: Trained in place; afterwards it holds the weights of the best epoch.
        task: Loss, metrics, and the metric that selects the best epoch.
        train_loader: Training batches.
        valid_loader: Validation rows, each once.
        test_loader: Test rows; evaluated once, with the best epoch's weights. None: never read.
        n_epochs: Epochs to train; may be fractional.
        eval_every_epochs: Epochs between evaluations; there is always one at the end.
        optimizer_class: SGD, Adagrad or Adam take dense and sparse gradients.
        lr: Initial learning rate.
        lr_lambda: Epochs completed -> factor.
        update_lr_every_step: Follow ``lr_lambda`` at every step instead of every epoch.
        weight_decay: L2; on sparse parameters only for rows in the batch.
        clip_grad_norm_value: Joint L2 norm above which gradients are scaled down.
        renew_optimizer: Begin every epoch with a new optimizer, which has forgotten its moments.
        step_mode: ``"eager"``, or ``"cuda_graph"``: on a GPU, steps of one learning rate are
            recorded once and repeated, see :mod:`dnas.training.graphs`.
        precision: ``"float32"``, or ``"bfloat16"`` for matrix products in training, see
            :mod:`dnas.training.precision`.
        patience: Evaluations without improvement after which to stop; 0: never.
        device: Where to train.
        folder: Where metrics, checkpoint and best weights go; None keeps the best in memory.
        checkpoint_every_s: Seconds between checkpoints.
        log_every_steps: Steps between readings of the loss.
        divergence_factor: Times the first interval's loss that ends the run as diverged.
        should_stop: Asked before every step; True saves a checkpoint and raises ``Preempted``.
        fingerprint: What else a checkpoint must agree on to be resumed: of the data and of
            ``lr_lambda``, say.
        world: The processes that train the model together; None: this one alone.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        *,
        train_loader: Loader,
        valid_loader: Loader,
        test_loader: Loader | None = None,
        n_epochs: float,
        eval_every_epochs: float = 1.0,
        optimizer_class: OptimizerClass = torch.optim.SGD,
        lr: float,
        lr_lambda: LrLambda | None = None,
        update_lr_every_step: bool = False,
        weight_decay: float = 0.0,
        clip_grad_norm_value: float = 100.0,
        renew_optimizer: bool = False,
        precision: str = "float32",
        step_mode: str = "eager",
        patience: int = 0,
        device: torch.device | str = "cpu",
        folder: JobFolder | None = None,
        checkpoint_every_s: float = 300.0,
        log_every_steps: int = 100,
        divergence_factor: float = 10.0,
        should_stop: Callable[[], bool] = lambda: False,
        fingerprint: dict[str, Any] | None = None,
        world: World | None = None,
    ) -> None:
        if not n_epochs > 0 or not eval_every_epochs > 0:
            raise ConfigError(
                f"n_epochs and eval_every_epochs must be positive, but got {n_epochs} and "
                f"{eval_every_epochs}"
            )
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.task = task
        self.world = world or World()
        self.train_loader, self.valid_loader = as_loader(train_loader), as_loader(valid_loader)
        self.test_loader = None if test_loader is None else as_loader(test_loader)
        self.stops = evaluation_steps(n_epochs, eval_every_epochs, len(self.train_loader))
        self.lr_lambdas: Sequence[LrLambda] = [lr_lambda or constant()]
        self.update_lr_every_step = update_lr_every_step
        self.clip_grad_norm_value = clip_grad_norm_value
        check_precision(precision)
        self.precision = precision
        check_step_mode(
            step_mode,
            self.device,
            self.world.size,
            {"--update_lrs_every_step": update_lr_every_step},
        )
        self.step_mode = step_mode
        self._recorded: tuple[list[float], RecordedStep] | None = None
        self.patience = patience
        self.folder = folder
        self.checkpoint_every_s = checkpoint_every_s
        self.log_every_steps = log_every_steps
        self.should_stop = should_stop
        self.renew_optimizer = renew_optimizer
        self._make_optimizer = partial(
            OptimizerSet,
            optimizer_class,
            [{"params": list(self.model.parameters())}],
            [lr],
            init_params={"weight_decay": weight_decay} if weight_decay else {},
            sparse=sparse_parameter_ids(self.model),
        )
        self.optimizer = self._make_optimizer()
        self.monitor = LossMonitor(factor=divergence_factor)
        self.files = JobFiles(
            folder,
            self.world,
            {
                "stops": list(self.stops),
                "optimizer": getattr(optimizer_class, "__name__", str(optimizer_class)),
                "lr": lr,
                "weight_decay": weight_decay,
                "clip_grad_norm_value": clip_grad_norm_value,
                "precision": precision,
                "device": self.device.type,
                "renew_optimizer": renew_optimizer,
                "update_lr_every_step": update_lr_every_step,
                "patience": patience,
                **(fingerprint or {}),
            },
        )
        self.result = StandaloneResult()
        self.step = 0
        self._segment: list[tuple[float, int]] = []  # mean loss and steps since the evaluation
        self._best_checksum = 0
        self._best_in_memory: dict[str, Tensor] | None = None

    def train(self) -> StandaloneResult:
        """Train to the end, or on from the checkpoint in ``folder``.

        Raises:
            DivergenceError: The loss or the outputs are not finite, or the loss is absurd.
            Preempted: ``should_stop`` said so; a checkpoint is saved.
        """
        self._resume()
        self.world.begin(self.model, self.step)
        with self.files.progress("training", self.stops[-1], self.step) as progress:
            for stop in self.stops:
                if stop <= self.step or self._exhausted():
                    continue
                self._run_until(stop, progress)
                self._evaluate()
                selection = self.task.selection
                progress.metric(selection, self.result.epochs[-1].validation[selection])
        self.world.wait()  # for the main process, which writes the best weights
        self._load_best()
        if self.test_loader is not None:
            self.result.test = self._metrics(self.test_loader, "test")
        return self.result

    def _run_until(self, stop: int, progress: Progress) -> None:
        self.model.train()
        saved = time.monotonic()
        per_epoch = len(self.train_loader)
        for batch in self.train_loader.batches(self.step, stop):
            if self.world.any(self.should_stop()):
                self._checkpoint()
                self.world.wait()  # nobody ends, and has the others ended, before it is written
                raise Preempted(f"stopped at step {self.step}")
            if self.renew_optimizer and self.step % per_epoch == 0:
                self.optimizer, self._recorded = self._make_optimizer(), None
            at = self.step if self.update_lr_every_step else self.step - self.step % per_epoch
            self.optimizer.set_lr(at / per_epoch, self.lr_lambdas)
            loss = self.step_of(batch)
            self.step += 1
            self.monitor.update(self.step, loss)
            progress.advance("train", self.step / per_epoch)
            if self.step == stop or self.step % self.log_every_steps == 0:
                mean = self.monitor.read(self.step)
                if mean is not None:
                    self._segment.append((mean, self.monitor.last_count))
                self.files.append_metrics(
                    {
                        "event": "interval",
                        "step": self.step,
                        "epoch": round(self.step / per_epoch, 6),
                        "loss": mean,
                    }
                )
                progress.note(loss=mean)
                progress.metric("loss", mean)
                due = time.monotonic() - saved > self.checkpoint_every_s
                # Not at a stop: a resumed run takes a stop that is reached for one evaluated.
                if due and self.step < stop:
                    self._checkpoint()
                    saved = time.monotonic()

    def step_of(self, batch: Batch) -> Tensor:
        """One step in the ``step_mode``; its loss."""
        if self.step_mode == "eager":
            return self.run_one_step(batch)
        lrs = [group["lr"] for member, _ in self.optimizer.members for group in member.param_groups]
        if self._recorded is None or self._recorded[0] != lrs:
            self._recorded = lrs, RecordedStep(self.run_one_step, CudaRecorder([]))
        return self._recorded[1](batch.to(self.device))

    def run_one_step(self, batch: Batch) -> Tensor:
        """One step as it is; its loss."""
        check_batch(batch)
        share = self.world.share(len(batch.labels))
        batch = self.world.local(batch, share).to(self.device)
        self.optimizer.zero_grad()
        with computing_in(self.precision, self.device):
            outputs = self.model(*batch.inputs)
        outputs = for_loss(outputs, self.precision)
        loss = self.world.mean(loss_of(self.task.loss, outputs, batch.labels), share)
        loss.backward()
        parameters = self.optimizer.parameters()
        self.world.sync_gradients(parameters)
        clip_grad_norm(parameters, self.clip_grad_norm_value)
        self.optimizer.step()
        return loss

    def _metrics(self, loader: Loader, part: str) -> Metrics:
        try:
            return evaluate(
                self.model,
                lambda batch, share: self.model(*batch.inputs),
                loader,
                self.task.metrics(),
                self.device,
                self.world,
                part,
            )
        except NonFiniteError as error:
            raise DivergenceError(
                f"evaluation at step {self.step}: {error}",
                step=self.step,
                last_good=dict(self.result.validation),  # type: ignore[arg-type]
            ) from error

    def _evaluate(self) -> None:
        metrics = self._metrics(self.valid_loader, "validation")
        steps = sum(count for _, count in self._segment)
        train_loss = sum(mean * count for mean, count in self._segment) / max(steps, 1)
        self._segment = []
        epoch = self.step / len(self.train_loader)
        is_best = not self.result.epochs or self.task.score(metrics) < self.task.score(
            self.result.validation
        )
        self.result.epochs.append(EpochResult(epoch, train_loss, metrics))
        self.files.append_metrics(
            {"event": "validation", "step": self.step, "epoch": epoch, "validation": dict(metrics)}
        )
        shown = ", ".join(f"{k} {v:.5f}" for k, v in metrics.items() if v is not None)
        logger.info("epoch %g: train loss %.5f, validation %s", epoch, train_loss, shown)
        if is_best:
            self.result.best_epoch, self.result.validation = epoch, metrics
            if self.files.own is not None:
                self._best_checksum = weights_checksum(self.model.state_dict())
        # In this order: from the checkpoint of the best epoch the best weights can be written.
        self._checkpoint()
        if is_best:
            self._save_best()

    def _exhausted(self) -> bool:
        if not self.patience or not self.result.epochs:
            return False
        best = [entry.epoch for entry in self.result.epochs].index(self.result.best_epoch)
        return len(self.result.epochs) - 1 - best >= self.patience

    # ------------------------------------------------------------------ files

    def _save_best(self) -> None:
        if self.folder is None:
            state = self.model.state_dict()
            self._best_in_memory = {k: v.detach().cpu().clone() for k, v in state.items()}
        elif self.world.is_main:
            state = self.model.state_dict()
            save_weights(
                self.folder.model, {k: v.detach().cpu().contiguous() for k, v in state.items()}
            )

    def _load_best(self) -> None:
        if self.folder is None:
            assert self._best_in_memory is not None
            self.model.load_state_dict(self._best_in_memory)
        else:
            self.model.load_state_dict(load_file(self.folder.model))

    def _checkpoint(self) -> None:
        self.files.save(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "monitor": self.monitor.state_dict(),
                "random": random_states(self.device),
                "step": self.step,
                "segment": [list(entry) for entry in self._segment],
                "best_epoch": self.result.best_epoch,
                "best_checksum": self._best_checksum,
                "validation": dict(self.result.validation),
                "epochs": [
                    [entry.epoch, entry.train_loss, dict(entry.validation)]
                    for entry in self.result.epochs
                ],
            }
        )

    def _resume(self) -> None:
        with self.world.main_first():
            state = self.files.load()
            if state is not None and not self._has_best(state):
                assert self.folder is not None
                self.files.set_aside_checkpoint(
                    f"{self.folder.model}: damaged, or not of the checkpoint's best epoch"
                )
                state = None
        if state is not None:
            self._restore(state)
            logger.info("going on from step %d", self.step)
        self.files.rewind_metrics(self.step)

    def _has_best(self, state: dict[str, Any]) -> bool:
        """Whether the best epoch's weights are on the disk, or can be written from ``state``."""
        assert self.folder is not None
        if not state["epochs"] or has_checksum(self.folder.model, state["best_checksum"]):
            return True
        if weights_checksum(state["model"]) != state["best_checksum"]:
            return False
        save_weights(self.folder.model, state["model"])
        return True

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.monitor.load_state_dict(state["monitor"])
        restore_random_states(state["random"], self.device)
        self.step = state["step"]
        self._segment = [(mean, count) for mean, count in state["segment"]]
        self._best_checksum = state["best_checksum"]
        self.result = StandaloneResult(
            epochs=[EpochResult(*entry) for entry in state["epochs"]],
            best_epoch=state["best_epoch"],
            validation=state["validation"],
        )


def evaluation_steps(n_epochs: float, every: float, steps_per_epoch: int) -> tuple[int, ...]:
    """Global steps after which to evaluate: multiples of ``every`` epochs, and the end."""
    last = max(round(n_epochs * steps_per_epoch), 1)
    count = int(n_epochs / every + 1e-9)
    steps = {round(number * every * steps_per_epoch) for number in range(1, count + 1)}
    return tuple(sorted({min(step, last) for step in steps if step > 0} | {last}))
