"""From flags to interactions: which reader, and whether what it reads is kept."""

from __future__ import annotations

from dnas.data.retrieval.amazon import AMAZON_FILES, amazon_books
from dnas.data.retrieval.cache import cached
from dnas.data.retrieval.config import RetrievalDataConfig
from dnas.data.retrieval.interactions import Interactions
from dnas.data.retrieval.movielens import movielens_1m, movielens_100k
from dnas.data.retrieval.raw import raw_file
from dnas.data.retrieval.synthetic import synthetic
from dnas.data.retrieval.yelp import YELP_FILES, yelp

#: Read anew by each job, in a second or less.
_SMALL = {"ml_100k": movielens_100k, "ml_1m": movielens_1m}
#: Read once and kept in ``data_cache``; with the names of their files.
_LARGE = {"yelp": (yelp, YELP_FILES), "amazon_books": (amazon_books, AMAZON_FILES)}


def read_interactions(config: RetrievalDataConfig) -> Interactions:
    """The rows that the flags say.

    Raises:
        DataError: A raw file is missing or malformed.
    """
    if config.data_set == "towers_synthetic":
        made, _ = synthetic(
            users=config.synthetic_users,
            items=config.synthetic_items,
            events=config.synthetic_events,
            groups=config.synthetic_groups,
            seq_len=config.history_length,
            seed=config.synthetic_seed,
        )
        return made
    assert config.raw_data is not None
    folder, seq_len = config.raw_data, config.history_length
    if config.data_set in _SMALL:
        return _SMALL[config.data_set](folder, seq_len)
    read, names = _LARGE[config.data_set]
    return cached(
        config.data_set,
        [raw_file(folder, name) for name in names],
        config.data_cache,
        seq_len,
        lambda: read(folder, seq_len),
    )
