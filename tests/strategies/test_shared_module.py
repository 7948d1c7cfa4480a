"""Modules in one block of shared memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dnas.core import UniformPrior
from dnas.errors import ConfigError
from dnas.strategies.shared_module import SharedModule
from supernets import JOINT
from tests.toys import SPACE, SPEC, Scales, click_batches


def test_what_is_unpacked_is_what_was_packed():
    net = JOINT.make_supernet(SPACE, SPEC)
    packed = SharedModule.pack(net)
    assert packed.block.is_shared()
    copies = packed.unpack(), packed.unpack()
    for name, value in net.state_dict().items():
        assert torch.equal(copies[0].state_dict()[name], value), name
    buffers = dict(net.named_buffers())  # those that no state dict has, too
    assert {n: b.tolist() for n, b in copies[0].named_buffers()} == {
        n: b.tolist() for n, b in buffers.items()
    }
    batch = click_batches(1)[0]
    path = UniformPrior(net).candidate(torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = [n(*batch.inputs, sample=n.one_hot_sample(path)) for n in (net, *copies)]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_copies_share_their_memory_but_not_the_original_s():
    net = Scales()
    packed = SharedModule.pack(net)
    first, second = packed.unpack(), packed.unpack()
    with torch.no_grad():
        first.w.fill_(7.0)
    assert second.w.tolist() == [7.0] * 4
    assert net.w.tolist() == [1.0] * 4


def test_tensors_of_any_kind():
    module = nn.Module()
    module.tied = nn.Linear(3, 3, bias=False)
    module.again = module.tied
    module.register_buffer("flags", torch.tensor([True, False, True]))
    module.register_buffer("empty", torch.zeros(0, 4))
    module.register_buffer("turned", torch.arange(6.0).reshape(2, 3).t())
    module.scalar = nn.Parameter(torch.tensor(2.5, dtype=torch.float64), requires_grad=False)
    module.cache = {"a": (torch.arange(3), "text")}
    copy = SharedModule.pack(module).unpack()
    assert copy.tied.weight is copy.again.weight
    assert copy.flags.tolist() == [True, False, True]
    assert copy.empty.shape == (0, 4)
    assert torch.equal(copy.turned, module.turned)
    assert isinstance(copy.scalar, nn.Parameter)
    assert not copy.scalar.requires_grad
    assert copy.tied.weight.requires_grad
    assert (copy.scalar.item(), copy.scalar.dtype) == (2.5, torch.float64)
    assert copy.cache["a"][0].tolist() == [0, 1, 2]
    for place in SharedModule.pack(module).places:
        assert place.start % 64 == 0


def test_modules_that_cannot_be_sent_say_so():
    module = nn.Linear(2, 2)
    module.function = lambda x: x
    with pytest.raises(ConfigError, match="Linear cannot be sent to another process"):
        SharedModule.pack(module)
