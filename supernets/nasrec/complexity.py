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
    normalised element. ``layer_norm`` columns are with norms in every operator; the published
    models are trained without.
    """
    report: dict[str, Any] = {}
    for suffix, layer_norm in (("", False), ("_layer_norm", True)):
        variant = replace(shape, layer_norm=layer_norm)
        live, executed = Network(variant, genome), Network(variant, genome, all_live(genome))
        report |= {
            f"macs_live{suffix}": live.costs().fvcore_macs,
            f"macs_executed{suffix}": executed.costs().fvcore_macs,
            f"dense_parameters{suffix}": executed.costs().params,
            f"dense_parameters_live{suffix}": live.costs().params,
        }
    live_costs = Network(replace(shape, layer_norm=False), genome).costs()
    report |= {
        "linear_macs": live_costs.linear_macs,
        "bmm_macs": live_costs.bmm_macs,
        "norm_operations": live_costs.norm_operations,
        "flops": live_costs.flops,
        "blocks": len(genome),
        "dead_blocks": [
            number
            for number, live in enumerate(liveness(genome), start=1)
            if not (live.dense_out or live.sparse_out)
        ],
    }
    return report
