"""Kinds that tests register are gone after them."""

from __future__ import annotations

import pytest

import dnas.models  # noqa: F401  (registers the kinds of its layers)
from dnas.costs import kinds


@pytest.fixture(autouse=True)
def _own_kinds(monkeypatch):
    monkeypatch.setattr(kinds, "_KINDS", dict(kinds._KINDS))
    monkeypatch.setattr(kinds, "_ORIGINS", dict(kinds._ORIGINS))
