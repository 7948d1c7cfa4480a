"""Functions with a backward pass of their own against autograd's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dnas.models import DotInteraction
from dnas.models.dense import linear_relu


def leaves(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [
        torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes
    ]


def test_linear_relu():
    x, weight, bias = leaves((6, 4), (5, 4), (5,))
    assert torch.autograd.gradcheck(linear_relu, (x, weight, bias))
    torch.testing.assert_close(linear_relu(x, weight, bias), F.linear(x, weight, bias).relu())


def test_linear_relu_computes_what_is_asked_for():
    x, weight, bias = leaves((6, 4), (5, 4), (5,))
    linear_relu(x.detach(), weight, bias.detach()).sum().backward()
    assert weight.grad is not None
    assert x.grad is None
    assert bias.grad is None


@pytest.mark.parametrize("itself", [False, True])
def test_dot_interaction(itself):
    interaction = DotInteraction(4, 3, self_interaction=itself)
    x, embeddings = leaves((5, 3), (5, 3, 3))
    assert torch.autograd.gradcheck(interaction, (x, embeddings))
    vectors = torch.cat([x.unsqueeze(1), embeddings], 1)
    products = vectors @ vectors.transpose(1, 2)
    expected = [x]
    for i in range(4):
        for j in range(i + 1 if itself else i):
            expected.append(products[:, i, j : j + 1])
    torch.testing.assert_close(interaction(x, embeddings), torch.cat(expected, 1))


def test_autocast_computes_in_bfloat16_and_trains_in_float32():
    x, weight, bias = (t.detach().float().requires_grad_() for t in leaves((6, 4), (5, 4), (5,)))
    exact = linear_relu(x, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_relu(x, weight, bias)
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0.02, atol=0.05)
    found.float().sum().backward()
    assert {t.grad.dtype for t in (x, weight, bias)} == {torch.float32}
