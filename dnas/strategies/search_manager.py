"""SearchManager: the DNAS search of arXiv:2110.14812, Algorithm 1, from start to sampled networks.

The constructor's names are those of the paper's Table I. One object runs one search::

    manager = SearchManager(super_net=net, w_dataloader=w, m_dataloader=m, ...)
    result = manager.train_dnas()

Weights and theta are trained on disjoint data by disjoint optimizers: a weights step changes no bit
of theta, a theta step no bit of the weights, and neither computes gradients for the other.

In theta steps the loss is the paper's TotalLoss. In weights steps it is the task loss alone: the
cost does not depend on the weights, so equation 6 has the same gradient there, and equation 5 would
only multiply the weights' learning rate by a number that changes as theta does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core import Architecture, Sample, SuperNet
from dnas.core.sampling import MIN_TEMPERATURE
from dnas.core.schedules import LrLambda, constant, temperature
from dnas.costs import BudgetPenalty, NoPenalty, Penalty, make_penalty
from dnas.data.batch import Batch
from dnas.data.loader import Loader, as_loader
from dnas.errors import ConfigError, DivergenceError, Preempted
from dnas.files import append_json_line, keep_json_lines
from dnas.metrics import NonFiniteError
from dnas.runs import JobFolder
from dnas.strategies.calibration import meet_targets
from dnas.strategies.phases import THETA, WEIGHTS, Number, Phase, exact, plan_phases
from dnas.strategies.search_state import SampledArchitecture, SearchPosition, SearchResult
from dnas.strategies.theta_history import ThetaHistory
from dnas.training.checkpoint import (
    check_fingerprint,
    load_checkpoint,
    random_states,
    restore_random_states,
    save_checkpoint,
)
from dnas.training.clipping import clip_grad_norm
from dnas.training.evaluate import evaluate
from dnas.training.logs import logging_to
from dnas.training.monitor import LossMonitor
from dnas.training.optim import OptimizerClass, OptimizerSet, sparse_parameter_ids
from dnas.training.progress import Progress
from dnas.training.seeding import derive_seed, make_generator
from dnas.training.task import MetricAccumulator

logger = logging.getLogger(__name__)

#: Loss of a model's outputs against labels, a scalar mean.
LossFunction = Callable[[Tensor, Tensor], Tensor]


class SearchManager:
    """Trains a supernet and its theta in alternation, and samples architectures.

    Names of the paper's Table I keep their meaning; those after ``cost_multiplier`` are additions.

    Args:
        super_net: The supernet; moved to ``host_device``.
        w_dataloader: Batches for the weights: a ``dnas.data.loader.Loader``, or any iterable of
            batches with a length, such as a torch ``DataLoader``.
        m_dataloader: Batches for theta, disjoint from the former.
        loss_function: ``(outputs, labels) ->`` scalar mean.
        n_total_s_net_training_epochs: Weights epochs, warm-up included; may be fractional.
        num_warmup_epochs: Weights epochs before theta is trained.
        n_alt_train_amt: Epochs after which to switch between weights and theta.
        arch_sampling: Theta epochs completed -> architectures to draw then; default: 4 at the end.
        init_temp: T_0.
        temp_decay: eta in ``tau = T_0 exp(-eta * epoch)``, the epoch counter of Algorithm 1.
        host_device: Where to train.
        update_lrs_every_step: Learning rates follow their schedule at every step instead of at
            every phase.
        experiment_id: Name of the search, for the log.
        logfile: Also append log lines to this file.
        clip_grad_norm_value: Joint L2 norm above which gradients are scaled down.
        w_optim_class: For the weights; SGD, Adagrad and Adam take dense and sparse gradients.
        w_optim_init_params: Its further arguments.
        w_optim_params_func: Supernet -> parameter groups; default ``weight_parameters()``.
        weights_initial_lrs: A learning rate for each group.
        weights_lr_lambdas: For each group, weights epochs completed -> factor.
        m_optim_class: For theta.
        m_optim_init_params: As above.
        m_optim_params_func: As above; default ``architecture_parameters()``.
        mask_initial_lrs: As above.
        mask_lr_lambdas: As above, of theta epochs completed.
        use_hw_cost: Put the cost into the loss of theta steps.
        exponential_cost: Equation 5 instead of equation 6.
        cost_exp: beta of equation 5.
        cost_coef: alpha of equations 5 and 6.
        cost_multiplier: Factor on the cost inside the logarithm.
        cost_metric: Name of the cost in ``super_net.expected_cost``; may be left out if there is
            only one.
        cost_target: Target for each named cost; replaces equations 5 and 6 by
            ``dnas.costs.BudgetPenalty``. Before architectures are sampled theta is moved the last
            bit to the targets (``dnas.strategies.calibration``).
        cost_dual_rate: Step of the target's multiplier for every theta step.
        cost_at_most: The target is a ceiling: nothing pushes a cheaper architecture up to it.
        penalty: Any other way to fold costs into the loss; replaces all of the above.
        sampling_mode: ``"row"``: a fresh Gumbel draw for each row; ``"batch"``: one for a batch.
        update_temp_every_step: tau follows its schedule at every step instead of at every phase.
        min_temp: Floor of tau.
        sample_most_likely: Also give the most likely architecture with every sampling.
        num_random_archs: Architectures drawn uniformly from the space at the end, as a baseline;
            -1: as many as the search gave.
        valid_dataloader: Validation of the supernet and of its most likely architecture at each
            phase end; needs ``make_metrics``.
        make_metrics: Makes an empty metric accumulator.
        folder: Where metrics, theta and checkpoints go; None writes nothing.
        checkpoint_every_s: Seconds between checkpoints inside a phase.
        log_every_steps: Steps between log lines; the host waits for the device only then.
        divergence_factor: Times the first interval's loss that ends the search as diverged.
        seed: Of all randomness of the search (not of the supernet's initial weights).
        should_stop: Asked before every step; True saves a checkpoint and raises ``Preempted``.

    Raises:
        ConfigError: Arguments contradict each other; the message names them.
    """

    def __init__(
        self,
        super_net: SuperNet,
        *,
        w_dataloader: Loader | Iterable[Any],
        m_dataloader: Loader | Iterable[Any],
        loss_function: LossFunction,
        n_total_s_net_training_epochs: Number = 5,
        num_warmup_epochs: Number = 1,
        n_alt_train_amt: Number = 1,
        arch_sampling: Mapping[Any, int] | None = None,
        init_temp: float = 1.0,
        temp_decay: float = 0.1,
        host_device: torch.device | str = "cpu",
        update_lrs_every_step: bool = False,
        experiment_id: str = "search",
        logfile: str | Path | None = None,
        clip_grad_norm_value: float = 100.0,
        w_optim_class: OptimizerClass = torch.optim.SGD,
        w_optim_init_params: Mapping[str, Any] | None = None,
        w_optim_params_func: Callable[[SuperNet], Iterable[Any]] | None = None,
        weights_initial_lrs: Sequence[float] = (1.0,),
        weights_lr_lambdas: Sequence[LrLambda] | None = None,
        m_optim_class: OptimizerClass = torch.optim.Adam,
        m_optim_init_params: Mapping[str, Any] | None = None,
        m_optim_params_func: Callable[[SuperNet], Iterable[Any]] | None = None,
        mask_initial_lrs: Sequence[float] = (0.03,),
        mask_lr_lambdas: Sequence[LrLambda] | None = None,
        use_hw_cost: bool = False,
        exponential_cost: bool = False,
        cost_exp: float = 1.0,
        cost_coef: float = 1.0,
        cost_multiplier: float = 1.0,
        cost_metric: str | None = None,
        cost_target: Mapping[str, float] | None = None,
        cost_dual_rate: float = 0.01,
        cost_at_most: bool = False,
        penalty: Penalty | None = None,
        sampling_mode: str = "row",
        update_temp_every_step: bool = False,
        min_temp: float = 1e-3,
        sample_most_likely: bool = True,
        num_random_archs: int = 0,
        valid_dataloader: Loader | Iterable[Any] | None = None,
        make_metrics: Callable[[], MetricAccumulator] | None = None,
        folder: str | Path | JobFolder | None = None,
        checkpoint_every_s: float = 300.0,
        log_every_steps: int = 100,
        divergence_factor: float = 10.0,
        seed: int = 1,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        if sampling_mode not in ("row", "batch"):
            raise ConfigError(f"sampling_mode must be 'row' or 'batch', but got {sampling_mode!r}")
        if not init_temp >= min_temp >= MIN_TEMPERATURE:
            raise ConfigError(
                f"init_temp must be at least min_temp, and that at least {MIN_TEMPERATURE}, but "
                f"got {init_temp} and {min_temp}"
            )
        if not clip_grad_norm_value > 0:
            raise ConfigError(
                f"clip_grad_norm_value must be positive, but got {clip_grad_norm_value}"
            )
        if num_random_archs < -1:
            raise ConfigError(f"num_random_archs must be -1 or more, but got {num_random_archs}")
        if log_every_steps < 1:
            raise ConfigError(f"log_every_steps must be at least 1, but got {log_every_steps}")
        if valid_dataloader is not None and make_metrics is None:
            raise ConfigError("valid_dataloader needs make_metrics, which judges its outputs")
        if not super_net.choices:
            raise ConfigError("the supernet has no Choice: there is nothing to search")
        self.device = torch.device(host_device)
        self.super_net = super_net.to(self.device)
        self.loss_function = loss_function
        self.loaders = {
            WEIGHTS: as_loader(w_dataloader, seed=derive_seed(seed, WEIGHTS)),
            THETA: as_loader(m_dataloader, seed=derive_seed(seed, THETA)),
        }
        self.valid_loader = None if valid_dataloader is None else as_loader(valid_dataloader)
        self.make_metrics = make_metrics
        self.phases = plan_phases(
            total_epochs=n_total_s_net_training_epochs,
            warmup_epochs=num_warmup_epochs,
            alternate_epochs=n_alt_train_amt,
            w_steps_per_epoch=len(self.loaders[WEIGHTS]),
            m_steps_per_epoch=len(self.loaders[THETA]),
            arch_sampling=_at_the_end(n_total_s_net_training_epochs, num_warmup_epochs)
            if arch_sampling is None
            else arch_sampling,
        )
        self.init_temp, self.temp_decay, self.min_temp = init_temp, temp_decay, min_temp
        self.update_temp_every_step = update_temp_every_step
        self.update_lrs_every_step = update_lrs_every_step
        self.sampling_mode = sampling_mode
        self.clip_grad_norm_value = clip_grad_norm_value
        self.experiment_id = experiment_id
        self.sample_most_likely = sample_most_likely
        self.num_random_archs = num_random_archs
        self.seed = seed
        self.should_stop = should_stop
        self.checkpoint_every_s = checkpoint_every_s
        self.log_every_steps = log_every_steps
        self.folder = (
            folder if isinstance(folder, JobFolder) or folder is None else JobFolder(Path(folder))
        )
        self.logfile = logfile
        # What was frozen before the search stays frozen, in it and after it.
        self._requires_grad = {p: p.requires_grad for p in self.super_net.parameters()}
        self.optimizers = {
            WEIGHTS: self._optimizer(
                w_optim_class,
                (w_optim_params_func or _trainable_weights)(self.super_net),
                weights_initial_lrs,
                w_optim_init_params,
            ),
            THETA: self._optimizer(
                m_optim_class,
                (m_optim_params_func or SuperNet.architecture_parameters)(self.super_net),
                mask_initial_lrs,
                m_optim_init_params,
            ),
        }
        self.lr_lambdas = {
            WEIGHTS: list(weights_lr_lambdas or [constant()] * len(weights_initial_lrs)),
            THETA: list(mask_lr_lambdas or [constant()] * len(mask_initial_lrs)),
        }
        self._check_parameters()
        self._norm_momentum = {
            module: module.momentum
            for module in self.super_net.modules()
            if isinstance(module, nn.modules.batchnorm._NormBase)
        }
        self.penalty = penalty or make_penalty(
            sorted(self._expected_costs()),
            use_hw_cost=use_hw_cost,
            exponential_cost=exponential_cost,
            cost_exp=cost_exp,
            cost_coef=cost_coef,
            cost_multiplier=cost_multiplier,
            cost_metric=cost_metric,
            cost_target=cost_target,
            cost_dual_rate=cost_dual_rate,
            cost_at_most=cost_at_most,
        )
        self.monitors = {
            kind: LossMonitor(self.device, factor=divergence_factor) for kind in (WEIGHTS, THETA)
        }
        self.noise = make_generator(self.device, seed, "gumbel")
        self.history = ThetaHistory(self.super_net)
        self.position = SearchPosition()

    # ------------------------------------------------------------------ public

    def train_dnas(self) -> SearchResult:
        """Run the search to its end, or on from the checkpoint in ``folder``.

        Raises:
            DivergenceError: The loss or the outputs are not finite, or the loss is absurd.
            Preempted: ``should_stop`` said so; a checkpoint is saved.
        """
        with logging_to(self.logfile), self._phases_undone():
            self._resume()
            self.penalty.check(self._expected_costs())
            if self.position.global_step == 0:
                self._begin()
            total_steps = sum(phase.steps for phase in self.phases)
            with Progress("search", total_steps, self.position.global_step) as progress:
                while self.position.phase < len(self.phases):
                    self._run_phase(self.phases[self.position.phase], progress)
                    self._end_phase(self.phases[self.position.phase])
            self._report_targets()
        self._sample_random()
        return SearchResult(
            tuple(self.position.sampled), self.position.validation, self.position.global_step
        )

    def run_one_dnas_step(self, batch: Batch, kind: str, tau: float) -> Tensor:
        """One step of the weights or of theta.

        Args:
            batch: On ``host_device``.
            kind: ``"weights"`` or ``"theta"``.
            tau: Temperature of the soft sample.

        Returns:
            The task loss, detached.
        """
        optimizer = self.optimizers[kind]
        optimizer.zero_grad()
        rows = len(batch.labels) if self.sampling_mode == "row" else 1
        sample = self.super_net.soft_sample(tau, rows, self.noise)
        outputs = self.super_net(*batch.inputs, sample=sample)
        task_loss = self.loss_function(outputs, batch.labels)
        if kind == THETA and type(self.penalty) is not NoPenalty:
            basis = (
                self.super_net.probability_sample() if self.penalty.uses_probabilities else sample
            )
            costs = self.super_net.expected_cost(basis)
            self.penalty(task_loss, costs).backward()
            detached = {name: cost.detach() for name, cost in costs.items()}
        else:
            task_loss.backward()
            detached = {}
        clip_grad_norm(optimizer.parameters(), self.clip_grad_norm_value)
        optimizer.step()
        if kind == THETA:
            self.penalty.after_step(detached)
        return task_loss.detach()

    def sample_archs(self, count: int, phase: int) -> list[SampledArchitecture]:
        """Draw ``count`` architectures from softmax(theta), and the most likely one if asked for.

        The draws depend on the seed *and* on theta: searches that differ in a learning rate alone
        do not draw the same architectures from nearly equal distributions.
        """
        theta = tuple(
            parameter.detach().float().cpu().numpy().tobytes()
            for parameter in self.super_net.architecture_parameters()
        )
        generator = make_generator(self.device, self.seed, "sample_archs", phase, theta)
        drawn = []
        if self.sample_most_likely:
            drawn.append(self._sampled(self.super_net.sample_arch(most_likely=True), "most_likely"))
        for _ in range(count):
            drawn.append(self._sampled(self.super_net.sample_arch(generator=generator), "draw"))
        return drawn

    # ------------------------------------------------------------------ phases

    def _begin(self) -> None:
        self.history.record(0, 0.0)
        logger.info(
            "%s: %d phases, %d weights and %d theta parameters",
            self.experiment_id,
            len(self.phases),
            sum(p.numel() for p in self.optimizers[WEIGHTS].parameters()),
            sum(p.numel() for p in self.optimizers[THETA].parameters()),
        )

    def _run_phase(self, phase: Phase, progress: Progress) -> None:
        position = self.position
        position.step = max(position.step, phase.start)
        self._train_only(phase.kind)
        self.super_net.train()
        started = saved = time.monotonic()
        loader = self.loaders[phase.kind]
        for batch in loader.batches(position.step, phase.stop):
            if self.should_stop():
                self._checkpoint()
                raise Preempted(f"{self.experiment_id}: stopped at step {position.global_step}")
            tau = self._temperature(phase, position.step)
            every_step = self.update_lrs_every_step
            at = position.step if every_step else phase.start
            self.optimizers[phase.kind].set_lr(at / len(loader), self.lr_lambdas[phase.kind])
            loss = self.run_one_dnas_step(batch.to(self.device), phase.kind, tau)
            position.step += 1
            position.global_step += 1
            if phase.kind == THETA:
                position.theta_epochs = position.step / len(loader)
            self.monitors[phase.kind].update(position.global_step, loss)
            progress.advance()
            if position.step == phase.stop or position.global_step % self.log_every_steps == 0:
                mean = self._log_interval(phase, tau, time.monotonic() - started)
                progress.note(phase=phase.kind, loss=mean)
                due = time.monotonic() - saved > self.checkpoint_every_s
                if due and position.step < phase.stop:
                    self._checkpoint()
                    saved = time.monotonic()

    def _end_phase(self, phase: Phase) -> None:
        position = self.position
        if phase.samples and isinstance(self.penalty, BudgetPenalty):
            meet_targets(self.super_net, self.penalty.targets, at_most=self.penalty.at_most)
            self.history.record(position.global_step, position.theta_epochs)
        self._validate(phase)
        if phase.samples:
            position.sampled += self.sample_archs(phase.samples, position.phase)
        position.phase += 1
        position.step = 0
        self._checkpoint()
        if self.folder is not None:
            self.history.write(self.folder.theta)

    def _train_only(self, kind: str) -> None:
        """No gradients for what this phase does not train: neither computed nor applied."""
        self.super_net.zero_grad(set_to_none=True)
        trained = {id(parameter) for parameter in self.optimizers[kind].parameters()}
        for parameter in self.super_net.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        for module, momentum in self._norm_momentum.items():
            # Running statistics belong to the weights: theta's data must not enter them.
            module.momentum = momentum if kind == WEIGHTS else 0.0

    @contextmanager
    def _phases_undone(self) -> Iterator[None]:
        """Afterwards, whatever the phases have switched off is as it was before the search."""
        try:
            yield
        finally:
            for parameter, flag in self._requires_grad.items():
                parameter.requires_grad_(flag)
            for module, momentum in self._norm_momentum.items():
                module.momentum = momentum

    def _check_theta(self) -> None:
        for name, theta in self.super_net.theta_parameters.items():
            if not bool(torch.isfinite(theta).all()):
                raise DivergenceError(
                    f"theta of choice {name!r} is not finite after step "
                    f"{self.position.global_step}; lower arch_params_lr or check the costs",
                    step=self.position.global_step,
                    last_good={},
                )

    def _expected_costs(self) -> dict[str, float]:
        """Mean costs of sampled architectures."""
        with torch.no_grad():
            costs = self.super_net.expected_cost(self.super_net.probability_sample())
        return {name: float(cost.mean()) for name, cost in costs.items()}

    def _report_targets(self) -> None:
        if not isinstance(self.penalty, BudgetPenalty):
            return
        costs = self._expected_costs()
        for name, target in self.penalty.targets.items():
            ratio = costs[name] / target
            missed = ratio > 1.05 or (ratio < 0.95 and not self.penalty.at_most)
            logger.log(
                logging.WARNING if missed else logging.INFO,
                "%s: sampled architectures cost %.6g %s on average, %.3f of the target%s",
                self.experiment_id,
                costs[name],
                name,
                ratio,
                "; train theta for longer, or the space may not reach it" if missed else "",
            )

    def _temperature(self, phase: Phase, step: int) -> float:
        at = step if self.update_temp_every_step else phase.start
        return temperature(self.init_temp, self.temp_decay, phase.epoch_at(at), self.min_temp)

    def _log_interval(self, phase: Phase, tau: float, seconds: float) -> float | None:
        position = self.position
        mean = self.monitors[phase.kind].read(position.global_step)
        self._check_theta()
        self.history.record(position.global_step, position.theta_epochs)
        costs = self._expected_costs()
        self.penalty.check(costs)
        self._write_metrics(
            {
                "event": "interval",
                "phase": phase.kind,
                "step": position.global_step,
                "epoch": round(phase.epoch_at(position.step), 6),
                "theta_epochs": round(position.theta_epochs, 6),
                "temperature": tau,
                "task_loss": mean,
                "cost": costs,
                "entropy": self.history.moments[-1]["entropy"],
                "seconds": round(seconds, 3),
            }
        )
        return mean

    def _validate(self, phase: Phase) -> None:
        if self.valid_loader is None or self.make_metrics is None:
            return
        position = self.position
        tau = self._temperature(phase, phase.stop)
        generator = make_generator(self.device, self.seed, "validation", position.phase)
        best = self.super_net.hard_sample(most_likely=True)

        def soft(batch: Batch) -> Tensor:
            return self._forward(
                batch, self.super_net.soft_sample(tau, len(batch.labels), generator)
            )

        try:
            metrics = {
                name: evaluate(
                    self.super_net, forward, self.valid_loader, self.make_metrics(), self.device
                )
                for name, forward in (
                    ("supernet", soft),
                    ("most_likely", lambda batch: self._forward(batch, best)),
                )
            }
        except NonFiniteError as error:
            raise DivergenceError(
                f"validation after step {position.global_step}: {error}",
                step=position.global_step,
                last_good={},
            ) from error
        position.validation = metrics["most_likely"]
        self._write_metrics(
            {"event": "validation", "step": position.global_step, "phase": phase.kind, **metrics}
        )
        logger.info(
            "%s: phase %d/%d (%s) done, most likely architecture: %s",
            self.experiment_id,
            position.phase + 1,
            len(self.phases),
            phase.kind,
            ", ".join(f"{k} {v:.5f}" for k, v in metrics["most_likely"].items() if v is not None),
        )

    def _forward(self, batch: Batch, sample: Sample) -> Tensor:
        return self.super_net(*batch.inputs, sample=sample)

    # ------------------------------------------------------------------ architectures

    def _sampled(self, architecture: Architecture, kind: str) -> SampledArchitecture:
        return SampledArchitecture(
            architecture=architecture,
            kind=kind,
            step=self.position.global_step,
            theta_epochs=self.position.theta_epochs,
            log_probability=self.super_net.log_probability(architecture),
            costs=self.super_net.cost(architecture),
        )

    def _sample_random(self) -> None:
        found = self.position.sampled
        if any(sampled.kind == "random" for sampled in found):
            return  # the search had ended before
        known = {self.super_net.canonical(s.architecture).id for s in found}
        wanted = self.num_random_archs if self.num_random_archs >= 0 else len(known)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "random_archs"))
        for _ in range(wanted):
            architecture = self.super_net.random_architecture(generator)
            found.append(self._sampled(architecture, "random"))

    # ------------------------------------------------------------------ set-up

    def _optimizer(
        self,
        optimizer_class: OptimizerClass,
        parameters: Iterable[Any],
        lrs: Sequence[float],
        init_params: Mapping[str, Any] | None,
    ) -> OptimizerSet:
        entries = list(parameters)
        if not entries:
            raise ConfigError("there are no parameters to optimise: all are frozen, or none given")
        groups = [{"params": entries}] if isinstance(entries[0], nn.Parameter) else entries
        return OptimizerSet(
            optimizer_class,
            groups,
            lrs,
            init_params=init_params,
            sparse=sparse_parameter_ids(self.super_net),
        )

    def _check_parameters(self) -> None:
        theta = {id(p) for p in self.super_net.architecture_parameters()}
        w = {id(p) for p in self.optimizers[WEIGHTS].parameters()}
        m = {id(p) for p in self.optimizers[THETA].parameters()}
        if w & theta:
            raise ConfigError(
                "w_optim_params_func returns theta: the weights' optimizer would train the "
                "architecture; use super_net.weight_parameters()"
            )
        if not m <= theta:
            raise ConfigError(
                "m_optim_params_func returns weights: theta's optimizer would train them; use "
                "super_net.architecture_parameters()"
            )
        for kind, optimizer in self.optimizers.items():
            if len(self.lr_lambdas[kind]) != len(optimizer.initial_lrs):
                raise ConfigError(
                    f"{len(self.lr_lambdas[kind])} learning-rate lambdas for "
                    f"{len(optimizer.initial_lrs)} {kind} parameter groups"
                )

    # ------------------------------------------------------------------ files

    def _write_metrics(self, line: dict[str, Any]) -> None:
        if self.folder is not None:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            append_json_line(self.folder.metrics, line)

    def _fingerprint(self) -> dict[str, Any]:
        return {
            "phases": [f"{p.kind} {p.start}-{p.stop} samples {p.samples}" for p in self.phases],
            "choices": {n: [list(r) for r in c.options] for n, c in self.super_net.choices.items()},
            "seed": self.seed,
            "penalty": self.penalty.describe(),
            "device": self.device.type,
            "optimizers": {kind: o.describe() for kind, o in self.optimizers.items()},
            "temperature": [
                self.init_temp,
                self.temp_decay,
                self.min_temp,
                self.update_temp_every_step,
            ],
            "sampling_mode": self.sampling_mode,
            "clip_grad_norm_value": self.clip_grad_norm_value,
            "update_lrs_every_step": self.update_lrs_every_step,
        }

    def _checkpoint(self) -> None:
        if self.folder is None:
            return
        save_checkpoint(
            self.folder.checkpoint,
            {
                "fingerprint": self._fingerprint(),
                "super_net": self.super_net.state_dict(),
                "optimizers": {kind: o.state_dict() for kind, o in self.optimizers.items()},
                "monitors": {kind: m.state_dict() for kind, m in self.monitors.items()},
                "penalty": self.penalty.state_dict(),
                "noise": self.noise.get_state(),
                "random": random_states(self.device),
                "history": self.history.state_dict(),
                "position": self.position.state_dict(),
            },
        )

    def _resume(self) -> None:
        if self.folder is None or not self.folder.checkpoint.exists():
            return
        state = load_checkpoint(self.folder.checkpoint)
        check_fingerprint(self.folder.checkpoint, state["fingerprint"], self._fingerprint())
        self.super_net.load_state_dict(state["super_net"])
        for kind in (WEIGHTS, THETA):
            self.optimizers[kind].load_state_dict(state["optimizers"][kind])
            self.monitors[kind].load_state_dict(state["monitors"][kind])
        self.penalty.load_state_dict(state["penalty"])
        self.noise.set_state(state["noise"])
        restore_random_states(state["random"], self.device)
        self.history.load_state_dict(state["history"])
        self.position = SearchPosition.from_state(state["position"])
        keep_json_lines(
            self.folder.metrics, lambda line: line.get("step", 0) <= self.position.global_step
        )
        logger.info("%s: going on from step %d", self.experiment_id, self.position.global_step)


def _at_the_end(total_epochs: Number, warmup_epochs: Number) -> dict[Any, int]:
    """Four architectures when theta has had all its epochs."""
    end = exact("n_total_s_net_training_epochs", total_epochs)
    return {end - exact("num_warmup_epochs", warmup_epochs): 4}


def _trainable_weights(super_net: SuperNet) -> list[nn.Parameter]:
    return [parameter for parameter in super_net.weight_parameters() if parameter.requires_grad]
