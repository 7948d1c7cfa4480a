"""The sample extension keeps the contracts of every supernet, and says what its networks cost."""

from __future__ import annotations

import torch

from dnas.testing import check_supernet
from sample_extension.cnn import Images, ImageData, NetworkConfig, SPACE


def make(widths=(4, 4, 6), **settings):
    return SPACE.make_supernet(NetworkConfig(widths=widths, **settings), Images(3, 7, 5, 4))


def test_contracts():
    check_supernet(make, lambda rows: (torch.randn(rows, 3, 7, 5),))
