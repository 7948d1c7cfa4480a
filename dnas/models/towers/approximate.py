"""Approximate retrieval, for corpora too large for exhaustive search, by faiss (extra ``faiss``).

Exhaustive search (:func:`dnas.models.towers.top_k`) costs N inner products a user. An index answers
after a part of them and misses some of the best items; how many, :func:`index_recall` says. What it
misses is not an error of the model: metrics of this library are exact, always.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnas.errors import ConfigError
from dnas.files import replacing
from dnas.models.towers.serving import top_k

#: A graph with 32 links a vector: good for up to some millions of items, needs no training.
USUAL_INDEX = "HNSW32"


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "an approximate index needs faiss: pip install 'dnas[faiss]', or search exhaustively "
            "with dnas.models.towers.top_k"
        ) from error
    return faiss


class ApproximateIndex:
    """Items of a corpus by inner product, item j + 1 being row j of the matrix.

    Args:
        items: ``(N, D)`` as of :func:`dnas.models.towers.item_matrix`.
        description: For faiss's index factory: ``HNSW32``, ``IVF1024,Flat``, ``IVF4096,PQ32``.

    Raises:
        ConfigError: faiss is not installed, does not know the description, or there are too few
            items to train the index on.
    """

    def __init__(self, items: Tensor, description: str = USUAL_INDEX) -> None:
        faiss = _faiss()
        vectors = items.detach().float().cpu().contiguous().numpy()
        try:
            self._index = faiss.index_factory(
                vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT
            )
            self._index.train(vectors)
            self._index.add(vectors)
        except RuntimeError as error:
            raise ConfigError(f"index {description!r} of {len(items)} items: {error}") from error

    def search(self, users: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """About the k best items of each user.

        Args:
            users: ``(U, D)`` vectors of the user tower.
            k: How many.

        Returns:
            ``(U, k)`` item ids from 1 and their scores, best first, on the CPU; where the index
            finds fewer, the id is 0 and the score minus infinity.

        Raises:
            ConfigError: The vectors are not of the index's dimension, or k is not positive.
        """
        if users.dim() != 2 or users.shape[1] != self._index.d or k < 1:
            raise ConfigError(
                f"search: users of shape {tuple(users.shape)} and k={k}; this index has vectors of "
                f"{self._index.d}, give (U, {self._index.d}) and a positive k"
            )
        queries = users.detach().float().cpu().contiguous().numpy()
        scores, places = self._index.search(queries, k)
        found = torch.from_numpy(places) + 1  # faiss has -1 for nothing
        return found, torch.from_numpy(scores).masked_fill(found == 0, -torch.inf)

    def save(self, path: str | Path) -> None:
        """Write the index in faiss's own format, by write-then-rename."""
        with replacing(Path(path)) as temporary:
            _faiss().write_index(self._index, str(temporary))

    @classmethod
    def load(cls, path: str | Path) -> ApproximateIndex:
        """Read what ``save`` wrote.

        Raises:
            ConfigError: The file is not there, or is not an index.
        """
        index = cls.__new__(cls)
        try:
            index._index = _faiss().read_index(str(path))
        except RuntimeError as error:
            raise ConfigError(f"{path}: cannot be read as an index of faiss: {error}") from error
        return index


def index_recall(index: ApproximateIndex, users: Tensor, items: Tensor, k: int) -> float:
    """Share of the exact k best items that the index finds, mean over users.

    Args:
        index: Of ``items``.
        users: ``(U, D)``.
        items: ``(N, D)``.
        k: Length of the lists.
    """
    exact = top_k(users, items, k)[0].cpu()
    found = index.search(users, k)[0]
    hits = (exact.unsqueeze(2) == found.unsqueeze(1)).any(2)
    return float(hits.double().mean())
