"""``draw_subnets.py``: random subnets of a search space as architecture files; no training."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from dnas.cli.architectures import different_networks
from dnas.cli.baselines import Baseline
from dnas.cli.flags import (
    ConfigFlags,
    early_value,
    flat,
    print_config,
    read_config_file,
)
from dnas.cli.job import JobFlags, StopRequest, run_job
from dnas.cli.run import guarded
from dnas.cli.space_flags import parse_space_flags
from dnas.cli.supernet_files import write_architectures
from dnas.errors import ConfigError
from dnas.runs import DRAWN
from dnas.spaces import SearchSpace, prepared_by, prior_of, supernet_of
from dnas.training.seeding import make_generator, seed_everything
from dnas.training.world import World

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DrawFlags:
    """What to draw."""

    search_space: str
    """Name of the space, or package.module:SPACE."""
    num_subnets: int = 100
    """How many, all of them different networks."""
    subnet_seed: int = 1
    """Of the draws."""

    def __post_init__(self) -> None:
        if self.num_subnets < 1:
            raise ConfigError(f"--num_subnets must be at least 1, but got {self.num_subnets}")


def main(argv: Sequence[str] | None = None, *, program: str = "draw_subnets.py") -> int:
    """Entry of ``draw_subnets.py`` and ``dnas draw``."""
    return guarded(lambda: _main(sys.argv[1:] if argv is None else argv, program))


def _main(argv: Sequence[str], program: str) -> int:
    space, parsed = parse_space_flags(
        argv,
        {"about": ConfigFlags, "job": JobFlags, "draw": DrawFlags},
        program=program,
        description="Draw random subnets and write them as architecture files, beside the result.",
        file_values=read_config_file(early_value(argv, "config")),
    )
    if parsed.about.print_config:
        print_config(parsed)
        return 0
    return run_job(parsed.job, DRAWN, flat(parsed), partial(run_draw, space, parsed))


def run_draw(space: SearchSpace, parsed: Any, stop: StopRequest, world: World) -> dict[str, Any]:
    """The draw itself; gives the fields of the result file."""
    flags: DrawFlags = parsed.draw
    folder = parsed.job.folder()
    seed_everything(parsed.job.seed)
    data = prepared_by(space, parsed.data)
    super_net = supernet_of(space, parsed.space, data.spec)
    generator = make_generator(torch.device("cpu"), flags.subnet_seed, "subnets")
    prior = prior_of(space, parsed.space, super_net)
    drawn = different_networks(super_net, prior, flags.num_subnets, generator, flag="--num_subnets")
    files = write_architectures(
        [Baseline(architecture) for architecture in drawn],
        folder,
        space,
        flags.search_space,
        parsed.space,
        data.spec,
        super_net,
    )
    logger.info("%d random subnets in %s", len(files), folder.architectures)
    return {
        "search_space": flags.search_space,
        "architectures": files,
        "data": dict(data.record),
    }


if __name__ == "__main__":
    sys.exit(main())
