"""Loaders: every row once, fractional epochs, exact resume, the same in any process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from dnas.data import (
    Batch,
    ClickBatch,
    DataConfig,
    IterableLoader,
    Loader,
    PreparedData,
    Store,
    StoreLoader,
    TensorBatch,
    order,
    prepare,
    store_loader,
)
from dnas.errors import DataError

ROWS = 103


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    cache = tmp_path_factory.mktemp("cache")
    return prepare(
        DataConfig(
            data_cache=str(cache), synthetic_rows=ROWS, synthetic_features=3, synthetic_values=5000
        )
    )


def loader(data: PreparedData, batch_size: int = 10, **options: object) -> StoreLoader:
    defaults = {"shuffle": True, "seed": 5, "drop_last": False, **options}
    indices = defaults.pop("indices", range(data.store.rows))
    return StoreLoader(data.store, indices, batch_size, **defaults)  # type: ignore[arg-type]


def rows_of(data: PreparedData, batches: Iterator[ClickBatch]) -> list[list[int]]:
    """The store's rows in each batch, found by their content."""
    known = {row.tobytes(): i for i, row in enumerate(np.asarray(data.store.dense))}
    found = []
    for batch in batches:
        rows = [known[row.numpy().tobytes()] for row in batch.dense]
        assert isinstance(batch.ids, torch.Tensor)
        np.testing.assert_array_equal(batch.ids.numpy(), data.store.ids[rows])
        np.testing.assert_array_equal(batch.labels.numpy(), data.store.labels[rows])
        found.append(rows)
    return found


def test_types_and_shapes(data: PreparedData) -> None:
    for window in (20, None):
        batch = next(loader(data, window_rows=window).batches(0, 1))
        assert isinstance(batch, Batch)
        assert isinstance(batch.ids, torch.Tensor)
        assert (batch.dense.dtype, batch.dense.shape) == (torch.float32, (10, 13))
        assert (batch.ids.dtype, batch.ids.shape) == (torch.int64, (10, 3))
        assert (batch.labels.dtype, batch.labels.shape) == (torch.float32, (10,))
        before = data.store.dense.copy()
        batch.dense.zero_()
        batch.labels.add_(1)
        np.testing.assert_array_equal(before, data.store.dense)
    assert isinstance(loader(data), Loader)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, ROWS),
    batch_size=st.integers(1, 40),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    window=st.sampled_from([None, 1, 25, 60]),
    cut=st.integers(0, 60),
    as_range=st.booleans(),
)
def test_epochs_are_partitions_and_cuts_do_not_matter(
    data: PreparedData,
    rows: int,
    batch_size: int,
    shuffle: bool,
    drop_last: bool,
    window: int | None,
    cut: int,
    as_range: bool,
) -> None:
    if drop_last and batch_size > rows:
        return
    first = ROWS - rows
    indices = range(first, ROWS) if as_range else np.arange(first, ROWS, dtype=np.int32)

    def make() -> StoreLoader:
        return loader(
            data,
            batch_size,
            indices=indices,
            shuffle=shuffle,
            drop_last=drop_last,
            window_rows=window,
        )

    steps = len(make())
    assert steps == (rows // batch_size if drop_last else -(-rows // batch_size))
    total = 3 * steps
    cut = min(cut, total)
    whole = rows_of(data, make().batches(0, total))
    assert len(whole) == total
    one = make()
    parts = rows_of(data, one.batches(0, cut)) + rows_of(data, one.batches(cut, total))
    assert parts == whole
    assert rows_of(data, make().batches(cut, total)) == whole[cut:]
    for epoch in range(3):
        batches = whole[epoch * steps : (epoch + 1) * steps]
        seen = [row for batch in batches for row in batch]
        assert len(set(seen)) == len(seen)
        if drop_last:
            assert {len(batch) for batch in batches} == {batch_size}
        else:
            assert sorted(seen) == list(range(first, ROWS))
        if not shuffle:
            assert seen == sorted(seen)


@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize("shuffle", [True, False])
def test_where_the_columns_are_does_not_matter(
    data: PreparedData, shuffle: bool, window: int | None
) -> None:
    options = {"indices": data.splits["train"], "shuffle": shuffle, "window_rows": window}
    mapped = loader(data, **options)
    in_memory = loader(
        PreparedData(Store.open(data.store.path, memory_map=False), data.splits, {}), **options
    )
    if torch.cuda.is_available():
        moved = loader(data, device="cuda", **options)
    else:  # the same code on tensors of the CPU
        moved = loader(data, **options)
        moved._on_device = store_loader._resident(moved._columns, moved._indices)
    found = [batch.to(torch.device("cpu")) for batch in moved.batches(0, 25)]
    expected = rows_of(data, mapped.batches(0, 25))
    assert rows_of(data, iter(found)) == expected
    assert rows_of(data, in_memory.batches(0, 25)) == expected
    assert isinstance(found[0].ids, torch.Tensor)
    assert found[0].ids.dtype == torch.int64
    found[0].dense.zero_()
    again = next(moved.batches(0, 1)).to(torch.device("cpu"))
    assert again.dense.any(), "a batch is a view of the data"


@pytest.mark.parametrize("as_range", [True, False])
def test_the_system_is_told_what_will_be_read(
    data: PreparedData, as_range: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: set[int] = set()  # rows, by the column of labels: a byte each

    def advise(file: int, offset: int, length: int, advice: int) -> None:
        if os.fstat(file).st_size == ROWS:
            told.update(range(offset, offset + length))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    monkeypatch.setattr(order.WindowOrder.__init__, "__defaults__", (7,))  # rows of a chunk
    indices = range(3, ROWS) if as_range else np.arange(3, ROWS, dtype=np.int32)
    one = loader(data, 10, indices=indices, window_rows=20, drop_last=True)
    used: set[int] = set()
    for epoch in range(2):
        for window in range(5):
            step = epoch * len(one) + 2 * window
            (rows,) = rows_of(data, one.batches(step, step + 1))
            assert set(rows) <= told, "rows were read that were not announced"
            used.update(rows)
            if (epoch, window) == (0, 0):
                assert len(told) <= 2 * 20 + 4  # this window and the next, no more
    assert used <= told <= set(range(3, ROWS))


def test_a_system_that_cannot_be_told_gives_the_same_batches(
    data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows_of(data, loader(data, window_rows=20).batches(0, 20))
    monkeypatch.delattr(os, "posix_fadvise")  # as on macOS
    assert rows_of(data, loader(data, window_rows=20).batches(0, 20)) == expected


def test_epochs_and_seeds_differ(data: PreparedData) -> None:
    one = loader(data)
    steps = len(one)
    first, second = (rows_of(data, one.batches(e * steps, (e + 1) * steps)) for e in (0, 1))
    assert first != second
    assert rows_of(data, loader(data, seed=6).batches(0, steps)) != first
    # Order does not leak between epochs or loaders: going back gives the same again.
    assert rows_of(data, one.batches(0, steps)) == first


@pytest.mark.parametrize("window", [None, 40])
def test_batches_made_ahead_for_a_gpu_are_the_same(
    data: PreparedData, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = []
    if not torch.cuda.is_available():  # all of it but the copy

        def pin(batch: ClickBatch, device: torch.device) -> ClickBatch:
            pinned.append(threading.current_thread().name)
            return batch

        monkeypatch.setattr(store_loader, "_pinned", pin)
    options = {"window_rows": window}
    if torch.cuda.is_available():
        options |= {"device": "cuda", "resident_bytes": 0}
    one = loader(data, **options)
    expected = rows_of(data, loader(data, window_rows=window).batches(3, 40))
    found = [batch.to(torch.device("cpu")) for batch in one._staged(3, 40)]
    assert rows_of(data, iter(found)) == expected
    threads = threading.active_count()
    run = one._staged(0, 40)
    first = next(run).to(torch.device("cpu"))
    assert threading.active_count() == threads + 1
    run.close()  # what leaving a for loop does
    assert threading.active_count() == threads
    assert rows_of(data, iter([first])) == rows_of(data, one.batches(0, 1))
    assert set(pinned) <= {"dnas-ahead"}


def test_batches_for_a_gpu_are_staged_when_the_data_do_not_fit(
    data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = loader(data)
    calls = []
    monkeypatch.setattr(one, "_staged", lambda start, stop: calls.append((start, stop)) or iter(()))
    list(one.batches(0, 2))
    assert calls == []
    one._device = torch.device("cuda")
    list(one.batches(0, 2))
    assert calls == [(0, 2)]


def test_what_is_staged_is_pinned_in_the_hosts_memory(
    data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that can be pinned. Meta tensors stand for those on a GPU."""
    one = loader(data)
    one._device = torch.device("meta")
    pinned = []
    monkeypatch.setattr(store_loader, "_pinned", lambda batch, _: pinned.append(batch) or batch)
    found = list(one._staged(0, 3))
    parts = [part for batch in pinned for part in (batch.dense, batch.ids, batch.labels)]
    assert {part.device.type for part in parts} == {"cpu"}
    assert {batch.labels.device.type for batch in found} == {"meta"}
    assert {batch.labels.device.type for batch in one.batches(0, 3)} == {"meta"}


def test_too_large_batches_name_the_flag(data: PreparedData) -> None:
    with pytest.raises(DataError, match=r"--weights_batch_size=104 is more than the 103 rows"):
        loader(data, 104, drop_last=True, flag="--weights_batch_size")
    assert len(loader(data, 1000)) == 1
    with pytest.raises(DataError, match=r"--batch_size=0"):
        loader(data, 0)
    with pytest.raises(DataError, match="seed=-1"):
        loader(data, seed=-1)
    with pytest.raises(DataError, match="window_rows=0: must be at least 1"):
        loader(data, window_rows=0)
    with pytest.raises(DataError, match="no rows"):
        loader(data, indices=range(0))
    with pytest.raises(DataError, match="steps begin at 0"):
        list(loader(data).batches(-1, 1))


def test_prepared_loader(data: PreparedData) -> None:
    evaluation = data.loader("test", 256, shuffle=False, seed=0, drop_last=False)
    (rows,) = rows_of(data, evaluation.batches(0, 1))
    assert rows == list(data.splits["test"])
    with pytest.raises(DataError, match="'valid': must be one of weights, theta"):
        data.loader("valid", 2, shuffle=False, seed=0, drop_last=False)


# --- IterableLoader


def values(batches: Iterator[Batch]) -> list[list[int]]:
    return [batch.labels.tolist() for batch in batches]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_loader_is_a_function_of_the_step(workers: int) -> None:
    x = torch.arange(23)

    def make() -> IterableLoader:
        source = DataLoader(TensorDataset(x, x), 4, shuffle=True, num_workers=workers)
        return IterableLoader(source, seed=3)

    assert len(make()) == 6
    epochs = 3 if workers == 0 else 1
    whole = values(make().batches(0, 6 * epochs))
    for epoch in range(epochs):
        assert sorted(chain.from_iterable(whole[6 * epoch : 6 * epoch + 6])) == list(range(23))
    torch.manual_seed(99)  # the global generator has no part in it
    one = make()
    assert values(one.batches(0, 4)) + values(one.batches(4, 6 * epochs)) == whole
    assert values(make().batches(4, 6)) == whole[4:6]
    assert values(one.batches(0, 3)) == whole[:3]
    if epochs > 1:
        assert whole[:6] != whole[6:12]


def test_interleaved_runs_do_not_disturb_each_other() -> None:
    one = IterableLoader([(torch.tensor([i]), torch.tensor([i])) for i in range(5)])
    first, second = one.batches(0, 10), one.batches(2, 12)
    found: tuple[list[int], list[int]] = ([], [])
    for _ in range(10):
        found[0].append(int(next(first).labels))
        found[1].append(int(next(second).labels))
    assert found == ([i % 5 for i in range(10)], [i % 5 for i in range(2, 12)])


def test_a_run_that_another_one_has_continued_goes_on_where_it_was() -> None:
    one = IterableLoader([(torch.tensor([i]), torch.tensor([i])) for i in range(5)])
    first = one.batches(0, 5)
    found = [int(next(first).labels) for _ in range(2)]
    assert values(one.batches(2, 3)) == [[2]]
    assert found + [int(batch.labels) for batch in first] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("persistent", [False, True])
def test_two_loaders_of_one_data_loader_do_not_disturb_each_other(persistent: bool) -> None:
    """Its iterator is one and the same where workers are persistent."""
    x = torch.arange(12)
    source = DataLoader(
        TensorDataset(x, x), 2, shuffle=True, num_workers=1, persistent_workers=persistent
    )
    whole = values(IterableLoader(source, seed=1).batches(0, 6))
    weights, theta = IterableLoader(source, seed=1), IterableLoader(source, seed=2)
    found = values(weights.batches(0, 3))
    values(theta.batches(0, 2))
    assert found + values(weights.batches(3, 6)) == whole


def test_an_abandoned_run_is_taken_up_where_it_was() -> None:
    drawn = []

    class Counting:
        def __len__(self) -> int:
            return 5

        def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for i in range(5):
                drawn.append(i)
                yield torch.tensor([i]), torch.tensor([i])

    one = IterableLoader(Counting())
    values(one.batches(0, 2))
    values(one.batches(2, 5))
    assert drawn == [0, 1, 2, 3, 4], "batches were read twice"
    assert values(one.batches(3, 6)) == [[3], [4], [0]]


def test_functions_of_the_epoch_and_kinds_of_items() -> None:
    def epoch(number: int) -> list:
        x = torch.full((2,), number)
        return [(x, x), ((x, x), x), [x, x], TensorBatch((x,), x)]

    one = IterableLoader(epoch, steps=4)
    batches = list(one.batches(2, 8))
    assert [batch.labels[0].item() for batch in batches] == [0, 0, 1, 1, 1, 1]
    assert [len(batch.inputs) for batch in one.batches(0, 4)] == [1, 2, 1, 1]


def test_unusable_iterables() -> None:
    item = (torch.zeros(1), torch.zeros(1))
    with pytest.raises(DataError, match="only once"):
        IterableLoader(iter([item]))
    with pytest.raises(DataError, match="pass steps="):
        IterableLoader(lambda epoch: [item])
    with pytest.raises(DataError, match="0 batches"):
        IterableLoader([])
    with pytest.raises(DataError, match="ended after 1 of the 3 batches of epoch 0"):
        list(IterableLoader([item], steps=3).batches(0, 3))
    with pytest.raises(DataError, match="ended after 1 of the 3 batches of epoch 1"):
        list(IterableLoader([item], steps=3).batches(5, 6))
    with pytest.raises(DataError, match=r"gave a str"):
        list(IterableLoader(["x"]).batches(0, 1))
    with pytest.raises(DataError, match=r"gave a dict"):
        list(IterableLoader([{"x": item}]).batches(0, 1))
