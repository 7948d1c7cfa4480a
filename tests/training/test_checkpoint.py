"""Checkpoints: whole or absent, never code, never of another run."""

from __future__ import annotations

import pickle

import pytest
import torch

from dnas.errors import JobError
from dnas.training.checkpoint import check_fingerprint, load_checkpoint, save_checkpoint


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
@pytest.mark.parametrize("how", ["pickle", "torch", "text", "empty", "half"])
def test_foreign_files_are_refused_and_run_no_code(tmp_path, how):
    path = tmp_path / "c.pt"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif how == "torch":
        torch.save({"x": Evil()}, path)
    elif how == "text":
        path.write_text("not a checkpoint")
    elif how == "empty":
        path.touch()
    else:
        save_checkpoint(path, {"w": torch.randn(100)})
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(JobError, match=r"(?s)c\.pt: not a readable checkpoint .* remove it"):
        load_checkpoint(path)


def test_fingerprints_name_what_differs():
    check_fingerprint("c.pt", {"seed": 1}, {"seed": 1})
    with pytest.raises(
        JobError, match=r"c\.pt: the checkpoint was made with lr=1, this run has lr=2"
    ):
        check_fingerprint("c.pt", {"seed": 1, "lr": 1}, {"seed": 1, "lr": 2})
    with pytest.raises(JobError, match="seed=None, this run has seed=1"):
        check_fingerprint("c.pt", {}, {"seed": 1})
