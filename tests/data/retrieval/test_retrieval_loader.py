"""Batches of retrieval data."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from dnas.data.loader import Loader
from dnas.data.retrieval import (
    Protocol,
    RetrievalData,
    RetrievalDataConfig,
    StreamingFrequency,
    is_ranking,
    prepare_retrieval,
    unpack,
)
from dnas.data.retrieval import loader as loader_module
from dnas.errors import DataError
from tests.data.retrieval.small import interactions

CONFIG = RetrievalDataConfig(
    synthetic_users=60, synthetic_items=80, synthetic_events=20, validation_batch_size=128
)


@pytest.fixture(scope="module")
def data():
    return prepare_retrieval(CONFIG)


def training(data, split="train", size=64, *, shuffle=True, seed=3, drop_last=True):
    return data.loader(split, size, shuffle=shuffle, seed=seed, drop_last=drop_last)


def evaluation(data, split, size):
    return data.loader(split, size, shuffle=False, seed=0, drop_last=False)


def assert_same(one, other):
    assert torch.equal(one.labels, other.labels)
    assert all(map(torch.equal, one.inputs, other.inputs))


def test_a_batch_by_hand():
    rows = [(1, item, time) for time, item in enumerate([3, 1, 2, 5, 4, 1, 2, 3])]
    config = dataclasses.replace(
        CONFIG, retrieval_split="temporal", weights_training_proportion=0.5
    )
    data = RetrievalData(interactions(rows, seq_len=2), config)
    loader = training(data, size=3, shuffle=False, drop_last=False)
    assert len(loader) == 2
    first, last = loader.batches(0, 2)
    users, history, items, bags = first.inputs
    assert users.tolist() == [[1], [1], [1]]
    assert history.tolist() == [[[0, 0], [0, 0]], [[0, 0], [3, 1]], [[3, 1], [1, 1]]]
    assert items.tolist() == [[3, 1], [1, 1], [2, 0]]
    assert bags.shape == (3, 0)
    # B starts at (5 + 1) // 3 = 2: 0.99 * 2 + 0.01 * (1 - 0) = 1.99 in the first step.
    expected = [[item, -np.log(1.99), 1] for item in (3, 1, 2)]
    np.testing.assert_allclose(first.labels, expected, rtol=1e-12)
    np.testing.assert_allclose(last.labels, [[5, -np.log(0.99 * 2 + 0.01 * 2), 1]], rtol=1e-12)
    assert all(part.dtype == torch.int64 for part in first.inputs)


@pytest.mark.parametrize("split", ["weights", "theta", "train"])
def test_any_step_gives_the_same_batch_at_any_time(data, split):
    size = 24
    once = list(training(data, split, size).batches(0, 80))
    loader = training(data, split, size)
    for start, stop in ((70, 72), (3, 5), (3, 5), (5, 6), (0, 1), (40, 42)):
        for step, batch in zip(range(start, stop), loader.batches(start, stop), strict=True):
            assert_same(batch, once[step])
    a, b = loader.batches(10, 14), loader.batches(60, 64)  # two at a time
    for step in range(4):
        assert_same(next(a), once[10 + step])
        assert_same(next(b), once[60 + step])


def test_log_q_is_the_estimate_over_the_order_from_step_0(data):
    batches = list(training(data, size=32).batches(0, 60))
    estimate = StreamingFrequency(80, start=81 // 32, alpha=CONFIG.frequency_alpha)
    for step, batch in enumerate(batches, start=1):
        items = batch.labels[:, 0].long().numpy()
        np.testing.assert_array_equal(items, batch.inputs[2][:, 0])
        np.testing.assert_array_equal(batch.labels[:, 1], np.log(estimate.update(items, step)))


def test_an_epoch_has_every_row_once(data):
    loader = training(data, size=50, drop_last=False)
    for epoch in (0, 1):
        batches = list(loader.batches(epoch * len(loader), (epoch + 1) * len(loader)))
        found = torch.cat([torch.cat([b.inputs[0], b.inputs[2]], dim=1) for b in batches])
        train = data.parts["train"]
        expected = np.stack([data.timeline.users[train], data.timeline.items[train]], axis=1)
        assert sorted(found[:, [0, 2]].tolist()) == sorted(expected.tolist())
    assert len(batches[-1].labels) == len(train) % 50
    assert len(training(data, size=50)) == len(train) // 50


def test_epochs_differ_and_seeds_differ(data):
    loader = training(data)
    one, two = next(loader.batches(0, 1)), next(loader.batches(len(loader), len(loader) + 1))
    other = next(training(data, seed=4).batches(0, 1))
    assert not torch.equal(one.inputs[0], two.inputs[0])
    assert not torch.equal(one.inputs[0], other.inputs[0])


def test_validation_is_loss_batches_then_the_ranking(data):
    loader = evaluation(data, "validation", 25)
    assert isinstance(loader, Loader)
    batches = list(loader.batches(0, len(loader)))
    kinds = [is_ranking(batch.labels) for batch in batches]
    rows = len(data.parts["validation"])
    assert kinds == [False] * -(-rows // 128) + [True] * 3
    assert sum(len(b.labels) for b in batches[: kinds.index(True)]) == rows
    assert {unpack(b.labels)[0] for b in batches[kinds.index(True) :]} == {Protocol.VALIDATION}
    assert_same(next(loader.batches(len(loader), len(loader) + 1)), batches[0])


def test_log_q_of_validation_is_the_expected_number_in_a_batch(data):
    batch = next(evaluation(data, "validation", 25).batches(0, 1))
    items = batch.labels[:, 0].long().numpy()
    train = data.timeline.items[data.parts["train"]]
    for item, log_q in zip(items, batch.labels[:, 1], strict=True):
        count = max(np.count_nonzero(train == item), 1)
        assert log_q == pytest.approx(np.log(128 * count / len(train)))


def test_test_is_the_three_protocols(data):
    batches = list(evaluation(data, "test", 1000).batches(0, 3))
    assert [unpack(batch.labels)[0] for batch in batches] == [0, 1, 2]
    for batch in batches:
        protocol, relevant, excluded = unpack(batch.labels)
        ranking = data.rankings[Protocol(protocol)]
        users, history, items, bags = batch.inputs
        assert users[:, 0].tolist() == ranking.users.tolist()
        np.testing.assert_array_equal(history[:, :, 0], ranking.histories)
        assert items[:, 0].tolist() == list(range(1, 81))
        assert bags.shape == (80, 2)
        assert (relevant > 0).sum() == len(ranking.relevant.items)
        assert (excluded > 0).sum() == len(ranking.excluded.items)


def test_users_at_a_time_change_nothing(data):
    whole = list(evaluation(data, "test", 10**6).batches(0, 3))
    parts = evaluation(data, "test", 7)
    for protocol, group in itertools.groupby(
        parts.batches(0, len(parts)), key=lambda batch: unpack(batch.labels)[0]
    ):
        batches = list(group)
        one = whole[protocol]
        for place in (0, 1):
            joined = torch.cat([batch.inputs[place] for batch in batches])
            assert torch.equal(joined, one.inputs[place])
        for place in (1, 2):
            rows = [
                sorted(set(row) - {0}) for b in batches for row in unpack(b.labels)[place].tolist()
            ]
            assert rows == [sorted(set(row) - {0}) for row in unpack(one.labels)[place].tolist()]


def test_long_lists_make_smaller_batches(data, monkeypatch):
    monkeypatch.setattr(loader_module, "LABEL_PLACES", 100)
    loader = evaluation(data, "test", 50)
    found = {protocol: [] for protocol in range(3)}
    for batch in loader.batches(0, len(loader)):
        users, _, width = batch.labels.shape
        assert users == 1 or users * (width - 1) <= 100
        found[unpack(batch.labels)[0]] += batch.inputs[0][:, 0].tolist()
    assert len(loader) > 3 * len(found[0]) / 50 * 5
    for protocol, users in found.items():
        assert users == data.rankings[Protocol(protocol)].users.tolist()


def test_the_padding_of_a_history_is_zero_in_all_fields(data):
    for batch in training(data).batches(0, 10):
        history = batch.inputs[1]
        assert (history[history[:, :, 0] == 0] == 0).all()
        padded = (history[:, :, 0] == 0).int()
        assert (padded.diff(dim=1) <= 0).all()  # on the left


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, "split='valid': must be one of weights, theta, train"),
        ({"batch_size": 0}, "--rows=0: must be at least 1"),
        ({"batch_size": 10**6}, r"--rows=1000000 is more than the \d+ rows"),
        ({"split": "test", "batch_size": 0}, "--rows=0: must be at least 1"),
        ({"split": "test"}, "split='test' with shuffle=True"),
        ({"split": "validation", "shuffle": False}, "drop_last=True"),
        ({"seed": -1}, "seed=-1: must not be negative"),
    ],
)
def test_wrong_arguments_are_refused(data, arguments, message):
    given = {"split": "train", "batch_size": 8, "shuffle": True, "seed": 0, "drop_last": True}
    given |= arguments
    with pytest.raises(DataError, match=message):
        data.loader(given.pop("split"), given.pop("batch_size"), **given, flag="--rows")


def test_steps_begin_at_0(data):
    for loader in (training(data), evaluation(data, "test", 8)):
        with pytest.raises(DataError, match="steps begin at 0"):
            loader.batches(-1, 2)


def test_the_record_is_json_and_tells_data_apart(data):
    import json

    assert json.loads(json.dumps(data.record)) == data.record
    again = prepare_retrieval(CONFIG)
    assert again.record == data.record
    other = prepare_retrieval(dataclasses.replace(CONFIG, synthetic_seed=1))
    longer = prepare_retrieval(dataclasses.replace(CONFIG, seq_len=5))
    hashes = {one.record["content_hash"] for one in (data, other, longer)}
    assert len(hashes) == 3


def test_no_item_of_the_test_part_is_in_any_input_but_of_the_papers_protocol():
    """Each item is interacted with once, so that any test item that is seen is a leak."""
    rows = [(1 + number % 30, 1 + number, number) for number in range(30 * 17)]
    for rule in ("paper", "temporal"):
        config = dataclasses.replace(CONFIG, retrieval_split=rule)
        data = RetrievalData(interactions(rows, seq_len=20), config)
        tested = torch.from_numpy(data.timeline.items[data.parts["test"]].astype(np.int64))
        for split in ("weights", "theta", "train", "validation"):
            is_training = split != "validation"
            loader = data.loader(
                split, 16, shuffle=is_training, seed=0, drop_last=False, flag="--rows"
            )
            for batch in loader.batches(0, len(loader)):
                assert not torch.isin(batch.inputs[1][:, :, 0], tested).any()
                if not is_ranking(batch.labels):
                    assert not torch.isin(batch.inputs[2][:, 0], tested).any()
                else:
                    assert not torch.isin(unpack(batch.labels)[1], tested).any()
        loader = evaluation(data, "test", 1000)
        shown = [torch.isin(b.inputs[1][:, :, 0], tested).any() for b in loader.batches(0, 3)]
        assert shown == [True, False, False]
