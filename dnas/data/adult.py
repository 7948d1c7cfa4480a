"""UCI Adult [Becker1996]_, which comes with the package: does a person earn over 50,000 dollars?

Six numbers, eight categories, ``?`` for a missing one. The published test file is the test set.
The numbers go through ln(1 + x) by default: the census weight alone runs to 1.5 million.

.. [Becker1996] Becker and Kohavi: Adult. UCI Machine Learning Repository, 1996. CC BY 4.0.
"""

from __future__ import annotations

from pathlib import Path

from dnas.data.config import DataConfig
from dnas.data.file_source import BLOCK_BYTES, FileSource
from dnas.data.layout import DenseRule, Layout, id_rule
from dnas.data.raw_files import resolve
from dnas.data.store import PART_CODES
from dnas.data.store_writer import hash_files
from dnas.errors import DataError

FILES = Path(__file__).parent / "files" / "adult"

COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income",
)
DENSE_NAMES = ("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week")

LAYOUT = Layout(
    label="income",
    positive=(">50K", ">50K."),
    negative=("<=50K", "<=50K."),
    dense=DENSE_NAMES,
    sparse=tuple(name for name in COLUMNS[:-1] if name not in DENSE_NAMES),
    missing=("?",),
)


def adult_source(config: DataConfig, *, block_bytes: int = BLOCK_BYTES) -> FileSource:
    """The packaged files, or the two that ``--raw_data`` names: data, then test.

    Raises:
        DataError: ``--raw_data`` does not name two files.
    """
    if config.raw_data is None:
        files = [FILES / "adult.data.zst", FILES / "adult.test.zst"]
        for path in files:
            if not path.exists():
                raise DataError(
                    f"{path}: missing from the installed package: install it again, or name your "
                    "own copies of adult.data and adult.test with --raw_data"
                )
    else:
        files = resolve(config.raw_data)
        if len(files) != 2:
            raise DataError(
                f"--raw_data={config.raw_data}: adult needs two files, adult.data,adult.test; "
                f"found {len(files)}"
            )
    assert config.transform is not None
    return FileSource(
        data_set="adult",
        files=tuple(files),
        layout=LAYOUT,
        rule=DenseRule(config.transform, config.dense_missing),
        ids=id_rule(config),
        names=COLUMNS,
        file_parts=(PART_CODES["train"], PART_CODES["test"]),
        on_bad_row=config.on_bad_row,
        # By content: an installer gives the same files a new time.
        stamps=tuple({"name": path.name, "content": hash_files([path])} for path in files),
        block_bytes=block_bytes,
    )
