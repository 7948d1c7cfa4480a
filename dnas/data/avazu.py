"""Avazu's click log (Kaggle 2014) in the raw format: ``train.csv``, ten days, in the order of time.

A header and 24 columns between commas. All but the label are categories: integers in decimal or
hexadecimal digits. As in the preprocessing that AutoCTR and NASRec share, a column of nothing but
digits is decimal, and every value is taken modulo 2**31 - 1 before it becomes an id; there is one
number, which is always 0.
"""

from __future__ import annotations

from dnas.data.config import DataConfig
from dnas.data.file_source import BLOCK_BYTES, FileSource
from dnas.data.layout import DenseRule, Layout, id_rule
from dnas.data.raw_files import resolve

SPARSE_NAMES = (
    "id",
    "hour",
    "C1",
    "banner_pos",
    "site_id",
    "site_domain",
    "site_category",
    "app_id",
    "app_domain",
    "app_category",
    "device_id",
    "device_ip",
    "device_model",
    "device_type",
    "device_conn_type",
    *(f"C{i}" for i in range(14, 22)),
)

#: Rows of the tables with ``--ids=modulo``. The ids of rows, all different, share 10000.
TABLE_SIZES = (
    10000, 241, 8, 8, 4738, 7746, 27, 8553, 560, 37, 2686409, 6729487, 8252, 6, 5, 2627, 9, 10,
    436, 5, 69, 173, 61,
)  # fmt: skip

LAYOUT = Layout(
    label="click",
    positive=("1",),
    negative=("0",),
    dense=(),
    sparse=SPARSE_NAMES,
    residues=True,
    zeros=("zero",),
    strip=False,
)


def avazu_source(config: DataConfig, *, block_bytes: int = BLOCK_BYTES) -> FileSource:
    """The raw files of ``--data_set=avazu``."""
    assert config.raw_data is not None
    assert config.transform is not None
    return FileSource(
        data_set="avazu",
        files=tuple(resolve(config.raw_data)),
        layout=LAYOUT,
        rule=DenseRule(config.transform, config.dense_missing),
        ids=id_rule(config, TABLE_SIZES),
        separator=",",
        on_bad_row=config.on_bad_row,
        block_bytes=block_bytes,
    )
