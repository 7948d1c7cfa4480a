"""Loaders: random access to batches by global step.

A position in the data is one integer, the global step: step s is batch ``s mod n`` of epoch
``s div n``, n being the steps of an epoch. A loader has no other state, so half an epoch of one
phase, then of another, and a resume after a crash are all plain integers, and none of them reads a
batch twice or leaves one out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from dnas.data.batch import Batch, TensorBatch
from dnas.errors import DataError


@runtime_checkable
class Loader(Protocol):
    """What the training loops need of a loader."""

    def __len__(self) -> int:
        """Steps of an epoch."""

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of global steps ``start`` .. ``stop - 1``; always the same ones."""


#: DataLoader -> mark of the loader here that has begun an epoch of it last.
_BEGUN_BY: WeakKeyDictionary[Any, object] = WeakKeyDictionary()


class IterableLoader:
    """Any torch ``DataLoader``, or other iterable of batches, as a :class:`Loader`.

    Items are ``(x, y)``, ``((x1, x2, ...), y)`` or a :class:`~dnas.data.batch.Batch`. An epoch is
    one run through the iterable. Random access is by skipping: ``batches(k, ...)`` loads and throws
    away the first ``k mod n`` batches of its epoch, unless the last call ended just there, in which
    case that run goes on.

    For the same call to give the same batches, an epoch must be a function of its number. Of a
    ``DataLoader`` this class sees to it: before each epoch it seeds the loader's and its samplers'
    generators from (seed, epoch) and calls ``set_epoch`` where there is one. Random transforms that
    draw from a global generator remain the caller's affair. Of another iterable, pass a function
    ``epoch -> iterable`` if epochs differ.

    Args:
        source: The iterable, or a function from the epoch to one.
        steps: Steps of an epoch; default ``len(source)``.
        seed: Of a ``DataLoader``'s order, not negative.

    Raises:
        DataError: The length is unknown or 0, or ``source`` can be run through only once.
    """

    def __init__(
        self,
        source: Iterable[Any] | Callable[[int], Iterable[Any]],
        *,
        steps: int | None = None,
        seed: int = 0,
    ) -> None:
        if isinstance(source, Iterator):
            raise DataError(
                f"{type(source).__name__}: an iterator can be run through only once: pass the "
                "DataLoader itself, or a function from the epoch to an iterable"
            )
        if steps is None:
            try:
                steps = len(source)  # type: ignore[arg-type]
            except TypeError:
                raise DataError(
                    f"{type(source).__name__}: the length of an epoch is unknown: pass steps="
                ) from None
        if steps < 1:
            raise DataError(f"{type(source).__name__}: an epoch of {steps} batches")
        if seed < 0:
            raise DataError(f"seed={seed}: must not be negative")
        self._source = source
        self._steps = steps
        self._seed = seed
        self._running: tuple[int, Iterator[Any]] | None = None
        self._mark = object()

    def __len__(self) -> int:
        return self._steps

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of global steps ``start`` .. ``stop - 1``."""
        if start < 0:
            raise DataError(f"batches({start}, {stop}): steps begin at 0")
        step = start
        while step < stop:
            run = self._run_from(step)
            for item in run:
                step += 1
                done = step % self._steps == 0
                self._running = None if done else (step, run)
                yield _as_batch(item)
                if done or step == stop:
                    break
                if self._running != (step, run) or not self._is_ours():
                    break  # another caller of batches() took the run over
            else:
                raise DataError(
                    f"{type(self._source).__name__}: ended after {step % self._steps} of the "
                    f"{self._steps} batches of epoch {step // self._steps}"
                )

    def _run_from(self, step: int) -> Iterator[Any]:
        """An iterator whose next item is the batch of ``step``."""
        running, self._running = self._running, None
        if running is not None and running[0] == step and self._is_ours():
            return running[1]
        epoch, skip = divmod(step, self._steps)
        run = iter(self._epoch(epoch))
        for number in range(skip):
            if next(run, self) is self:
                raise DataError(
                    f"{type(self._source).__name__}: ended after {number} of the {self._steps} "
                    f"batches of epoch {epoch}"
                )
        return run

    def _is_ours(self) -> bool:
        """False if another loader has begun anew with the same DataLoader since, whose workers are
        persistent: it then has one iterator, which whoever asks last begins anew."""
        source = self._source
        shared = isinstance(source, torch.utils.data.DataLoader) and source.persistent_workers
        return not shared or _BEGUN_BY.get(source) is self._mark

    def _epoch(self, epoch: int) -> Iterable[Any]:
        source = self._source
        if isinstance(source, torch.utils.data.DataLoader):
            _BEGUN_BY[source] = self._mark
            # The order has a generator of its own: whether one is drawn from for the workers first
            # depends on whether they are there already.
            states = np.random.SeedSequence([self._seed, epoch]).generate_state(2, np.uint64)
            generator, source.generator = (
                torch.Generator().manual_seed(int(state) >> 1) for state in states
            )
            batch_sampler: Any = source.batch_sampler
            samplers: list[Any] = [
                source.sampler,
                batch_sampler,
                getattr(batch_sampler, "sampler", None),
            ]
            for sampler in samplers:
                if hasattr(sampler, "generator"):
                    sampler.generator = generator
            for part in [*samplers, source.dataset]:
                if hasattr(part, "set_epoch"):
                    part.set_epoch(epoch)
            return source
        return source(epoch) if callable(source) else source


def _as_batch(item: Any) -> Batch:
    if isinstance(item, Batch):
        return item
    if isinstance(item, Sequence) and len(item) == 2 and isinstance(item[1], Tensor):
        inputs, labels = item
        if isinstance(inputs, Tensor):
            return TensorBatch((inputs,), labels)
        if isinstance(inputs, Sequence) and all(isinstance(part, Tensor) for part in inputs):
            return TensorBatch(tuple(inputs), labels)
    raise DataError(
        f"a loader gave a {type(item).__name__}; it must give (x, y) or ((x1, x2, ...), y) of "
        "tensors, or an object with inputs, labels and to(device)"
    )


def as_loader(source: Loader | Iterable[Any], *, seed: int = 0) -> Loader:
    """``source`` itself if it is a :class:`Loader`, else an :class:`IterableLoader` of it.

    Raises:
        DataError: It is neither, or as :class:`IterableLoader`.
    """
    if not isinstance(source, Loader | Iterable):
        raise DataError(
            f"{source!r:.60} is a {type(source).__name__}, not a loader; give an object with "
            "__len__ and batches(start, stop) (dnas.data.Loader), a torch DataLoader or a list of "
            "batches"
        )
    return source if isinstance(source, Loader) else IterableLoader(source, seed=seed)
