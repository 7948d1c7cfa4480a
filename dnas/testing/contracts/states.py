"""Contract 6: the state is all there is, everything moves, and the seed decides everything."""

from __future__ import annotations

import torch
from torch import Tensor

from dnas.core import SuperNet
from dnas.strategies.phases import THETA, WEIGHTS
from dnas.testing.contracts.given import (
    ROWS,
    MakeBatch,
    MakeSuperNet,
    inputs_of,
    perturbed,
    run,
)
from dnas.testing.contracts.phases import short_search
from dnas.testing.contracts.tensors import stray_tensors
from dnas.training.seeding import seed_everything


def check_state(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """A supernet with the same state dict is the same supernet."""
    net = perturbed(make_supernet(), theta=True)
    net.eval()
    inputs = inputs_of(make_batch)
    twin = make_supernet()
    twin.load_state_dict(net.state_dict())
    twin.eval()
    with torch.no_grad():
        outputs = [
            run(m, inputs, m.soft_sample(1.0, ROWS, torch.Generator().manual_seed(2)))
            for m in (net, twin)
        ]
    assert torch.equal(*outputs), (
        "contract 6: a supernet with the same state_dict and the same generator gives another "
        "output; draw from the generator that is passed, and keep state in parameters and buffers"
    )
    drawn = [m.sample_arch(generator=torch.Generator().manual_seed(2)) for m in (net, twin)]
    assert drawn[0] == drawn[1], (
        "contract 6: a supernet with the same state_dict draws another architecture; theta must "
        "be in the state dict"
    )


def check_everything_moves(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """``.to(device)`` moves every tensor that the supernet holds."""
    net = make_supernet()
    net.to("meta")
    for name, tensor in stray_tensors(net):
        assert tensor.device.type == "meta", (
            f"contract 6: {name} holds a tensor that .to(device) does not move; register it as a "
            "buffer"
        )
    if torch.cuda.is_available():
        moved = make_supernet().to("cuda")
        for what, values in (("weights", moved.parameters()), ("buffers", moved.buffers())):
            assert all(value.device.type == "cuda" for value in values), (
                f"contract 6: .to('cuda') leaves {what} behind"
            )
        for given in (moved.soft_sample(1.0, ROWS), moved.hard_sample()):
            moved.expected_cost(given)


def check_same_seed(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """The same seed gives the same initial weights, and the same search."""
    first, second = (_initialised(make_supernet) for _ in range(2))
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b), (
            f"contract 6: the same seed gives {name} other initial weights; draw them from torch's "
            "global generator (or numpy's or random's), with no generator of your own"
        )
    batch_state = torch.get_rng_state()
    found = []
    for net in (first, second):
        torch.set_rng_state(batch_state)
        manager, batch = short_search(net, make_batch)
        for kind in (WEIGHTS, THETA):
            manager._train_only(kind)
            for _ in range(2):
                manager.run_one_dnas_step(batch, kind, 1.0)
        found.append([value.detach() for value in net.parameters()])
    assert all(_alike(a, b) for a, b in zip(*found, strict=True)), (
        "contract 6: the same seed gives another search; draw nothing in forward but from torch's "
        "global generator, and make_batch must be seeded by it too"
    )


def _initialised(make_supernet: MakeSuperNet) -> SuperNet:
    seed_everything(17)
    return make_supernet()


def _alike(first: Tensor, second: Tensor) -> bool:
    # Sums of several threads may end in other last bits.
    return torch.allclose(first, second, rtol=1e-5, atol=1e-7)
