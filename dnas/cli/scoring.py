"""Judging architectures by a trained supernet's weights: flags, and from flags to scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from dnas.cli.identity import weights_identity
from dnas.cli.supernet_files import load_supernet
from dnas.core import Architecture, HasHead, SuperNet
from dnas.data.first_rows import FirstRows
from dnas.errors import ConfigError, DataError
from dnas.spaces import Prepared, SearchSpace, prepared_by, supernet_of
from dnas.strategies.evaluation_pool import Evaluations, evaluations
from dnas.strategies.evaluator import SharedWeightsEvaluator, check_head
from dnas.strategies.fine_tune import FineTune
from dnas.strategies.recalibration import batch_norms
from dnas.training.seeding import derive_seed
from dnas.training.task import Metrics

#: Steps of fine-tuning where a supernet can be fine-tuned and nothing else is said.
_USUAL_STEPS = 500
#: Rows of a recalibration where a supernet has batch norms and nothing else is said.
_USUAL_RECALIBRATION = 4096
#: Most rows of one of its batches, whatever --eval_batch_size is: it decides statistics, a little.
_RECALIBRATION_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class ScoringFlags:
    """How architectures are judged by shared weights."""

    eval_batch_size: int = 4096
    """Rows of a forward pass."""
    score_rows: int = 0
    """Validation rows that every candidate is judged by; 0: all."""
    score_subset: Literal["random", "first"] = "random"
    """Which rows --score_rows takes: a random subset, the same for all candidates, or the first."""
    finetune_steps: int = -1
    """Steps that train a candidate's last layer before it is judged; 0: none; -1: 500 where the
    supernet has a linear last layer, none elsewhere. The first has learning rate 0."""
    finetune_rows: int = 0
    """Training rows to fine-tune on, again and again; 0: as many as the steps take."""
    finetune_batch_size: int = 256
    """Rows of a step of fine-tuning."""
    finetune_lr: float = 0.04
    """Largest learning rate of fine-tuning (Adagrad): warm-up over a tenth of it, then a cosine."""
    finetune_eps: float = 1e-2
    """Epsilon of fine-tuning's Adagrad."""
    recalibration_rows: int = -1
    """Training rows from which the statistics of a candidate's batch norms are computed before it
    is judged; 0: those of the supernet are used; -1: 4096 where the supernet has batch norms."""
    eval_processes: int = 1
    """Processes that evaluate candidates side by side; each uses OMP_NUM_THREADS threads."""

    def __post_init__(self) -> None:
        for name, least in (
            ("eval_batch_size", 1),
            ("score_rows", 0),
            ("finetune_steps", -1),
            ("finetune_rows", 0),
            ("finetune_batch_size", 1),
            ("recalibration_rows", -1),
            ("eval_processes", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"--{name} must be at least {least}, but got {getattr(self, name)}"
                )
        if self.finetune_steps == 1:
            raise ConfigError(
                "--finetune_steps=1 would change nothing: the learning rate rises from 0, which is "
                "that of the first step; use 0 for no fine-tuning, or at least 2"
            )
        if self.recalibration_rows == 1:
            raise ConfigError(
                "--recalibration_rows=1: a single row has no variance; use 0 to keep the "
                "supernet's statistics, or at least 2"
            )
        if not self.finetune_lr > 0:
            raise ConfigError(f"--finetune_lr must be positive, but got {self.finetune_lr}")

    def fine_tune(self, super_net: SuperNet) -> FineTune | None:
        """How the last layer of ``super_net`` is trained, None if it is not.

        Raises:
            ConfigError: It cannot be.
        """
        steps = self.finetune_steps
        if steps < 0:
            steps = _USUAL_STEPS if isinstance(super_net, HasHead) else 0
        if steps == 0:
            return None
        check_head(super_net)
        return FineTune(
            steps=steps,
            batch_size=self.finetune_batch_size,
            lr=self.finetune_lr,
            eps=self.finetune_eps,
        )

    def recalibration(self, super_net: SuperNet) -> int:
        """Rows from which the batch norms of a candidate get their statistics, 0 if they keep them.

        Raises:
            ConfigError: Rows are asked for, and there is no batch norm.
        """
        has_norms = bool(batch_norms(super_net))
        if self.recalibration_rows > 0 and not has_norms:
            raise ConfigError(
                f"--recalibration_rows={self.recalibration_rows}: {type(super_net).__name__} has "
                "no batch norm with running statistics; leave the flag out"
            )
        if self.recalibration_rows < 0:
            return _USUAL_RECALIBRATION if has_norms else 0
        return self.recalibration_rows

    def fingerprint(self) -> dict[str, Any]:
        """What of it decides the metrics."""
        return {name: value for name, value in asdict(self).items() if name != "eval_processes"}


def make_evaluator(
    space: SearchSpace,
    config: Any,
    data: Prepared,
    flags: ScoringFlags,
    seed: int,
    device: torch.device,
    super_net: SuperNet,
) -> SharedWeightsEvaluator:
    """The evaluator that ``flags`` describe. Test rows are never read.

    Args:
        space: Gives the task.
        config: Of the space.
        data: Its splits "validation" and "train" are read.
        flags: See ScoringFlags.
        seed: Of the random subsets of rows.
        device: Where to compute.
        super_net: Trained; or not yet, to see that the rows can be had.

    Raises:
        ConfigError: The rows cannot be had, or none tells on the selection.
    """

    def rows(split: str, count: int, *, random: bool = True, size: int | None = None) -> FirstRows:
        loader = data.loader(
            split,
            size or flags.eval_batch_size,
            shuffle=random,
            seed=derive_seed(seed, split, "scoring"),
            drop_last=False,
            device=device,
            flag="--eval_batch_size" if size is None else "--recalibration_rows",
        )
        return FirstRows(loader, count)

    tune = flags.fine_tune(super_net)
    tuning_rows = None
    if tune is not None:
        count = flags.finetune_rows or tune.steps * tune.batch_size
        tuning_rows = rows("train", count)
    statistics_rows = None
    if (count := flags.recalibration(super_net)) > 0:
        steps = -(-count // _RECALIBRATION_BATCH)
        size = count // steps  # batches are of one size, and none has a single row
        statistics_rows = rows("train", steps * size, size=size)
    random_scores = flags.score_rows > 0 and flags.score_subset == "random"
    try:
        score_rows = rows("validation", flags.score_rows, random=random_scores)
    except DataError as error:
        if not flags.score_rows:
            raise
        raise ConfigError(
            f"--score_rows={flags.score_rows} --score_subset={flags.score_subset}: {error}; use "
            + ("--score_subset=first, or " if random_scores else "")
            + "--score_rows=0 for all rows"
        ) from error
    return SharedWeightsEvaluator(
        super_net,
        space.task_of(config),
        score_rows,
        tuning_rows=tuning_rows,
        fine_tune=tune,
        recalibration_rows=statistics_rows,
        device=device,
    )


def _prepared_evaluator(
    space: SearchSpace,
    config: Any,
    data_config: Any,
    flags: ScoringFlags,
    seed: int,
    device: torch.device,
    super_net: SuperNet,
) -> SharedWeightsEvaluator:
    """:func:`make_evaluator` in another process, which opens the data for itself."""
    data = prepared_by(space, data_config)
    return make_evaluator(space, config, data, flags, seed, device, super_net)


def open_evaluations(
    space: SearchSpace,
    config: Any,
    data_config: Any,
    data: Prepared,
    flags: ScoringFlags,
    super_net: SuperNet,
    *,
    seed: int,
    device: torch.device,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluations:
    """Evaluations by shared weights, in as many processes as ``flags`` say.

    Args:
        space: Gives the task, and the data to other processes.
        config: Of the space.
        data_config: From which they get it.
        data: The same data for this process.
        flags: See ScoringFlags.
        super_net: Trained.
        seed: Of the random subsets of rows.
        device: Where to compute.
        should_stop: Asked before every candidate.
    """
    source = (
        partial(make_evaluator, space, config, data)
        if flags.eval_processes == 1
        else partial(_prepared_evaluator, space, config, data_config)
    )
    return evaluations(
        super_net,
        partial(source, flags, seed, device),
        processes=flags.eval_processes,
        should_stop=should_stop,
    )


def score_architectures(
    space: SearchSpace,
    config: Any,
    data_config: Any,
    supernet_weights: str | Path,
    architectures: Sequence[Architecture],
    flags: ScoringFlags,
    *,
    seed: int = 1,
    device: torch.device | str = "cpu",
) -> list[Metrics]:
    """Metrics of architectures with the weights of a trained supernet, in their order.

    As a search with the same flags and seed judges them: ``space.task_of(config).score(metrics)``
    is lower for better ones.

    Args:
        space: What the architectures belong to.
        config: Of the space, as in their files.
        data_config: Flags of the data.
        supernet_weights: What ``--save_supernet_weights`` left.
        architectures: For example of ``ArchitectureRecord.load(file).architecture``.
        flags: See ScoringFlags.
        seed: Of the random subsets of rows.
        device: Where to compute.

    Raises:
        ConfigError: The weights are not of this space's supernet or were trained on other data, or
            it cannot be fine-tuned.
        ArchitectureError: An architecture does not belong to the space.
    """
    data = prepared_by(space, data_config)
    super_net = supernet_of(space, config, data.spec)
    weights = Path(supernet_weights)
    load_supernet(super_net, weights, "supernet_weights", weights_identity(space, config, data))
    valid = [super_net.validate(architecture) for architecture in architectures]
    with open_evaluations(
        space,
        config,
        data_config,
        data,
        flags,
        super_net,
        seed=seed,
        device=torch.device(device),
    ) as evaluate:
        return list(evaluate(valid))
