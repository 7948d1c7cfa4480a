"""Running the training scripts inside the test's process."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import supernets  # noqa: F401  (registers the search spaces, as the scripts do)
from dnas.cli import search, train
from tests.toys import DATA_FLAGS, SPACE_FLAGS


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Scripts catch signals for themselves; tests get theirs back."""
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Scripts:
    """The two scripts with small data; files go to a folder of the test."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.data = (*DATA_FLAGS, f"--data_cache={cache}")

    def result(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name / "result.json").read_text())

    def job(self, name: str) -> tuple[str, ...]:
        return (f"--save_metrics_param={self.folder / name / 'result.json'}", "--host_gpu_id=cpu")

    def search_flags(self, *flags: str, name: str = "s", space: str = "emb_card") -> list[str]:
        return [
            f"--search_space={space}",
            *self.data,
            *SPACE_FLAGS,
            *self.job(name),
            "--weights_batch_size=64",
            "--arch_params_batch_size=32",
            "--n_total_s_net_training_epochs=2",
            "--architecture_sampling=1:2",
            "--weights_lr=0.1",
            *flags,
        ]

    def search(self, *flags: str, name: str = "s", space: str = "emb_card") -> int:
        return search.main(self.search_flags(*flags, name=name, space=space))

    def train_flags(self, *flags: str, name: str = "t") -> list[str]:
        architecture = self.folder / "s" / "architectures" / "0000.json"
        return [
            f"--sampled_arch={architecture}",
            *self.data,
            *self.job(name),
            "--batch_size=64",
            "--n_epochs=2",
            "--lr=0.1",
            *flags,
        ]

    def train(self, *flags: str, name: str = "t") -> int:
        return train.main(self.train_flags(*flags, name=name))


@pytest.fixture(scope="session")
def data_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def scripts(tmp_path: Path, data_cache: Path) -> Scripts:
    """The scripts, writing into ``tmp_path``."""
    return Scripts(tmp_path, data_cache)


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, data_cache: Path) -> Scripts:
    """The scripts after one search, whose architectures tests may train."""
    made = Scripts(tmp_path_factory.mktemp("searched"), data_cache)
    assert made.search("--save_supernet_weights") == 0
    return made
