"""The sample extension keeps the contracts of every supernet, and says what its networks cost."""

from __future__ import annotations

import math
import sys

import pytest
import torch

from dnas.costs import count_flops, find_kind
from dnas.costs.kinds import completed
from dnas.errors import ConfigError
from dnas.testing import check_supernet
from sample_extension.cnn import SPACE, ConvSuperNet, NetworkConfig
from sample_extension.data import ImageData, Images


def make(*widths: int, height: int = 7, width: int = 5) -> ConvSuperNet:
    return SPACE.make_supernet(NetworkConfig(widths=widths), Images(3, height, width, 4))


def names(*operators: str) -> dict[str, str]:
    return {f"operator/stage{number}": name for number, name in enumerate(operators, start=1)}


@pytest.mark.parametrize("widths", [(4, 4, 6), (3,), (2, 5, 5, 2)])
def test_contracts(widths: tuple[int, ...]) -> None:
    check_supernet(lambda: make(*widths), lambda rows: (torch.randn(rows, 3, 7, 5),))


def test_costs_by_hand() -> None:
    """Stem 3 -> 2 channels on 7 x 5 places, a stage of 2 -> 3 on 4 x 3, a linear layer 3 -> 4."""
    net = make(2, 3)
    stem, linear = 9 * 3 * 2, 3 * 4
    found = net.cost(names("skip", "separable3"))
    separable = 9 * 2 + 2 * 3
    assert found["flops"] == 2 * (stem * 35 + separable * 12 + linear)
    assert found["params"] == (stem + 2 * 2) + (separable + 2 * 2 + 2 * 3) + linear + 4
    assert net.cost(names("conv3", "pool"))["flops"] == 2 * ((stem + 36) * 35 + 6 * 12 + linear)
    assert net.cost(names("conv5", "conv5"))["flops"] == 2 * ((stem + 100) * 35 + 150 * 12 + linear)


def test_there_is_no_skip_where_the_shape_changes() -> None:
    choice = make(4, 4, 6).choice
    assert choice.valid.tolist() == [[True] * 5, [True] * 5, [True] * 4 + [False]]


def test_skips_among_stages_of_one_shape_make_one_network() -> None:
    net = make(4, 4, 4, 6, 6)

    def canonical(*operators: str) -> list[object]:
        found = net.canonical(net.validate(names(*operators)))
        return [found[key] for key in net.choice.keys]

    expected = ["conv3", "pool", "skip", "conv5", "skip"]
    assert canonical("skip", "conv3", "pool", "conv5", "skip") == expected
    assert canonical("conv3", "skip", "pool", "conv5", "skip") == expected
    other = canonical("skip", "pool", "conv3", "conv5", "skip")
    assert other == ["pool", "conv3", "skip", "conv5", "skip"]


def test_digits_are_divided_and_scaled() -> None:
    data = SPACE.prepare(ImageData())
    assert data.spec == Images(1, 8, 8, 10)
    assert [len(data.splits[part]) for part in ("weights", "theta", "validation", "test")] == [
        862, 216, 360, 359,
    ]  # fmt: skip
    (images,) = data.inputs
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    assert data.labels.bincount().min() > 170


def test_random_images_are_those_of_the_paper_and_the_seeds() -> None:
    sizes = (50, 3, 10, 9)
    first, again, other = (
        SPACE.prepare(ImageData(data="random", random_sizes=sizes, data_seed=seed))
        for seed in (1, 1, 2)
    )
    assert first.spec == Images(3, 10, 9, 5)
    assert first.record == again.record
    assert first.record["content_hash"] != other.record["content_hash"]
    assert ImageData().random_sizes[1:] == (3, 50, 50)


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--widths must be positive"):
        NetworkConfig(widths=(4, 0))
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ConfigError, match="--data=digits needs scikit-learn: pip install"):
        SPACE.prepare(ImageData())


def test_an_untrained_network_guesses() -> None:
    data = SPACE.prepare(ImageData())
    (batch,) = data.loader(
        "test", 359, shuffle=False, seed=0, drop_last=False, device=None, flag=""
    ).batches(0, 1)
    net = SPACE.make_supernet(NetworkConfig(), data.spec)
    model = net.build(net.validate(names("conv3", "skip", "pool", "conv5")))
    metrics = SPACE.task.metrics()
    metrics.update(model(*batch.inputs), batch.labels)
    loss = metrics.compute()["logloss"]
    assert loss == pytest.approx(math.log(10), rel=0.15)


def test_what_networks_run_is_what_they_cost() -> None:
    """Priced by their multiply-adds, operators cost what the space says of FLOPs."""
    net = make(4, 4, 6)
    counted = {
        operator: count_flops(
            (kind := find_kind(operator)).make(**dict(operator.sizes)),
            kind.inputs(2, torch.Generator().manual_seed(0), **dict(operator.sizes)),
            2,
        )
        for operator in map(completed, net.operators())
    }
    net.price("latency", lambda operator: counted[completed(operator)])
    for options in (("conv5", "skip", "pool"), ("separable3", "conv3", "conv5")):
        cost = net.cost(names(*options))
        assert cost["latency"] == cost["flops"]
