"""The flags that say which data to use and how to read and split it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

from dnas.errors import ConfigError

DataSet = Literal[
    "criteo_kaggle", "criteo_1tb", "avazu", "kdd2012_track2", "table", "adult", "synthetic"
]
SplitRule = Literal["chronological", "random", "stratified", "column", "autoctr"]
DenseTransform = Literal["log1p", "none"]

_SET_DEFAULT_TRANSFORM: dict[str, DenseTransform] = {
    "criteo_kaggle": "log1p",
    "criteo_1tb": "log1p",
    "avazu": "none",
    "kdd2012_track2": "log1p",
    "adult": "log1p",
    "synthetic": "none",
}
_SET_DEFAULT_SPLIT: dict[str, SplitRule] = {
    "criteo_kaggle": "chronological",
    "criteo_1tb": "chronological",
    "avazu": "autoctr",
    "kdd2012_track2": "autoctr",
    "adult": "column",
    "synthetic": "random",
}
#: Where AutoCTR and NASRec published table sizes, and where their scripts are off by one.
_WITH_TABLE_SIZES = ("criteo_kaggle", "avazu", "kdd2012_track2")
_RELEASED_OFF_BY_ONE = ("criteo_kaggle", "kdd2012_track2")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which data set, how it is read, and how its rows are divided.

    Raises:
        ConfigError: A value is out of range, or two flags contradict each other.
    """

    data_set: DataSet = "synthetic"
    """What the data is. criteo_kaggle, criteo_1tb, avazu and kdd2012_track2 read the raw files as
    published; table reads any CSV, TSV or Parquet described by --schema; adult comes with the
    package; synthetic is made up, with an optimum that is known."""

    raw_data: str | None = None
    """Raw file, or several: comma separated, or a pattern with * (matches are taken in natural
    order, day_2 before day_10). Rows keep this order. Text may be plain, .gz, .zst, .bz2 or .lz4.
    For adult: none (the packaged files), or the data file and the test file."""

    user_profile: str | None = None
    """userid_profile.txt of --data_set=kdd2012_track2: user, gender and age between tabs."""

    schema: str | None = None
    """JSON file that names the columns of --data_set=table."""

    data_cache: str = "data_cache"
    """Folder of the columnar stores built from raw data. Safe to share between jobs."""

    memory_map: bool = True
    """Read the store through shared memory-mapped pages; False loads its columns into the memory
    of each process. The batches are the same."""

    ids: Literal["vocabulary", "hash", "modulo"] = "vocabulary"
    """How values become ids. vocabulary: numbered by first appearance over all rows of the raw
    files (values only, never labels; a missing value is a value of its own). hash: a fixed 64-bit
    mixing hash modulo --max_ind_range, the same in every process. modulo: AutoCTR's rule, which
    NASRec uses: a value modulo N - 1, plus 1, and 0 for a missing one, with the published table
    size N of each feature of criteo_kaggle, avazu or kdd2012_track2."""

    max_table_rows: int = 0
    """With --ids=modulo, the largest table size: larger N become this. NASRec searches with 500000.
    0 = as published."""

    max_ind_range: int = 0
    """Number of hash buckets of each feature, needed with --ids=hash; 0 = none."""

    min_count: int = 1
    """With --ids=vocabulary, values seen fewer times share id 0 of their feature, which then also
    stands for values never seen. With 1 every value has an id and no such id is reserved."""

    dense_missing: Literal["minus_one", "zero"] = "minus_one"
    """What a missing number becomes. minus_one: -1 after the transform. (The paper's -1 before
    ln(1 + x) would be minus infinity.) zero: 0 before the transform, as the DLRM code does.
    With log1p negative numbers become 0 before the transform in both cases."""

    dense_transform: DenseTransform | None = None
    """ln(1 + x) of the known numbers, or none. Default: log1p for criteo, kdd2012_track2 and
    adult, none for avazu (whose one number is 0) and synthetic, what the schema says for table."""

    split: SplitRule | None = None
    """How rows are divided into train, validation and test. chronological: the first part trains,
    the rest is halved at random. random; stratified: random with equal label rates. column: a
    column (for adult: the file) says it; when no row is marked validation, --train_fraction of the
    train rows train and the others validate. autoctr: ten random folds with equal label rates, 8
    train, one validates, one tests, the same rows as in AutoCTR and NASRec. Default: chronological
    for criteo, autoctr for avazu and kdd2012_track2, column for adult, random for synthetic, what
    the schema says for table."""

    released_off_by_one: bool = False
    """With --split=autoctr on criteo_kaggle and kdd2012_track2: reproduce a mistake of the released
    scripts, by which every row gets the part of the row before it and the first row none."""

    train_fraction: float = 6 / 7
    """Share of the rows that train; validation and test get half of the rest each. Not with
    --split=autoctr."""

    weights_training_proportion: float = 0.8
    """Share of the train rows that train the supernet's weights; the others train theta."""

    split_seed: int = 1
    """Seed of the random parts of the split; with --split=autoctr, of weights and theta alone."""

    on_bad_row: Literal["error", "skip"] = "error"
    """error: stop at the first malformed row, with file, line and value. skip: leave malformed
    rows out, log them, and count them in the store's manifest."""

    synthetic_kind: Literal["cardinality", "rank"] = "cardinality"
    """What is planted. cardinality: how many rows each feature's table needs. rank: how many
    dimensions each feature's embedding needs."""

    synthetic_rows: int = 20000
    """Rows of the synthetic data set."""

    synthetic_seed: int = 0
    """Seed of everything in the synthetic data set."""

    synthetic_features: int = 26
    """Categorical features of the synthetic data set."""

    synthetic_values: int | None = None
    """Values of each synthetic feature. Default: 2000 for cardinality, 50 for rank."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            self._check_type(field.name, hints[field.name])
        self._check_ranges()
        self._check_contradictions()

    @property
    def split_rule(self) -> SplitRule | None:
        """``split``, or the data set's own rule; None when a table's schema decides."""
        return self.split or _SET_DEFAULT_SPLIT.get(self.data_set)

    @property
    def transform(self) -> DenseTransform | None:
        """``dense_transform``, or the data set's own; None when a table's schema decides."""
        return self.dense_transform or _SET_DEFAULT_TRANSFORM.get(self.data_set)

    def _check_type(self, name: str, hint: object) -> None:
        value = getattr(self, name)
        # Literals and optional types nest: Literal[..] | None has (Literal[..], NoneType) inside.
        accepted: list[object] = []
        pending = [hint]
        while pending:
            part = pending.pop()
            inner = get_args(part)
            if inner:
                pending.extend(inner)
            else:
                accepted.append(part)
        for part in accepted:
            if isinstance(part, type):
                if type(value) is part or (part is float and type(value) is int):
                    return
            elif type(value) is type(part) and value == part:
                return
        options = [part for part in accepted if isinstance(part, str)]
        wanted = f"one of {', '.join(sorted(options))}" if options else f"of type {hint}"
        raise ConfigError(f"--{name}={value!r}: must be {wanted}")

    def _check_ranges(self) -> None:
        for name, low in (
            ("max_ind_range", 0),
            ("max_table_rows", 0),
            ("min_count", 1),
            ("split_seed", 0),
            ("synthetic_rows", 1),
            ("synthetic_seed", 0),
            ("synthetic_features", 1),
        ):
            if getattr(self, name) < low:
                raise ConfigError(f"--{name}={getattr(self, name)}: must be at least {low}")
        if self.synthetic_values is not None and not 1 <= self.synthetic_values < 2**31:
            raise ConfigError(f"--synthetic_values={self.synthetic_values}: not in [1, 2**31)")
        if self.max_ind_range >= 2**31:
            raise ConfigError(f"--max_ind_range={self.max_ind_range}: must be below 2**31")
        if self.max_table_rows == 1:
            raise ConfigError("--max_table_rows=1: must be 0 (none) or at least 2")
        for name in ("train_fraction", "weights_training_proportion"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"--{name}={getattr(self, name)}: must be between 0 and 1")
        if not self.data_cache:
            raise ConfigError("--data_cache='': must name a folder")

    def _check_contradictions(self) -> None:
        if self.ids == "hash" and self.max_ind_range == 0:
            raise ConfigError("--ids=hash needs --max_ind_range, the number of buckets (found 0)")
        if self.ids != "hash" and self.max_ind_range > 0:
            raise ConfigError(
                f"--max_ind_range={self.max_ind_range} has no effect with --ids={self.ids}: "
                "use --ids=hash, or leave it out"
            )
        if self.ids != "vocabulary" and self.min_count > 1:
            raise ConfigError(
                f"--min_count={self.min_count} has no effect with --ids={self.ids}: leave it out"
            )
        if self.ids != "modulo" and self.max_table_rows > 0:
            raise ConfigError(
                f"--max_table_rows={self.max_table_rows} has no effect with --ids={self.ids}: "
                "use --ids=modulo, or leave it out"
            )
        if self.ids == "modulo" and self.data_set not in _WITH_TABLE_SIZES:
            raise ConfigError(
                f"--ids=modulo: there are no published table sizes for {self.data_set}, only for "
                f"{', '.join(_WITH_TABLE_SIZES)}: use --ids=hash"
            )
        if self.raw_data is None and self.data_set not in ("adult", "synthetic"):
            raise ConfigError(f"--data_set={self.data_set} needs --raw_data, the file to read")
        if self.user_profile is None and self.data_set == "kdd2012_track2":
            raise ConfigError("--data_set=kdd2012_track2 needs --user_profile, userid_profile.txt")
        if self.user_profile is not None and self.data_set != "kdd2012_track2":
            raise ConfigError(
                f"--user_profile={self.user_profile} is only used with --data_set=kdd2012_track2"
            )
        if self.data_set == "table" and self.schema is None:
            raise ConfigError("--data_set=table needs --schema, the file that names its columns")
        if self.data_set != "table" and self.schema is not None:
            raise ConfigError(f"--schema={self.schema} is only used with --data_set=table")
        if self.split == "column" and self.data_set not in ("table", "adult"):
            raise ConfigError(f"--split=column: {self.data_set} has no column that says the split")
        self._check_autoctr()
        if self.data_set == "synthetic":
            self._check_synthetic()

    def _check_autoctr(self) -> None:
        is_autoctr = self.split_rule == "autoctr"
        if is_autoctr and self.train_fraction != type(self).train_fraction:
            raise ConfigError(
                f"--train_fraction={self.train_fraction} has no effect with --split=autoctr, by "
                "which 8 of 10 folds train: leave it out, or use another rule"
            )
        if self.released_off_by_one and not is_autoctr:
            raise ConfigError("--released_off_by_one is only used with --split=autoctr")
        if self.released_off_by_one and self.data_set not in _RELEASED_OFF_BY_ONE:
            raise ConfigError(
                f"--released_off_by_one: the released scripts are right for {self.data_set}: only "
                f"{' and '.join(_RELEASED_OFF_BY_ONE)} have this mistake: leave it out"
            )

    def _check_synthetic(self) -> None:
        for name, needed in (
            ("raw_data", None),
            ("ids", "vocabulary"),
            ("min_count", 1),
        ):
            if getattr(self, name) != needed:
                raise ConfigError(
                    f"--{name}={getattr(self, name)} has no effect with --data_set=synthetic: "
                    "choose another data set, or leave it out"
                )
        if self.dense_transform == "log1p":
            raise ConfigError(
                "--dense_transform=log1p: the synthetic numbers are standard normal, half of them "
                "negative: leave it out"
            )
