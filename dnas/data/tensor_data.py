"""TensorData: inputs and labels in memory, in parts, ready for a search.

For domains whose data fits in memory. ``SearchSpace.prepare`` gives one, and that is all there is
to write about data::

    def prepare(self, data_config):
        images, classes = ...                               # (rows, 3, 50, 50), (rows,)
        return TensorData(
            (images,), classes, {"train": 0.7, "validation": 0.15, "test": 0.15}, spec=MySpec(...)
        )
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnas.data.batch import TensorBatch
from dnas.data.given import check_finite, given_inputs, given_tensor
from dnas.data.order import FullOrder
from dnas.data.splits import PARTS, indices_hash
from dnas.data.store_loader import resident_limit
from dnas.errors import DataError

_GIVEN = ("train", "validation", "test")
_GIVEN_APART = ("weights", "theta", "validation", "test")
_STREAM_PARTS, _STREAM_WEIGHTS = 0, 1


class TensorData:
    """Rows in memory; implements :class:`dnas.spaces.Prepared`.

    Args:
        inputs: Positional arguments of the model's ``forward``, each ``(rows, ...)``, on the CPU;
            tensors or numpy arrays. float64 becomes float32, other types stay.
        labels: ``(rows, ...)``, on the CPU; likewise.
        parts: The rows of ``train``, ``validation`` and ``test``; or of ``weights``, ``theta``,
            ``validation`` and ``test``. Each is either row numbers, ``(n,)`` integers (a
            tensor or an array), or a fraction: a random share of the rows that no part has by
            number. Fractions may add up to less than 1; other rows are left out then.
        spec: What models must know of the data (``Prepared.spec``).
        weights_training_proportion: Share of ``train``, drawn at random, that trains the weights;
            the others train theta. The flag of that name in click logs.
        seed: Of the random shares, not negative. The divisions of the rows and of ``train`` have
            streams of their own: another proportion leaves validation and test as they are.
        name: Of the data, for the run's record.

    Attributes:
        splits: Ascending row numbers of weights, theta, train (both together), validation, test.
        record: What a run's record says of the data, as JSON: name, rows, content hash, and for
            each part its rows and hash. Of the whole content, so that a job knows data that is not
            what a checkpoint was made of.

    Raises:
        DataError: Lengths differ, parts overlap or are empty, a row number, a fraction or the
            name of a part is wrong, or a row of a part has NaN or infinity.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor | np.ndarray],
        labels: Tensor | np.ndarray,
        parts: Mapping[str, Tensor | np.ndarray | float],
        *,
        spec: Any,
        weights_training_proportion: float = 0.8,
        seed: int = 1,
        name: str = "tensors",
    ) -> None:
        self.inputs = given_inputs(name, inputs)
        self.labels = labels = given_tensor(name, "labels", labels)
        lengths = [tensor.shape[0] if tensor.dim() else 0 for tensor in (*self.inputs, labels)]
        if len(set(lengths)) != 1:
            raise DataError(
                f"{name}: inputs of {', '.join(map(str, lengths[:-1]))} rows and {lengths[-1]} "
                "labels; each row needs one of each"
            )
        if seed < 0:
            raise DataError(f"{name}: seed={seed} must not be negative")
        self.spec = spec
        numbered = {
            part: given_tensor(name, f"the {part} part", value)
            if isinstance(value, np.ndarray)
            else value
            for part, value in parts.items()
        }
        self.splits = _divided(name, numbered, labels.shape[0], weights_training_proportion, seed)
        named = {f"inputs[{number}]": tensor for number, tensor in enumerate(self.inputs)}
        check_finite(name, {**named, "labels": labels}, self.splits)
        self.record: dict[str, Any] = {
            "data_set": name,
            "content_hash": _content_hash((*self.inputs, labels)),
            "rows": labels.shape[0],
            "split": {
                "seed": seed,
                "weights_training_proportion": weights_training_proportion,
                "parts": {
                    part: {"rows": len(rows), "hash": indices_hash(rows)}
                    for part, rows in self.splits.items()
                },
            },
        }

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
    ) -> TensorLoader:
        """A loader of one part, see :class:`TensorLoader`.

        Raises:
            DataError: There is no such part, or the batch does not fit it.
        """
        if split not in self.splits:
            raise DataError(f"split={split!r}: must be one of {', '.join(self.splits)}")
        return TensorLoader(
            TensorBatch(self.inputs, self.labels),
            self.splits[split],
            batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            device=torch.device(device or "cpu"),
            flag=flag,
        )


class TensorLoader:
    """Batches of some rows of tensors, addressed by global step (``dnas.data.loader.Loader``).

    With ``shuffle`` every epoch has a uniform random order, a function of the seed and the epoch;
    without, rows come in ascending order. When ``drop_last`` leaves out an incomplete last batch,
    other rows are left out each epoch. Rows that take no more than an eighth of a GPU's free
    memory are copied there once; of others each batch is copied.

    Args:
        data: All rows.
        rows: Numbers of those to give, ascending.
        batch_size: B.
        shuffle: Whether the order is random.
        seed: Of the order, not negative.
        drop_last: Leave out an incomplete last batch.
        device: Where the batches are to be.
        flag: How the batch size is called in messages.

    Raises:
        DataError: The batch size is no size, or larger than the part and ``drop_last``.
    """

    def __init__(
        self,
        data: TensorBatch,
        rows: np.ndarray,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        drop_last: bool,
        device: torch.device,
        flag: str,
    ) -> None:
        if batch_size < 1:
            raise DataError(f"{flag}={batch_size}: must be at least 1")
        if drop_last and batch_size > len(rows):
            raise DataError(
                f"{flag}={batch_size} is more than the {len(rows)} rows of this part of the data: "
                f"use at most {len(rows)}, or more data"
            )
        self.batch_size = batch_size
        self._device = device
        self._steps = len(rows) // batch_size if drop_last else -(-len(rows) // batch_size)
        self._order = FullOrder(len(rows), seed) if shuffle else None
        self._data, self._rows = data, torch.from_numpy(rows)
        self._known: tuple[np.ndarray | None, Tensor] = None, self._rows
        share = sum(t.nbytes for t in (*data.inputs, data.labels)) * len(rows) / len(data.labels)
        if device.type != "cpu" and share <= resident_limit(device, None):
            self._data = _taken(data, self._rows).to(device)
            self._rows = torch.arange(len(rows), device=device)
            self._known = None, self._rows

    def __len__(self) -> int:
        return self._steps

    def batches(self, start: int, stop: int) -> Iterator[TensorBatch]:
        """The batches of global steps ``start`` .. ``stop - 1``; leaving early is fine."""
        if start < 0:
            raise DataError(f"batches({start}, {stop}): steps begin at 0")
        for step in range(start, stop):
            epoch, number = divmod(step, self._steps)
            rows = self._rows_of(epoch)[number * self.batch_size : (number + 1) * self.batch_size]
            yield _taken(self._data, rows).to(self._device)

    def _rows_of(self, epoch: int) -> Tensor:
        """The rows of an epoch in its order, where the data is; those of the last one are kept."""
        if self._order is None:
            return self._rows
        _, order = self._order.around(epoch, 0)
        if self._known[0] is not order:
            places = torch.from_numpy(order).to(self._rows.device)
            self._known = order, self._rows[places]
        return self._known[1]


def _taken(data: TensorBatch, rows: Tensor) -> TensorBatch:
    """Some rows; copies, never views: a step may write into its batch."""
    return TensorBatch(tuple(tensor[rows] for tensor in data.inputs), data.labels[rows])


def _divided(
    name: str, parts: Mapping[str, Tensor | float], rows: int, weights_proportion: float, seed: int
) -> dict[str, np.ndarray]:
    """The rows of each of :data:`PARTS`."""
    if set(parts) not in (set(_GIVEN), set(_GIVEN_APART)):
        raise DataError(
            f"{name}: the parts are {', '.join(parts)}; give {', '.join(_GIVEN)}, or "
            f"{', '.join(_GIVEN_APART)}"
        )
    if not 0 < weights_proportion < 1:
        raise DataError(
            f"{name}: weights_training_proportion={weights_proportion} must be between 0 and 1"
        )
    found = {
        part: _numbers(name, part, value, rows)
        for part, value in parts.items()
        if isinstance(value, Tensor)
    }
    times = np.zeros(rows, dtype=np.int64)
    for numbers in found.values():
        np.add.at(times, numbers, 1)
    if times.max(initial=0) > 1:
        raise DataError(
            f"{name}: {int((times > 1).sum())} rows, such as row {int(times.argmax())}, are in the "
            "parts more than once; what trains must not be what judges"
        )
    shares = {part: float(value) for part, value in parts.items() if part not in found}
    if any(not 0 < share <= 1 for share in shares.values()) or sum(shares.values()) > 1.000001:
        raise DataError(
            f"{name}: the parts {shares} must be shares of the rows: positive, and at most 1 "
            "together"
        )
    order = np.random.default_rng([seed, _STREAM_PARTS]).permutation(np.flatnonzero(times == 0))
    first, total = 0, 0.0
    for part, share in shares.items():
        total += share
        last = min(round(total * order.size), order.size)
        found[part], first = np.sort(order[first:last]), last
    if "train" in found:
        order = np.random.default_rng([seed, _STREAM_WEIGHTS]).permutation(found["train"])
        cut = round(weights_proportion * order.size)
        found["weights"], found["theta"] = np.sort(order[:cut]), np.sort(order[cut:])
    found["train"] = np.sort(np.concatenate([found["weights"], found["theta"]]))
    for part in ("validation", "test", "train", "weights", "theta"):
        if found[part].size == 0:
            why = parts.get(part, f"weights_training_proportion={weights_proportion}")
            said = "" if isinstance(why, Tensor) else f" with {why}"
            raise DataError(f"{name}: the {part} part of {rows} rows is empty{said}: use more rows")
    return {part: found[part] for part in PARTS}


def _numbers(name: str, part: str, value: Tensor, rows: int) -> np.ndarray:
    """Row numbers, ascending."""
    if value.dim() != 1 or value.is_floating_point() or value.dtype == torch.bool:
        raise DataError(
            f"{name}: the {part} part is a tensor of {value.dtype} and shape "
            f"{tuple(value.shape)}; give row numbers (n,), or a fraction"
        )
    numbers = np.sort(value.cpu().numpy().astype(np.int64))
    if numbers.size and not 0 <= numbers[0] <= numbers[-1] < rows:
        raise DataError(
            f"{name}: the {part} part has row numbers from {numbers[0]} to {numbers[-1]}, but "
            f"there are {rows} rows, counted from 0"
        )
    return numbers


def _content_hash(tensors: Sequence[Tensor]) -> str:
    """32 hexadecimal digits of types, shapes and all values."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
