"""Approximate retrieval, for corpora too large for exhaustive search, by faiss (extra ``faiss``).

Exhaustive search (:func:`dnas.models.towers.top_k`) costs N inner products a user. An index answers
after a part of them and misses some of the best items; how many, :func:`index_recall` says. What it
misses is not an error of the model: metrics of this library are exact, always.

Letters: N items, U users, K vectors of a user, D width of the vectors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
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
        search_parameters: How closely is looked, as faiss spells it: ``nprobe=16`` cells of an
            ``IVF`` index, which looks into one otherwise; ``efSearch=128`` candidates of a graph,
            16 otherwise. More find more, and take longer. Empty: faiss's own.

    Raises:
        ConfigError: faiss is not installed, does not know the description or the search
            parameters, or there are too few items to train the index on.
    """

    def __init__(
        self, items: Tensor, description: str = USUAL_INDEX, search_parameters: str = ""
    ) -> None:
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
        self._tune(search_parameters)

    def search(self, users: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """About the k best items of each user.

        Args:
            users: ``(U, D)`` vectors of the user tower; ``(U, K, D)`` where a user has several: the
                k best items of each are looked for, and the score of an item is the largest of
                those found. No item is there twice.
            k: How many.

        Returns:
            ``(U, k)`` item ids from 1 and their scores, best first, on the CPU; where the index
            finds fewer, the id is 0 and the score minus infinity.

        Raises:
            ConfigError: The vectors are not of the index's dimension, or k is not positive.
        """
        width = self._index.d
        if users.dim() not in (2, 3) or users.shape[-1] != width or k < 1:
            raise ConfigError(
                f"search: users of shape {tuple(users.shape)} and k={k}; this index has vectors of "
                f"{width}, give (U, {width}) or (U, K, {width}) and a positive k"
            )
        queries = users.detach().float().cpu().reshape(-1, width).contiguous().numpy()
        scores, places = self._index.search(queries, k)
        ids = torch.from_numpy(places) + 1  # faiss has -1 for nothing
        found = torch.from_numpy(scores).masked_fill(ids == 0, -torch.inf)
        if users.dim() == 2:
            return ids, found
        of_user = (len(users), users.shape[1] * k)
        return _merged(ids.view(of_user), found.view(of_user), k)

    def save(self, path: str | Path) -> None:
        """Write the index in faiss's own format, by write-then-rename.

        ``nprobe`` and ``efSearch`` are in it.
        """
        with replacing(Path(path)) as temporary:
            _faiss().write_index(self._index, str(temporary))

    @classmethod
    def load(cls, path: str | Path, search_parameters: str = "") -> ApproximateIndex:
        """Read what ``save`` wrote.

        Args:
            path: The file.
            search_parameters: In the place of those that the index was saved with; empty: those.

        Raises:
            ConfigError: The file is not there, or is not an index, or the index does not know the
                search parameters.
        """
        index = cls.__new__(cls)
        try:
            index._index = _faiss().read_index(str(path))
        except RuntimeError as error:
            raise ConfigError(f"{path}: cannot be read as an index of faiss: {error}") from error
        index._tune(search_parameters)
        return index

    def _tune(self, parameters: str) -> None:
        faiss = _faiss()
        try:
            faiss.ParameterSpace().set_index_parameters(self._index, parameters)
            # Some wrong values are refused by the first search only.
            self._index.search(np.zeros((1, self._index.d), np.float32), 1)
        except RuntimeError as error:
            raise ConfigError(
                f"search_parameters={parameters!r}: {error}; give what this index has, as "
                "'nprobe=16' (IVF) or 'efSearch=128' (HNSW), with commas between several"
            ) from error


def _merged(ids: Tensor, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row, no id twice.

    Args:
        ids: ``(U, C)`` from 1, 0 for nothing.
        scores: ``(U, C)``, minus infinity for nothing.
        k: At most C.

    Returns:
        ``(U, k)`` ids and their largest scores, best first; 0 and minus infinity where there are
        fewer.
    """
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    ids = ids.gather(1, order)
    by_id, places = ids.sort(dim=1, stable=True)  # of equal ids the best comes first
    again = torch.zeros_like(ids, dtype=torch.bool)
    again.scatter_(1, places[:, 1:], by_id[:, 1:] == by_id[:, :-1])
    best = scores.masked_fill(again, -torch.inf).sort(dim=1, descending=True, stable=True)
    ids = ids.masked_fill(again, 0).gather(1, best.indices)
    return ids[:, :k], best.values[:, :k]


def index_recall(index: ApproximateIndex, users: Tensor, items: Tensor, k: int) -> float:
    """Share of the exact k best items that the index finds, mean over users.

    Args:
        index: Of ``items``.
        users: ``(U, D)`` or ``(U, K, D)``.
        items: ``(N, D)``.
        k: Length of the lists.
    """
    exact = top_k(users, items, k)[0].cpu()
    found = index.search(users, k)[0]
    hits = (exact.unsqueeze(2) == found.unsqueeze(1)).any(2)
    return float(hits.double().mean())
