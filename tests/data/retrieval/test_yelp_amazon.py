"""Yelp and Amazon's books from small files written by hand, and what is kept of them."""

from __future__ import annotations

import gzip
import json
import os

import numpy as np
import pandas as pd
import pytest

from dnas.data.retrieval import RetrievalDataConfig, prepare_retrieval
from dnas.data.retrieval import amazon as amazon_module
from dnas.data.retrieval import yelp as yelp_module
from dnas.data.retrieval.amazon import amazon_books
from dnas.data.retrieval.quantiles import quantile_bins
from dnas.data.retrieval.sources import read_interactions
from dnas.data.retrieval.yelp import yelp
from dnas.errors import DataError


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bins", [1, 2, 5, 50])
def test_bins_are_those_of_qcut(seed, bins):
    values = np.random.default_rng(seed).integers(0, [3, 30, 1000, 10**6][seed], size=500)
    found, count = quantile_bins(values.astype(float), bins)
    expected, borders = pd.qcut(values, bins, labels=False, duplicates="drop", retbins=True)
    np.testing.assert_array_equal(found, expected)
    assert count == len(borders) - 1


def test_bins_by_hand():
    # Quartiles of 0 0 0 1 2: 0, 0, 0, 1, 2, so the borders are 0, 1, 2.
    found, count = quantile_bins(np.array([2.0, 0, 0, 1, 0]), 4)
    assert found.tolist() == [1, 0, 0, 0, 0]
    assert count == 2


def test_one_value_is_one_bin():
    found, count = quantile_bins(np.full(7, 3.5), 50)
    assert found.tolist() == [0] * 7
    assert count == 1


# ---------------------------------------------------------------------- Yelp


def write_yelp(folder, reviews):
    users = [
        {"user_id": name, "name": "x", "review_count": count, "yelping_since": since,
         "useful": 1, "funny": 0, "cool": count, "elite": ""}
        for name, count, since in (
            ("ub", 5, "2010-01-02 03:04:05"), ("ua", 9, "2012-05-06"), ("uz", 1, "2013-01-01"),
        )
    ]  # fmt: skip
    places = [
        {"business_id": name, "name": "y", "city": city, "state": "AZ", "stars": stars,
         "review_count": 7, "is_open": 1, "hours": None}
        for name, city, stars in (("pb", "Tempe", 3.5), ("pa", "Mesa", 5.0), ("pz", "Ajo", 1.0))
    ]  # fmt: skip
    for name, lines in zip(yelp_module.YELP_FILES, (reviews, users, places), strict=True):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")


def review(user, place, date="2018-07-07 22:09:11"):
    return {"review_id": "r", "user_id": user, "business_id": place, "stars": 4.0, "useful": 0,
            "text": "a\nb \u00e9 {", "date": date}  # fmt: skip


@pytest.fixture
def small_yelp(tmp_path, monkeypatch):
    monkeypatch.setattr(yelp_module, "MINIMUM", 2)
    reviews = [
        review("ub", "pb"),
        review("ua", "pa", "2018-07-07"),
        review("ub", "pa"),
        review("ghost", "pb"),  # of no user in the file of users
        review("uz", "pz"),  # one review each
        review("ua", "pb", "2009-01-01 00:00:01"),
    ]
    write_yelp(tmp_path, reviews)
    return tmp_path


def test_yelp_by_hand(small_yelp, caplog):
    data = yelp(small_yelp, 40)
    assert data.users.tolist() == [2, 1, 2, 1]
    assert data.items.tolist() == [2, 1, 1, 2]
    assert data.times.tolist()[1:] == [1530921600, 1531001351, 1230768001]
    # Of two numbers one is in the first bin, the other in the last: borders are interpolated.
    assert data.user_fields[1:].tolist() == [[1, 99, 99, 0, 0, 99], [2, 0, 0, 0, 0, 0]]
    assert data.item_fields[1:].tolist() == [[1, 0, 0, 4, 0, 0], [2, 1, 0, 0, 0, 0]]
    assert data.spec.user_sizes == (3, 100, 100, 1, 1, 100)
    assert data.spec.item_sizes == (3, 2, 1, 5, 1, 1)
    assert data.spec.item_names == (
        "item_id",
        "item_city",
        "item_state",
        "item_stars",
        "item_review_count",
        "item_is_open",
    )
    assert data.spec.history_names == data.spec.item_names
    assert len(data.spec.user_names) == 6
    assert data.item_bags.shape == (3, 0)
    assert "1 of 6 reviews are of users or businesses that the other files lack" in caplog.text


@pytest.mark.parametrize(
    ("file", "line", "new", "message"),
    [
        (0, 2, "{", r"review\.json:3: not JSON: b'{'"),
        (0, 2, "[1]", r"review\.json:3: not a JSON object"),
        (0, 1, '{"user_id": "a"}', r"review\.json:2: business_id is missing, expected String"),
        (0, 0, json.dumps(review("ua", "pa", "then")), r"review\.json:1: date is 'then', not a"),
        (1, 1, '{"user_id": 4}', r"user\.json:2: user_id is 4, expected String"),
        (0, 1, "", r"review\.json:2: not JSON: b''"),
    ],
)
def test_mistakes_of_yelp_are_named(small_yelp, file, line, new, message):
    path = small_yelp / yelp_module.YELP_FILES[file]
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[line] = new
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        yelp(small_yelp, 40)


def test_nothing_left_is_an_error(small_yelp, monkeypatch):
    monkeypatch.setattr(yelp_module, "MINIMUM", 20)
    with pytest.raises(DataError, match="no interaction of 5 is left: each needs at least 20"):
        yelp(small_yelp, 40)


# ---------------------------------------------------------------------- Amazon


def record(item, user, time, price="unknown"):
    return (
        f"product/productId: {item}\nproduct/title: T\u00eate review/time: 3\n"
        f"product/price: {price}\nreview/userId: {user}\nreview/profileName: x\n"
        f"review/helpfulness: 1/2\nreview/score: 5.0\nreview/time: {time}\n"
        "review/summary: s\nreview/text: product/price: 4\n\n"
    )


@pytest.fixture
def books(tmp_path, monkeypatch):
    monkeypatch.setattr(amazon_module, "MINIMUM", {"user": 2, "item": 2})
    text = "".join(
        [
            record("B2", "U9", 50),
            record("B1", "U9", 40, "7.50"),
            record("B2", "unknown", 41),
            record("B2", "U1", 7, "3.99"),
            record("B3", "U1", 8),
            record("B1", "U1", 9, "9.00"),
        ]
    )
    (tmp_path / "Books.txt").write_text(text, encoding="latin-1")
    return tmp_path


def test_amazon_by_hand(books, caplog):
    data = amazon_books(books, 50)
    assert data.users.tolist() == [2, 2, 1, 1]
    assert data.items.tolist() == [2, 1, 2, 1]
    assert data.times.tolist() == [50, 40, 7, 9]
    assert data.user_fields.tolist() == [[0], [1], [2]]
    assert data.item_fields.tolist() == [[0, 0], [1, 49], [2, 0]]  # prices 7.50 and 3.99
    assert data.spec.item_sizes == (3, 50)
    assert data.user_numbers(sorted(data.user_keys[1:])).tolist() == [1, 2]
    assert data.item_keys[0] == ""
    assert "1 of 6 reviews are of no user" in caplog.text


@pytest.mark.parametrize("block_bytes", [64, 301, 1 << 20])
def test_blocks_change_nothing(books, monkeypatch, block_bytes):
    whole = amazon_books(books, 50).content_hash()
    monkeypatch.setattr(amazon_module, "BLOCK_BYTES", block_bytes)
    assert amazon_books(books, 50).content_hash() == whole


@pytest.mark.parametrize("ending", ["\r\n", None])
def test_other_line_ends_and_compression_change_nothing(books, tmp_path, ending):
    whole = amazon_books(books, 50).content_hash()
    path = books / "Books.txt"
    data = path.read_bytes()
    if ending:
        path.write_bytes(data.replace(b"\n", ending.encode()))
    else:
        path.unlink()
        with gzip.open(books / "Books.txt.gz", "wb") as file:
            file.write(data)
    assert amazon_books(books, 50).content_hash() == whole


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("review/time: 40\n", "", r"Books\.txt:12: a record around here lacks one of"),
        ("review/time: 9\n", "", r"Books\.txt:56: a record around here lacks one of"),
        ("review/time: 40", "review/time: soon", r"Books\.txt:19: time is 'soon', not seconds"),
        ("price: 7.50", "price: free", r"Books\.txt:14: price is 'free', not a price or unknown"),
        ("userId: U9\n", "userId: \n", r"Books\.txt:4: there is no value"),
        ("userId: U9\n", "userId: \xe9\n", r"Books\.txt:4: .* is not ASCII text"),
        ("product/productId: B1", "product/id: B1", r"Books\.txt:\d+: a record around here"),
    ],
)
def test_mistakes_of_amazon_are_named(books, old, new, message):
    path = books / "Books.txt"
    text = path.read_text(encoding="latin-1")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="latin-1")
    with pytest.raises(DataError, match=message):
        amazon_books(books, 50)


def test_a_file_of_something_else(books):
    (books / "Books.txt").write_text("item,user,rating\n1,2,3\n")
    with pytest.raises(DataError, match=r"Books\.txt: no record with the lines"):
        amazon_books(books, 50)


# ---------------------------------------------------------------------- the cache


def config(books, tmp_path, **fields):
    return RetrievalDataConfig(
        data_set="amazon_books",
        raw_data=str(books),
        data_cache=str(tmp_path / "cache"),
        **fields,
    )


def test_a_file_is_read_once(books, tmp_path, monkeypatch):
    first = read_interactions(config(books, tmp_path))
    monkeypatch.setattr(amazon_module, "_read", None)
    again = read_interactions(config(books, tmp_path))
    assert again.content_hash() == first.content_hash()
    assert again.spec.seq_len == 50
    shorter = read_interactions(config(books, tmp_path, seq_len=2))
    assert shorter.spec.seq_len == 2
    assert len(list((tmp_path / "cache").glob("amazon_books-*"))) == 1


def test_a_changed_file_is_read_again(books, tmp_path):
    before = read_interactions(config(books, tmp_path))
    path = books / "Books.txt"
    os.utime(path, ns=(1, 1))
    path.write_text(path.read_text(encoding="latin-1").replace("7.50", "1.50"), "latin-1")
    after = read_interactions(config(books, tmp_path))
    assert before.item_fields.tolist() != after.item_fields.tolist()


def test_a_damaged_cache_is_named(books, tmp_path):
    read_interactions(config(books, tmp_path))
    (path,) = (tmp_path / "cache").glob("amazon_books-*/users.npy")
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"amazon_books-\w+: damaged .* delete this folder"):
        read_interactions(config(books, tmp_path))


def test_a_mistake_leaves_nothing_behind(books, tmp_path):
    path = books / "Books.txt"
    good = path.read_bytes()
    path.write_bytes(good.replace(b"review/time: 9", b"review/time: x"))
    with pytest.raises(DataError, match="time is 'x'"):
        read_interactions(config(books, tmp_path))
    assert not list((tmp_path / "cache").glob("amazon*"))
    path.write_bytes(good)
    assert len(read_interactions(config(books, tmp_path))) == 4


def test_too_few_rows_for_a_split(books, tmp_path):
    with pytest.raises(DataError, match=r"split: the \w+ part of 4 rows of 2 users is empty"):
        prepare_retrieval(config(books, tmp_path, weights_training_proportion=0.1))
