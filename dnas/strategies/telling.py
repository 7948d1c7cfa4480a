"""The batches of a loader that tell on one metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from dnas.data.batch import Batch
from dnas.data.loader import Loader
from dnas.errors import ConfigError, DataError


class TellingBatches:
    """One epoch of a loader without the batches that have no part in a metric.

    Which ones they are is found out once, so that later epochs do not even make them.

    Args:
        loader: Its batches have the same labels in every epoch.
        tells: Whether a batch with these labels has a part in the metric.
        metric: Its name, for messages.

    Raises:
        ConfigError: No batch has.
    """

    def __init__(self, loader: Loader, tells: Callable[[Tensor], bool], metric: str) -> None:
        self._loader = loader
        batches = loader.batches(0, len(loader))
        self._steps = [step for step, batch in enumerate(batches) if tells(batch.labels)]
        if not self._steps:
            raise ConfigError(
                f"none of {len(loader)} batches tells on {metric!r}, by which candidates are "
                "compared: those that --score_rows and --score_subset take have no part in it; use "
                "--score_rows=0 for all rows, or another selection"
            )

    def __len__(self) -> int:
        return len(self._steps)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches ``start`` .. ``stop - 1`` of the one epoch there is."""
        if not 0 <= start <= stop <= len(self):
            raise DataError(f"batches({start}, {stop}): there are {len(self)} batches")
        for first, last in _runs(self._steps[start:stop]):
            yield from self._loader.batches(first, last + 1)


def _runs(steps: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    begin = 0
    for place in range(1, len(steps) + 1):
        if place == len(steps) or steps[place] != steps[place - 1] + 1:
            yield steps[begin], steps[place - 1]
            begin = place
