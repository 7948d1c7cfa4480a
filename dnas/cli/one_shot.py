"""``train_dnas.py --search_algorithm=evolution|genetic|...``: search with shared weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dnas.cli.baselines import Baseline, extremes
from dnas.cli.cost_flags import as_words, named_amounts, with_latency
from dnas.cli.flags import given
from dnas.cli.identity import identity, weights_identity
from dnas.cli.job import JobFlags, StopRequest, evaluation_loader
from dnas.cli.schedules import WeightsOptimizerName
from dnas.cli.scoring import ScoringFlags, make_evaluator, open_evaluations
from dnas.cli.space_flags import given_one_shot_fields
from dnas.cli.supernet_files import load_supernet, save_supernet, write_architectures
from dnas.core import Prior, SuperNet
from dnas.errors import ConfigError
from dnas.spaces import Prepared, SearchSpace, prepared_by, prior_of, supernet_of
from dnas.strategies.candidate_search import CandidateSearch
from dnas.strategies.evolution import EvolutionSettings, RegularizedEvolution
from dnas.strategies.genetic import GeneticSearch, GeneticSettings
from dnas.strategies.one_shot import OneShotTraining
from dnas.strategies.proposals import Proposals
from dnas.strategies.random_search import RandomSearch
from dnas.strategies.reinforce import ReinforceSearch, ReinforceSettings
from dnas.strategies.strategy import Strategy
from dnas.training.judging import check_task
from dnas.training.optim import OPTIMIZERS
from dnas.training.seeding import derive_seed, make_generator, seed_everything
from dnas.training.weights import weights_checksum
from dnas.training.world import World

logger = logging.getLogger(__name__)

#: Flags that some algorithms have no use for, with those that do.
_USED_BY = {
    "sample_size": (RegularizedEvolution.name,),
    "mutations": (RegularizedEvolution.name,),
    "mutation_decay": (RegularizedEvolution.name,),
    "num_parents": (GeneticSearch.name,),
    "mutation_probability": (GeneticSearch.name,),
    "policy_lr": (ReinforceSearch.name,),
    "entropy_weight": (ReinforceSearch.name,),
    "baseline_decay": (ReinforceSearch.name,),
}
#: Flags that say nothing but how a supernet is trained.
_TRAINING = (
    "path_sampling",
    "batch_size",
    "n_epochs",
    "optimizer",
    "lr",
    "lr_warmup_fraction",
    "adagrad_eps",
    "weight_decay",
    "warmup_fraction",
    "clip_grad_norm_value",
    "checkpoint_every_s",
    "log_every_steps",
    "divergence_factor",
)


@dataclass(frozen=True, kw_only=True)
class OneShotFlags:
    """One supernet, trained path by path, and a search among its architectures."""

    search_space: str
    """Name of the space (nasrec_full, emb_card, joint, ...) or package.module:SPACE."""
    supernet_weights: str | None = None
    """Search in this supernet (as --save_supernet_weights left it) instead of training one."""
    save_supernet_weights: bool = False
    """Keep the trained supernet, for other searches and for warm starts."""
    path_sampling: str = ""
    """How the path of a step is drawn, by a name of the space's; empty: its usual way."""
    batch_size: int = 256
    """Rows of a step."""
    n_epochs: str = "1"
    """Epochs over the training rows (weights and theta rows alike); decimals allowed."""
    optimizer: WeightsOptimizerName = "adagrad"
    """Optimizer of the weights; rowwise_adagrad keeps one number for each row of a table."""
    lr: float = 0.04
    """Largest learning rate: linear warm-up from 0, then a cosine to 0."""
    lr_warmup_fraction: float = 0.1
    """Share of the steps in which the learning rate rises from 0: the first step has rate 0 and
    changes no weights, unless the share is 0."""
    adagrad_eps: float = 1e-2
    """Epsilon of Adagrad."""
    weight_decay: float = 0.0
    """L2 on the weights; on embeddings only for rows in the batch."""
    warmup_fraction: float = 0.25
    """Share of the steps in which the full path is trained with a probability that falls from 1
    to 0; no effect in a space without a full path."""
    clip_grad_norm_value: float = 5.0
    """L2 norm above which gradients are scaled down."""
    population: int = 64
    """Architectures of the first iteration; with evolution, members of its population. All
    algorithms evaluate as many architectures: population + children x n_iterations."""
    sample_size: int = 32
    """Members of a random sample, the best of which is the parent; evolution only."""
    children: int = 16
    """Architectures of each iteration after the first, of each one of random search."""
    n_iterations: int = 100
    """Iterations after the first; for random search see --population."""
    mutations: int = 5
    """Mutations of each child in the first iteration of evolution."""
    mutation_decay: int = 20
    """Iterations after which children have one mutation less, down to one; evolution only."""
    num_parents: int = 10
    """Best architectures so far that children are made of; genetic only."""
    mutation_probability: float = 0.1
    """With which each decision of a mutant is drawn anew; genetic only."""
    policy_lr: float = 0.25
    """Learning rate of the policy's logits; reinforce only."""
    entropy_weight: float = 0.01
    """Of the policy's entropy, which keeps it from deciding early; reinforce only."""
    baseline_decay: float = 0.9
    """Share that the moving moments of scores keep in each iteration; reinforce only."""
    top_k: int = 15
    """Best architectures to give."""
    num_random_archs: int = 0
    """Random architectures of the same space (and limits) to train as a baseline."""
    sample_extremes: bool = False
    """Also train the smallest and the largest architecture of the space, by the first limit's cost
    or else the space's usual one."""
    cost_limit: tuple[str, ...] = ()
    """Most that a candidate may cost, NAME=AMOUNT,... such as flops=2e6,embedding_bytes=2e8 (a
    plain number is of the space's usual cost); default: no limit."""
    cost_table: str | None = None
    """Measured operators, a file of dnas profile; gives the cost latency, in microseconds of a
    forward pass of the table's rows."""
    checkpoint_every_s: float = 300.0
    """Seconds between checkpoints of the supernet's training."""
    log_every_steps: int = 100
    """Steps between log lines."""
    divergence_factor: float = 10.0
    """Times the first interval's loss that ends the training as diverged."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"--batch_size must be at least 1, but got {self.batch_size}")
        if not self.lr > 0:
            raise ConfigError(f"--lr must be positive, but got {self.lr}")
        if self.top_k < 1 or self.num_random_archs < 0:
            raise ConfigError(
                f"--top_k must be at least 1 and --num_random_archs at least 0, but got "
                f"{self.top_k} and {self.num_random_archs}"
            )
        if self.supernet_weights and self.save_supernet_weights:
            raise ConfigError(
                "--save_supernet_weights: nothing is trained with --supernet_weights; drop one"
            )
        self.settings(RandomSearch.name)

    def settings(self, algorithm: str) -> EvolutionSettings | GeneticSettings | ReinforceSettings:
        """The numbers of an algorithm; random search has those of evolution, without samples.

        Raises:
            ConfigError: One is out of range.
        """
        if algorithm == GeneticSearch.name:
            return GeneticSettings(
                population=self.population,
                children=self.children,
                iterations=self.n_iterations,
                parents=self.num_parents,
                mutation_probability=self.mutation_probability,
            )
        if algorithm == ReinforceSearch.name:
            return ReinforceSettings(
                population=self.population,
                children=self.children,
                iterations=self.n_iterations,
                lr=self.policy_lr,
                entropy_weight=self.entropy_weight,
                baseline_decay=self.baseline_decay,
            )
        return EvolutionSettings(
            population=self.population,
            sample_size=self.sample_size if algorithm == RegularizedEvolution.name else 1,
            children=self.children,
            iterations=self.n_iterations,
            mutations=self.mutations,
            mutation_decay=self.mutation_decay,
        )

    def with_costs(self, usual: str) -> OneShotFlags:
        """The same with every cost named, where ``usual`` is that of the space.

        Raises:
            ConfigError: A limit is wrong.
        """
        return replace(self, cost_limit=as_words(self.limits(usual)))

    def limits(self, usual: str) -> dict[str, float]:
        """Cost name -> the most that an architecture may cost."""
        return named_amounts("--cost_limit", self.cost_limit, usual)

    def unused(self, algorithm: str) -> list[str]:
        """Flags that were given though ``algorithm`` has no use for them."""
        return given(
            self, (name for name, algorithms in _USED_BY.items() if algorithm not in algorithms)
        )

    def unused_training(self) -> list[str]:
        """Flags of the training that were given though nothing is trained."""
        return given(self, _TRAINING)


def make_strategy(
    algorithm: str,
    flags: OneShotFlags,
    limits: Mapping[str, float],
    prior: Prior,
    super_net: SuperNet,
    seed: int,
) -> Strategy:
    """The strategy that ``--search_algorithm`` names."""
    settings = flags.settings(algorithm)
    if isinstance(settings, GeneticSettings):
        return GeneticSearch(prior, super_net, settings, cost_limits=limits, seed=seed)
    if isinstance(settings, ReinforceSettings):
        return ReinforceSearch(super_net, settings, cost_limits=limits, seed=seed)
    if algorithm == RegularizedEvolution.name:
        return RegularizedEvolution(prior, super_net, settings, cost_limits=limits, seed=seed)
    return RandomSearch(
        prior,
        super_net,
        evaluations=settings.evaluations,
        per_iteration=settings.children,
        cost_limits=limits,
        seed=seed,
    )


def run_one_shot(
    space: SearchSpace, parsed: Any, stop: StopRequest, world: World
) -> dict[str, Any]:
    """Train the supernet, or load it, and search in it; gives the fields of the result file."""
    job: JobFlags = parsed.job
    flags: OneShotFlags = parsed.search
    scoring: ScoringFlags = parsed.scoring
    algorithm: str = parsed.algorithm.search_algorithm
    if world.size > 1:
        raise ConfigError(
            f"--search_algorithm={algorithm} runs in one process, not in {world.size}: start it "
            "without torchrun, and see --eval_processes"
        )
    folder = job.folder()
    device = job.device()
    seed_everything(job.seed)
    data = prepared_by(space, parsed.data)
    super_net = supernet_of(space, parsed.space, data.spec)
    prior = prior_of(space, parsed.space, super_net)
    limits = flags.limits(space.default_cost)
    latency = with_latency(super_net, flags.cost_table, limits)
    if unused := flags.unused(algorithm):
        logger.warning("--search_algorithm=%s: not used: %s", algorithm, ", ".join(unused))
    strategy = make_strategy(algorithm, flags, limits, prior, super_net, job.seed)
    # What cannot be done is to be said before the supernet is trained, not afterwards.
    prior.check_strategy(flags.path_sampling)
    strategy.ask()
    baseline = _random_architectures(flags.num_random_archs, limits, prior, super_net, job.seed)
    if flags.sample_extremes:
        baseline += extremes(super_net, next(iter(limits), space.default_cost))
    check_task(
        space.task_of(parsed.space),
        super_net.to(device),
        lambda batch: super_net(*batch.inputs, sample=super_net.hard_sample(most_likely=True)),
        evaluation_loader(data, "validation", scoring.eval_batch_size, device),
        device,
    )
    of_job = identity(space, parsed.space, data)
    if flags.supernet_weights is None:
        # Not to be used: it shows that there are rows to score, fine-tune and recalibrate on.
        make_evaluator(space, parsed.space, data, scoring, job.seed, device, super_net)
        steps = _train(space, super_net, prior, data, parsed, device, stop, of_job)
    else:
        if unused := [*flags.unused_training(), *given_one_shot_fields(space, parsed.space)]:
            logger.warning(
                "--supernet_weights: nothing is trained; not used: %s", ", ".join(unused)
            )
        of_weights = weights_identity(space, parsed.space, data)
        load_supernet(super_net, Path(flags.supernet_weights), "--supernet_weights", of_weights)
        steps = 0
    fingerprint = {
        **of_job,
        "supernet": weights_checksum(super_net.state_dict()),
        "device": device.type,
        **scoring.fingerprint(),
        **({"cost_table": latency.hash} if latency else {}),
    }
    with open_evaluations(
        space,
        parsed.space,
        parsed.data,
        data,
        scoring,
        super_net,
        seed=job.seed,
        device=device,
        should_stop=stop,
    ) as evaluate:
        search = CandidateSearch(
            strategy,
            evaluate,
            super_net=super_net,
            task=space.task_of(parsed.space),
            folder=folder,
            fingerprint=fingerprint,
            top_k=flags.top_k,
            first_step=steps,
        )
        found = search.run()
    files = write_architectures(
        [*found, *baseline],
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
        "search_algorithm": algorithm,
        "architectures": files,
        "validation": dict(found[0].candidate.metrics),
        "steps": steps,
        "evaluations": len(search.log.candidates),
        "data": dict(data.record),
    }


def _train(
    space: SearchSpace,
    super_net: SuperNet,
    prior: Prior,
    data: Prepared,
    parsed: Any,
    device: torch.device,
    stop: StopRequest,
    of_job: Mapping[str, Any],
) -> int:
    """Train the supernet; gives the steps done."""
    job: JobFlags = parsed.job
    flags: OneShotFlags = parsed.search
    params: dict[str, float] = {}
    if flags.weight_decay:
        params["weight_decay"] = flags.weight_decay
    if "adagrad" in flags.optimizer:
        params["eps"] = flags.adagrad_eps
    training = OneShotTraining(
        super_net,
        prior,
        loader=data.loader(
            "train",
            flags.batch_size,
            shuffle=True,
            seed=derive_seed(job.seed, "train", "order"),
            drop_last=True,
            device=device,
            flag="--batch_size",
        ),
        loss_function=space.task_of(parsed.space).loss,
        n_epochs=flags.n_epochs,
        path_sampling=flags.path_sampling,
        optimizer_class=OPTIMIZERS[flags.optimizer],
        optimizer_params=params,
        lr=flags.lr,
        lr_warmup_fraction=flags.lr_warmup_fraction,
        warmup_fraction=flags.warmup_fraction,
        clip_grad_norm_value=flags.clip_grad_norm_value,
        device=device,
        folder=job.folder(),
        checkpoint_every_s=flags.checkpoint_every_s,
        log_every_steps=flags.log_every_steps,
        divergence_factor=flags.divergence_factor,
        seed=job.seed,
        should_stop=stop,
        fingerprint={"batch_size": flags.batch_size, **of_job},
    )
    steps = training.train()
    if flags.save_supernet_weights:
        save_supernet(job.folder(), super_net, weights_identity(space, parsed.space, data))
    return steps


def _random_architectures(
    number: int, limits: Mapping[str, float], prior: Prior, super_net: SuperNet, seed: int
) -> list[Baseline]:
    generator = make_generator(torch.device("cpu"), seed, "random_archs")
    drawn = Proposals(super_net, limits).take(number, lambda _: prior.candidate(generator))
    return [Baseline(architecture) for architecture in drawn]
