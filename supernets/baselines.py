"""Hand-crafted CTR models as a search space: DLRM, DeepFM, AutoInt+ and xDeepFM.

So that baselines run through the same training, data, metrics, costs and reports as what searches
find. Three decisions: the model, and width and depth of its MLPs (both of DLRM's).

Letters: B rows, F categorical and N numeric features, M = N + F fields, D dimension of a vector;
K models, W widths, P depths.

The supernet's output is the weighted sum of all models' logits. They share the fields' vectors and
the first-order part; each has its own interaction, and its own MLPs for every width and depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import product
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from dnas.core import (
    Architecture,
    Choice,
    Operator,
    OperatorCounts,
    Option,
    Sample,
    SuperNet,
    joined,
)
from dnas.costs.formulas import (
    BYTES_PER_WEIGHT,
    mlp_flops,
    mlp_params,
)
from dnas.data import DataConfig, DataSpec, prepare
from dnas.data.batch import Bags
from dnas.models import (
    DLRM,
    MLP,
    AutoInt,
    CompressedInteraction,
    DeepFM,
    DLRMSpec,
    DotInteraction,
    FactorizationMachine,
    FieldModel,
    FieldVectors,
    FirstOrder,
    InteractingStack,
    XDeepFM,
)
from dnas.models.dlrm import chain
from dnas.models.field_model import deep_sizes
from dnas.models.field_operators import (
    cin_operators,
    factorization_operator,
    field_operators,
    first_order_operators,
    interacting_operators,
)
from dnas.models.operators import embedding_operators, mlp_operators
from dnas.spaces import Prepared, SearchSpace, register
from dnas.training.task import CLICKS
from supernets.baselines_config import BaselinesConfig

MODELS = ("dlrm", "deepfm", "autoint", "xdeepfm")
#: Models with a first-order part.
FIRST_ORDER = ("deepfm", "xdeepfm")
MODEL, WIDTH, DEPTH = "model/kind", "width/mlp", "depth/mlp"


class _Attention(TypedDict):
    layers: int
    heads: int
    head_dim: int


class BaselinesSuperNet(SuperNet):
    """All baselines for data with these columns; outputs logits.

    Args:
        config: Sizes and options.
        spec: Columns of the data.
    """

    def __init__(self, config: BaselinesConfig, spec: DataSpec) -> None:
        super().__init__()
        self.config = config
        self.num_dense = len(spec.dense_names)
        self.rows = config.rows(spec.cardinalities)
        dim, num_vectors = config.embedding_dimension, self.num_dense + len(self.rows)
        self.model = Choice("model", {"kind": MODELS})
        self.width = Choice("width", {"mlp": config.mlp_width_options})
        self.depth = Choice("depth", {"mlp": config.mlp_depth_options})
        self.fields = FieldVectors(self.num_dense, self.rows, dim)
        self.first_order = FirstOrder(self.num_dense, self.rows)
        self.dot = DotInteraction(len(self.rows) + 1, dim)
        self.interactions = nn.ModuleDict(
            {
                "deepfm": FactorizationMachine(),
                "autoint": InteractingStack(num_vectors, dim, **_attention(config)),
                "xdeepfm": CompressedInteraction(num_vectors, dim, config.cin_sizes),
            }
        )
        #: By model, width and depth; DLRM has a bottom and a top.
        self.mlps = nn.ModuleDict()
        for width, depth in product(config.mlp_width_options, config.mlp_depth_options):
            hidden = (width,) * depth
            bottom, top = self._dlrm_sizes(hidden)
            self.mlps[_key("bottom", width, depth)] = MLP(bottom, last_activation=True)
            self.mlps[_key("dlrm", width, depth)] = MLP(top, last_activation=False)
            for kind in self.interactions:
                sizes = deep_sizes(num_vectors, dim, hidden)
                self.mlps[_key(kind, width, depth)] = MLP(sizes, last_activation=False)
        for name, table in self._cost_tables().items():
            self.register_buffer(f"cost_{name}", table, persistent=False)

    # ------------------------------------------------------------------ forward

    def forward(self, dense: Tensor, ids: Tensor | Bags, *, sample: Sample) -> Tensor:
        """``(B, N)`` and ``(B, F)`` ids (or Bags) to logits ``(B,)``."""
        vectors = self.fields(dense, ids)  # (B, M, D)
        if sample.architecture is not None:
            kind, width, depth = _decided(sample.architecture)
            logits = self._mlp_logits(kind, width, depth, dense, vectors)
            return logits + self._other_logits(kind, dense, ids, vectors)
        weights = _joint(sample[self.model], sample[self.width], sample[self.depth])
        total = vectors.new_zeros(len(vectors))
        for k, kind in enumerate(MODELS):
            part = self._other_logits(kind, dense, ids, vectors)
            total = total + weights[:, k].sum(dim=(1, 2)) * part
            for w, width in enumerate(self.config.mlp_width_options):
                for p, depth in enumerate(self.config.mlp_depth_options):
                    part = self._mlp_logits(kind, width, depth, dense, vectors)
                    total = total + weights[:, k, w, p] * part
        return total

    def _mlp_logits(
        self, kind: str, width: int, depth: int, dense: Tensor, vectors: Tensor
    ) -> Tensor:
        """``(B,)``: what the MLP of a model adds; of DLRM that is all."""
        if kind == "dlrm":
            x = self.mlps[_key("bottom", width, depth)](dense)
            joined = self.dot(x, vectors[:, self.num_dense :])
        else:
            joined = vectors.flatten(1)
        return self.mlps[_key(kind, width, depth)](joined).squeeze(1)

    def _other_logits(
        self, kind: str, dense: Tensor, ids: Tensor | Bags, vectors: Tensor
    ) -> Tensor:
        """``(B,)``: what a model adds to its MLP's logits."""
        if kind == "dlrm":
            return vectors.new_zeros(len(vectors))
        logits: Tensor = self.interactions[kind](vectors)
        return logits + self.first_order(dense, ids) if kind in FIRST_ORDER else logits

    # ------------------------------------------------------------------ costs

    def cost_terms(self, sample: Sample) -> dict[str, Tensor]:
        """Costs of the three independent decisions' combinations, by their probabilities."""
        weights = _joint(sample[self.model], sample[self.width], sample[self.depth])
        costs: dict[str, Tensor] = {}
        for name in ("flops", "params", "embedding_params"):
            table: Tensor = getattr(self, f"cost_{name}")
            costs[name] = (weights * table.to(weights.dtype)).sum(dim=(1, 2, 3))
        costs["embedding_bytes"] = costs["embedding_params"] * BYTES_PER_WEIGHT
        return costs

    def operator_terms(self, sample: Sample) -> OperatorCounts:
        """What each combination of the three decisions runs, by its probability."""
        weights = _joint(sample[self.model], sample[self.width], sample[self.depth]).flatten(1)
        parts = []
        for number, runs in enumerate(self._combinations):
            counts = weights[:, number, None].expand(-1, len(runs))
            parts.append(OperatorCounts(tuple(runs), counts))
        return joined(parts, weights)

    @cached_property
    def _combinations(self) -> list[list[Operator]]:
        """The operators of every model, width and depth, in the order of ``_joint``."""
        config = self.config
        options = product(MODELS, config.mlp_width_options, config.mlp_depth_options)
        return [self._operators(kind, (width,) * depth) for kind, width, depth in options]

    def _operators(self, kind: str, hidden: tuple[int, ...]) -> list[Operator]:
        config, rows = self.config, self.rows
        dim, skew, num_vectors = (
            config.embedding_dimension,
            config.id_skew,
            self.num_dense + len(rows),
        )
        if kind == "dlrm":
            bottom, top = self._dlrm_sizes(hidden)
            return [
                *mlp_operators(bottom, last_activation=True),
                *embedding_operators(rows, dim, skew),
                self.dot.operator,
                *mlp_operators(top, last_activation=False),
            ]
        runs = field_operators(self.num_dense, rows, dim, skew)
        runs += mlp_operators(deep_sizes(num_vectors, dim, hidden), last_activation=False)
        if kind in FIRST_ORDER:
            runs += first_order_operators(self.num_dense, rows, skew)
        if kind == "deepfm":
            return [*runs, factorization_operator(num_vectors, dim)]
        if kind == "autoint":
            return runs + interacting_operators(num_vectors, dim, **_attention(config))
        return runs + cin_operators(num_vectors, dim, config.cin_sizes)

    def _cost_tables(self) -> dict[str, Tensor]:
        """``(K, W, P)`` of each cost, in float64: those of an architecture are exact.

        Embeddings are all parameters with a row for each id: the vectors, and the weights of ids
        in a first-order part.
        """
        shape = len(MODELS), len(self.config.mlp_width_options), len(self.config.mlp_depth_options)
        found = [
            self._costs(kind, (width,) * depth)
            for kind, width, depth in product(
                MODELS, self.config.mlp_width_options, self.config.mlp_depth_options
            )
        ]
        return {
            name: torch.tensor([cost[name] for cost in found], dtype=torch.float64).view(shape)
            for name in found[0]
        }

    def _costs(self, kind: str, hidden: tuple[int, ...]) -> dict[str, int]:
        dim, total = self.config.embedding_dimension, sum(self.rows)
        if kind == "dlrm":
            bottom, top = self._dlrm_sizes(hidden)
            flops = mlp_flops(bottom) + self.dot.flops + mlp_flops(top)
            return {
                "flops": flops,
                "params": mlp_params(bottom) + mlp_params(top) + total * dim,
                "embedding_params": total * dim,
            }
        part: Any = self.interactions[kind]
        sizes = deep_sizes(self.num_dense + len(self.rows), dim, hidden)
        first = kind in FIRST_ORDER
        vectors = (total + self.num_dense) * dim
        return {
            "flops": mlp_flops(sizes) + part.flops + (self.first_order.flops if first else 0),
            "params": mlp_params(sizes)
            + part.params
            + vectors
            + (self.first_order.params if first else 0),
            "embedding_params": total * (dim + first),
        }

    # ------------------------------------------------------------------ building

    def build(
        self, architecture: Architecture, *, inherit_weights: bool = False
    ) -> DLRM | FieldModel:
        """The plain model."""
        kind, width, depth = _decided(self.validate(architecture))
        hidden = (width,) * depth
        if kind == "dlrm":
            model = self._dlrm(hidden)
            if inherit_weights:
                _copy(self.mlps[_key("bottom", width, depth)], model.bottom)
                _copy(self.mlps[_key("dlrm", width, depth)], model.top)
                _copy(self.fields.embeddings, model.embeddings)
            return model
        made = self._field_model(kind, hidden)
        if inherit_weights:
            _copy(self.fields, made.fields)
            _copy(self.interactions[kind], made.interaction)
            _copy(self.mlps[_key(kind, width, depth)], made.deep)
            if made.first_order is not None:
                _copy(self.first_order, made.first_order)
        return made

    def _dlrm(self, hidden: tuple[int, ...]) -> DLRM:
        bottom, top = self._dlrm_sizes(hidden)
        dims = (self.config.embedding_dimension,) * len(self.rows)
        return DLRM(DLRMSpec(bottom=bottom, top=top[1:-1], rows=self.rows, dims=dims))

    def _dlrm_sizes(self, hidden: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Widths of bottom and top, which have the same hidden layers."""
        bottom = chain(self.num_dense, hidden, self.config.embedding_dimension)
        return bottom, chain(self.dot.output_width, hidden, 1)

    def _field_model(self, kind: str, hidden: tuple[int, ...]) -> FieldModel:
        common = self.num_dense, self.rows, self.config.embedding_dimension, hidden
        if kind == "deepfm":
            return DeepFM(*common)
        if kind == "autoint":
            return AutoInt(*common, **_attention(self.config))
        return XDeepFM(*common, cin_sizes=self.config.cin_sizes)


def _attention(config: BaselinesConfig) -> _Attention:
    return {
        "layers": config.attention_layers,
        "heads": config.attention_heads,
        "head_dim": config.attention_dimension,
    }


def _joint(model: Tensor, width: Tensor, depth: Tensor) -> Tensor:
    """``(B, 1, K)``, ``(B, 1, W)`` and ``(B, 1, P)`` to their products ``(B, K, W, P)``."""
    return model[:, 0, :, None, None] * width[:, 0, None, :, None] * depth[:, 0, None, None, :]


def _decided(architecture: Mapping[str, Option]) -> tuple[str, int, int]:
    """Model, width and depth."""
    return str(architecture[MODEL]), int(architecture[WIDTH]), int(architecture[DEPTH])


def _key(kind: str, width: int, depth: int) -> str:
    return f"{kind}_{width}x{depth}"


def _copy(source: nn.Module, target: nn.Module) -> None:
    target.load_state_dict(source.state_dict())


class BaselinesSpace(SearchSpace):
    """The baselines for any click log."""

    name = "ctr_baselines"
    config_class = BaselinesConfig
    data_class = DataConfig
    task = CLICKS
    default_cost = "flops"

    def prepare(self, data_config: DataConfig) -> Prepared:
        """Open the click log."""
        return prepare(data_config)

    def make_supernet(self, config: BaselinesConfig, spec: DataSpec) -> BaselinesSuperNet:
        """All baselines for data with these columns."""
        return BaselinesSuperNet(config, spec)

    def make_model(
        self, config: BaselinesConfig, spec: DataSpec, architecture: Architecture
    ) -> DLRM | FieldModel:
        """One baseline; the supernet it is checked against is made without tables."""
        with torch.device("meta"):
            blueprint = self.make_supernet(config, spec)
        return blueprint.build(architecture)

    def spec_from_json(self, value: Mapping[str, Any]) -> DataSpec:
        """The columns an architecture file was made for."""
        return DataSpec.from_json(dict(value))


CTR_BASELINES = register(BaselinesSpace())
