"""``train_dnas.py``: one supernet search, one job."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from dnas.cli.baselines import extremes
from dnas.cli.cost_flags import as_words, named_amounts, with_latency
from dnas.cli.flags import (
    ConfigFlags,
    early_value,
    flat,
    print_config,
    read_config_file,
)
from dnas.cli.identity import identity, weights_identity
from dnas.cli.job import JobFlags, StopRequest, evaluation_loader, run_job
from dnas.cli.one_shot import OneShotFlags, run_one_shot
from dnas.cli.run import guarded
from dnas.cli.schedules import (
    OptimizerName,
    ScheduleName,
    WeightsOptimizerName,
    describe_schedule,
    make_schedule,
)
from dnas.cli.scoring import ScoringFlags
from dnas.cli.space_flags import given_one_shot_fields, parse_space_flags
from dnas.cli.supernet_files import save_supernet, write_architectures
from dnas.data.loader import Loader
from dnas.errors import ConfigError
from dnas.runs import SUPERNET
from dnas.spaces import LATENCY, SearchSpace, prepared_by, prior_of, supernet_of
from dnas.strategies.phases import exact, parse_sampling
from dnas.strategies.search_manager import SearchManager
from dnas.training.graphs import StepMode
from dnas.training.judging import check_task
from dnas.training.optim import OPTIMIZERS
from dnas.training.precision import Precision
from dnas.training.seeding import derive_seed, seed_everything
from dnas.training.world import World

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SearchFlags:
    """Settings of the search; names of the paper's Table I where it has them."""

    search_space: str
    """Name of the space (top_bottom_mlps, emb_dim, emb_card, joint, nasrec_small, nasrec_full,
    ctr_baselines, tower_baselines, autotower) or package.module:SPACE."""
    weights_batch_size: int = 1024
    """Rows of a weights step."""
    arch_params_batch_size: int = 1024
    """Rows of a theta step."""
    eval_batch_size: int = 4096
    """Rows of a validation batch."""
    n_total_s_net_training_epochs: str = "5"
    """Weights epochs, warm-up included; decimals allowed."""
    num_warmup_epochs: str = "1"
    """Weights epochs before theta is trained."""
    n_alt_train_amt: str = "1"
    """Epochs after which weights and theta take turns, for example 0.25."""
    architecture_sampling: str = "4:4"
    """THETA_EPOCHS:COUNT,...: how many architectures to draw when."""
    init_temp: float = 1.0
    """Initial temperature T_0."""
    temp_decay: float = 0.1
    """eta in tau = T_0 exp(-eta * epoch)."""
    min_temp: float = 1e-3
    """Floor of the temperature."""
    update_temp_every_step: bool = False
    """The temperature follows its schedule at every step, not only at every phase."""
    sampling_mode: Literal["row", "batch"] = "row"
    """A Gumbel draw for each row, or one for the whole batch."""
    weights_sampling: Literal["soft", "hard"] = "soft"
    """What a weights step trains: weighted sums, or (cheaper) one architecture drawn from theta."""
    precision: Precision = "float32"
    """Of matrix products in training; everything else is float32."""
    step_mode: StepMode = "eager"
    """cuda_graph records a step of each phase on the GPU and repeats it."""
    weights_optimizer: WeightsOptimizerName = "sgd"
    """Optimizer of the weights; rowwise_adagrad keeps one number for each row of a table."""
    weights_lr: float = 1.0
    """Initial learning rate of the weights."""
    weights_lr_schedule: ScheduleName = "exponential"
    """Learning rate of the weights over weights epochs."""
    weights_lr_base: float = 0.9
    """Base of the exponential schedule, per epoch."""
    weights_weight_decay: float = 0.0
    """L2 on the weights; on embeddings only for rows in the batch."""
    arch_params_optimizer: OptimizerName = "adam"
    """Optimizer of theta."""
    arch_params_lr: float = 0.03
    """Initial learning rate of theta."""
    arch_params_lr_schedule: ScheduleName = "constant"
    """Learning rate of theta over theta epochs."""
    arch_params_lr_base: float = 0.9
    """Base of the exponential schedule, per epoch."""
    arch_params_weight_decay: float = 0.0
    """L2 on theta, which pulls it to the uniform distribution."""
    update_lrs_every_step: bool = False
    """Learning rates follow their schedules at every step, not only at every phase."""
    clip_grad_norm_value: float = 100.0
    """L2 norm above which gradients are scaled down."""
    use_hw_cost: bool = False
    """Put the hardware cost into theta's loss (equation 5 or 6)."""
    exponential_cost: bool = False
    """Equation 5 (loss x coef x log(cost)^exp) instead of equation 6 (loss + coef x log(cost))."""
    cost_exp: float = 1.0
    """Exponent beta of equation 5."""
    cost_coef: float = 0.0003
    """Coefficient alpha of equations 5 and 6."""
    cost_multiplier: float = 1.0
    """Factor on the cost inside the logarithm."""
    cost: str | None = None
    """Which cost equations 5 and 6 are about: flops, params, embedding_rows, ...; default: the
    space's usual one."""
    cost_target: tuple[str, ...] = ()
    """What sampled architectures are to cost, NAME=AMOUNT,... such as flops=2e6,embedding_bytes=2e8
    (a plain number is of --cost); replaces equations 5 and 6."""
    cost_table: str | None = None
    """Measured operators, a file of dnas profile; gives the cost latency, in microseconds of a
    forward pass of the table's rows."""
    cost_at_most: bool = False
    """Targets are ceilings: nothing pushes a cheaper architecture up to them."""
    cost_dual_rate: float = 0.01
    """Step of the targets' multipliers."""
    sample_most_likely: bool = True
    """Also train the most likely architecture."""
    num_random_archs: int = -1
    """Random architectures of the same space to train as a baseline; -1: as many as sampled."""
    sample_extremes: bool = False
    """Also train the smallest and the largest architecture of the space, by --cost or else by the
    first target's cost: they show what there is to choose between."""
    validate: bool = True
    """Validate the supernet and its most likely architecture at each phase end."""
    save_supernet_weights: bool = False
    """Keep the trained supernet, for warm starts of sampled architectures."""
    checkpoint_every_s: float = 300.0
    """Seconds between checkpoints inside a phase."""
    log_every_steps: int = 100
    """Steps between log lines."""
    divergence_factor: float = 10.0
    """Times the first interval's loss that ends the search as diverged."""

    def __post_init__(self) -> None:
        for name in ("weights_batch_size", "arch_params_batch_size", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} must be at least 1, but got {getattr(self, name)}")
        if not parse_sampling(self.architecture_sampling):
            raise ConfigError("--architecture_sampling: nothing would be sampled")
        if self.cost_target and (self.use_hw_cost or self.exponential_cost):
            raise ConfigError(
                "--cost_target replaces equations 5 and 6: drop --use_hw_cost and "
                "--exponential_cost, or the targets"
            )
        if self.exponential_cost and not self.use_hw_cost:
            raise ConfigError("--exponential_cost has no effect without --use_hw_cost")
        if self.cost_at_most and not self.cost_target:
            raise ConfigError("--cost_at_most has no effect without --cost_target")

    def with_costs(self, usual: str) -> SearchFlags:
        """The same with every cost named, where ``usual`` is that of the space.

        Raises:
            ConfigError: A target is wrong, or ``--cost`` has no effect beside the targets.
        """
        targets = self.targets(usual)
        if self.cost and targets and self.cost not in targets:
            raise ConfigError(
                f"--cost={self.cost} has no effect: --cost_target is about {', '.join(targets)}"
            )
        return replace(self, cost_target=as_words(targets))

    def main_cost(self, usual: str) -> str:
        """What equations 5 and 6, and extremes, are about."""
        return self.cost or next(iter(self.targets(usual)), usual)

    def targets(self, usual: str) -> dict[str, float]:
        """Cost name -> target; empty if there are none."""
        return named_amounts("--cost_target", self.cost_target, self.cost or usual)


@dataclass(frozen=True, kw_only=True)
class AlgorithmFlags:
    """How to search; decides which other flags there are."""

    search_algorithm: Literal["dnas", "evolution", "genetic", "reinforce", "random_search"] = "dnas"
    """dnas: by gradients; the others: among the paths of a one-shot supernet."""


def main(argv: Sequence[str] | None = None, *, program: str = "train_dnas.py") -> int:
    """Entry of ``train_dnas.py`` and ``dnas search``."""
    return guarded(lambda: _main(sys.argv[1:] if argv is None else argv, program))


def _main(argv: Sequence[str], program: str) -> int:
    space, parsed = parse_search(argv, program)
    if parsed.about.print_config:
        print_config(parsed)
        return 0
    run = run_search if parsed.algorithm.search_algorithm == "dnas" else run_one_shot
    return run_job(parsed.job, SUPERNET, flat(parsed), partial(run, space, parsed))


def parse_search(argv: Sequence[str], program: str = "train_dnas.py") -> tuple[SearchSpace, Any]:
    """Space and flags that a command line means.

    Raises:
        ConfigError: A flag or a config file is refused.
        SystemExit: With code 2 on a wrong flag, 0 after ``--help``.
    """
    file_values = read_config_file(early_value(argv, "config"))
    algorithm = early_value(argv, "search_algorithm") or file_values.get("search_algorithm", "dnas")
    groups: dict[str, type] = {"about": ConfigFlags, "algorithm": AlgorithmFlags, "job": JobFlags}
    if algorithm == "dnas":
        groups |= {"search": SearchFlags}
    else:
        groups |= {"search": OneShotFlags, "scoring": ScoringFlags}
    space, parsed = parse_space_flags(
        argv,
        groups,
        program=program,
        description="Search: train a supernet and sample architectures from it.",
        file_values=file_values,
    )
    flags = parsed.search
    if isinstance(flags, OneShotFlags):
        flags.settings(algorithm)
    else:
        if given := given_one_shot_fields(space, parsed.space):
            raise ConfigError(
                f"{', '.join(given)}: no effect with --search_algorithm=dnas, which trains no "
                "paths; leave it out, or choose another algorithm"
            )
    return space, replace(parsed, search=flags.with_costs(space.default_cost))


def run_search(space: SearchSpace, parsed: Any, stop: StopRequest, world: World) -> dict[str, Any]:
    """The search itself; gives the fields of the result file."""
    job: JobFlags = parsed.job
    flags: SearchFlags = parsed.search
    folder = job.folder()
    device = job.device()
    seed_everything(job.seed)
    data = prepared_by(space, parsed.data)
    super_net = supernet_of(space, parsed.space, data.spec)
    task = space.task_of(parsed.space)
    targets = flags.targets(space.default_cost)
    cost = flags.main_cost(space.default_cost)
    latency = with_latency(super_net, flags.cost_table, {cost, *targets})
    if latency is not None and LATENCY in {cost, *targets}:
        super_net.operator_terms(super_net.probability_sample())  # raises where there is none
    of_job = identity(space, parsed.space, data)
    total = exact("n_total_s_net_training_epochs", flags.n_total_s_net_training_epochs)
    warmup = exact("num_warmup_epochs", flags.num_warmup_epochs)

    def training(split: str, batch_size: int, flag: str) -> Loader:
        return data.loader(
            split,
            batch_size,
            shuffle=True,
            seed=derive_seed(job.seed, split, "order"),
            drop_last=True,
            device=device,
            flag=flag,
        )

    manager = SearchManager(
        super_net,
        w_dataloader=training("weights", flags.weights_batch_size, "--weights_batch_size"),
        m_dataloader=training("theta", flags.arch_params_batch_size, "--arch_params_batch_size"),
        valid_dataloader=(
            evaluation_loader(data, "validation", flags.eval_batch_size, device)
            if flags.validate
            else None
        ),
        make_metrics=task.metrics,
        loss_function=task.loss,
        n_total_s_net_training_epochs=flags.n_total_s_net_training_epochs,
        num_warmup_epochs=flags.num_warmup_epochs,
        n_alt_train_amt=flags.n_alt_train_amt,
        arch_sampling=parse_sampling(flags.architecture_sampling),
        init_temp=flags.init_temp,
        temp_decay=flags.temp_decay,
        min_temp=flags.min_temp,
        update_temp_every_step=flags.update_temp_every_step,
        update_lrs_every_step=flags.update_lrs_every_step,
        host_device=device,
        experiment_id=job.experiment_id,
        clip_grad_norm_value=flags.clip_grad_norm_value,
        w_optim_class=OPTIMIZERS[flags.weights_optimizer],
        w_optim_init_params=_decay(flags.weights_weight_decay),
        weights_initial_lrs=[flags.weights_lr],
        weights_lr_lambdas=[
            make_schedule(flags.weights_lr_schedule, flags.weights_lr_base, float(total))
        ],
        m_optim_class=OPTIMIZERS[flags.arch_params_optimizer],
        m_optim_init_params=_decay(flags.arch_params_weight_decay),
        mask_initial_lrs=[flags.arch_params_lr],
        mask_lr_lambdas=[
            make_schedule(
                flags.arch_params_lr_schedule,
                flags.arch_params_lr_base,
                float(total - warmup),
            )
        ],
        use_hw_cost=flags.use_hw_cost,
        exponential_cost=flags.exponential_cost,
        cost_exp=flags.cost_exp,
        cost_coef=flags.cost_coef,
        cost_multiplier=flags.cost_multiplier,
        cost_metric=cost,
        cost_target=targets or None,
        cost_dual_rate=flags.cost_dual_rate,
        cost_at_most=flags.cost_at_most,
        sampling_mode=flags.sampling_mode,
        weights_sampling=flags.weights_sampling,
        precision=flags.precision,
        step_mode=flags.step_mode,
        sample_most_likely=flags.sample_most_likely,
        num_random_archs=flags.num_random_archs,
        prior=prior_of(space, parsed.space, super_net),
        folder=folder,
        checkpoint_every_s=flags.checkpoint_every_s,
        log_every_steps=flags.log_every_steps,
        divergence_factor=flags.divergence_factor,
        seed=job.seed,
        should_stop=stop,
        fingerprint={
            "weights_batch_size": flags.weights_batch_size,
            "arch_params_batch_size": flags.arch_params_batch_size,
            "weights_lr_schedule": describe_schedule(
                flags.weights_lr_schedule, flags.weights_lr_base
            ),
            "arch_params_lr_schedule": describe_schedule(
                flags.arch_params_lr_schedule, flags.arch_params_lr_base
            ),
            **({"cost_table": latency.hash} if latency else {}),
            **of_job,
        },
        world=world,
    )
    check_task(
        task,
        super_net,
        lambda batch: super_net(*batch.inputs, sample=super_net.hard_sample(most_likely=True)),
        manager.valid_loader
        or evaluation_loader(data, "validation", flags.eval_batch_size, device),
        device,
    )
    result = manager.train_dnas()
    if not world.is_main:
        return {}
    if flags.save_supernet_weights:
        save_supernet(folder, super_net, weights_identity(space, parsed.space, data))
    baseline = extremes(super_net, cost) if flags.sample_extremes else []
    files = write_architectures(
        [*result.architectures, *baseline],
        folder,
        space,
        flags.search_space,
        parsed.space,
        data.spec,
        super_net,
        latency,
    )
    logger.info("%d architectures in %s", len(files), folder.architectures)
    return {
        "search_space": flags.search_space,
        "architectures": files,
        "validation": None if result.validation is None else dict(result.validation),
        "steps": result.steps,
        "data": dict(data.record),
    }


def _decay(weight_decay: float) -> dict[str, float]:
    return {"weight_decay": weight_decay} if weight_decay else {}
