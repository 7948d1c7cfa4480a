"""The approximate index: what it finds, by hand and against exhaustive search."""

from __future__ import annotations

from itertools import pairwise
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


@pytest.mark.parametrize(
    ("description", "name", "values"),
    [("IVF64,Flat", "nprobe", (1, 4, 16, 64)), ("HNSW8", "efSearch", (10, 40, 160))],
)
def test_closer_search_finds_more(description: str, name: str, values: tuple[int, ...]) -> None:
    users, items = vectors(100, 13), vectors(4000, 14)
    recalls = [
        index_recall(ApproximateIndex(items, description, f"{name}={value}"), users, items, 10)
        for value in values
    ]
    assert all(more > less + 0.02 for less, more in pairwise(recalls)), recalls
    assert recalls[-1] > 0.99


@pytest.mark.parametrize(
    ("description", "parameters"), [("IVF64,Flat", "nprobe=16"), ("HNSW8", "efSearch=100")]
)
def test_search_parameters_are_saved(tmp_path: Path, description: str, parameters: str) -> None:
    users, items = vectors(100, 15), vectors(4000, 16)
    path = tmp_path / "items.faiss"
    index = ApproximateIndex(items, description, parameters)
    index.save(path)
    expected = index.search(users, 10)[0]
    assert torch.equal(ApproximateIndex.load(path).search(users, 10)[0], expected)
    name = parameters.partition("=")[0]
    other = ApproximateIndex.load(path, f"{name}=1")
    assert index_recall(other, users, items, 10) < index_recall(index, users, items, 10)


@pytest.mark.parametrize("parameters", ["efSearch=16", "nprobe", "nprobe=many", "nprobe=0"])
def test_wrong_search_parameters_are_named(tmp_path: Path, parameters: str) -> None:
    items = vectors(400, 17)
    with pytest.raises(ConfigError, match=f"search_parameters='{parameters}'.*'nprobe=16'"):
        ApproximateIndex(items, "IVF4,Flat", parameters)
    ApproximateIndex(items, "IVF4,Flat").save(tmp_path / "items.faiss")
    with pytest.raises(ConfigError, match=f"search_parameters='{parameters}'.*'nprobe=16'"):
        ApproximateIndex.load(tmp_path / "items.faiss", parameters)


def test_several_vectors_of_a_user_by_hand() -> None:
    items = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    users = torch.tensor([[[0.8, 0.6], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    # User 1: 0.8, 0.6, 0.96 and 0, 1, 0.8; user 2: 1, 0, 0.6 twice.
    index = ApproximateIndex(items, "Flat")
    ids, scores = index.search(users, 2)
    assert ids.tolist() == [[2, 3], [1, 3]]
    torch.testing.assert_close(scores, torch.tensor([[1.0, 0.96], [1.0, 0.6]]))
    ids, scores = index.search(users, 4)
    assert ids.tolist() == [[2, 3, 1, 0], [1, 3, 2, 0]]
    torch.testing.assert_close(
        scores, torch.tensor([[1.0, 0.96, 0.8, -torch.inf], [1.0, 0.6, 0.0, -torch.inf]])
    )


def test_several_vectors_as_exhaustive_search() -> None:
    users, items = vectors(150, 18).view(50, 3, 16), vectors(300, 19)
    index = ApproximateIndex(items, "Flat")
    for found, exact in zip(index.search(users, 20), top_k(users, items, 20), strict=True):
        torch.testing.assert_close(found, exact)
    assert index_recall(index, users, items, 20) == 1.0
    one = users[:, :1]
    assert torch.equal(index.search(one, 5)[0], index.search(one[:, 0], 5)[0])
    assert index_recall(ApproximateIndex(items, "IVF16,Flat"), users, items, 20) < 0.9


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
    with pytest.raises(ConfigError, match=r"give \(U, 16\) or \(U, K, 16\) and a positive k"):
        index.search(torch.zeros(2, 8), 3)
    with pytest.raises(ConfigError, match=r"give \(U, 16\) or \(U, K, 16\) and a positive k"):
        index.search(torch.zeros(2, 16), 0)
    (tmp_path / "broken").write_bytes(b"no index")
    for name in ("broken", "missing"):
        with pytest.raises(ConfigError, match=f"{name}: cannot be read as an index"):
            ApproximateIndex.load(tmp_path / name)
