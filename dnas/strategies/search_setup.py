"""SearchSetup: from the arguments of a search, named as in the paper's Table I, to its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnas.core import Prior, SuperNet, UniformPrior
from dnas.core.sampling import MIN_TEMPERATURE
from dnas.core.schedules import LrLambda
from dnas.costs import Penalty, make_penalty
from dnas.data.loader import Loader, as_loader
from dnas.errors import ConfigError
from dnas.runs import JobFolder
from dnas.strategies.calibration import check_reachable
from dnas.strategies.phases import THETA, WEIGHTS, Number, exact, plan_phases
from dnas.strategies.search_state import SearchPosition
from dnas.strategies.search_step import SearchStep
from dnas.strategies.theta_history import ThetaHistory
from dnas.strategies.turns import Turns, check_optimizer_arguments
from dnas.strategies.watch import expected_costs
from dnas.training.graphs import check_step_mode
from dnas.training.job_files import JobFiles
from dnas.training.monitor import LossMonitor
from dnas.training.optim import OptimizerClass
from dnas.training.precision import check_precision
from dnas.training.seeding import derive_seed, make_generator
from dnas.training.supernet_weights import make_optimizer, trainable_weights
from dnas.training.task import MetricAccumulator
from dnas.training.world import World

#: Loss of a model's outputs against labels, a scalar mean.
LossFunction = Callable[[Tensor, Tensor], Tensor]


class SearchSetup:
    """The parts of a search, checked against each other.

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
        weights_sampling: ``"soft"``: weights steps train the weighted sums, as in the paper;
            ``"hard"``: each trains one architecture drawn from softmax(theta), at the price of that
            architecture. On a GPU the host then waits for the draw in each weights step.
        precision: ``"float32"``, or ``"bfloat16"`` for the matrix products of the forward and
            backward passes, see :mod:`dnas.training.precision`.
        step_mode: ``"eager"``, or ``"cuda_graph"``: on a GPU, the steps of a phase are recorded
            once and repeated, see :mod:`dnas.training.graphs`.
        update_temp_every_step: tau follows its schedule at every step instead of at every phase.
        min_temp: Floor of tau.
        sample_most_likely: Also give the most likely architecture with every sampling.
        num_random_archs: Candidates of ``prior`` drawn at the end, as a baseline; -1: as many as
            the search gave.
        prior: Where these come from; default: every option is equally likely.
        valid_dataloader: Validation of the supernet and of its most likely architecture at each
            phase end; needs ``make_metrics``.
        make_metrics: Makes an empty metric accumulator.
        folder: Where metrics, theta and checkpoints go; None writes nothing.
        checkpoint_every_s: Seconds between checkpoints inside a phase.
        log_every_steps: Steps between log lines; the host waits for the device only then.
        divergence_factor: Times the first interval's loss that ends the search as diverged.
        seed: Of all randomness of the search (not of the supernet's initial weights).
        should_stop: Asked before every step; True saves a checkpoint and raises ``Preempted``.
        fingerprint: What else a checkpoint must agree on to be resumed: of the data and of learning
            rates' schedules, say.
        world: The processes that train the supernet together; None: this one alone.

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
        weights_sampling: str = "soft",
        precision: str = "float32",
        step_mode: str = "eager",
        update_temp_every_step: bool = False,
        min_temp: float = 1e-3,
        sample_most_likely: bool = True,
        num_random_archs: int = 0,
        prior: Prior | None = None,
        valid_dataloader: Loader | Iterable[Any] | None = None,
        make_metrics: Callable[[], MetricAccumulator] | None = None,
        folder: str | Path | JobFolder | None = None,
        checkpoint_every_s: float = 300.0,
        log_every_steps: int = 100,
        divergence_factor: float = 10.0,
        seed: int = 1,
        should_stop: Callable[[], bool] = lambda: False,
        fingerprint: Mapping[str, Any] | None = None,
        world: World | None = None,
    ) -> None:
        _check(
            super_net,
            sampling_mode=sampling_mode,
            weights_sampling=weights_sampling,
            init_temp=init_temp,
            min_temp=min_temp,
            clip_grad_norm_value=clip_grad_norm_value,
            num_random_archs=num_random_archs,
            log_every_steps=log_every_steps,
        )
        check_optimizer_arguments(
            "w_optim_class",
            w_optim_class,
            "weights_initial_lrs",
            weights_initial_lrs,
            "weights_lr_lambdas",
            weights_lr_lambdas,
        )
        check_optimizer_arguments(
            "m_optim_class",
            m_optim_class,
            "mask_initial_lrs",
            mask_initial_lrs,
            "mask_lr_lambdas",
            mask_lr_lambdas,
        )
        check_precision(precision)
        if valid_dataloader is not None and make_metrics is None:
            raise ConfigError("valid_dataloader needs make_metrics, which judges its outputs")
        self.device = torch.device(host_device)
        self.super_net = super_net.to(self.device)
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
        self.warmup_epochs = exact("num_warmup_epochs", num_warmup_epochs)
        self.init_temp, self.temp_decay, self.min_temp = init_temp, temp_decay, min_temp
        self.update_temp_every_step = update_temp_every_step
        self.update_lrs_every_step = update_lrs_every_step
        self.experiment_id = experiment_id
        self.sample_most_likely = sample_most_likely
        self.num_random_archs = num_random_archs
        self.prior = prior or UniformPrior(super_net)
        self.seed = seed
        self.should_stop = should_stop
        self.checkpoint_every_s = checkpoint_every_s
        self.log_every_steps = log_every_steps
        self.logfile = logfile
        self.world = world or World()
        check_step_mode(
            step_mode,
            self.device,
            self.world.size,
            {
                "--update_temp_every_step": update_temp_every_step,
                "--update_lrs_every_step": update_lrs_every_step,
                "--weights_sampling hard": weights_sampling == "hard",
            },
        )
        self.step_mode = step_mode
        self.turns = Turns(
            self.super_net,
            {
                WEIGHTS: make_optimizer(
                    self.super_net,
                    w_optim_class,
                    (w_optim_params_func or trainable_weights)(self.super_net),
                    weights_initial_lrs,
                    w_optim_init_params,
                ),
                THETA: make_optimizer(
                    self.super_net,
                    m_optim_class,
                    (m_optim_params_func or SuperNet.architecture_parameters)(self.super_net),
                    mask_initial_lrs,
                    m_optim_init_params,
                ),
            },
            {WEIGHTS: weights_lr_lambdas, THETA: mask_lr_lambdas},
        )
        self.optimizers = self.turns.optimizers
        self.penalty = penalty or make_penalty(
            sorted(expected_costs(self.super_net)),
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
        if cost_target:
            check_reachable(self.super_net, cost_target, at_most=cost_at_most)
        self.monitors = {kind: LossMonitor(factor=divergence_factor) for kind in (WEIGHTS, THETA)}
        self.noise = make_generator(self.device, seed, "gumbel")
        self.one_step = SearchStep(
            super_net=self.super_net,
            optimizers=self.optimizers,
            loss_function=loss_function,
            penalty=self.penalty,
            noise=self.noise,
            world=self.world,
            clip_grad_norm_value=clip_grad_norm_value,
            sampling_mode=sampling_mode,
            weights_sampling=weights_sampling,
            precision=precision,
        )
        self.history = ThetaHistory(self.super_net)
        self.position = SearchPosition()
        # Last: the fingerprint is made of what is above.
        self.files = JobFiles(
            JobFolder(Path(folder)) if isinstance(folder, str | Path) else folder,
            self.world,
            {**self._fingerprint(), **(fingerprint or {})},
        )

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
            "sampling_mode": self.one_step.sampling_mode,
            "weights_sampling": self.one_step.weights_sampling,
            "precision": self.one_step.precision,
            "clip_grad_norm_value": self.one_step.clip_grad_norm_value,
            "update_lrs_every_step": self.update_lrs_every_step,
            "sample_most_likely": self.sample_most_likely,
            "num_random_archs": self.num_random_archs,
        }


def _check(
    super_net: SuperNet,
    *,
    sampling_mode: str,
    weights_sampling: str,
    init_temp: float,
    min_temp: float,
    clip_grad_norm_value: float,
    num_random_archs: int,
    log_every_steps: int,
) -> None:
    if sampling_mode not in ("row", "batch"):
        raise ConfigError(f"sampling_mode must be 'row' or 'batch', but got {sampling_mode!r}")
    if weights_sampling not in ("soft", "hard"):
        raise ConfigError(
            f"weights_sampling must be 'soft' or 'hard', but got {weights_sampling!r}"
        )
    if not init_temp >= min_temp >= MIN_TEMPERATURE:
        raise ConfigError(
            f"init_temp must be at least min_temp, and that at least {MIN_TEMPERATURE}, but "
            f"got {init_temp} and {min_temp}"
        )
    if not clip_grad_norm_value > 0:
        raise ConfigError(f"clip_grad_norm_value must be positive, but got {clip_grad_norm_value}")
    if num_random_archs < -1:
        raise ConfigError(f"num_random_archs must be -1 or more, but got {num_random_archs}")
    if log_every_steps < 1:
        raise ConfigError(f"log_every_steps must be at least 1, but got {log_every_steps}")
    if not isinstance(super_net, SuperNet):
        raise ConfigError(
            f"super_net is a {type(super_net).__name__}; give an instance of a SuperNet subclass"
        )
    if not super_net.choices:
        raise ConfigError(
            f"{type(super_net).__name__} has no Choice: there is nothing to search; keep Choices "
            "in attributes, an nn.ModuleList or an nn.ModuleDict (torch does not look into plain "
            "lists)"
        )


def _at_the_end(total_epochs: Number, warmup_epochs: Number) -> dict[Any, int]:
    """Four architectures when theta has had all its epochs."""
    end = exact("n_total_s_net_training_epochs", total_epochs)
    return {end - exact("num_warmup_epochs", warmup_epochs): 4}
