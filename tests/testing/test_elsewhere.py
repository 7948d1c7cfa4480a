"""The check in another process finds what the process decides."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dnas.testing.contracts.elsewhere import check_other_process
from tests.testing.gated import Gated, make_batch


class InTheOrderOfASet(Gated):
    """The order in which weights are drawn hangs on the hashes of strings."""

    def __init__(self):
        super().__init__()
        for name in {f"part{number}" for number in range(20)}:
            setattr(self, name, nn.Linear(1, 1))


class ByHash(Gated):
    def __init__(self):
        super().__init__()
        with torch.no_grad():
            self.first.bias.fill_(hash("first") % 1000)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (InTheOrderOfASet, "other parameters, or in another order: .*; do not walk through a set"),
        (ByHash, r"\['first.bias'\] start with other weights in another process; .* hash\(\)"),
    ],
)
def test_what_differs_is_named(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_other_process(broken, make_batch)


def test_what_has_no_name_is_not_checked():
    check_other_process(lambda: InTheOrderOfASet(), make_batch)
