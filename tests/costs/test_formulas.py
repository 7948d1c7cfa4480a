"""FLOPs and parameters, by hand and against torch's counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dnas.costs import count_flops, count_params
from dnas.costs.formulas import (
    BYTES_PER_WEIGHT,
    dot_interaction_flops,
    linear_flops,
    linear_params,
    mlp_flops,
    mlp_params,
)
from dnas.models import DLRM, MLP, DLRMSpec


def test_by_hand():
    assert linear_flops(10, 64) == 1280
    assert linear_params(10, 64) == 704
    # 10-16-64-50: 160 + 1024 + 3200 weights.
    assert mlp_flops([10, 16, 64, 50]) == 2 * 4384
    assert mlp_params([10, 16, 64, 50]) == 4384 + 16 + 64 + 50
    assert (mlp_flops([7]), mlp_params([7])) == (0, 0)
    # Criteo: 27 vectors of 32 dimensions.
    assert dot_interaction_flops(27, 32) == 2 * 27 * 27 * 32 == 46656
    assert BYTES_PER_WEIGHT == 4


@pytest.mark.parametrize("sizes", [(3, 2), (10, 16, 64, 50)])
def test_an_mlp_counts_as_its_formulas(sizes):
    mlp = MLP(sizes, last_activation=True)
    assert count_flops(mlp, (torch.randn(5, sizes[0]),), 5) == mlp_flops(sizes)
    assert count_params(mlp) == mlp_params(sizes)


def test_shared_parameters_count_once():
    layer = nn.Linear(3, 3)
    assert count_params(nn.Sequential(layer, layer)) == 12


@pytest.mark.parametrize(
    ("interaction", "self_interaction", "top_in"),
    [("dot", False, 4 + 6), ("dot", True, 4 + 10), ("cat", False, 16)],
)
def test_a_dlrm_counts_as_its_formulas(interaction, self_interaction, top_in):
    spec = DLRMSpec(
        bottom=(2, 6, 4),
        top=(5,),
        rows=(50, 7, 3),
        dims=(4, 1, 4),
        interaction=interaction,
        self_interaction=self_interaction,
    )
    model = DLRM(spec)
    ids = torch.zeros(3, 3, dtype=torch.long)
    # bottom 2 * (2*6 + 6*4) = 72, four vectors of 4 dimensions 2 * 16 * 4 = 128, top.
    flops = 72 + (128 if interaction == "dot" else 0) + 2 * (top_in * 5 + 5)
    assert count_flops(model, (torch.randn(3, 2), ids), 3) == flops
    tables = 50 * 4 + 7 * 1 + 3 * 4
    assert count_params(model) == tables + (12 + 6 + 24 + 4) + (top_in * 5 + 5 + 5 + 1)
