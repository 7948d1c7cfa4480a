"""The NASRec search spaces by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from dnas.core import Architecture, Prior, SuperNet
from dnas.data import DataConfig, DataSpec, prepare
from dnas.errors import ArchitectureError, ConfigError
from dnas.spaces import Prepared, SearchSpace, register
from dnas.training.task import CLICKS
from supernets.nasrec.complexity import complexity, published_complexity, released_shape
from supernets.nasrec.config import NASRecConfig
from supernets.nasrec.genome import from_decisions
from supernets.nasrec.model import NASRecModel
from supernets.nasrec.prior import NASRecPrior
from supernets.nasrec.released import DATASET_ALIASES, DATASETS, is_released, parse_released
from supernets.nasrec.shape import DENSE_OPERATORS, SPARSE_OPERATORS
from supernets.nasrec.supernet import NASRecSuperNet


class NASRecSpace(SearchSpace):
    """A NASRec space.

    Args:
        name: Of the space.
        operators: To choose from, where ``--operators`` does not say others.
    """

    config_class = NASRecConfig
    data_class = DataConfig
    task = CLICKS
    default_cost = "flops"

    def __init__(self, name: str, operators: tuple[str, ...]) -> None:
        self.name = name  # type: ignore[misc]
        self.operators = operators

    def prepare(self, data_config: DataConfig) -> Prepared:
        """Open the click log."""
        return prepare(data_config)

    def make_supernet(self, config: NASRecConfig, spec: DataSpec) -> NASRecSuperNet:
        """The supernet for data with these columns."""
        shape = config.shape(len(spec.dense_names), len(spec.sparse_names), self.operators)
        rows = config.table_rows(tuple(spec.cardinalities))
        return NASRecSuperNet(shape, rows, id_skew=config.id_skew)

    def make_model(
        self, config: NASRecConfig, spec: DataSpec, architecture: Architecture
    ) -> NASRecModel:
        """The plain model; the supernet, which knows what is valid, is made without storage."""
        with torch.device("meta"):
            blueprint = self.make_supernet(config, spec)
        genome = blueprint.genome(blueprint.validate(architecture))
        return NASRecModel(blueprint.shape, genome, blueprint.table_rows)

    def prior(self, config: NASRecConfig, super_net: SuperNet) -> Prior:
        """The paper's path sampling and mutations."""
        assert isinstance(super_net, NASRecSuperNet)
        return NASRecPrior(
            super_net,
            input_limit=config.input_limit(),
            binomial_paths=config.binomial_paths(),
        )

    def spec_from_json(self, value: Mapping[str, Any]) -> DataSpec:
        """The columns an architecture file was made for."""
        return DataSpec.from_json(dict(value))

    def published_architecture(
        self, value: Any, source: str, super_net: SuperNet
    ) -> Architecture | None:
        """One of the published form; its widths must be options (``--variant=released``)."""
        if not is_released(value):
            return None
        assert isinstance(super_net, NASRecSuperNet)
        _, genome = parse_released(value, source)
        try:
            return super_net.architecture(genome)
        except ArchitectureError as error:
            raise ArchitectureError(
                f"{source}: {error}; the published architectures need --variant=released and as "
                "many --num_blocks as they have"
            ) from None

    def complexity(
        self, config: NASRecConfig, spec: DataSpec, architecture: Architecture
    ) -> dict[str, Any]:
        """The same columns as for published architectures."""
        shape = config.shape(len(spec.dense_names), len(spec.sparse_names), self.operators)
        return complexity(shape, from_decisions(shape, architecture))

    def cost_report(self, value: Any, source: str, data_set: str | None) -> dict[str, Any] | None:
        """Costs of an architecture in the published form, see ``supernets.nasrec.released``."""
        if not is_released(value):
            return None
        config, genome = parse_released(value, source)
        data_set = DATASET_ALIASES.get(data_set or "", data_set) or value.get("dataset")
        if data_set is None:
            raise ConfigError(
                f"{source} does not say for which data it is; add --dataset, one of "
                f"{', '.join(sorted(DATASETS))}"
            )
        shape = released_shape(data_set, config, len(genome), layer_norm=False)
        return {"dataset": data_set, "space": config, **published_complexity(shape, genome)}


FULL = register(NASRecSpace("nasrec_full", (*DENSE_OPERATORS, *SPARSE_OPERATORS)))
SMALL = register(NASRecSpace("nasrec_small", ("fc", "dot", "embed_fc")))
