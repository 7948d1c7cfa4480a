"""What a published architecture costs: the columns of Table 5 of arXiv:2207.07187 and more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dnas.errors import ConfigError
from supernets.nasrec.config import NASRecConfig
from supernets.nasrec.genome import Genome
from supernets.nasrec.liveness import all_live, liveness
from supernets.nasrec.network import Network
from supernets.nasrec.released import DATASETS, NODES
from supernets.nasrec.shape import Shape


def released_shape(data_set: str, config: str, num_blocks: int, *, layer_norm: bool) -> Shape:
    """The space of the published architectures, for one of their data sets.

    Raises:
        ConfigError: The data set is unknown.
    """
    if data_set not in DATASETS:
        raise ConfigError(f"--dataset {data_set!r}: must be one of {', '.join(sorted(DATASETS))}")
    num_dense, num_sparse = DATASETS[data_set]
    settings = NASRecConfig(variant="released", num_blocks=num_blocks, layer_norm=layer_norm)
    return settings.shape(num_dense, num_sparse, NODES[config])


def complexity(shape: Shape, genome: Genome) -> dict[str, Any]:
    """Costs of a genome, for one row, without embedding look-ups.

    ``live`` is what reaches the logit, ``executed`` every block, as a program runs it that does not
    look. MACs are those that fvcore counts: linears, products of activations, and 5 for each
    normalised element; ``flops`` is 2 x MACs without the latter, as everywhere in this library.
    """
    live, executed = (
        Network(shape, genome).costs(),
        Network(shape, genome, all_live(genome)).costs(),
    )
    return {
        "macs_live": live.fvcore_macs,
        "macs_executed": executed.fvcore_macs,
        "dense_parameters": executed.params,
        "dense_parameters_live": live.params,
        "linear_macs": live.linear_macs,
        "bmm_macs": live.bmm_macs,
        "norm_operations": live.norm_operations,
        "flops": live.flops,
        "blocks": len(genome),
        "dead_blocks": [
            number
            for number, one in enumerate(liveness(genome), start=1)
            if not (one.dense_out or one.sparse_out)
        ],
    }


def published_complexity(shape: Shape, genome: Genome) -> dict[str, Any]:
    """``complexity`` without norms, as the published models are trained, and with them."""
    report = complexity(replace(shape, layer_norm=False), genome)
    with_norms = complexity(replace(shape, layer_norm=True), genome)
    for name in ("macs_live", "macs_executed", "dense_parameters", "dense_parameters_live"):
        report[f"{name}_layer_norm"] = with_norms[name]
    return report
