"""Running statistics belong to one kind of phase."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dnas.strategies.running_statistics import RunningStatistics


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batches_of_the_other_kind_leave_no_trace(momentum):
    norm, alone = (nn.BatchNorm1d(1, momentum=momentum) for _ in range(2))
    norms = RunningStatistics(nn.Sequential(norm))
    batches = {True: torch.tensor([[1.0], [3.0]]), False: torch.tensor([[50.0], [70.0]])}
    for follows in (True, False, True, True, False):
        norms.update(follows)
        out = norm(batches[follows])
        torch.testing.assert_close(out.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
        if follows:
            alone(batches[True])
    for name, value in alone.state_dict().items():
        assert torch.equal(norm.state_dict()[name], value), name
    # Elsewhere it normalizes by what it has followed, in every phase.
    assert torch.equal(norm.eval()(batches[False]), alone.eval()(batches[False]))


def test_norms_of_instances_and_without_statistics():
    tracked = nn.InstanceNorm1d(1, track_running_stats=True)
    untracked = nn.BatchNorm1d(1, track_running_stats=False)
    norms = RunningStatistics(nn.ModuleList([tracked, untracked]))
    norms.update(False)
    tracked(torch.randn(2, 1, 4) + 9)
    assert tracked.running_mean.item() == 0
    norms.update(True)
    tracked(torch.randn(2, 1, 4) + 9)
    assert tracked.running_mean.item() > 0.5
    assert not untracked.track_running_stats
