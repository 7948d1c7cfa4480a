"""Full ranking: places, and metrics computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from dnas.metrics.ranking import (
    MISSED,
    exact_scores,
    ndcg,
    ndcg_of_hits,
    ranks,
    recall,
    reciprocal_rank,
)


def gain(rank: int) -> float:
    return 1.0 / math.log2(rank + 1)


def test_places_are_counted_from_one_and_equal_scores_go_by_item_id() -> None:
    #                       item:  1    2    3    4    5
    scores = torch.tensor([[0.5, 0.9, 0.5, 0.1, 0.5]], dtype=torch.float64)
    found = ranks(scores, torch.tensor([[5, 2, 1, 4, 3]]), torch.tensor([[0]]))
    assert found.tolist() == [[4, 1, 2, 5, 3]]


def test_excluded_items_make_room_and_cannot_be_found() -> None:
    scores = torch.tensor([[0.5, 0.9, 0.4, 0.1], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    relevant = torch.tensor([[3, 2], [1, 0]])
    found = ranks(scores, relevant, torch.tensor([[2, 0], [4, 3]]))
    assert found.tolist() == [[2, MISSED], [2, MISSED]]


def test_recall_is_of_all_relevant_items() -> None:
    places = torch.tensor([[1, 4, 60, MISSED], [3, MISSED, MISSED, MISSED]])
    relevant = torch.tensor([4, 1])
    assert recall(places, relevant, 4).tolist() == [0.5, 1.0]
    assert recall(places, relevant, 2).tolist() == [0.25, 0.0]


def test_two_definitions_of_ndcg() -> None:
    # Three relevant items, found at places 2 and 5; the third is at place 120, beyond the list.
    places, relevant = torch.tensor([[120, 2, 5]]), torch.tensor([3])
    dcg = gain(2) + gain(5)
    assert ndcg(places, relevant, 10).item() == pytest.approx(dcg / (gain(1) + gain(2) + gain(3)))
    assert ndcg_of_hits(places, 10).item() == pytest.approx(dcg / (gain(1) + gain(2)))
    # One hit among the first three places, two in the list of a hundred: the ideal has both.
    assert ndcg_of_hits(places, 3).item() == pytest.approx(gain(2) / (gain(1) + gain(2)))
    # More relevant items than places: the ideal list is full of hits.
    assert ndcg(places, relevant, 2).item() == pytest.approx(gain(2) / (gain(1) + gain(2)))


def test_a_perfect_list_is_one_and_no_hit_is_zero() -> None:
    perfect, relevant = torch.tensor([[2, 1, 3]]), torch.tensor([3])
    assert ndcg(perfect, relevant, 50).item() == 1.0
    assert ndcg_of_hits(perfect, 50).item() == 1.0
    nothing = torch.tensor([[500, MISSED]])
    assert ndcg(nothing, torch.tensor([2]), 50).item() == 0.0
    assert ndcg_of_hits(nothing, 50).item() == 0.0


def test_one_hit_of_many_is_perfect_for_the_published_definition_only() -> None:
    places, relevant = torch.tensor([[1, 900, 901]]), torch.tensor([3])
    assert ndcg_of_hits(places, 50).item() == 1.0
    assert ndcg(places, relevant, 50).item() == pytest.approx(1 / (1 + gain(2) + gain(3)))


def test_reciprocal_rank_is_of_the_first_hit() -> None:
    places = torch.tensor([[8, 4, MISSED], [MISSED, MISSED, MISSED]])
    assert reciprocal_rank(places).tolist() == [0.25, 0.0]


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


def test_scores_have_no_rounding_errors() -> None:
    users, items = unit(9, 64, 0), unit(50, 64, 1)
    together = exact_scores(users, items)
    # The same bits one by one, in another order of the coordinates, and as whole numbers.
    order = torch.randperm(64, generator=torch.Generator().manual_seed(2))
    assert torch.equal(exact_scores(users[:, order], items[:, order]), together)
    for row in range(9):
        assert torch.equal(exact_scores(users[row : row + 1], items), together[row : row + 1])
    assert torch.equal(together, together.round())
    expected = users.double() @ items.double().T
    assert torch.allclose(together / 2**50, expected, atol=1e-7)


def test_copies_of_an_item_are_ranked_by_id_whatever_the_sum_rounds_to() -> None:
    users, items = unit(40, 64, 3), unit(20, 64, 4).repeat(5, 1)  # item i, i + 20, ... are equal
    relevant = torch.arange(1, 101).expand(40, -1)
    found = ranks(exact_scores(users, items), relevant, torch.zeros(40, 1, dtype=torch.int64))
    copies = found.view(40, 5, 20)
    assert torch.equal(copies, copies[:, :1] + torch.arange(5)[:, None])


def test_places_agree_with_sorting_by_hand() -> None:
    users, items = unit(6, 8, 5), unit(30, 8, 6)
    excluded = torch.tensor([[1, 2, 3]] * 6)
    relevant = torch.tensor([[7, 12, 30]] * 6)
    found = ranks(exact_scores(users, items), relevant, excluded)
    for user in range(6):
        scores = {i + 1: float(users[user] @ items[i]) for i in range(3, 30)}
        order = sorted(scores, key=lambda i: -scores[i])
        assert found[user].tolist() == [order.index(i) + 1 for i in (7, 12, 30)]


@pytest.mark.parametrize("values", [2, 40, 10**6])
def test_ties_or_none_places_are_those_of_a_stable_sort(values: int) -> None:
    generator = torch.Generator().manual_seed(values)
    scores = torch.randint(values, (30, 60), generator=generator).double()
    scores[7] = 1.0  # whoever has the same score everywhere: all places by id
    excluded = torch.randint(0, 61, (30, 5), generator=generator)
    relevant = torch.rand(30, 60, generator=generator).argsort(1)[:, :20] + 1
    found = ranks(scores, relevant, excluded)
    for user in range(30):
        banned = set(excluded[user].tolist())
        order = sorted(set(range(1, 61)) - banned, key=lambda i: (-float(scores[user, i - 1]), i))
        expected = [MISSED if i in banned else order.index(i) + 1 for i in relevant[user].tolist()]
        assert found[user].tolist() == expected
    assert torch.equal(found[:1], ranks(scores[:1], relevant[:1], excluded[:1]))
