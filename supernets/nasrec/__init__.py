"""NASRec, arXiv:2207.07187: blocks of operators with any connections, and shared weights."""

import supernets.nasrec.operator_kinds  # noqa: F401  (registers them)
from supernets.nasrec.config import NASRecConfig
from supernets.nasrec.model import NASRecModel
from supernets.nasrec.shape import Shape
from supernets.nasrec.supernet import NASRecSuperNet

__all__ = ["NASRecConfig", "NASRecModel", "NASRecSuperNet", "Shape"]
