"""The corrected softmax over a batch, by hand, and which way it corrects."""

from __future__ import annotations

import math

import pytest
import torch

from dnas.errors import ConfigError, DataError
from dnas.training.sampled_softmax import Interests, SampledSoftmax


def labels(items: list[int], q: list[float], rewards: list[float] | None = None) -> torch.Tensor:
    rewards = rewards or [1.0] * len(items)
    columns = [items, [math.log(p) for p in q], rewards]
    return torch.tensor(columns, dtype=torch.float64).T


def vectors(users: list[list[float]], items: list[list[float]]) -> torch.Tensor:
    return torch.tensor(users + items, dtype=torch.float64)


#: Cosines [[1, 0], [0.6, 0.8]].
OUTPUTS = vectors([[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.0, 1.0]])


def test_by_hand() -> None:
    loss = SampledSoftmax(temperature=0.5)(OUTPUTS, labels([1, 2], [0.5, 0.25]))
    # Logits: cosines / 0.5 - log q, that is [2 + ln 2, ln 4] and [1.2 + ln 2, 1.6 + ln 4].
    first = -math.log(2 * math.exp(2.0) / (2 * math.exp(2.0) + 4 * math.exp(0.0)))
    second = -math.log(4 * math.exp(1.6) / (2 * math.exp(1.2) + 4 * math.exp(1.6)))
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-12)


def test_without_temperature_and_correction() -> None:
    loss = SampledSoftmax(temperature=1.0, corrected=False)(OUTPUTS, labels([1, 2], [0.5, 0.1]))
    first, second = math.log(1 + math.exp(-1.0)), math.log(1 + math.exp(-0.2))
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-12)


def test_rewards_weigh_rows_and_not_their_negatives() -> None:
    loss = SampledSoftmax(temperature=1.0, corrected=False)
    only_first = loss(OUTPUTS, labels([1, 2], [0.5, 0.5], [3.0, 0.0]))
    assert only_first.item() == pytest.approx(3.0 * math.log(1 + math.exp(-1.0)) / 2, rel=1e-12)


def test_accidental_hits_are_negatives_unless_masked() -> None:
    users, items = [[1.0, 0.0]] * 3, [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    twice = labels([7, 7, 9], [1.0, 1.0, 1.0])
    kept = SampledSoftmax(temperature=1.0)(vectors(users, items), twice)
    masked = SampledSoftmax(temperature=1.0, mask_accidental_hits=True)(
        vectors(users, items), twice
    )
    e = math.e
    assert kept.item() == pytest.approx((2 * math.log((2 * e + 1) / e) + math.log(2 * e + 1)) / 3)
    assert masked.item() == pytest.approx((2 * math.log((e + 1) / e) + math.log(2 * e + 1)) / 3)


def test_the_logit_of_a_popular_item_is_corrected_downwards() -> None:
    # All cosines equal: the share of an item in the softmax is 1 / q, so a popular negative is
    # pushed away less than a rare one.
    outputs = vectors([[1.0, 0.0]] * 3, [[0.5, 0.0]] * 3).requires_grad_()
    loss = SampledSoftmax(temperature=1.0)
    loss(outputs, labels([1, 2, 3], [0.1, 0.6, 0.2])).backward()
    assert outputs.grad is not None
    pushes = outputs.grad[3:, 0].tolist()  # of items; positive: away from the users
    shares = [1 / 0.1, 1 / 0.6, 1 / 0.2]
    for push, share in zip(pushes, shares, strict=True):
        # Three rows give the item its share of the softmax, one takes 1 for its own.
        assert push == pytest.approx((3 * share / sum(shares) - 1) / 3, rel=1e-9)
    assert pushes[1] < pushes[2] < pushes[0]


def learned(loss: SampledSoftmax) -> float:
    """Score of a popular item minus that of a rare one, where users do not matter."""
    generator = torch.Generator().manual_seed(0)
    q = torch.tensor([0.8, 0.2], dtype=torch.float64)
    scores = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for _ in range(300):
        drawn = torch.multinomial(q, 256, replacement=True, generator=generator)
        items = torch.stack([scores[drawn], torch.zeros(256)], dim=1)
        users = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(256, 2)
        made = torch.stack([drawn + 1.0, q[drawn].log(), torch.ones(256)], dim=1)
        (gradient,) = torch.autograd.grad(loss(torch.cat((users, items)), made), scores)
        with torch.no_grad():
            scores -= 1.0 * gradient
    popular, rare = scores.tolist()
    return popular - rare


def test_what_is_learned_is_the_softmax_over_all_items() -> None:
    # Chosen 4 times as often: its score is larger by ln 4. Uncorrected, its popularity is lost.
    assert learned(SampledSoftmax(temperature=1.0)) == pytest.approx(math.log(4.0), abs=0.1)
    assert learned(SampledSoftmax(temperature=1.0, corrected=False)) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("masked", [False, True])
def test_gradient(masked: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(10, 3, dtype=torch.float64, generator=generator).requires_grad_()
    made = labels([1, 2, 2, 4, 1], [0.1, 0.2, 0.3, 0.9, 0.4], [1.0, 2.0, 0.5, 1.0, 1.0])
    loss = SampledSoftmax(temperature=0.3, mask_accidental_hits=masked)
    assert torch.autograd.gradcheck(lambda x: loss(x, made), (outputs,))


#: Two users of two vectors and two items; the first user's vectors have the cosines 1 and 0 with
#: the own item, the other's 0.6 and 0.8.
SEVERAL = torch.tensor(
    [[[1.0, 0.0], [0.0, 1.0]], [[0.8, 0.6], [0.6, 0.8]], [[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2],
    dtype=torch.float64,
)


def test_the_interests_that_fit_the_own_item_are_in_the_loss() -> None:
    power = 2.0
    loss = SampledSoftmax(temperature=0.5, corrected=False, attention_power=power)
    found = loss(SEVERAL, labels([1, 2], [0.5, 0.5]))
    a = 1 / (1 + math.exp(-power * 1.0))  # of the first user's first vector
    b = 1 / (1 + math.exp(-power * 0.2))  # of the other's second vector
    users = [[a, 1 - a], [0.8 - 0.2 * b, 0.6 + 0.2 * b]]
    plain = SampledSoftmax(temperature=0.5, corrected=False)
    by_hand = plain(vectors(users, [[1.0, 0.0], [0.0, 1.0]]), labels([1, 2], [0.5, 0.5]))
    assert found.item() == pytest.approx(by_hand.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("power", "users"),
    [(0.0, [[0.5, 0.5], [0.7, 0.7]]), (1e6, [[1.0, 0.0], [0.6, 0.8]])],
    ids=["the mean", "the best"],
)
def test_powers_between_the_mean_and_the_best_interest(
    power: float, users: list[list[float]]
) -> None:
    made = labels([1, 2], [0.5, 0.1])
    found = SampledSoftmax(attention_power=power)(SEVERAL, made)
    single = SampledSoftmax()(vectors(users, [[1.0, 0.0], [0.0, 1.0]]), made)
    assert found.item() == pytest.approx(single.item(), rel=1e-9)


def test_every_item_is_scored_as_it_is_served() -> None:
    # Three rows of two vectors; rows 1 and 3 are of the same item.
    users = [[[1.0, 0.0], [0.6, 0.8]], [[0.6, -0.8], [0.8, 0.6]], [[-1.0, 0.0], [0.0, -1.0]]]
    items = [[[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2, [[1.0, 0.0]] * 2]
    outputs = torch.tensor([*users, *items], dtype=torch.float64)
    frequencies = [0.5, 0.25, 0.5]
    best = [[1.0, 0.8, 1.0], [0.8, 0.6, 0.8], [0.0, 0.0, 0.0]]  # of a user's vectors, by item
    losses = []
    for own, (cosines, shown) in enumerate(zip(best, ([0, 1], [0, 1, 2], [1, 2]), strict=True)):
        logits = [c / 0.5 - math.log(q) for c, q in zip(cosines, frequencies, strict=True)]
        losses.append(math.log(sum(math.exp(logits[j]) for j in shown)) - logits[own])
    loss = SampledSoftmax(temperature=0.5, interests="served", mask_accidental_hits=True)
    found = loss(outputs, labels([1, 2, 1], frequencies))
    assert found.item() == pytest.approx(sum(losses) / 3, rel=1e-12)


def test_interests_that_know_nothing_of_the_user_have_a_small_loss_only_by_label() -> None:
    """One interest for each kind of item, the same for everybody: the label tells which it is."""
    everybody = torch.eye(4, dtype=torch.float64).expand(4, 4, 4)  # (B, K, D)
    items = torch.eye(4, dtype=torch.float64).unsqueeze(1).expand(4, 4, 4)
    outputs = torch.cat([everybody, items])
    made = labels([1, 2, 3, 4], [1.0] * 4)
    losses = {
        interests: SampledSoftmax(interests=interests)(outputs, made).item()
        for interests in ("label", "served")
    }
    assert losses["label"] < 1e-6
    assert losses["served"] == pytest.approx(math.log(4))


@pytest.mark.parametrize("interests", ["label", "served"])
def test_one_vector_in_a_row_of_one_is_a_single_vector(interests: Interests) -> None:
    made = labels([1, 2], [0.5, 0.1])
    loss = SampledSoftmax(interests=interests)
    assert torch.equal(loss(OUTPUTS.unsqueeze(1), made), loss(OUTPUTS, made))


@pytest.mark.parametrize("interests", ["label", "served"])
def test_gradient_of_several_vectors(interests: Interests) -> None:
    generator = torch.Generator().manual_seed(2)
    outputs = torch.randn(6, 3, 2, dtype=torch.float64, generator=generator).requires_grad_()
    made = labels([1, 2, 3], [0.1, 0.2, 0.3])
    loss = SampledSoftmax(temperature=0.3, attention_power=1.5, interests=interests)
    assert torch.autograd.gradcheck(lambda x: loss(x, made), (outputs,))


def test_float32_vectors_give_a_float32_loss() -> None:
    assert SampledSoftmax()(OUTPUTS.float(), labels([1, 2], [0.5, 0.25])).dtype == torch.float32


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="--temperature must be positive, but got 0"):
        SampledSoftmax(temperature=0.0)
    for power in (-1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="--attention_power must be a number of at least 0"):
            SampledSoftmax(attention_power=power)
    with pytest.raises(ConfigError, match="--interests_in_loss must be one of label, served, but"):
        SampledSoftmax(interests="best")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"outputs \(4, 2\) with labels \(3, 3\)"):
        SampledSoftmax()(OUTPUTS, labels([1, 2, 3], [0.5, 0.5, 0.5]))
