"""The check in another process finds what the process decides."""

from __future__ import annotations

import os
import subprocess
import sys

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


class Makers:
    """Methods of an object, as those of a test class are."""

    def make(self):
        return InTheOrderOfASet()

    def batch(self, rows):
        return make_batch(rows)


class WithState(Makers):
    def __init__(self, number=1):
        self.number = number


class Needs(Makers):
    def __init__(self, number):
        pass


def test_methods_are_checked_where_another_process_can_make_their_object():
    makers = Makers()
    with pytest.raises(AssertionError, match="do not walk through a set"):
        check_other_process(makers.make, makers.batch)
    for makers in (WithState(2), Needs(1)):
        check_other_process(makers.make, makers.batch)


@pytest.mark.parametrize("guard", ["if __name__ == '__main__': ", ""], ids=["guarded", "unguarded"])
def test_a_script_may_check_what_it_defines(tmp_path, guard):
    (tmp_path / "script.py").write_text(
        "from dnas.testing.contracts.elsewhere import check_other_process\n"
        "from tests.testing import gated\n\n\n"
        "class Mine(gated.Gated):\n    pass\n\n\n"
        "def rows(count):\n    return gated.make_batch(count)\n\n\n"
        f"{guard}check_other_process(Mine, rows)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, tmp_path / "script.py"], env=environment, check=True)
