"""DeepFM, AutoInt+ and xDeepFM: sums of their parts, inputs, export."""

from __future__ import annotations

import pytest
import torch

from dnas.costs import count_flops, count_params
from dnas.data import Bags
from dnas.errors import ConfigError
from dnas.models import AutoInt, DeepFM, FieldModel, XDeepFM
from dnas.training.optim import sparse_parameter_ids

ROWS = (50, 7, 3)


def make(kind: str, num_dense: int = 2) -> FieldModel:
    if kind == "deepfm":
        return DeepFM(num_dense, ROWS, 4, (6, 5))
    if kind == "autoint":
        return AutoInt(num_dense, ROWS, 4, (6, 5), layers=2, heads=2, head_dim=3)
    return XDeepFM(num_dense, ROWS, 4, (6, 5), cin_sizes=(3, 2))


KINDS = ("deepfm", "autoint", "xdeepfm")
IDS = torch.tensor([[49, 6, 2], [1000, 1000, 1000]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_logit_for_each_row(kind):
    model, dense = make(kind), torch.randn(2, 2)
    logits = model(dense, IDS)
    assert logits.shape == (2,)
    bags = Bags(IDS.flatten(), torch.arange(7))
    torch.testing.assert_close(model(dense, bags), logits)
    logits.sum().backward()
    sparse = sparse_parameter_ids(model)
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.is_sparse is (id(parameter) in sparse)
    assert len(sparse) == (1 if kind == "autoint" else 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_logit_is_the_sum_of_the_parts(kind):
    model, dense = make(kind), torch.randn(2, 2)
    v = model.fields(dense, IDS)
    assert v.shape == (2, 5, 4)
    expected = model.interaction(v) + model.deep(v.reshape(2, 20)).squeeze(1)
    if kind != "autoint":
        expected = expected + model.first_order(dense, IDS)
    torch.testing.assert_close(model(dense, IDS), expected)
    assert model.deep.sizes == (20, 6, 5, 1)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("kind", KINDS)
def test_without_numbers(kind):
    model = make(kind, num_dense=0)
    logits = model(torch.empty(2, 0), IDS)
    assert logits.shape == (2,)
    logits.sum().backward()


def test_costs_of_deepfm_by_hand():
    model = make("deepfm")
    # 20-6-5-1, five vectors' tables, and the first-order part.
    assert count_params(model) == (126 + 35 + 6) + (60 + 2) * 4 + (60 + 2)
    assert count_flops(model, (torch.randn(2, 2), IDS), 2) == 2 * (120 + 30 + 5) + 2 * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_can_be_exported(kind):
    model = make(kind).eval()
    inputs = torch.randn(2, 2), IDS
    with torch.no_grad():
        exported = torch.export.export(model, inputs)
        torch.testing.assert_close(exported.module()(*inputs), model(*inputs))


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_keeps_logits_close(kind):
    model, dense = make(kind), torch.randn(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(dense, IDS)
    found.float().sum().backward()
    torch.testing.assert_close(found.float(), model(dense, IDS), rtol=0.05, atol=0.05)


def test_an_mlp_without_hidden_layers_is_refused():
    with pytest.raises(ConfigError, match="at least one hidden width"):
        DeepFM(2, ROWS, 4, ())
