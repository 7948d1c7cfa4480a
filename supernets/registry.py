"""The DLRM search spaces by name: any subset of MLPs, embedding dimensions and cardinalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnas.core import Architecture
from dnas.data import DataConfig, DataSpec, prepare
from dnas.errors import ConfigError
from dnas.models import DLRM, MLP, capped_rows, make_interaction
from dnas.models.dlrm import chain
from dnas.spaces import Prepared, SearchSpace, register
from dnas.training.task import CLICKS
from supernets.config import DLRMSpaceConfig
from supernets.dlrm import DLRMSuperNet
from supernets.embedding import EmbeddingSuperNet
from supernets.embedding_card import card_choice
from supernets.embedding_dim import dim_choice
from supernets.mlp import MLPSuperNet


class DLRMSpace(SearchSpace):
    """A DLRM of which some parts are searched.

    Args:
        name: Of the space.
        mlps: Search both MLPs.
        dims: Search each feature's embedding dimension.
        rows: Search each feature's number of embedding rows.
        default_cost: See SearchSpace.
    """

    config_class = DLRMSpaceConfig
    data_class = DataConfig
    task = CLICKS

    def __init__(self, name: str, *, mlps: bool, dims: bool, rows: bool, default_cost: str) -> None:
        self.name = name  # type: ignore[misc]
        self.default_cost = default_cost  # type: ignore[misc]
        self.mlps, self.dims, self.rows = mlps, dims, rows

    def prepare(self, data_config: DataConfig) -> Prepared:
        """Open the click log."""
        return prepare(data_config)

    def make_supernet(self, config: DLRMSpaceConfig, spec: DataSpec) -> DLRMSuperNet:
        """The DLRM supernet for data with these columns."""
        own_dims, own_rows = config.own_options()
        names, counts = spec.sparse_names, spec.cardinalities
        dims = dim_choice(names, counts, config.dim_options, own_dims) if self.dims else None
        rows = (
            card_choice(names, counts, config.cardinality_options, own_rows) if self.rows else None
        )
        dim = (
            max(int(column) for column in dims.columns)
            if dims is not None
            else config.embedding_dimension
        )
        if rows is not None and config.max_embedding_rows:
            raise ConfigError(
                f"--max_embedding_rows {config.max_embedding_rows}: search space {self.name} "
                "chooses the rows of each table itself; limit them by --cardinality_options"
            )
        tables = capped_rows(counts, config.max_embedding_rows)
        embeddings = EmbeddingSuperNet(tables, dim, rows=rows, dims=dims, id_skew=config.id_skew)
        width = make_interaction(
            config.arch_interaction_op,
            len(counts) + 1,
            dim,
            self_interaction=config.arch_interaction_itself,
        ).output_width
        num_dense = len(spec.dense_names)
        bottom: MLP | MLPSuperNet
        top: MLP | MLPSuperNet
        if self.mlps:
            sizes = config.mlp_size_options
            bottom = MLPSuperNet(num_dense, dim, sizes, config.mlp_bottom_layers, name="bottom")
            top = MLPSuperNet(
                width, 1, sizes, config.mlp_top_layers, name="top", last_activation=False
            )
        else:
            bottom = MLP(chain(num_dense, config.arch_mlp_bot, dim), last_activation=True)
            top = MLP(chain(width, config.arch_mlp_top, 1), last_activation=False)
        return DLRMSuperNet(
            bottom,
            embeddings,
            top,
            interaction=config.arch_interaction_op,
            self_interaction=config.arch_interaction_itself,
        )

    def make_model(
        self, config: DLRMSpaceConfig, spec: DataSpec, architecture: Architecture
    ) -> DLRM:
        """The discrete DLRM.

        The supernet is made without storage: at Criteo's full size its tables take 5 GB.
        """
        import torch

        with torch.device("meta"):
            blueprint = self.make_supernet(config, spec)
        return DLRM(blueprint.spec(blueprint.validate(architecture)))

    def spec_from_json(self, value: Mapping[str, Any]) -> DataSpec:
        """The columns an architecture file was made for."""
        return DataSpec.from_json(dict(value))


TOP_BOTTOM_MLPS = register(
    DLRMSpace("top_bottom_mlps", mlps=True, dims=False, rows=False, default_cost="flops")
)
EMB_DIM = register(
    DLRMSpace("emb_dim", mlps=False, dims=True, rows=False, default_cost="embedding_params")
)
EMB_CARD = register(
    DLRMSpace("emb_card", mlps=False, dims=False, rows=True, default_cost="embedding_rows")
)
JOINT = register(DLRMSpace("joint", mlps=True, dims=True, rows=True, default_cost="params"))
