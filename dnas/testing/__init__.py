"""Contract suites for subclasses: run them in your own tests."""

from dnas.testing.sharing import check_sharing
from dnas.testing.supernets import ALL_CHECKS, check_supernet

__all__ = ["ALL_CHECKS", "check_sharing", "check_supernet"]
