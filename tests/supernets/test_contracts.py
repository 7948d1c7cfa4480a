"""Every contract of DESIGN over every supernet."""

from __future__ import annotations

import pytest
from table import BATCH_NORM, TABLE

from dnas.testing import ALL_CHECKS
from dnas.testing.supernets import WITH_BATCH_NORM
from dnas.training.seeding import seed_everything


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", TABLE)
def test_contract(name, check):
    seed_everything(0)
    check = WITH_BATCH_NORM.get(check, check) if name in BATCH_NORM else check
    check(*TABLE[name])
