"""Criteo's display advertising logs, Kaggle (7 days) and 1 TB (24 days), in the raw format.

Each line has 40 fields between tabs: the label, 13 integers, 26 categories of 8 hexadecimal digits.
An empty field is a missing value. Lines are in the order of time.
"""

from __future__ import annotations

from dnas.data.config import DataConfig
from dnas.data.file_source import BLOCK_BYTES, FileSource
from dnas.data.layout import DenseRule, Layout, id_rule
from dnas.data.raw_files import resolve

DENSE_NAMES = tuple(f"I{i}" for i in range(1, 14))
SPARSE_NAMES = tuple(f"C{i}" for i in range(1, 27))

#: Rows of the tables of criteo_kaggle with ``--ids=modulo``, as AutoCTR and NASRec have them.
TABLE_SIZES = (
    1461, 584, 10131227, 2202609, 306, 25, 12518, 634, 4, 93146, 5684, 8351593, 3195, 28, 14993,
    5461307, 11, 5653, 2174, 5, 7046548, 19, 16, 286182, 106, 142573,
)  # fmt: skip

LAYOUT = Layout(
    label="label",
    positive=("1",),
    negative=("0",),
    dense=DENSE_NAMES,
    sparse=SPARSE_NAMES,
    hexadecimal=True,
    strip=False,
)


def criteo_source(config: DataConfig, *, block_bytes: int = BLOCK_BYTES) -> FileSource:
    """The raw files of ``--data_set=criteo_kaggle`` or ``criteo_1tb``."""
    assert config.raw_data is not None
    assert config.transform is not None
    return FileSource(
        data_set=config.data_set,
        files=tuple(resolve(config.raw_data)),
        layout=LAYOUT,
        rule=DenseRule(config.transform, config.dense_missing),
        ids=id_rule(config, TABLE_SIZES),
        separator="\t",
        names=("label", *DENSE_NAMES, *SPARSE_NAMES),
        on_bad_row=config.on_bad_row,
        block_bytes=block_bytes,
    )
