"""Choice: validation, masks, draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dnas.core import Choice, Sample
from dnas.errors import ArchitectureError
from tests.toys import Scales


@pytest.fixture
def choice() -> Choice:
    return Choice("c", {"a": (1, 2, 4), "b": (8, None, 16), "e": (32,)})


def test_attributes(choice):
    assert choice.keys == ("c/a", "c/b", "c/e")
    assert choice.options == ((1, 2, 4), (8, None, 16), (32, None, None))
    assert choice.columns == ("0", "1", "2")
    assert choice.valid.tolist() == [[True] * 3, [True, False, True], [True, False, False]]
    assert choice.theta.tolist() == [[0.0] * 3] * 3
    assert Choice("d", {"x": (8, 16), "y": (8, 16)}).columns == ("8", "16")


@pytest.mark.parametrize(
    ("options", "more", "message"),
    [
        ({}, {}, "choice 'c' has no decisions"),
        ({"a": ()}, {}, "choice 'c': decision 'a' has no options"),
        ({"a": (None, None)}, {}, "choice 'c': decision 'a' has no options"),
        ({"a": (1, 2, 1)}, {}, r"decision 'a' has equal options in \(1, 2, 1\); merge them"),
        ({"a": (1, (2, 3))}, {}, r"decision 'a': option \(2, 3\) is a tuple; give an int"),
        ({"a": (np.int64(1), 2)}, {}, "is a int64; give an int, float, str or bool"),
        ({"a": (1, 2)}, {"columns": ["x"]}, r"choice 'c': 1 columns for 2 options: \('x',\)"),
    ],
)
def test_mistakes_are_named(options, more, message):
    with pytest.raises(ArchitectureError, match=message):
        Choice("c", options, **more)


def test_index(choice):
    assert [choice.index(0, 1), choice.index(0, 4), choice.index(1, 16)] == [0, 2, 2]
    with pytest.raises(ArchitectureError, match=r"'c/b': no option 4; the options are \[8, 16\]"):
        choice.index(1, 4)


def test_probabilities_by_hand(choice):
    with torch.no_grad():
        choice.theta.copy_(
            torch.tensor([[0.0, math.log(2), 0.0], [0.0, 99.0, math.log(3)], [5.0, 9.0, 9.0]])
        )
    expected = [[0.25, 0.5, 0.25], [0.25, 0.0, 0.75], [1.0, 0.0, 0.0]]
    torch.testing.assert_close(choice.probabilities().detach(), torch.tensor(expected))
    # H(1/4, 1/2, 1/4) = 1.5 ln 2; H(1/4, 3/4) = 2 ln 2 - 0.75 ln 3.
    first = 1.5 * math.log(2) / math.log(3)
    second = (2 * math.log(2) - 0.75 * math.log(3)) / math.log(2)
    assert float(choice.entropy()) == pytest.approx((first + second) / 2, rel=1e-6)


def test_rows_draw_independently_and_a_batch_of_one_is_shared(choice):
    sample = choice.soft_sample(1.0, 64, torch.Generator().manual_seed(0))
    assert sample.shape == (64, 3, 3)
    assert len({tuple(row) for row in sample[:, 0].tolist()}) == 64
    # The decisions of a row are independent too: 'a' and 'b' do not get the same noise.
    assert not torch.allclose(sample[:, 0, 0], sample[:, 1, 0], atol=1e-3)
    torch.testing.assert_close(sample.sum(-1), torch.ones(64, 3))
    assert choice.soft_sample(1.0, 1).shape == (1, 3, 3)


def test_what_does_not_exist_has_weight_exactly_zero_and_no_gradient(choice):
    sample = choice.soft_sample(0.5, 16, torch.Generator().manual_seed(0))
    assert (sample[:, ~choice.valid] == 0.0).all()
    assert (sample[:, choice.valid] > 0.0).all()
    (sample * torch.arange(9.0).view(3, 3)).sum().backward()
    assert (choice.theta.grad[~choice.valid] == 0.0).all()
    assert (choice.theta.grad[0] != 0.0).any()


def test_most_likely_takes_the_first_of_equals(choice):
    assert choice.hard_sample(most_likely=True).tolist() == [0, 0, 0]
    with torch.no_grad():
        choice.theta.copy_(torch.tensor([[0.0, 1.0, 1.0], [0.0, 9.0, 1.0], [0.0, 9.0, 9.0]]))
    assert choice.hard_sample(most_likely=True).tolist() == [1, 2, 0]


def test_hard_samples_are_functions_of_the_generator(choice):
    draws = [
        [choice.hard_sample(g).tolist() for _ in range(20)]
        for g in (torch.Generator().manual_seed(s) for s in (1, 1, 2))
    ]
    assert draws[0] == draws[1] != draws[2]


def test_one_hot(choice):
    assert choice.one_hot(torch.tensor([1, 2, 0])).tolist() == [[[0, 1, 0], [0, 0, 1], [1, 0, 0]]]


def test_soft_samples_of_a_supernet_by_row_and_by_batch():
    net = Scales()
    by_row = net.soft_sample(1.0, 8, torch.Generator().manual_seed(0))
    by_batch = net.soft_sample(1.0, 1, torch.Generator().manual_seed(0))
    assert (by_row.batch_size, by_batch.batch_size) == (8, 1)
    x = torch.ones(8, 4)
    assert len(set(net(x, sample=by_row).tolist())) == 8
    assert len(set(net(x, sample=by_batch).tolist())) == 1


def test_a_sample_is_read_by_choice_or_name():
    net = Scales()
    sample = net.hard_sample(most_likely=True)
    assert torch.equal(sample[net.choice], sample["scale"])
    assert (list(sample), len(sample), Sample({}).batch_size) == (["scale"], 1, 1)
