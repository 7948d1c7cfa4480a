"""The same seed gives the same supernets in another process, where sets have another order."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from table import TABLE

from dnas.testing.contracts.elsewhere import compare, describe

_CHILD = """
import json, sys, torch
sys.path[:] = json.loads(sys.argv[1])
torch.set_num_threads(int(sys.argv[2]))
from table import TABLE
from dnas.testing.contracts.elsewhere import describe
print(json.dumps({name: describe(*makers) for name, makers in TABLE.items()}))
"""


@pytest.fixture(scope="module")
def elsewhere():
    words = [json.dumps(sys.path), str(torch.get_num_threads())]
    output = subprocess.run(
        [sys.executable, "-c", _CHILD, *words],
        env={**os.environ, "PYTHONHASHSEED": "4321"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return json.loads(output)


@pytest.mark.parametrize("name", TABLE)
def test_same_seed_same_supernet(name, elsewhere):
    compare(describe(*TABLE[name]), elsewhere[name])
