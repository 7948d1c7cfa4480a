"""Stores are whole or absent, built once, and belong to exactly one content."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from dnas.data import DataConfig, Store, prepare, store_writer
from dnas.data.ahead import Ahead
from dnas.data.build import store_folder
from dnas.data.prepare import make_source
from dnas.data.store import IDS, MANIFEST
from dnas.data.store_writer import StoreWriter, hash_files
from dnas.errors import DataError
from tests.data.raw_rows import ROOT, build, criteo_line, write_lines

_BUILD = """
import sys
from dnas.data import DataConfig, prepare
from dnas.data.store_writer import StoreWriter
append = StoreWriter.append
def slow(self, *args):
    append(self, *args)
    print("appended", flush=True)
    if sys.argv[3] == "hang":
        import time; time.sleep(60)
StoreWriter.append = slow
print("ready", flush=True)
sys.stdin.readline()
data = prepare(DataConfig(data_set="criteo_kaggle", raw_data=sys.argv[1], data_cache=sys.argv[2]))
print(data.store.manifest.content_hash)
"""


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    lines = [criteo_line(str(i % 2), [i], [f"{i:x}"]) for i in range(200)]
    return write_lines(tmp_path / "train.txt", lines)


def start(raw: Path, cache: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _BUILD, str(raw), str(cache), how],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def test_a_killed_build_is_no_store_and_is_cleaned_up(raw: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = start(raw, cache, "hang")
    assert process.stdin is not None
    assert process.stdout is not None
    print("go", file=process.stdin, flush=True)
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "appended\n"]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (left,) = folders(cache)
    assert left.startswith(".")
    assert not list(cache.rglob(MANIFEST))
    store = build(cache, data_set="criteo_kaggle", raw_data=str(raw))
    assert store.rows == 200
    assert folders(cache) == [store.path.name]


def test_concurrent_builders_make_one_store(raw: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    processes = [start(raw, cache, "go") for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        print("go", file=process.stdin, flush=True)
    outputs = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len({output[-1] for output in outputs}) == 1
    assert sum(len(output) > 1 for output in outputs) == 1, "more than one of them built"
    assert len(folders(cache)) == 1


def test_a_failed_build_leaves_nothing(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    flags = {"data_set": "criteo_kaggle", "raw_data": str(raw)}
    append = StoreWriter.append

    for failure, expected, message in (
        (KeyboardInterrupt("by hand"), KeyboardInterrupt, "by hand"),
        (OSError(28, "No space left on device"), DataError, "No space left .*--data_cache"),
    ):

        def failing(self: StoreWriter, *args: np.ndarray, failure: BaseException = failure) -> None:
            append(self, *args)
            raise failure

        monkeypatch.setattr(StoreWriter, "append", failing)
        with pytest.raises(expected, match=message):
            build(cache, **flags)
        assert folders(cache) == []
    assert threading.active_count() < 10, "reading threads are still alive"
    monkeypatch.undo()
    assert build(cache, **flags).rows == 200


def test_an_error_of_the_writing_thread_is_raised(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, values: np.ndarray) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_writer._ColumnFile, "write", full)
    threads = threading.active_count()
    with pytest.raises(DataError, match=r"No space left .*--data_cache"):
        build(tmp_path / "cache", data_set="criteo_kaggle", raw_data=str(raw))
    assert folders(tmp_path / "cache") == []
    assert threading.active_count() == threads


def test_what_is_brought_to_the_disk_on_the_way_is_the_same(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"data_set": "criteo_kaggle", "raw_data": str(raw), "block_bytes": 1000}
    whole = build(tmp_path / "a", **flags)
    monkeypatch.setattr(store_writer, "_SYNC_BYTES", 100)
    assert build(tmp_path / "b", **flags).manifest.content_hash == whole.manifest.content_hash
    counted = build(tmp_path / "c", min_count=2, **flags)  # the ids are rewritten at the end
    files = [counted.path / name for name in ("labels.u8", "dense.f32", "ids.i32")]
    assert counted.manifest.content_hash == hash_files(files) != whole.manifest.content_hash


def test_the_folder_belongs_to_one_content(raw: Path, tmp_path: Path) -> None:
    def folder(**flags: object) -> Path:
        config = DataConfig(data_set="criteo_kaggle", raw_data=str(raw), **flags)  # type: ignore[arg-type]
        return store_folder(make_source(config)[0], tmp_path)

    first = folder()
    assert first == folder(split_seed=9, split="random", memory_map=False)
    others = {
        folder(min_count=2),
        folder(ids="hash", max_ind_range=5),
        folder(ids="hash", max_ind_range=6),
        folder(dense_missing="zero"),
        folder(dense_transform="none"),
        folder(on_bad_row="skip"),
    }
    os.utime(raw, ns=(1, 1))
    others.add(folder())
    raw.write_text(raw.read_text() + "\n")
    others.add(folder())
    assert len(others | {first}) == 9


def test_a_file_that_changes_while_it_is_read(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = StoreWriter.append

    def touching(self: StoreWriter, *args: np.ndarray) -> None:
        append(self, *args)
        os.utime(raw, ns=(1, 1))

    monkeypatch.setattr(StoreWriter, "append", touching)
    with pytest.raises(DataError, match="changed while it was read"):
        build(tmp_path / "cache", data_set="criteo_kaggle", raw_data=str(raw))


def test_a_store_is_read_only_and_its_hash_is_of_its_bytes(raw: Path, tmp_path: Path) -> None:
    store = build(tmp_path / "cache", data_set="criteo_kaggle", raw_data=str(raw))
    with pytest.raises(ValueError, match="read-only"):
        store.ids[0, 0] = 7
    files = [store.path / name for name in ("labels.u8", "dense.f32", "ids.i32")]
    assert store.manifest.content_hash == hash_files(files)
    memory = Store.open(store.path, memory_map=False)
    assert not isinstance(memory.ids, np.memmap)
    for name in ("labels", "dense", "ids"):
        np.testing.assert_array_equal(getattr(memory, name), getattr(store, name))


def test_damaged_stores_are_refused(raw: Path, tmp_path: Path) -> None:
    store = build(tmp_path / "cache", data_set="criteo_kaggle", raw_data=str(raw))
    with pytest.raises(DataError, match="not a data store"):
        Store.open(tmp_path)
    manifest = store.path / MANIFEST
    value = json.loads(manifest.read_text())
    with (store.path / IDS).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"ids\.i32: has 20801 bytes, not 20800"):
        Store.open(store.path)
    (store.path / IDS).unlink()
    with pytest.raises(DataError, match=r"ids\.i32: is missing"):
        Store.open(store.path)
    manifest.write_text(json.dumps({**value, "format": "dnas.store/0"}))
    with pytest.raises(DataError, match=r"format is 'dnas\.store/0'"):
        Store.open(store.path)


def test_a_cache_that_cannot_be_made(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data_cache"):
        build(raw / "cache", data_set="criteo_kaggle", raw_data=str(raw))


def test_ahead_keeps_order_and_errors_and_ends_its_thread() -> None:
    closed = []

    def numbers() -> object:
        try:
            yield from range(100)
            raise ValueError("at the end")
        finally:
            closed.append(True)

    found: list[int] = []
    with pytest.raises(ValueError, match="at the end"), Ahead(numbers()) as items:  # type: ignore[arg-type]
        found.extend(items)
    assert found == list(range(100))
    with Ahead(numbers()) as items:  # type: ignore[arg-type]
        assert next(items) == 0
    assert len(closed) == 2, "leaving early did not close the source"


def test_prepare_twice_is_the_same(raw: Path, tmp_path: Path) -> None:
    config = DataConfig(
        data_set="criteo_kaggle", raw_data=str(raw), data_cache=str(tmp_path / "cache")
    )
    first, second = prepare(config), prepare(config)
    assert first.record == second.record
    json.dumps(first.record, allow_nan=False)
