"""Metrics over a stream of batches, without a host round trip for each of them."""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from torch.nn import functional

from dnas.errors import DataError
from dnas.metrics.binary import NO_ROWS, auc, normalized_entropy, raise_if_unusable
from dnas.metrics.histogram import add_to_histogram, auc_from_histogram, bin_edges

logger = logging.getLogger(__name__)

#: Batches are merged after this many of them or this many rows, whichever comes first: few enough
#: that the memory held twice stays small, many enough that merging costs nothing.
_PENDING_BATCHES = 64
_PENDING_ROWS = 1 << 20


class BinaryMetrics:
    """Log loss, AUC, normalized entropy and calibration of batches of logits.

    ``update`` any number of times, then ``compute``; more updates and another ``compute`` may
    follow. ``update`` copies its arguments on their device and never waits for it, so it can sit
    between CUDA graph replays that reuse the same output buffer.

    Log loss and calibration are float64 sums over all rows. AUC is exact up to ``exact_up_to``
    rows, for which logits (4 bytes each in float32) and labels (1 byte) are kept; beyond, they are
    replaced by a histogram of fixed size (see :mod:`dnas.metrics.histogram`), and
    :meth:`auc_error_bound` says how far the AUC may be off.

    Args:
        exact_up_to: Largest number of rows whose AUC is exact.
        bins: Bins of the histogram beyond it.
    """

    def __init__(self, exact_up_to: int = 20_000_000, bins: int = 1 << 16) -> None:
        if exact_up_to < 0 or bins < 2:
            raise ValueError(
                f"exact_up_to >= 0 and bins >= 2 must hold, got {exact_up_to=}, {bins=}"
            )
        self.exact_up_to = exact_up_to
        self.bins = bins
        self.reset()

    def reset(self) -> None:
        """Forget all rows."""
        self._rows = 0
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._pending_rows = 0
        self._blocks: list[tuple[Tensor, Tensor]] = []  # logits (n,), labels (n,) bool
        self._counts: Tensor | None = None  # (2, bins) int64 once there are too many rows
        self._edges: Tensor | None = None
        self._sums: Tensor | None = None  # (3,) float64: losses, probabilities, labels
        self._faults: Tensor | None = None  # (2,) int64: non-finite logits, labels not 0 or 1

    @property
    def rows(self) -> int:
        """Rows seen so far."""
        return self._rows

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add rows.

        Args:
            logits: Shape ``(B,)`` or any shape of B elements, any floating dtype.
            labels: 0 or 1, of any dtype, as many elements as ``logits``, on the same device.

        Raises:
            DataError: The two sizes differ. Wrong values are found by :meth:`compute`, since
                looking at them here would mean waiting for the device.
        """
        if logits.numel() != labels.numel():
            raise DataError(
                f"{logits.numel()} logits (shape {tuple(logits.shape)}) but {labels.numel()} "
                f"labels (shape {tuple(labels.shape)})"
            )
        rows = logits.numel()
        self._pending.append(
            (logits.detach().reshape(-1).clone(), labels.detach().reshape(-1).clone())
        )
        self._rows += rows
        self._pending_rows += rows
        if len(self._pending) >= _PENDING_BATCHES or self._pending_rows >= _PENDING_ROWS:
            self._merge_pending()

    def compute(self) -> dict[str, float | None]:
        """The metrics of all rows so far.

        Returns:
            ``logloss``, ``auc``, ``ne``, ``calibration``, ``rows`` and ``label_rate``. What the
            rows do not define is None: ``auc`` and ``ne`` with one class only, ``calibration``
            without a click.

        Raises:
            DataError: There was no row, or a label was neither 0 nor 1.
            NonFiniteError: A logit was NaN or infinite; the message says how many.
        """
        self._merge_pending()
        if self._sums is None or self._faults is None:
            raise DataError(NO_ROWS)
        non_finite, bad_labels = self._faults.tolist()
        raise_if_unusable(rows=self._rows, non_finite=non_finite, bad_labels=bad_labels)
        loss_sum, probability_sum, clicks = self._sums.tolist()
        logloss = loss_sum / self._rows
        label_rate = clicks / self._rows
        return {
            "logloss": logloss,
            "auc": self._auc()[0],
            "ne": normalized_entropy(logloss, label_rate),
            "calibration": probability_sum / clicks if clicks else None,
            "rows": self._rows,
            "label_rate": label_rate,
        }

    def auc_error_bound(self) -> float:
        """The most by which ``auc`` can be wrong: 0.0 up to ``exact_up_to`` rows."""
        self._merge_pending()
        return self._auc()[1]

    def _auc(self) -> tuple[float | None, float]:
        """AUC and its error bound."""
        if self._counts is not None:
            return auc_from_histogram(self._counts) or (None, 0.0)
        if not self._blocks:
            return None, 0.0
        logits, labels = (torch.cat(parts) for parts in zip(*self._blocks, strict=True))
        self._blocks = [(logits, labels)]
        return auc(logits, labels), 0.0

    def _merge_pending(self) -> None:
        """Fold the waiting batches into the sums and into what AUC is computed from."""
        if self._pending_rows == 0:
            self._pending.clear()
            return
        logits, raw_labels = (torch.cat(parts) for parts in zip(*self._pending, strict=True))
        self._pending.clear()
        self._pending_rows = 0
        if logits.dtype != torch.float64:
            logits = logits.float()
        labels = raw_labels != 0
        finite = torch.isfinite(logits)
        faults = torch.stack([(~finite).sum(), (labels & (raw_labels != 1)).sum()])
        z, y = logits.double(), labels.double()
        losses = functional.binary_cross_entropy_with_logits(z, y, reduction="sum")
        sums = torch.stack([losses, torch.sigmoid(z).sum(), y.sum()])
        self._sums = sums if self._sums is None else self._sums + sums
        self._faults = faults if self._faults is None else self._faults + faults
        self._keep(logits, labels)

    def _keep(self, logits: Tensor, labels: Tensor) -> None:
        """Store the rows themselves, or count them once there are more than ``exact_up_to``."""
        if self._counts is None:
            self._blocks.append((logits, labels))
            if sum(block.numel() for block, _ in self._blocks) <= self.exact_up_to:
                return
            logger.info("over %d rows: AUC now from %d bins of logits", self.exact_up_to, self.bins)
            self._edges = bin_edges(self.bins, logits.device)
            counts = torch.zeros(2, self.bins, dtype=torch.int64, device=logits.device)
            blocks, self._blocks = self._blocks, []
        else:
            counts, blocks = self._counts, [(logits, labels)]
        assert self._edges is not None
        for some_logits, some_labels in blocks:
            counts = add_to_histogram(counts, self._edges, some_logits, some_labels)
        self._counts = counts
