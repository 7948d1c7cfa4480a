"""MovieLens from the publishers' files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from dnas.data.retrieval import Protocol, RetrievalDataConfig, prepare_retrieval
from dnas.data.retrieval.movielens import movielens_1m, movielens_100k
from dnas.errors import DataError
from tests.conftest import shared_data


def genres(*on):
    return "|".join("1" if genre in on else "0" for genre in range(19))


@pytest.fixture
def small_100k(tmp_path):
    (tmp_path / "u.data").write_text("7\t30\t5\t100\n2\t10\t1\t50\n7\t10\t3\t90\n")
    (tmp_path / "u.user").write_text("2|7|M|writer|00001\n7|60|F|doctor|X\n9|1|M|doctor|X\n")
    (tmp_path / "u.occupation").write_text("doctor\nwriter\n")
    (tmp_path / "u.item").write_bytes(
        f"10|Caf\xe9 (1995)|01-Jan-1995||http|{genres(5, 3)}\n"
        f"20|Not rated|01-Jan-1995||http|{genres(1)}\n"
        f"30|unknown||||{genres(0)}\n".encode("latin-1")
    )
    return tmp_path


def test_100k_by_hand(small_100k):
    data = movielens_100k(small_100k, 20)
    assert data.users.tolist() == [2, 1, 2]
    assert data.items.tolist() == [2, 1, 1]
    assert data.times.tolist() == [100, 50, 90]
    # id, age (7 -> 1, 60 -> 7), gender (M -> 1), occupation
    assert data.user_fields.tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [2, 7, 0, 0]]
    assert data.item_fields.tolist() == [[0, 0], [1, 9], [2, 0]]
    assert data.item_bags[1:].tolist() == [[3, 5] + [19] * 17, [0] + [19] * 18]
    assert data.history_fields().tolist() == [[0, 0, 0], [1, 9, 3], [2, 0, 0]]
    assert data.spec.user_sizes == (3, 8, 2, 2)
    assert data.spec.item_sizes == (3, 10)
    assert (data.user_keys[1:].tolist(), data.item_keys[1:].tolist()) == ([2, 7], [10, 30])


@pytest.mark.parametrize(
    ("age", "bucket"), [(0, 0), (1, 1), (7, 1), (8, 2), (16, 2), (17, 3), (29, 3), (30, 4),
                        (39, 4), (40, 5), (49, 5), (50, 6), (59, 6), (60, 7), (99, 7)]
)  # fmt: skip
def test_age_buckets(small_100k, age, bucket):
    (small_100k / "u.user").write_text(f"2|{age}|M|writer|1\n7|1|F|doctor|X\n")
    assert movielens_100k(small_100k, 20).user_fields[1, 1] == bucket


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("u.data", "7\t10\t3\t90", "7\t10\t3", "u.data:3: 3 fields where 4 are expected"),
        ("u.data", "2\t10", "2\tx", "u.data:2: item is 'x', not an integer of at least 0"),
        ("u.data", "\t50", "\t", "u.data:2: time is '', not an integer"),
        ("u.data", "7\t30", "8\t30", "u.data:1: user is 8, which is not in the file of users"),
        ("u.data", "7\t30", "7\t31", "u.data:1: item is 31, which is not in the file of items"),
        ("u.user", "2|7|M", "2|7|m", "u.user:1: gender is 'm', not one of F, M"),
        ("u.user", "|writer", "|baker", "u.user:1: occupation is 'baker', not one of doctor"),
        ("u.user", "7|60", "7|old", "u.user:2: age is 'old', not an integer"),
        ("u.item", "20|", "20|x|", "u.item:2: 25 fields where 24 are expected"),
        ("u.item", "-1995||http|0|0|0|1", "-2001||http|0|0|0|1", "u.item:1: year is 2001, later"),
        ("u.item", "||||1", "||||2", "u.item:3: a genre is '2', not one of 0, 1"),
    ],
)
def test_mistakes_are_named(small_100k, name, old, new, message):
    path = small_100k / name
    text = path.read_text(encoding="latin-1")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="latin-1")
    with pytest.raises(DataError, match=message.replace("|", r"\|")):
        movielens_100k(small_100k, 20)


def test_missing_files_are_named(small_100k):
    (small_100k / "u.user").unlink()
    with pytest.raises(DataError, match=r"there is no u\.user"):
        movielens_100k(small_100k, 20)
    with pytest.raises(DataError, match="must be the folder with the publisher's files"):
        movielens_100k(small_100k / "u.data", 20)


@pytest.fixture
def small_1m(tmp_path):
    (tmp_path / "ratings.dat").write_text("1::20::5::978300760\n2::3::3::978302109\n")
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072-12\n")
    (tmp_path / "movies.dat").write_bytes(
        "3::Les Mis\xe9rables: Part (II) (1919)::Drama|Animation\n"
        "20::Gladiator (2000)::Action\n21::Not rated (1995)::War\n".encode("latin-1")
    )
    return tmp_path


def test_1m_by_hand(small_1m):
    data = movielens_1m(small_1m, 20)
    assert data.users.tolist() == [1, 2]
    assert data.items.tolist() == [2, 1]
    assert data.times.tolist() == [978300760, 978302109]
    assert data.user_fields[1:].tolist() == [[1, 0, 0, 10], [2, 6, 1, 16]]
    assert data.item_fields[1:].tolist() == [[1, 1], [2, 10]]
    assert data.item_bags[1:, :3].tolist() == [[7, 2, 18], [0, 18, 18]]
    assert data.spec.user_sizes == (3, 7, 2, 21)
    assert data.spec.item_sizes == (3, 11)
    assert (data.spec.bag_size, data.spec.bag_width) == (18, 18)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("ratings.dat", "2::3::3", "2::3:3", "ratings.dat:2: 6 fields where 7 are expected"),
        ("ratings.dat", "2::3::3", "2:9:3::3", "ratings.dat:2: '9' between the characters"),
        ("users.dat", "::56::", "::57::", "users.dat:2: age is '57', not one of 1, 18"),
        ("movies.dat", "::Action", "::Acting", "movies.dat:2: a genre is 'Acting', not one of"),
    ],
)
def test_mistakes_of_1m_are_named(small_1m, name, old, new, message):
    path = small_1m / name
    text = path.read_text(encoding="latin-1")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="latin-1")
    with pytest.raises(DataError, match=message):
        movielens_1m(small_1m, 20)


@pytest.fixture(scope="module")
def real():
    folder = shared_data("ml-100k")
    return prepare_retrieval(RetrievalDataConfig(data_set="ml_100k", raw_data=str(folder)))


def test_fields_of_ml_100k(real):
    assert real.spec.user_sizes == (944, 8, 2, 21)
    assert real.spec.item_sizes == (1683, 10)
    assert (real.spec.num_users, real.spec.num_items, real.spec.bag_size) == (943, 1682, 19)
    assert len(real.interactions) == 100_000


def test_split_of_ml_100k(real):
    sizes = {name: len(part) for name, part in real.parts.items()}
    assert (sizes["train"], sizes["validation"], sizes["test"]) == (50_000, 25_000, 25_000)
    counts = real.timeline.counts()
    pool = 3 * counts // 4
    assert pool.sum() == 74_646
    place = np.arange(100_000) - real.timeline.starts[real.timeline.users]
    late = place >= pool[real.timeline.users]
    assert np.count_nonzero(late[real.parts["validation"]]) == 354
    assert not late[real.parts["train"]].any()


def test_ties_of_ml_100k(real):
    pairs = np.stack([real.interactions.users, real.interactions.times], axis=1)
    _, place, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    assert np.mean(counts[place.ravel()] > 1) == pytest.approx(0.758, abs=5e-4)


def test_test_users_of_ml_100k(real):
    for protocol in (Protocol.PAPER, Protocol.TEMPORAL, Protocol.TEMPORAL_EXCLUDE):
        ranking = real.rankings[protocol]
        counts = np.diff(ranking.relevant.starts)
        assert len(ranking) == 943
        assert counts.mean() == pytest.approx(26.5, abs=0.05)
        assert np.median(counts) == 16
        assert np.mean(counts > 50) == pytest.approx(0.15, abs=0.01)
        assert np.minimum(50 / counts, 1).mean() == pytest.approx(0.958, abs=0.002)


def test_the_papers_protocol_shows_nearly_half_of_the_history_to_be_found(real):
    for protocol, expected in ((Protocol.PAPER, 9.05), (Protocol.TEMPORAL, 0)):
        ranking = real.rankings[protocol]
        relevant = ranking.relevant.take(0, 943)
        shown = [
            np.isin(row[row > 0], items).sum()
            for row, items in zip(ranking.histories, relevant, strict=True)
        ]
        assert np.mean(shown) == pytest.approx(expected, abs=0.4)


def test_history_lengths_of_ml_100k(real):
    train = real.parts["train"]
    lengths = (real.timeline.histories(train, 20) > 0).sum(axis=1)
    assert lengths.mean() == pytest.approx(17.4, abs=0.05)
    assert np.mean(lengths == 0) == pytest.approx(0.012, abs=0.002)
    assert np.count_nonzero(real.train_counts) == pytest.approx(1530, abs=25)


def test_compressed_files_are_read(tmp_path):
    import gzip

    folder = shared_data("ml-100k")
    for name in ("u.user", "u.item", "u.occupation"):
        shutil.copy(folder / name, tmp_path / name)
    with gzip.open(tmp_path / "u.data.gz", "wb") as file:
        file.write((folder / "u.data").read_bytes())
    whole, packed = movielens_100k(folder, 20), movielens_100k(tmp_path, 20)
    assert whole.content_hash() == packed.content_hash()
