"""Every contract of DESIGN over every supernet."""

from __future__ import annotations

import pytest
from table import TABLE

from dnas.testing import ALL_CHECKS
from dnas.training.seeding import seed_everything


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", TABLE)
def test_contract(name, check):
    seed_everything(0)
    check(*TABLE[name])
