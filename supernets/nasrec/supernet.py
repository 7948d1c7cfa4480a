"""The NASRec supernet, [Zhang2023nasrec]_: all operators, connections and dimensions at once.

A *hard* sample is executed on slices of the weights: the chosen operators, inputs and widths, and
nothing else. A *soft* sample (DNAS, which the paper does not do on this space) computes every
operator at every dimension, and mixes what it gives; see :mod:`supernets.nasrec.soft`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core import Architecture, Operator, OperatorCounts, Option, Sample, SuperNet
from dnas.data.batch import Bags
from dnas.errors import ConfigError, NoExpectationError
from dnas.models import EmbeddingTables
from dnas.training.optim import OptimizerClass
from supernets.nasrec.expected_cost import expected_costs
from supernets.nasrec.genome import (
    Genome,
    check_genome,
    everything,
    from_decisions,
    make_choices,
    to_decisions,
)
from supernets.nasrec.layers import Weight
from supernets.nasrec.liveness import canonical_genome, decisions_with_effect
from supernets.nasrec.measured import (
    enough_to_interpolate,
    extreme_genomes,
    network_operators,
)
from supernets.nasrec.model import NASRecModel, parameter_name
from supernets.nasrec.network import Network
from supernets.nasrec.path_step import SlicedPathStep, updates_slices
from supernets.nasrec.shape import Shape
from supernets.nasrec.soft import SoftNetwork

_NO_MIXTURE = (
    "gate and sum that pad their inputs (--binary_inputs=pad, --variant=released) have no mixture "
    "of widths, so that theta cannot be trained: search with --search_algorithm=evolution, or use "
    "--binary_inputs=project"
)
_NO_EXPECTED_LATENCY = (
    "measured costs of NASRec networks are known of single networks, not in expectation: search "
    "with --search_algorithm=evolution or random_search and --cost_limit latency=..., or with "
    "--search_algorithm=dnas for another cost"
)
#: Random networks whose operators stand for those of all: at least, and at most.
_NETWORKS, _MOST_NETWORKS = 40, 400


class NASRecSuperNet(SuperNet):
    """All networks of a NASRec space.

    Args:
        shape: Of the space.
        table_rows: Rows of each feature's table; ids are taken modulo these.
        id_skew: Zipf exponent of the ids that measured costs are for; 0: uniform.
    """

    def __init__(self, shape: Shape, table_rows: Sequence[int], *, id_skew: float = 1.0) -> None:
        super().__init__()
        self.id_skew = id_skew
        self.shape = shape
        self.table_rows = tuple(table_rows)
        self.embeddings = EmbeddingTables(table_rows, [shape.dim] * len(table_rows), shape.dim)
        whole = Network(shape, everything(shape), whole=True)
        self.weights = nn.ParameterDict(
            {parameter_name(w.name): nn.Parameter(w.init()) for w in whole.weights}
        )
        self.decisions = nn.ModuleDict({c.name: c for c in make_choices(shape)})
        self._soft = None if shape.pad_inputs else SoftNetwork(shape)

    # ------------------------------------------------------------------ forward

    def forward(self, dense: Tensor, ids: Tensor | Bags, *, sample: Sample) -> Tensor:
        """``(B, num_dense)`` and ``(B, F)`` ids (or Bags) to logits ``(B,)``.

        Raises:
            ConfigError: A soft sample where inputs are padded: widths have no mixture there.
        """
        sparse = self.embed(ids)
        if sample.architecture is not None:
            network = self.network(sample.architecture)
            return network(self.slices(network.weights), dense, sparse)
        if self._soft is None:
            raise ConfigError(_NO_MIXTURE)
        whole = {name.replace("/", "."): weight for name, weight in self.weights.items()}
        return self._soft(whole, dense, sparse, sample)

    def embed(self, ids: Tensor | Bags) -> Tensor:
        """``(B, e, F)``."""
        return self.embeddings(ids).transpose(1, 2).contiguous()

    def network(self, architecture: Mapping[str, Option]) -> Network:
        """The network of an architecture."""
        return _network(self.shape, from_decisions(self.shape, architecture))

    def slices(self, weights: Iterable[Weight]) -> dict[str, Tensor]:
        """A network's weights, as parts of the supernet's."""
        return {w.name: w.take(self.weights[parameter_name(w.name)]) for w in weights}

    def path_step(
        self,
        optimizer_class: OptimizerClass,
        lr: float,
        init_params: Mapping[str, Any],
        clip: float,
        loss_function: Callable[[Tensor, Tensor], Tensor],
        device: torch.device,
    ) -> SlicedPathStep | None:
        """Training of a path on slices; see ``dnas.strategies.path_step.OffersPathStep``."""
        if not updates_slices(optimizer_class, init_params):
            return None
        return SlicedPathStep(self, optimizer_class, lr, init_params, clip, loss_function, device)

    # ------------------------------------------------------------------ the last layer

    def head_features(
        self, dense: Tensor, ids: Tensor | Bags, *, architecture: Architecture
    ) -> Tensor:
        """``(B, H)`` inputs of the last linear, see ``dnas.core.head.HasHead``."""
        network = self.network(architecture)
        return network.features(self.slices(network.weights), dense, self.embed(ids))

    def head(self, architecture: Architecture) -> tuple[Tensor, Tensor]:
        """``(H,)`` weight and ``()`` bias of the last linear, copies."""
        network = self.network(architecture)
        with torch.no_grad():
            weights = self.slices(network.head)
            return network.head_weight(weights)[0].clone(), weights["head.bias"][0].clone()

    # ------------------------------------------------------------------ costs

    def cost_terms(self, sample: Sample) -> dict[str, Tensor]:
        """FLOPs, parameters, those outside of tables, and those of tables, each ``(B,)``."""
        tables = float(sum(self.table_rows) * self.shape.dim)
        reference = next(iter(sample.weights.values()))
        if sample.architecture is not None:
            counted = self.network(sample.architecture).costs()
            flops = reference.new_full((sample.batch_size,), float(counted.flops))
            params = reference.new_full((sample.batch_size,), float(counted.params))
        elif self._soft is None:
            raise ConfigError(_NO_MIXTURE)
        else:
            flops, params = expected_costs(self.shape, self.choices, sample)
        return {
            "flops": flops,
            "params": params + tables,
            "dense_params": params,
            "embedding_params": torch.full_like(params, tables),
        }

    def operator_terms(self, sample: Sample) -> OperatorCounts:
        """What a hard sample's network runs.

        Raises:
            NoExpectationError: A soft sample: the widths of inputs are sums of many decisions, so
                that most networks run operators of their own, and there is no list of all of them.
        """
        reference = next(iter(sample.weights.values()))
        if sample.architecture is None:
            raise NoExpectationError(_NO_EXPECTED_LATENCY)
        runs = self._runs(sample.architecture)
        return OperatorCounts(runs, reference.new_ones(1, len(runs)))

    def operators(self) -> tuple[Operator, ...]:
        """Those of the smallest networks, of the largest one, and of random ones.

        So many random ones that of each family of operators enough are there to interpolate the
        others, or that there are no more.
        """
        return self._measured

    @cached_property
    def _measured(self) -> tuple[Operator, ...]:
        """Kept: making all these networks takes seconds."""
        generator = torch.Generator().manual_seed(1)
        extremes = [self.architecture(genome) for genome in extreme_genomes(self.shape)]
        found = {operator for architecture in extremes for operator in self._runs(architecture)}
        for number in range(_MOST_NETWORKS):
            if number >= _NETWORKS and enough_to_interpolate(found):
                break
            found.update(self._runs(self.random_architecture(generator)))
        return tuple(sorted(found))

    def _runs(self, architecture: Mapping[str, Option]) -> tuple[Operator, ...]:
        return network_operators(self.network(architecture), self.table_rows, self.id_skew)

    # ------------------------------------------------------------------ architectures

    def genome(self, architecture: Mapping[str, Option]) -> Genome:
        """Block by block; dead parts are off."""
        return from_decisions(self.shape, architecture)

    def architecture(self, genome: Genome) -> Architecture:
        """The other way round.

        Raises:
            ArchitectureError: It has an operator, input or width that is no option of this space.
        """
        check_genome(self.shape, genome)
        return self.validate(to_decisions(self.shape, genome))

    def trim(self, architecture: Architecture) -> Architecture:
        """Drop the decisions of what does not reach the logit."""
        own, others = self.own_and_others(architecture)
        keys = decisions_with_effect(self.shape, from_decisions(self.shape, own))
        return Architecture({**others, **{key: o for key, o in own.items() if key in keys}})

    def canonical(self, architecture: Architecture) -> Architecture:
        """One form for networks that are the same but for the numbers of their blocks."""
        own, others = self.own_and_others(architecture)
        if not own:
            return architecture  # a supernet around this one left it out
        genome = canonical_genome(self.shape, from_decisions(self.shape, own))
        return self.trim(Architecture({**others, **to_decisions(self.shape, genome)}))

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> NASRecModel:
        """The plain model, without dead parts."""
        own, _ = self.own_and_others(architecture)
        genome = from_decisions(self.shape, self.validate(own))
        model = NASRecModel(self.shape, genome, self.table_rows)
        if inherit_weights:
            self.copy_weights_(model)
        return model

    def copy_weights_(self, model: NASRecModel) -> None:
        """Copy the supernet's tables and weights into a model of its space."""
        with torch.no_grad():
            model.embeddings.load_state_dict(self.embeddings.state_dict())
            for name, part in self.slices(model.network.weights).items():
                model.weights[parameter_name(name)].copy_(part)


@lru_cache(maxsize=512)
def _network(shape: Shape, genome: Genome) -> Network:
    """Kept, because a candidate is run on many batches."""
    return Network(shape, genome)
