"""Settings of two-tower search spaces; every field is a flag."""

from __future__ import annotations

from dataclasses import dataclass

from dnas.errors import ConfigError
from dnas.training.retrieval import retrieval_task
from dnas.training.sampled_softmax import SampledSoftmax
from dnas.training.task import Task


@dataclass(frozen=True, kw_only=True)
class TwoTowerConfig:
    """What all two-tower models have in common, and how they are trained."""

    embedding_dimension: int = 16
    """Dimension of every field's vector."""
    sparse_tables: bool = False
    """Optimizers touch the rows of a batch only: for large tables. Adam then is another method."""
    released_padding: bool = False
    """Add an untrained random vector for each padded place of a multi-hot field, as AutoTower's
    released program does."""
    temperature: float = 0.05
    """Cosines are divided by it in the loss."""
    corrected_loss: bool = True
    """Subtract log q, so that popular items, the most frequent negatives, are not scored lower."""
    mask_accidental_hits: bool = False
    """Other rows of a batch with a row's own item are not its negatives."""
    selection: str = "loss_corrected"
    """Metric of validation by which the best epoch is chosen: loss_corrected (that of training),
    loss (of raw cosines, as published), or one of the ranking, such as recall50 or ndcg50."""

    def __post_init__(self) -> None:
        self._check_at_least_one("embedding_dimension")
        self.task()

    def _check_at_least_one(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} must be at least 1, but got {getattr(self, name)}")

    def _check_is_one_of(self, name: str, values: tuple[str, ...]) -> None:
        if (value := getattr(self, name)) not in values:
            raise ConfigError(f"--{name} must be one of {', '.join(values)}, but got {value!r}")

    def task(self) -> Task:
        """The task with these settings.

        Raises:
            ConfigError: One of them is wrong.
        """
        return retrieval_task(self.loss(), self.selection)

    def loss(self) -> SampledSoftmax:
        """The loss of training with these settings.

        Raises:
            ConfigError: One of them is wrong.
        """
        return SampledSoftmax(
            temperature=self.temperature,
            corrected=self.corrected_loss,
            mask_accidental_hits=self.mask_accidental_hits,
        )
