"""``train_sampled.py``: stand-alone training of one architecture, one job."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dnas.cli.flags import (
    ConfigFlags,
    early_value,
    flat,
    parse_flags,
    print_config,
    read_config_file,
)
from dnas.cli.identity import identity, weights_identity
from dnas.cli.job import JobFlags, StopRequest, evaluation_loader, run_job
from dnas.cli.measured_latency import LatencyReport
from dnas.cli.run import guarded
from dnas.cli.schedules import (
    ScheduleName,
    WeightsOptimizerName,
    describe_schedule,
    make_schedule,
)
from dnas.cli.supernet_files import load_supernet
from dnas.core import ArchitectureRecord
from dnas.costs import count_params
from dnas.errors import ArchitectureError, ConfigError
from dnas.runs import SAMPLED, JobFolder
from dnas.spaces import (
    LATENCY,
    LatencyTable,
    Prepared,
    SearchSpace,
    check_params,
    costs_of,
    find_space,
    overridden,
    prepared_by,
    space_config,
    supernet_of,
)
from dnas.training.graphs import StepMode
from dnas.training.judging import check_task
from dnas.training.optim import OPTIMIZERS
from dnas.training.precision import Precision
from dnas.training.seeding import derive_seed, seed_everything
from dnas.training.standalone import StandaloneTrainer
from dnas.training.weights import weights_checksum
from dnas.training.world import World

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainFlags:
    """Settings of stand-alone training."""

    sampled_arch: str
    """Architecture file (JSON), as a search wrote it."""
    batch_size: int = 4096
    """Rows of a training step."""
    eval_batch_size: int = 4096
    """Rows of a validation or test batch."""
    n_epochs: float = 6.0
    """Epochs to train; decimals allowed."""
    eval_every_epochs: float = 1.0
    """Epochs between evaluations on the validation set."""
    optimizer: WeightsOptimizerName = "sgd"
    """Optimizer of all parameters."""
    precision: Precision = "float32"
    """Of matrix products in training; everything else is float32."""
    step_mode: StepMode = "eager"
    """cuda_graph records a step for each learning rate on the GPU and repeats it."""
    lr: float = 1.0
    """Initial learning rate."""
    lr_schedule: ScheduleName = "exponential"
    """Learning rate over epochs."""
    lr_base: float = 0.9
    """Base of the exponential schedule, per epoch."""
    update_lrs_every_step: bool = False
    """The learning rate follows its schedule at every step, not only at every epoch."""
    weight_decay: float = 0.0
    """L2; on embeddings only for rows in the batch."""
    clip_grad_norm_value: float = 100.0
    """L2 norm above which gradients are scaled down."""
    renew_optimizer: bool = False
    """Begin every epoch with a new optimizer, as AutoTower's released program does: Adam forgets
    its moments, and later epochs learn slower."""
    patience: int = 0
    """Evaluations without improvement after which to stop; 0: never."""
    check_test_set_performance: bool = False
    """Evaluate the best epoch on the test set, once. Without it the test set is not read."""
    space_overrides: tuple[str, ...] = ()
    """Fields of the search space's configuration to replace, each NAME=VALUE: the architecture is
    built in the configuration of its search but for these, e.g. max_embedding_rows=0."""
    cost_table: str | None = None
    """Measured operators, a file of dnas profile: the model's latency is predicted by it, and
    measured on the table's machine, device and batch size once the model is trained."""
    warm_start: str | None = None
    """Start from a trained supernet's weights: a supernet.safetensors file, or the word supernet
    for the one beside the architecture's folder (search with --save_supernet_weights)."""
    checkpoint_every_s: float = 300.0
    """Seconds between checkpoints."""
    log_every_steps: int = 100
    """Steps between readings of the loss."""
    divergence_factor: float = 10.0
    """Times the first interval's loss that ends training as diverged."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} must be at least 1, but got {getattr(self, name)}")
        for name in ("n_epochs", "eval_every_epochs", "lr"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"--{name} must be positive, but got {getattr(self, name)}")


def main(argv: Sequence[str] | None = None, *, program: str = "train_sampled.py") -> int:
    """Entry of ``train_sampled.py`` and ``dnas train``."""
    return guarded(lambda: _main(sys.argv[1:] if argv is None else argv, program))


def _main(argv: Sequence[str], program: str) -> int:
    file_values = read_config_file(early_value(argv, "config"))
    path = early_value(argv, "sampled_arch") or file_values.get("sampled_arch")
    groups: dict[str, type] = {"about": ConfigFlags, "job": JobFlags, "training": TrainFlags}
    record = space = None
    if path:
        record = ArchitectureRecord.load(path)
        space = find_space(record.space)
        groups["data"] = space.data_class
    parsed = parse_flags(
        argv,
        groups,
        program=program,
        description="Train one architecture from scratch (or from its supernet's weights).",
        file_values=file_values,
    )
    if record is None or space is None:
        raise ConfigError("--sampled_arch is required")
    if parsed.about.print_config:
        print_config(parsed)
        return 0
    if parsed.training.space_overrides:
        _config(
            space, record, parsed.training
        )  # mistakes are of the command, before there is a job
    return run_job(
        parsed.job,
        SAMPLED,
        flat(parsed),
        partial(run_training, space, record, parsed),
    )


def run_training(
    space: SearchSpace, record: ArchitectureRecord, parsed: Any, stop: StopRequest, world: World
) -> dict[str, Any]:
    """The training itself; gives the fields of the result file."""
    job: JobFlags = parsed.job
    flags: TrainFlags = parsed.training
    data = prepared_by(space, parsed.data)
    found = space.spec_to_json(data.spec)
    if found != dict(record.data_spec):
        raise ArchitectureError(
            f"{flags.sampled_arch} was searched on other data: "
            f"{_difference(record.data_spec, found)}; give the data flags of the search"
        )
    if flags.space_overrides:
        config = _config(space, record, flags)
        costs = costs_of(space, config, data.spec, record.architecture)
        record = replace(record, space_config=asdict(config), costs=costs)
    report = None
    if flags.cost_table:
        config = _config(space, record, flags)
        predicted, latency = LatencyTable.load(flags.cost_table).predict(
            space, config, data.spec, record.architecture
        )
        # What cannot be done is to be said before the training, not afterwards.
        report = LatencyReport(latency, predicted, data)
        costs = {**record.costs, LATENCY: predicted.us}
        table = {"cost_table": latency.describe()}
        record = replace(record, costs=costs, provenance={**record.provenance, **table})
    seed_everything(job.seed)
    model = _model(space, record, flags, data)
    task = space.task_of(space_config(space, record.space_config, flags.sampled_arch))
    check_params(model, record.costs, str(flags.sampled_arch))

    device = job.device()
    trainer = StandaloneTrainer(
        model,
        task,
        train_loader=data.loader(
            "train",
            flags.batch_size,
            shuffle=True,
            seed=derive_seed(job.seed, "train", "order"),
            drop_last=True,
            device=device,
            flag="--batch_size",
        ),
        valid_loader=evaluation_loader(data, "validation", flags.eval_batch_size, device),
        test_loader=(
            evaluation_loader(data, "test", flags.eval_batch_size, device)
            if flags.check_test_set_performance
            else None
        ),
        n_epochs=flags.n_epochs,
        eval_every_epochs=flags.eval_every_epochs,
        optimizer_class=OPTIMIZERS[flags.optimizer],
        lr=flags.lr,
        lr_lambda=make_schedule(flags.lr_schedule, flags.lr_base, flags.n_epochs),
        update_lr_every_step=flags.update_lrs_every_step,
        weight_decay=flags.weight_decay,
        clip_grad_norm_value=flags.clip_grad_norm_value,
        renew_optimizer=flags.renew_optimizer,
        precision=flags.precision,
        step_mode=flags.step_mode,
        patience=flags.patience,
        device=device,
        folder=job.folder(),
        checkpoint_every_s=flags.checkpoint_every_s,
        log_every_steps=flags.log_every_steps,
        divergence_factor=flags.divergence_factor,
        should_stop=stop,
        fingerprint={
            "architecture": record.architecture.id,
            "seed": job.seed,
            "batch_size": flags.batch_size,
            "lr_schedule": describe_schedule(flags.lr_schedule, flags.lr_base),
            **({"warm_start": weights_checksum(model.state_dict())} if flags.warm_start else {}),
            **identity(space, _config(space, record, flags), data),
        },
        world=world,
    )
    check_task(task, model, lambda batch: model(*batch.inputs), trainer.valid_loader, device)
    result = trainer.train()
    costs = {**record.costs, "params": float(count_params(model))}
    measured = {}
    if report is not None and world.is_main:
        measured["latency"] = found = report.of(model)
        if found["measured"] is not None:
            costs["measured_latency"] = found["measured"]
    return {
        "search_space": record.space,
        "architecture": record.to_json(),
        "default_cost": space.default_cost,
        "selection": {"metric": task.selection, "maximize": task.maximize},
        "epochs": [
            {"epoch": e.epoch, "train_loss": e.train_loss, "validation": dict(e.validation)}
            for e in result.epochs
        ],
        "best_epoch": result.best_epoch,
        "validation": dict(result.validation),
        "test": None if result.test is None else dict(result.test),
        "costs": costs,
        **measured,
        "data": dict(data.record),
    }


def _config(space: SearchSpace, record: ArchitectureRecord, flags: TrainFlags) -> Any:
    """The configuration of the architecture's search, with what is to be replaced."""
    config = space_config(space, record.space_config, flags.sampled_arch)
    return overridden(config, flags.space_overrides)


def _model(
    space: SearchSpace, record: ArchitectureRecord, flags: TrainFlags, data: Prepared
) -> nn.Module:
    """The discrete model, with the supernet's weights if asked for."""
    config = space_config(space, record.space_config, flags.sampled_arch)
    if flags.warm_start is None:
        return space.make_model(config, data.spec, record.architecture)
    weights = Path(flags.warm_start)
    if flags.warm_start == "supernet":
        weights = JobFolder(Path(flags.sampled_arch).resolve().parent.parent).supernet_weights
    super_net = supernet_of(space, config, data.spec)
    flag = "--warm_start"
    if flags.space_overrides:  # with which it may be another supernet, that the weights do not fit
        flag = f"--space_overrides {' '.join(flags.space_overrides)} with {flag}"
    replaced = [word.partition("=")[0] for word in flags.space_overrides]
    of_weights = weights_identity(space, config, data)
    load_supernet(super_net, weights, flag, of_weights, but_for=replaced)
    with torch.no_grad():
        return super_net.build(record.architecture, inherit_weights=True)


def _difference(expected: Any, found: Any) -> str:
    keys = [key for key in {*expected, *found} if expected.get(key) != found.get(key)]
    key = sorted(keys)[0]
    return f"{key} was {str(expected.get(key))[:120]}, is {str(found.get(key))[:120]}"
