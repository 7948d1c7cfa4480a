"""From flags to data that can be trained on: the store, its split, and their record."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch

from dnas.data.adult import adult_source
from dnas.data.avazu import avazu_source
from dnas.data.build import Source, open_or_build
from dnas.data.config import DataConfig, SplitRule
from dnas.data.criteo import criteo_source
from dnas.data.file_source import BLOCK_BYTES
from dnas.data.kdd2012 import kdd2012_source
from dnas.data.spec import DataSpec
from dnas.data.split_cache import cached_splits
from dnas.data.splits import Indices
from dnas.data.store import Store
from dnas.data.store_loader import StoreLoader
from dnas.data.synthetic import SyntheticSource, SyntheticSpec
from dnas.data.table import read_schema, table_source
from dnas.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedData:
    """A data set ready for use.

    Attributes:
        store: The rows.
        splits: Ascending row numbers of weights, theta, train, validation and test.
        record: What a run's record says of the data, as JSON: content hash, rows, label rate,
            skipped rows, columns, sources, and rule, sizes, label rates and hashes of the split.
    """

    store: Store
    splits: dict[str, Indices]
    record: dict[str, Any]

    @property
    def spec(self) -> DataSpec:
        """Columns and cardinalities."""
        return self.store.spec

    @property
    def label_rate(self) -> float:
        """Share of label 1 in all rows."""
        return self.store.manifest.label_rate

    def loader(
        self,
        split: str,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        drop_last: bool,
        device: torch.device | str | None = None,
        flag: str = "--batch_size",
    ) -> StoreLoader:
        """A loader of one part of the split.

        Args:
            split: weights, theta, train, validation or test.
            batch_size: Rows of a batch.
            shuffle: Whether each epoch has a random order of its own.
            seed: Of the order.
            drop_last: Leave out an incomplete last batch: for training, never for evaluation.
            device: Where the batches are to be; None: on the CPU.
            flag: The flag that gave ``batch_size``, for messages.

        Raises:
            DataError: There is no such part, or ``drop_last`` and the batch is larger than it.
        """
        if split not in self.splits:
            raise DataError(f"split={split!r}: must be one of {', '.join(self.splits)}")
        return StoreLoader(
            self.store,
            self.splits[split],
            batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            device=device,
            flag=flag,
        )


def make_source(config: DataConfig, *, block_bytes: int = BLOCK_BYTES) -> tuple[Source, SplitRule]:
    """What the flags say to read, and the rule by which it is split.

    Raises:
        DataError: A file is missing, or the schema is wrong.
    """
    rule = config.split_rule
    if config.data_set == "table":
        assert config.schema is not None
        schema = read_schema(config.schema)
        rule = rule or schema.split_rule
        if rule == "column" and schema.part is None:
            raise DataError(f"--split=column: the schema {config.schema} has no split.column")
        return table_source(config, schema, block_bytes=block_bytes), rule
    assert rule is not None
    if config.data_set == "adult":
        return adult_source(config, block_bytes=block_bytes), rule
    if config.data_set == "avazu":
        return avazu_source(config, block_bytes=block_bytes), rule
    if config.data_set == "kdd2012_track2":
        return kdd2012_source(config, block_bytes=block_bytes), rule
    if config.data_set == "synthetic":
        return SyntheticSource(SyntheticSpec.from_config(config)), rule
    return criteo_source(config, block_bytes=block_bytes), rule


def prepare(config: DataConfig) -> PreparedData:
    """Build the store of a data set, or open it if it is there, and split its rows.

    Several processes may do this at the same time: one builds, the others wait.

    Raises:
        DataError: The raw data or the split cannot be used as the flags say.
    """
    source, rule = make_source(config)
    store = open_or_build(source, config.data_cache, memory_map=config.memory_map)
    manifest = store.manifest
    logger.info(
        "%s: %d rows, label rate %.4f, %d numbers, %d categories, content %s",
        store.path,
        store.rows,
        manifest.label_rate,
        len(store.spec.dense_names),
        len(store.spec.sparse_names),
        manifest.content_hash,
    )
    logger.info(
        "cardinalities: %s",
        ", ".join(
            f"{name} {count:,}"
            for name, count in zip(store.spec.sparse_names, store.spec.cardinalities, strict=True)
        ),
    )
    if manifest.skipped_rows:
        logger.warning("%d malformed rows of the raw data were left out", manifest.skipped_rows)
    splits, split_record = cached_splits(
        store,
        rule=rule,
        train_fraction=config.train_fraction,
        weights_proportion=config.weights_training_proportion,
        seed=config.split_seed,
        off_by_one=config.released_off_by_one,
        memory_map=config.memory_map,
    )
    for name, part in split_record["parts"].items():
        if part["label_rate"] in (0.0, 1.0):
            logger.warning(
                "all %d labels of the %s part are %d: nothing can be learned or measured; check "
                "the label column and --split=%s",
                part["rows"],
                name,
                part["label_rate"],
                rule,
            )
    record = {
        "data_set": manifest.data_set,
        "content_hash": manifest.content_hash,
        "rows": store.rows,
        "label_rate": manifest.label_rate,
        "skipped_rows": manifest.skipped_rows,
        "spec": store.spec.to_json(),
        "identity": manifest.identity,
        "split": split_record,
    }
    return PreparedData(store, splits, record)
