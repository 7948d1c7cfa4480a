"""Checkpoints: whole or absent, never code, never of another run."""

from __future__ import annotations

import errno
import pickle
import random
import zlib

import pytest
import torch

from dnas.errors import JobError
from dnas.training import checkpoint
from dnas.training.checkpoint import (
    DamagedFileError,
    check_fingerprint,
    load_checkpoint,
    save_checkpoint,
)


class Evil:
    """Unpickling this would run code."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


def test_round_trip(tmp_path):
    state = {"w": torch.randn(3), "step": 4, "names": ["a"], "nested": {"x": None, "y": 0.1}}
    save_checkpoint(tmp_path / "c.pt", state)
    found = load_checkpoint(tmp_path / "c.pt")
    assert torch.equal(found.pop("w"), state.pop("w"))
    assert found == state
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "c.pt", {"step": 1})
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save_checkpoint(tmp_path / "c.pt", {"step": lambda: None})
    assert load_checkpoint(tmp_path / "c.pt") == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["pickle", "torch", "text", "empty", "half", "list"])
@pytest.mark.parametrize("checksum", [False, True])
def test_foreign_files_are_refused_and_run_no_code(tmp_path, how, checksum):
    path = tmp_path / "c.pt"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif how == "torch":
        torch.save({"x": Evil()}, path)
    elif how == "text":
        path.write_text("not a checkpoint")
    elif how == "empty":
        path.touch()
    elif how == "list":
        torch.save([1], path)
    else:
        save_checkpoint(path, {"w": torch.randn(100)})
        path.write_bytes(path.read_bytes()[:300])
    if checksum:
        content = path.read_bytes()
        path.write_bytes(content + b"dnas-crc" + zlib.crc32(content).to_bytes(4, "big"))
    with pytest.raises(DamagedFileError, match=r"c\.pt: not a readable checkpoint \("):
        load_checkpoint(path)


def test_every_flipped_bit_and_every_cut_is_found(tmp_path):
    """torch.load itself returns other weights without a word."""
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"w": torch.arange(1000.0)})
    whole = path.read_bytes()
    chosen = random.Random(1)
    # In the weights, in the first and last bytes, and anywhere.
    middle = whole.index(torch.arange(1000.0).numpy().tobytes())
    bits = [8 * middle + 2, 0, 8 * len(whole) - 1, *chosen.sample(range(8 * len(whole)), 200)]
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError):
            load_checkpoint(path)
    for length in (0, 1, 11, 12, 13, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError):
            load_checkpoint(path)
    path.write_bytes(whole)
    assert torch.equal(load_checkpoint(path)["w"], torch.arange(1000.0))


class FullDisk:
    """A file on a disk with room for some more bytes."""

    def __init__(self, file, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


@pytest.mark.parametrize("room", [0, 100, 2000, 4400])
def test_a_full_disk_leaves_the_old_checkpoint_and_names_the_file(tmp_path, monkeypatch, room):
    """4400 bytes: the weights have room, the end of the zip file has not."""
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"step": 1})

    def limited(*arguments):
        file = open(*arguments)  # noqa: SIM115
        return FullDisk(file, room) if "wb" in arguments else file

    monkeypatch.setattr(checkpoint, "open", limited, raising=False)
    with pytest.raises(OSError, match=r"No space left on device: '.*/c\.pt'") as error:
        save_checkpoint(path, {"w": torch.zeros(1000)})
    assert error.value.errno == errno.ENOSPC
    assert [found.name for found in tmp_path.iterdir()] == ["c.pt"]
    assert load_checkpoint(path) == {"step": 1}


def test_fingerprints_name_what_differs():
    check_fingerprint("c.pt", {"seed": 1}, {"seed": 1})
    with pytest.raises(
        JobError, match=r"c\.pt: the checkpoint was made with lr=1, this run has lr=2"
    ):
        check_fingerprint("c.pt", {"seed": 1, "lr": 1}, {"seed": 1, "lr": 2})
    with pytest.raises(JobError, match="seed=None, this run has seed=1"):
        check_fingerprint("c.pt", {}, {"seed": 1})
