"""World: the processes that train one model together; a single process is the world of size one.

Training loops are written once, against this interface. They compute on the rows that are theirs,
ask the world for what concerns all rows, and let its main process write files::

    share = world.share(len(batch.labels))                 # which rows are mine
    batch = world.local(batch, share)
    loss = world.mean(loss_function(model(...), ...), share)  # of all rows
    loss.backward()
    world.sync_gradients(parameters)                       # now those of all rows

Here nobody else is asked; :mod:`dnas.training.distributed` has the world of several processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from dnas.data.batch import Batch, RowBatch
from dnas.errors import ConfigError


@dataclass(frozen=True)
class Share:
    """The rows of a global batch that one process computes.

    Attributes:
        total: Rows of the global batch.
        part: The rows to compute. Never empty: a process without rows of its own computes row 0,
            so that every process has outputs of the same shape and the same graph.
        weight: Part of the global mean that these rows make up; 0 for a process without rows.
    """

    total: int
    part: slice
    weight: float


def bounds(total: int, size: int) -> list[int]:
    """``size + 1`` row numbers: process r has the rows from ``bounds[r]`` to ``bounds[r + 1]``."""
    return [rank * total // size for rank in range(size + 1)]


def share_of(total: int, rank: int, size: int) -> Share:
    """The contiguous share of process ``rank`` in ``total`` rows."""
    start, stop = bounds(total, size)[rank : rank + 2]
    if start == stop:
        return Share(total, slice(0, 1), 0.0)
    return Share(total, slice(start, stop), (stop - start) / total)


class World:
    """A world of one process: every share is everything, and there is nobody to agree with."""

    rank = 0
    size = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and the log."""
        return self.rank == 0

    def share(self, total: int) -> Share:
        """This process's share of a global batch of ``total`` rows."""
        return share_of(total, self.rank, self.size)

    def local(self, batch: Batch, share: Share) -> Batch:
        """The rows of ``share``.

        Raises:
            ConfigError: There are several processes, and the batch cannot be cut.
        """
        if self.size == 1:
            return batch
        if not isinstance(batch, RowBatch):
            raise ConfigError(
                f"{type(batch).__name__} has no method rows(part: slice), which gives some rows of "
                "a batch: add it, or train in one process"
            )
        return batch.rows(share.part)

    def mean(self, loss: Tensor, share: Share) -> Tensor:
        """The mean over all rows, from the mean over the rows of ``share``."""
        return loss

    def alike(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values that every process computes alike, made to count once in the gradients."""
        return dict(values)

    def sync_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Make ``grad`` of each parameter that of all rows."""

    def gather(self, outputs: Tensor, share: Share) -> Tensor:
        """Outputs of all rows, in their order, from those of ``share``."""
        return outputs

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag

    def wait(self) -> None:
        """Until all processes are here."""

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The others enter the block when the main process has left it."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def begin(self, module: nn.Module, step: int) -> None:
        """Called before the first step, and after a resume: everybody starts from one state.

        Args:
            module: What is trained.
            step: Steps done already.

        Raises:
            ConfigError: The module cannot be trained by several processes.
        """
