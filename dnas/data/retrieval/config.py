"""The flags that say which interactions to use, and how they are divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from dnas.errors import ConfigError

RetrievalSet = Literal["ml_100k", "ml_1m", "yelp", "amazon_books", "towers_synthetic"]
RetrievalSplit = Literal["paper", "temporal"]
UserHalf = Literal["all", "first", "second"]

#: Length of histories in the AutoTower paper, 4.1.1; the synthetic set's is ours.
_SEQ_LEN: dict[str, int] = {
    "ml_100k": 20,
    "ml_1m": 20,
    "yelp": 40,
    "amazon_books": 50,
    "towers_synthetic": 10,
}


@dataclass(frozen=True, kw_only=True)
class RetrievalDataConfig:
    """Which data set for retrieval, how it is read, and how its rows are divided.

    Raises:
        ConfigError: A value is out of range, or two flags contradict each other.
    """

    data_set: RetrievalSet = "towers_synthetic"
    """What the data is. ml_100k, ml_1m, yelp and amazon_books read the publishers' files with the
    AutoTower paper's fields and filters; towers_synthetic is made up, with a known structure."""

    raw_data: str | None = None
    """Folder with the publisher's files. ml_100k: u.data, u.user, u.item, u.occupation.
    ml_1m: ratings.dat, users.dat, movies.dat. yelp: yelp_academic_dataset_review.json, _business
    and _user. amazon_books: Books.txt.gz. The JSON files and Books.txt may be plain, .gz, .zst,
    .bz2 or .lz4."""

    data_cache: str = "data_cache"
    """Folder of what was read from raw data. Safe to share between jobs."""

    seq_len: int = 0
    """Positions of a history. 0: the paper's, 20 for MovieLens, 40 for yelp, 50 for amazon_books;
    10 for towers_synthetic."""

    retrieval_split: RetrievalSplit = "paper"
    """How rows are divided. paper: of each user the first three quarters in time are a pool, the
    others test; of the pool random rows validate and the others train. temporal: of each user the
    first half trains, the third quarter validates, the last tests. In both 2:1:1."""

    user_half: UserHalf = "all"
    """Which users are the data set: all, or one of two random halves (by --split_seed), with the
    items that they have. Two data sets of one kind, to see whether an architecture that was found
    on one suits the other."""

    weights_training_proportion: float = 0.8
    """Share of the train rows that train the supernet's weights; the others train theta."""

    split_seed: int = 666
    """Seed of the halves of users, of the random parts of the split, and of the test moments of the
    paper's protocol."""

    validation_batch_size: int = 1024
    """Rows of a batch of the validation loss, which are each other's negatives: the loss depends on
    it. --eval_batch_size is the number of users that are ranked at a time, and changes nothing."""

    frequency_alpha: float = 0.01
    """Learning rate of the streaming estimate of how often an item is in a batch."""

    synthetic_users: int = 400
    """Users of the synthetic data set."""

    synthetic_items: int = 300
    """Items of the synthetic data set."""

    synthetic_events: int = 40
    """Mean number of interactions of a synthetic user."""

    synthetic_groups: int = 8
    """Groups of like users and items in the synthetic data set."""

    synthetic_seed: int = 0
    """Seed of everything in the synthetic data set."""

    def __post_init__(self) -> None:
        for name, kind in (
            ("data_set", RetrievalSet),
            ("retrieval_split", RetrievalSplit),
            ("user_half", UserHalf),
        ):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(
                    f"--{name}={getattr(self, name)!r}: must be one of {', '.join(get_args(kind))}"
                )
        for name, low in (
            ("seq_len", 0),
            ("split_seed", 0),
            ("validation_batch_size", 1),
            ("synthetic_users", 1),
            ("synthetic_items", 1),
            ("synthetic_events", 4),
            ("synthetic_groups", 1),
            ("synthetic_seed", 0),
        ):
            if getattr(self, name) < low:
                raise ConfigError(f"--{name}={getattr(self, name)}: must be at least {low}")
        for name in ("weights_training_proportion", "frequency_alpha"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"--{name}={getattr(self, name)}: must be between 0 and 1")
        if not self.data_cache:
            raise ConfigError("--data_cache='': must name a folder")
        if self.data_set == "towers_synthetic" and self.raw_data is not None:
            raise ConfigError(
                f"--raw_data={self.raw_data} has no effect with --data_set=towers_synthetic: "
                "choose another data set, or leave it out"
            )
        if self.data_set != "towers_synthetic" and self.raw_data is None:
            raise ConfigError(
                f"--data_set={self.data_set} needs --raw_data, the folder with the "
                "publisher's files"
            )

    @property
    def history_length(self) -> int:
        """``seq_len``, or the data set's own."""
        return self.seq_len or _SEQ_LEN[self.data_set]
