"""The approximate index: what it finds, by hand and against exhaustive search."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from dnas.errors import ConfigError
from dnas.models.towers import ApproximateIndex, index_recall, top_k

pytest.importorskip("faiss", reason="the extra faiss is not installed")


def vectors(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, 16, generator=generator), dim=1)


def test_best_items_by_hand() -> None:
    items = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    index = ApproximateIndex(items, "Flat")
    ids, scores = index.search(torch.tensor([[0.0, 1.0]]), 2)
    assert ids.tolist() == [[2, 3]]
    assert scores.tolist() == [[1.0, pytest.approx(0.8)]]


def test_flat_index_is_exhaustive_search() -> None:
    users, items = vectors(50, 1), vectors(300, 2)
    index = ApproximateIndex(items, "Flat")
    assert torch.equal(index.search(users, 20)[0], top_k(users, items, 20)[0])
    assert index_recall(index, users, items, 20) == 1.0


def test_recall_is_the_share_that_is_found() -> None:
    users, items = vectors(1, 3), vectors(40, 4)
    best = top_k(users, items, 10)[0][0] - 1
    others = torch.tensor([j for j in range(40) if j not in best[:4].tolist()])
    blind = items.clone()
    blind[best[:4]] = -users[0]  # the index knows four of the best as the worst
    assert len(others) == 36
    assert index_recall(ApproximateIndex(blind, "Flat"), users, items, 10) == pytest.approx(0.6)


def test_approximate_index_finds_most() -> None:
    users, items = vectors(200, 5), vectors(5000, 6)
    hnsw = index_recall(ApproximateIndex(items), users, items, 10)
    cells = index_recall(ApproximateIndex(items, "IVF64,Flat"), users, items, 10)  # 1 cell of 64
    assert 0.8 < hnsw <= 1.0
    assert cells < hnsw


def test_fewer_items_than_asked_for() -> None:
    ids, scores = ApproximateIndex(vectors(3, 7), "Flat").search(vectors(2, 8), 5)
    assert (ids > 0).sum(1).tolist() == [3, 3]
    assert (scores[:, 3:] == -torch.inf).all()


def test_round_trip(tmp_path: Path) -> None:
    users, items = vectors(10, 9), vectors(100, 10)
    index = ApproximateIndex(items)
    index.save(tmp_path / "items.faiss")
    assert [path.name for path in tmp_path.iterdir()] == ["items.faiss"]
    again = ApproximateIndex.load(tmp_path / "items.faiss")
    assert torch.equal(again.search(users, 5)[0], index.search(users, 5)[0])


@pytest.mark.parametrize("description", ["Nonsense", "IVF4096,Flat"])
def test_what_faiss_refuses_is_said(description: str) -> None:
    with pytest.raises(ConfigError, match=f"index '{description}' of 100 items"):
        ApproximateIndex(vectors(100, 11), description)


def test_wrong_users_and_files(tmp_path: Path) -> None:
    index = ApproximateIndex(vectors(10, 12))
    with pytest.raises(ConfigError, match=r"give \(U, 16\) and a positive k"):
        index.search(torch.zeros(2, 8), 3)
    with pytest.raises(ConfigError, match=r"give \(U, 16\) and a positive k"):
        index.search(torch.zeros(2, 16), 0)
    (tmp_path / "broken").write_bytes(b"no index")
    for name in ("broken", "missing"):
        with pytest.raises(ConfigError, match=f"{name}: cannot be read as an index"):
            ApproximateIndex.load(tmp_path / name)
