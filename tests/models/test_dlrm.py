"""Interactions, MLP and DLRM, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dnas.data import Bags
from dnas.errors import ConfigError
from dnas.models import DLRM, MLP, CatInteraction, DLRMSpec, DotInteraction, make_interaction
from dnas.models.dlrm import chain

X = torch.tensor([[1.0, 2.0]])
E = torch.tensor([[[3.0, 4.0]]])


def spec(**changes) -> DLRMSpec:
    values = {"bottom": (2, 6, 4), "top": (5,), "rows": (50, 7, 3), "dims": (4, 1, 4)}
    return DLRMSpec(**{**values, **changes})


def test_interactions_by_hand():
    # x.e = 3 + 8; x.x = 5; e.e = 25.
    assert DotInteraction(2, 2)(X, E).tolist() == [[1.0, 2.0, 11.0]]
    own = DotInteraction(2, 2, self_interaction=True)
    assert own(X, E).tolist() == [[1.0, 2.0, 5.0, 11.0, 25.0]]
    assert CatInteraction(2, 2)(X, E).tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_order_of_the_lower_triangle():
    embeddings = torch.tensor([[[0.0, 1.0], [2.0, 0.0]]])
    # e1.x = 2, e2.x = 2, e2.e1 = 0: rows of the triangle one after the other.
    found = DotInteraction(3, 2)(torch.tensor([[1.0, 2.0]]), embeddings)
    assert found.tolist() == [[1.0, 2.0, 2.0, 2.0, 0.0]]


def test_widths_of_the_paper():
    # 27 vectors: 351 pairs. 383 and 479 are the top MLP's inputs in the authors' configs.
    assert make_interaction("dot", 27, 32, self_interaction=False).output_width == 383
    assert make_interaction("dot", 27, 128, self_interaction=False).output_width == 479
    assert make_interaction("dot", 27, 32, self_interaction=True).output_width == 32 + 378
    assert make_interaction("cat", 27, 32, self_interaction=False).output_width == 864


def test_an_unknown_interaction_is_refused():
    with pytest.raises(ConfigError, match="dott"):
        DLRM(spec(interaction="dott"))


def test_mlp_by_hand():
    mlp = MLP((2, 2, 1), last_activation=False)
    with torch.no_grad():
        mlp.layers[0].weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, 0.0]]))
        mlp.layers[0].bias.copy_(torch.tensor([0.0, 0.5]))
        mlp.layers[1].weight.copy_(torch.tensor([[-2.0, 3.0]]))
        mlp.layers[1].bias.fill_(1.0)
    # Hidden: relu(3), relu(-0.5) -> -6 + 0 + 1.
    assert mlp(X).tolist() == [[-5.0]]
    mlp.last_activation = True
    assert mlp(X).tolist() == [[0.0]]
    assert MLP((2,), last_activation=True)(-X).tolist() == (-X).tolist()  # no layer, no ReLU


@pytest.mark.parametrize("sizes", [(), (2, 0), (-1, 2), (2, -3, 1)])
def test_mlp_sizes_are_checked(sizes):
    with pytest.raises(ConfigError, match="MLP sizes must be positive"):
        MLP(sizes, last_activation=True)


def test_initialisation_of_the_layers():
    torch.manual_seed(0)
    layer = MLP((300, 500), last_activation=True).layers[0]
    assert float(layer.weight.detach().std()) == pytest.approx((2 / 800) ** 0.5, rel=0.02)
    assert float(layer.bias.detach().std()) == pytest.approx((1 / 500) ** 0.5, rel=0.15)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_without_numbers_the_bottom_gives_its_biases():
    mlp = MLP((0, 3), last_activation=False)
    out = mlp(torch.empty(4, 0))
    assert torch.equal(out, mlp.layers[0].bias.expand(4, 3))
    model = DLRM(spec(bottom=(0, 6, 4)))
    logits = model(torch.empty(5, 0), torch.zeros(5, 3, dtype=torch.long))
    assert logits.shape == (5,)
    logits.sum().backward()
    assert torch.isfinite(model.bottom.layers[0].bias.grad).all()


@pytest.mark.parametrize(
    "changes",
    [{}, {"interaction": "cat"}, {"self_interaction": True}, {"top": ()}, {"dims": (1,) * 3}],
)
def test_dlrm_gives_a_logit_for_each_row(changes):
    model = DLRM(spec(**changes))
    ids = torch.tensor([[49, 6, 2], [1000, 1000, 1000]])
    logits = model(torch.randn(2, 2), ids)
    assert logits.shape == (2,)
    bags = Bags(ids.flatten(), torch.arange(7))
    dense = torch.randn(2, 2)
    torch.testing.assert_close(model(dense, ids), model(dense, bags))


def test_dlrm_is_its_parts():
    model = DLRM(spec())
    dense, ids = torch.randn(3, 2), torch.randint(0, 3, (3, 3))
    x = model.bottom(dense)
    assert bool((x >= 0).all())  # the bottom ends in ReLU
    t = torch.cat([x.unsqueeze(1), model.embeddings(ids)], dim=1)
    pairs = [(t[:, i] * t[:, j]).sum(1) for i in range(4) for j in range(i)]
    joined = torch.cat([x, torch.stack(pairs, dim=1)], dim=1)
    torch.testing.assert_close(model(dense, ids), model.top(joined).squeeze(1))
    assert isinstance(model.top, nn.Module)
    assert model.top.sizes == (10, 5, 1)


def test_a_bottom_without_layers_is_refused():
    with pytest.raises(ConfigError, match="bottom MLP needs an input and an output"):
        DLRM(spec(bottom=(4,)))


def test_chain_and_json():
    assert chain(13, (1024, 512), 32) == (13, 1024, 512, 32)
    assert chain(13, (), 32) == (13, 32)
    assert DLRMSpec(**spec().to_json()) == spec()


def test_a_model_can_be_exported():
    """Functions with a backward pass of their own are for training: a served model has none."""
    model = DLRM(DLRMSpec(bottom=(2, 6, 4), top=(5,), rows=(7, 3), dims=(4, 2))).eval()
    inputs = torch.randn(3, 2), torch.tensor([[6, 0], [1, 2], [3, 1]])
    with torch.no_grad():
        exported = torch.export.export(model, inputs)
        torch.testing.assert_close(exported.module()(*inputs), model(*inputs))
