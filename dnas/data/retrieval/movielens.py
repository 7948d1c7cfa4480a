"""MovieLens 100K and 1M from GroupLens' files, with the fields of the AutoTower paper.

User fields: id, age, gender (F 0, M 1), occupation. Item fields: id, decade; genres are the
multi-hot field. A position of a history has id, decade and the item's first genre. Ids are numbered
in ascending order from 1, over what was rated. Every rating is an interaction, whatever its value;
zip codes are not used.

The decade is ``(year - 1900) // 10``, 1 before 1900, 0 where the year is unknown; the year is that
of the release date in 100K, and that in the title's last brackets in 1M, which has no other. Age in
100K: below 1, 8, 17, 30, 40, 50, 60 and above are 0 to 7; 1M has seven codes, numbered 0 to 6.
100K's first genre is "unknown", a value like the others.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dnas.data.bad_rows import shorten
from dnas.data.retrieval.interactions import Interactions, codes_of
from dnas.data.retrieval.raw import integer, integer_columns, one_of, raw_file, small_table
from dnas.data.retrieval.spec import TowerSpec
from dnas.errors import DataError

AGE_BOUNDS = (1, 8, 17, 30, 40, 50, 60)
_GENDERS = ("F", "M")
_RATING = ("user", "item", "rating", "time")

_GENRES_100K = 19
_YEARS_100K = 100  # 1900 to 1999

_AGES_1M = ("1", "18", "25", "35", "45", "50", "56")
_OCCUPATIONS_1M = tuple(map(str, range(21)))
_YEARS_1M = 110  # to 2009; the latest is 2000
_GENRES_1M = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War",
    "Western",
)  # fmt: skip


def movielens_100k(folder: str | Path, seq_len: int) -> Interactions:
    """MovieLens 100K: ``u.data``, ``u.user``, ``u.item``, ``u.occupation``.

    Args:
        folder: Where they are.
        seq_len: Length of histories.

    Raises:
        DataError: A file is missing or malformed.
    """
    ratings = raw_file(folder, "u.data")
    path = raw_file(folder, "u.occupation")
    occupations = [words[0] for _, words in small_table(path, "\n", 1)]
    path = raw_file(folder, "u.user")
    users = {
        integer(path, line, "user", words[0]): (
            int(np.searchsorted(AGE_BOUNDS, integer(path, line, "age", words[1]), side="right")),
            _GENDERS.index(one_of(path, line, "gender", words[2], _GENDERS)),
            occupations.index(one_of(path, line, "occupation", words[3], occupations)),
        )
        for line, words in small_table(path, "|", 5)
    }
    path = raw_file(folder, "u.item")
    movies = {}
    for line, words in small_table(path, "|", 5 + _GENRES_100K, encoding="latin-1"):
        year = words[2].rpartition("-")[2]
        flags = [one_of(path, line, "a genre", word, ("0", "1")) for word in words[5:]]
        movies[integer(path, line, "movie", words[0])] = (
            _decade(path, line, year, _YEARS_100K),
            [genre for genre, flag in enumerate(flags) if flag == "1"],
        )
    columns = integer_columns(ratings, "\t", _RATING, ("user", "item", "time"))
    sizes = len(AGE_BOUNDS) + 1, len(_GENDERS), len(occupations)
    return _join(ratings, columns, users, movies, sizes, _YEARS_100K // 10, _GENRES_100K, seq_len)


def movielens_1m(folder: str | Path, seq_len: int) -> Interactions:
    """MovieLens 1M: ``ratings.dat``, ``users.dat``, ``movies.dat``.

    Args:
        folder: Where they are.
        seq_len: Length of histories.

    Raises:
        DataError: A file is missing or malformed.
    """
    ratings = raw_file(folder, "ratings.dat")
    path = raw_file(folder, "users.dat")
    users = {
        integer(path, line, "user", words[0]): (
            _AGES_1M.index(one_of(path, line, "age", words[2], _AGES_1M)),
            _GENDERS.index(one_of(path, line, "gender", words[1], _GENDERS)),
            int(one_of(path, line, "occupation", words[3], _OCCUPATIONS_1M)),
        )
        for line, words in small_table(path, "::", 5)
    }
    path = raw_file(folder, "movies.dat")
    movies = {}
    for line, words in small_table(path, "::", 3, encoding="latin-1"):
        found = re.search(r"\((\d{4})\)\s*$", words[1])
        movies[integer(path, line, "movie", words[0])] = (
            _decade(path, line, found[1] if found else "", _YEARS_1M),
            [
                _GENRES_1M.index(one_of(path, line, "a genre", word, _GENRES_1M))
                for word in words[2].split("|")
            ],
        )
    columns = integer_columns(ratings, "::", _RATING, ("user", "item", "time"))
    sizes = len(_AGES_1M), len(_GENDERS), len(_OCCUPATIONS_1M)
    return _join(ratings, columns, users, movies, sizes, _YEARS_1M // 10, len(_GENRES_1M), seq_len)


def _decade(path: Path, line: int, year: str, years: int) -> int:
    if not year:
        return 0
    since = integer(path, line, "year", year) - 1900
    if since >= years:
        raise DataError(f"{path}:{line}: year is {year}, later than {1900 + years - 1}")
    return since // 10 if since >= 0 else 1


def _join(
    path: Path,
    columns: dict[str, np.ndarray],
    users: dict[int, tuple[int, int, int]],
    movies: dict[int, tuple[int, list[int]]],
    sizes: tuple[int, int, int],
    decades: int,
    genres: int,
    seq_len: int,
) -> Interactions:
    """Ratings with what is known of their users and movies, by the publishers' numbers.

    Args:
        path: Of the ratings.
        columns: Their user, item and time, and lines.
        users: Age, gender, occupation.
        movies: Decade and genres.
        sizes: Vocabularies of age, gender and occupation.
        decades: Vocabulary of decades.
        genres: Number of genres.
        seq_len: Length of histories.
    """
    user_ids, user_codes = codes_of(columns["user"])
    item_ids, item_codes = codes_of(columns["item"])
    for name, ids, codes, known in (
        ("user", user_ids, user_codes, users),
        ("item", item_ids, item_codes, movies),
    ):
        missing = [number for number, value in enumerate(ids, start=1) if int(value) not in known]
        if missing:
            at = int(np.argmax(codes == missing[0]))
            raise DataError(
                f"{path}:{columns['lines'][at]}: {name} is {shorten(int(columns[name][at]))}, "
                f"which is not in the file of {name}s"
            )
    user_fields = np.zeros((len(user_ids) + 1, 4), dtype=np.int32)
    user_fields[1:, 0] = np.arange(1, len(user_ids) + 1)
    user_fields[1:, 1:] = [users[int(value)] for value in user_ids]
    item_fields = np.zeros((len(item_ids) + 1, 2), dtype=np.int32)
    item_bags = np.full((len(item_ids) + 1, genres), genres, dtype=np.int32)
    for number, value in enumerate(item_ids, start=1):
        decade, bag = movies[int(value)]
        item_fields[number] = number, decade
        item_bags[number, : len(bag)] = bag
    return Interactions(
        users=user_codes,
        items=item_codes,
        times=columns["time"],
        user_fields=user_fields,
        item_fields=item_fields,
        item_bags=item_bags,
        spec=TowerSpec(
            user_names=("user_id", "age", "gender", "occupation"),
            user_sizes=(len(user_ids) + 1, *sizes),
            item_names=("movie_id", "decade"),
            item_sizes=(len(item_ids) + 1, decades),
            bag_name="genres",
            bag_size=genres,
            bag_width=genres,
            history_names=("movie_id", "decade", "genres"),
            seq_len=seq_len,
        ),
        user_keys=np.append(0, user_ids),
        item_keys=np.append(0, item_ids),
    )
