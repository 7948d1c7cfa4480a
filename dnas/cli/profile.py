"""``dnas profile``: measure what the operators of a search space take, on this machine."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from dnas.cli.architectures import different_networks
from dnas.cli.flags import ConfigFlags, early_value, print_config, read_config_file
from dnas.cli.job import set_up_logging
from dnas.cli.profiling import (
    Effort,
    Models,
    check_table,
    check_text,
    enter_measured,
    input_batches,
    measure_into,
    warn_if_busy,
)
from dnas.cli.run import guarded
from dnas.cli.space_flags import parse_space_flags
from dnas.core import Operator, SuperNet
from dnas.costs import Conditions, CostTable, open_table, save_shared, space_key, whole_models
from dnas.costs.interpolation import Law
from dnas.costs.spreading import spread_out
from dnas.errors import ConfigError
from dnas.spaces import Prepared, SearchSpace, prepared_by, prior_of, supernet_of
from dnas.training.allocator import keep_freed_memory
from dnas.training.seeding import derive_seed, seed_everything

logger = logging.getLogger(__name__)

#: Exit code of a program that the terminal interrupted.
_EXIT_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class ProfileFlags:
    """What to measure, and how."""

    search_space: str
    """Name of the space, or package.module:SPACE; the first word may be the name alone."""
    output: str = "cost_table.json"
    """File of the table. Operators that are in it are not measured again."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to measure: where the model is to serve."""
    rows: int = 128
    """Rows of a batch: as many as are served at once."""
    threads: int = 1
    """CPU threads of one operator: as many as a serving process has."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Format of weights and activations."""
    clock: Literal["wall", "processor"] = "wall"
    """wall: the time that passes. processor: only that in which this process was on a processor, on
    a machine that others use as well; for one thread on a CPU."""
    min_seconds: float = 0.5
    """Least time of measuring each operator, over all rounds."""
    rounds: int = 5
    """Everything has its turn in each round, so that drift of the machine spreads over all."""
    check: int = 10
    """Random architectures to build and measure whole, against the sum of their operators; 0: no
    check. They read the train part of the data."""
    max_operators: int = 400
    """Measure at most so many, spread out over their sizes, and leave the others to interpolation;
    0: all."""
    remeasure: bool = False
    """Begin the table anew, also where it is of other conditions."""
    seed: int = 1
    """Of inputs, weights and the architectures of the check."""

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("check", 0), ("max_operators", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"--{name} must be at least {least}, but got {getattr(self, name)}"
                )
        if not self.min_seconds > 0:
            raise ConfigError(f"--min_seconds must be positive, but got {self.min_seconds}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``dnas profile``."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-"):
        words[0] = f"--search_space={words[0]}"
    return guarded(lambda: _main(words))


def _main(argv: Sequence[str]) -> int:
    space, parsed = parse_space_flags(
        argv,
        {"about": ConfigFlags, "profile": ProfileFlags},
        program="dnas profile",
        description="Measure what the operators of a search space take on this machine, and write "
        "a cost table that searches and dnas train read (--cost_table). Then compare sums of "
        "operators with whole models.",
        file_values=read_config_file(early_value(argv, "config")),
    )
    if parsed.about.print_config:
        print_config(parsed)
        return 0
    set_up_logging()
    flags: ProfileFlags = parsed.profile
    conditions = Conditions.here(
        flags.device, rows=flags.rows, threads=flags.threads, dtype=flags.dtype, clock=flags.clock
    )
    table = open_table(flags.output, conditions, remeasure=flags.remeasure)
    torch.set_num_threads(flags.threads)
    keep_freed_memory()  # as every job does, and the memory pools of servers
    seed_everything(flags.seed)
    data = prepared_by(space, parsed.data)
    super_net = supernet_of(space, parsed.space, data.spec)
    return _profile(space, parsed, data, super_net, table)


def _profile(
    space: SearchSpace, parsed: Any, data: Prepared, super_net: SuperNet, table: CostTable
) -> int:
    flags: ProfileFlags = parsed.profile
    models = _models(space, parsed, data, super_net, table)
    operators = _chosen(super_net.operators(), flags)
    missing = table.missing(operators, flags.rounds)
    kept = [len(table.turns_kept(operator)) for operator in missing]
    logger.info(
        "%d of %d operators are in %s already; measuring %d, of which %d have some of their %d "
        "rounds, and %d whole models: at least %.0f s",
        len(operators) - len(missing),
        len(operators),
        flags.output,
        len(missing),
        sum(rounds > 0 for rounds in kept),
        flags.rounds,
        len(models.cases),
        flags.min_seconds * (len(missing) + len(models.cases) - sum(kept) / flags.rounds),
    )
    anew = flags.remeasure

    def keep() -> None:
        nonlocal anew
        enter_measured(table, space.name, super_net, models)
        if anew:
            table.save(flags.output)
        else:
            save_shared(table, flags.output)
        anew = False

    table.rounds = flags.rounds
    try:
        share = measure_into(
            table,
            missing,
            models,
            Effort(rounds=flags.rounds, min_seconds=flags.min_seconds),
            seed=flags.seed,
            after_round=keep,
        )
    except KeyboardInterrupt:
        left = len(table.missing(operators, flags.rounds))
        sys.stderr.write(
            f"stopped: what was measured is in {flags.output}; the same command goes on with the "
            f"rounds that {left} operators lack of their {flags.rounds}\n"
        )
        return _EXIT_INTERRUPTED
    if missing or models.cases:
        warn_if_busy(table.conditions, share)
    sys.stdout.write(_summary(table, super_net, flags))
    return 0


def _chosen(operators: Sequence[Operator], flags: ProfileFlags) -> Sequence[Operator]:
    """The operators to measure, all or a subset."""
    if not flags.max_operators or len(operators) <= flags.max_operators:
        return operators
    chosen = spread_out(operators, flags.max_operators)
    logger.info(
        "%d different operators; measuring %d spread over their sizes (--max_operators), the "
        "others will be interpolated",
        len(operators),
        len(chosen),
    )
    return chosen


def _models(
    space: SearchSpace, parsed: Any, data: Prepared, super_net: SuperNet, table: CostTable
) -> Models:
    """The models of the check."""
    flags: ProfileFlags = parsed.profile
    models = Models()
    if not flags.check:
        return models
    loader = data.loader(
        "train", flags.rows, shuffle=True, seed=flags.seed, drop_last=True, device=None,
        flag="--rows",
    )  # fmt: skip
    batches = input_batches(loader)
    generator = torch.Generator().manual_seed(derive_seed(flags.seed, "check"))
    drawn = different_networks(
        super_net, prior_of(space, parsed.space, super_net), flags.check, generator, fewer=True
    )
    done = {
        model.architecture
        for model in whole_models(table, space_key(super_net))
        if model.rounds >= flags.rounds
    }
    for architecture in drawn:
        if architecture.id in done:
            continue
        models.add(
            architecture,
            lambda a=architecture: space.make_model(parsed.space, data.spec, a),  # type: ignore[misc]
            batches,
            table,
        )
    return models


def _summary(table: CostTable, super_net: SuperNet, flags: ProfileFlags) -> str:
    """What was found, to read."""
    conditions = table.conditions
    lines = [
        f"{Path(flags.output)}: {len(table.entries)} operators on {conditions.device_name} "
        f"({conditions.device}), {conditions.rows} rows, {conditions.threads} threads, "
        f"{conditions.dtype}"
    ]
    laws: dict[tuple[str, Law], None] = {}
    for operator in super_net.operators():
        if operator not in table.missing([operator]):
            continue
        law = table.law(operator)
        assert law is not None
        laws[operator.kind, law] = None
    for kind, law in laws:
        lines.append(
            f"{kind}: interpolated by a {law.name} law of {law.points} measured ones, which misses "
            f"operators left out of it by {100 * law.error:.1f} %"
        )
    text = "\n".join(lines) + "\n"
    if not flags.check:
        return text
    return text + check_text(check_table(table, super_net))


if __name__ == "__main__":
    sys.exit(main())
