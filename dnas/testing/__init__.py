"""Contract suites for subclasses: run them in your own tests."""

from dnas.testing.sharing import check_sharing
from dnas.testing.supernets import ALL_CHECKS, SuperNetContracts, check_supernet

__all__ = ["ALL_CHECKS", "SuperNetContracts", "check_sharing", "check_supernet"]
