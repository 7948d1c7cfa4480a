"""From flags to interactions that can be trained on: read, divided, recorded."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

import numpy as np
import torch

from dnas.data.retrieval.config import RetrievalDataConfig
from dnas.data.retrieval.halves import half_of_users
from dnas.data.retrieval.interactions import Interactions
from dnas.data.retrieval.loader import EvaluationLoader, TrainingLoader, check_batch_size
from dnas.data.retrieval.rankings import Ranking, make_rankings
from dnas.data.retrieval.relevance import TEST_PROTOCOLS, Protocol
from dnas.data.retrieval.rows import Rows
from dnas.data.retrieval.sources import read_interactions
from dnas.data.retrieval.spec import TowerSpec
from dnas.data.retrieval.split import split_record, split_timeline
from dnas.data.retrieval.timeline import Timeline
from dnas.errors import DataError

logger = logging.getLogger(__name__)

TRAINING_PARTS = ("weights", "theta", "train")


class RetrievalData:
    """Interactions ready for use.

    Args:
        interactions: The rows.
        config: How they are divided.

    Attributes:
        interactions: As given.
        timeline: The same rows by user and time.
        parts: Positions of weights, theta, train, validation and test in the timeline.

    Raises:
        DataError: A part would be empty.
    """

    def __init__(self, interactions: Interactions, config: RetrievalDataConfig) -> None:
        self.interactions = interactions
        self.config = config
        self.timeline = Timeline.of(interactions)
        options: dict[str, Any] = {
            "rule": config.retrieval_split,
            "weights_proportion": config.weights_training_proportion,
            "seed": config.split_seed,
        }
        self.parts = split_timeline(self.timeline, **options)
        self._record = {
            "data_set": config.data_set,
            "user_half": config.user_half,
            "content_hash": interactions.content_hash(),
            "rows": len(interactions),
            "spec": interactions.spec.to_json(),
            "split": split_record(self.parts, **options),
            "loss_settings": {
                name: getattr(config, name) for name in ("frequency_alpha", "validation_batch_size")
            },
        }
        self._rows = Rows(interactions, self.timeline)

    @property
    def spec(self) -> TowerSpec:
        """Fields, sizes and lengths."""
        return self.interactions.spec

    @property
    def record(self) -> dict[str, Any]:
        """What a run's record says of the data, as JSON: content hash, rows, fields, and rule,
        seed, sizes and hashes of the split."""
        return self._record

    @cached_property
    def rankings(self) -> dict[Protocol, Ranking]:
        """The users of each protocol."""
        return make_rankings(
            self.timeline, self.parts, length=self.spec.seq_len, seed=self.config.split_seed
        )

    @cached_property
    def train_counts(self) -> np.ndarray:
        """``(items + 1,)`` int64: how often each item is in the train part."""
        items = self.timeline.items[self.parts["train"]]
        return np.bincount(items, minlength=self.spec.num_items + 1)

    @cached_property
    def expected_log_q(self) -> np.ndarray:
        """``(items + 1,)``: log of the occurrences to be expected in a batch of the validation.

        What the streaming estimate tends to. An item that train does not have counts as one that
        it has once.
        """
        counts = np.maximum(self.train_counts, 1)
        return np.log(self.config.validation_batch_size * counts / len(self.parts["train"]))

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
    ) -> TrainingLoader | EvaluationLoader:
        """A loader of one part of the split.

        Args:
            split: weights, theta and train give loss batches; validation gives all its loss
                batches, then its ranking; test gives the rankings of the three protocols.
            batch_size: Rows of a loss batch in training; users of a ranking batch in validation
                and test, whose loss batches have ``validation_batch_size`` rows.
            shuffle: Whether each epoch has a random order of its own; for training only.
            seed: Of the order.
            drop_last: Leave out an incomplete last batch; for training only.
            device: Where the batches are to be; None: on the CPU.
            flag: The flag that gave ``batch_size``, for messages.

        Raises:
            DataError: There is no such part, it does not suit the arguments, or has no whole batch.
        """
        if split not in self.parts:
            raise DataError(f"split={split!r}: must be one of {', '.join(self.parts)}")
        if split in TRAINING_PARTS:
            return TrainingLoader(
                self._rows,
                self.parts[split],
                batch_size,
                shuffle=shuffle,
                seed=seed,
                drop_last=drop_last,
                alpha=self.config.frequency_alpha,
                device=device,
                flag=flag,
            )
        check_batch_size(batch_size, flag)
        if shuffle or drop_last:
            raise DataError(
                f"split={split!r} with shuffle={shuffle} and drop_last={drop_last}: what is "
                "measured comes whole, and in one order; set both to False"
            )
        if split == "validation":
            positions, protocols = self.parts[split], [Protocol.VALIDATION]
        else:
            positions = np.empty(0, dtype=np.int64)
            protocols = [*TEST_PROTOCOLS]
        return EvaluationLoader(
            self._rows,
            positions,
            self.expected_log_q,
            self.config.validation_batch_size,
            [self.rankings[protocol] for protocol in protocols],
            batch_size,
            device,
        )


def prepare_retrieval(config: RetrievalDataConfig) -> RetrievalData:
    """Read a data set and divide it.

    Raises:
        DataError: The raw data cannot be used as the flags say.
    """
    interactions = half_of_users(read_interactions(config), config.user_half, config.split_seed)
    data = RetrievalData(interactions, config)
    spec = data.spec
    logger.info(
        "%s: %d interactions of %d users with %d items, content %s",
        config.data_set,
        len(data.interactions),
        spec.num_users,
        spec.num_items,
        data.record["content_hash"],
    )
    logger.info(
        "%s split: %s",
        config.retrieval_split,
        ", ".join(f"{name} {len(part):,}" for name, part in data.parts.items()),
    )
    return data
