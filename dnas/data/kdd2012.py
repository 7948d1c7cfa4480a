"""KDD Cup 2012 track 2 (Tencent's search advertising) in the raw format.

``training.txt`` has 12 integers between tabs in a line, without header. Clicks and impressions are
counts; a line stays one row, which is positive if it has a click. ``userid_profile.txt`` has gender
and age of users, which are joined; a user it does not have gets 0 and 0. Every category is taken
modulo 2**31 - 1, as in the preprocessing that AutoCTR and NASRec share.

``impression`` is among the numbers because it is in theirs; it is known only together with the
clicks.
"""

from __future__ import annotations

from pathlib import Path

from dnas.data.config import DataConfig
from dnas.data.file_source import BLOCK_BYTES, JOINED, FileSource
from dnas.data.layout import DenseRule, Layout, id_rule
from dnas.data.raw_files import resolve
from dnas.errors import DataError

COLUMNS = (
    "click",
    "impression",
    "displayURL",
    "adID",
    "advertiserID",
    "depth",
    "position",
    "queryID",
    "keywordID",
    "titleID",
    "descriptionID",
    "userID",
)
DENSE_NAMES = ("impression", "depth", "position")
SPARSE_NAMES = (*(name for name in COLUMNS[1:] if name not in DENSE_NAMES), *JOINED)

#: Rows of the tables with ``--ids=modulo``.
TABLE_SIZES = (26274, 641708, 14848, 22122011, 1188090, 3735797, 2934102, 20004011, 4, 8)

LAYOUT = Layout(
    label="click",
    positive=(),
    negative=(),
    dense=DENSE_NAMES,
    sparse=SPARSE_NAMES,
    residues=True,
    counts=True,
    strip=False,
)


def kdd2012_source(config: DataConfig, *, block_bytes: int = BLOCK_BYTES) -> FileSource:
    """The raw files of ``--data_set=kdd2012_track2``.

    Raises:
        DataError: A file is missing.
    """
    assert config.raw_data is not None
    assert config.user_profile is not None
    assert config.transform is not None
    profile = Path(config.user_profile).expanduser()
    if not profile.is_file():
        raise DataError(f"--user_profile={config.user_profile}: there is no such file")
    return FileSource(
        data_set="kdd2012_track2",
        files=tuple(resolve(config.raw_data)),
        layout=LAYOUT,
        rule=DenseRule(config.transform, config.dense_missing),
        ids=id_rule(config, TABLE_SIZES),
        separator="\t",
        names=COLUMNS,
        on_bad_row=config.on_bad_row,
        user_profile=profile,
        block_bytes=block_bytes,
    )
