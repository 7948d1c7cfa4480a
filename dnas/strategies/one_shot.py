"""One-shot training of a supernet: each step trains one sampled path.

Weight-sharing searches [Zhang2023nasrec]_ train all paths of a supernet a little, and judge
architectures with the weights they share. Theta is not involved: the weights are trained on the
whole training split.

A training is a function of the data, the seed and the initial weights; steps are addressed by
number, so that one that was interrupted goes on to the same bits.

.. [Zhang2023nasrec] T. Zhang et al. NASRec: Weight Sharing Neural Architecture Search for
    Recommender Systems. WWW 2023, arXiv:2207.07187. Sections 4.1 and 5.1.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import torch

from dnas.core import Prior, SuperNet
from dnas.core.schedules import cosine
from dnas.data.loader import Loader, as_loader
from dnas.errors import ConfigError, Preempted
from dnas.runs import JobFolder
from dnas.strategies.path_plan import PathPlan
from dnas.strategies.path_step import make_path_step
from dnas.strategies.phases import Number, exact
from dnas.training.checkpoint import random_states, restore_random_states
from dnas.training.job_files import JobFiles
from dnas.training.loss import LossFunction
from dnas.training.monitor import LossMonitor
from dnas.training.optim import OptimizerClass
from dnas.training.progress import Progress
from dnas.training.world import World

logger = logging.getLogger(__name__)


class OneShotTraining:
    """Trains the weights of a supernet path by path.

    Args:
        super_net: Moved to ``device``.
        prior: Where paths come from.
        loader: Batches of the training split.
        loss_function: ``(outputs, labels) ->`` scalar mean.
        n_epochs: Epochs of ``loader``; may be fractional.
        path_sampling: One of ``prior.strategies``; empty: the first of them.
        optimizer_class: Of all weights.
        optimizer_params: Further arguments of ``optimizer_class``.
        lr: Largest learning rate. It rises linearly from 0 at step 0 in the first
            ``lr_warmup_fraction`` of the steps, so that the first step changes no weights, and
            falls as a cosine to 0.
        lr_warmup_fraction: See ``lr``.
        warmup_fraction: Share of the steps in which the full path comes up with a probability that
            falls linearly from 1 to 0.
        clip_grad_norm_value: Joint L2 norm above which gradients are scaled down.
        device: Where to train.
        folder: Where metrics and checkpoints go; None writes nothing.
        checkpoint_every_s: Seconds between checkpoints.
        log_every_steps: Steps between readings of the loss.
        divergence_factor: Times the first interval's loss that ends the training as diverged.
        seed: Of the paths (not of the supernet's initial weights, nor of the loader's order).
        should_stop: Asked before every step; True saves a checkpoint and raises ``Preempted``.
        fingerprint: What else a checkpoint must agree on to be resumed: of the data, say.

    Raises:
        ConfigError: A number is out of range, or there is no such path sampling.
    """

    def __init__(
        self,
        super_net: SuperNet,
        prior: Prior,
        *,
        loader: Loader,
        loss_function: LossFunction,
        n_epochs: Number = 1,
        path_sampling: str = "",
        optimizer_class: OptimizerClass = torch.optim.Adagrad,
        optimizer_params: Mapping[str, Any] | None = None,
        lr: float = 0.04,
        lr_warmup_fraction: float = 0.1,
        warmup_fraction: float = 0.25,
        clip_grad_norm_value: float = 5.0,
        device: torch.device | str = "cpu",
        folder: JobFolder | None = None,
        checkpoint_every_s: float = 300.0,
        log_every_steps: int = 100,
        divergence_factor: float = 10.0,
        seed: int = 1,
        should_stop: Callable[[], bool] = lambda: False,
        fingerprint: Mapping[str, Any] | None = None,
    ) -> None:
        epochs = exact("n_epochs", n_epochs)
        if epochs <= 0:
            raise ConfigError(f"n_epochs must be positive, but got {n_epochs}")
        for name, value in (
            ("warmup_fraction", warmup_fraction),
            ("lr_warmup_fraction", lr_warmup_fraction),
        ):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} must be in [0, 1], but got {value}")
        if log_every_steps < 1:
            raise ConfigError(f"log_every_steps must be at least 1, but got {log_every_steps}")
        self.device = torch.device(device)
        self.super_net = super_net.to(self.device)
        self.loader = as_loader(loader)
        self.total_steps = max(math.floor(epochs * len(self.loader) + Fraction(1, 2)), 1)
        self.paths = PathPlan(prior, path_sampling, warmup_fraction * self.total_steps, seed)
        self.lr_factor = cosine(self.total_steps, lr_warmup_fraction * self.total_steps)
        params = dict(optimizer_params or {})
        self.one_step = make_path_step(
            self.super_net,
            optimizer_class,
            lr,
            params,
            clip_grad_norm_value,
            loss_function,
            self.device,
        )
        self.monitor = LossMonitor(factor=divergence_factor)
        self.checkpoint_every_s = checkpoint_every_s
        self.log_every_steps = log_every_steps
        self.should_stop = should_stop
        self.step = 0
        self.full_paths = 0
        self.files = JobFiles(
            folder,
            World(),
            {
                "training": "one-shot",
                "steps": self.total_steps,
                "path_sampling": self.paths.strategy,
                "warmup_fraction": warmup_fraction,
                "optimizer": getattr(optimizer_class, "__name__", str(optimizer_class)),
                "optimizer_params": params,
                "lr": lr,
                "lr_warmup_fraction": lr_warmup_fraction,
                "clip_grad_norm_value": clip_grad_norm_value,
                "seed": seed,
                "device": self.device.type,
                "choices": {
                    name: [list(row) for row in choice.options]
                    for name, choice in super_net.choices.items()
                },
                **(fingerprint or {}),
            },
        )

    def train(self) -> int:
        """Train to the end, or on from the checkpoint in ``folder``; gives the steps done.

        Raises:
            DivergenceError: The loss is not finite, or absurd.
            Preempted: ``should_stop`` said so; a checkpoint is saved.
        """
        self._resume()
        if self.step < self.total_steps:
            if self.paths.warmup_steps > 0 and self.paths.full_path is None:
                logger.info("the space has no full path: the supernet is trained without warm-up")
            with self.files.progress("supernet", self.total_steps, self.step) as progress:
                self._run(progress)
            self._checkpoint()
        return self.step

    def _run(self, progress: Progress) -> None:
        self.super_net.train()
        started = saved = time.monotonic()
        per_epoch = len(self.loader)
        for batch in self.loader.batches(self.step, self.total_steps):
            if self.should_stop():
                self._checkpoint()
                raise Preempted(f"supernet training stopped at step {self.step}")
            path, is_full = self.paths(self.step)
            self.one_step.set_lr(self.lr_factor(self.step))
            loss = self.one_step(batch, path)
            self.step += 1
            self.full_paths += is_full
            self.monitor.update(self.step, loss)
            progress.advance("supernet", self.step / per_epoch)
            if self.step == self.total_steps or self.step % self.log_every_steps == 0:
                mean = self.monitor.read(self.step)
                self.files.append_metrics(
                    {
                        "event": "interval",
                        "phase": "supernet",
                        "step": self.step,
                        "epoch": round(self.step / per_epoch, 6),
                        "task_loss": mean,
                        "full_paths": self.full_paths,
                        "seconds": round(time.monotonic() - started, 3),
                    }
                )
                progress.note(loss=mean)
                progress.metric("supernet loss", mean)
                if time.monotonic() - saved > self.checkpoint_every_s:
                    self._checkpoint()
                    saved = time.monotonic()

    def _checkpoint(self) -> None:
        self.files.save(
            {
                "super_net": self.super_net.state_dict(),
                "optimizer": self.one_step.state_dict(),
                "monitor": self.monitor.state_dict(),
                "random": random_states(self.device),
                "step": self.step,
                "full_paths": self.full_paths,
            }
        )

    def _resume(self) -> None:
        state = self.files.load()
        if state is not None:
            self.super_net.load_state_dict(state["super_net"])
            self.one_step.load_state_dict(state["optimizer"])
            self.monitor.load_state_dict(state["monitor"])
            restore_random_states(state["random"], self.device)
            self.step, self.full_paths = state["step"], state["full_paths"]
            logger.info("going on from step %d of %d", self.step, self.total_steps)
        self.files.rewind_metrics(self.step)
