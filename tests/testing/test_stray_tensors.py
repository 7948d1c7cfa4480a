"""Tensors outside of parameters and buffers are found; parameters held twice are none."""

from __future__ import annotations

import torch
from torch import nn

from dnas.testing.contracts.tensors import stray_tensors


def test_recurrent_layers_list_their_parameters_twice():
    assert list(stray_tensors(nn.Sequential(nn.GRU(2, 3), nn.LSTM(3, 2)))) == []


def test_a_tensor_in_a_list_is_found():
    module = nn.Linear(2, 2)
    module.kept = [module.weight, torch.zeros(1)]
    assert [name for name, _ in stray_tensors(module)] == ["Linear.kept"]
