"""Configurations with fields replaced, and the cap on embedding tables that is lifted so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pytest
import torch

from dnas.core import Architecture, SuperNet
from dnas.errors import ConfigError
from dnas.models import capped_rows
from dnas.spaces import costs_of, overridden
from supernets import EMB_CARD, EMB_DIM, JOINT, TOP_BOTTOM_MLPS
from tests.toys import CARDINALITIES, SPACE, SPEC, Scales, click_batches


@dataclass(frozen=True, kw_only=True)
class Config:
    rows: int = 5
    rate: float = 0.5
    layer_norm: bool = True
    kind: Literal["dot", "cat"] = "dot"
    dims: tuple[int, ...] = (8, 16)
    file: str | None = "a.json"
    steps: int | None = None
    odd: dict[str, int] | None = None

    def __post_init__(self) -> None:
        if self.rows < 0:
            raise ConfigError("--rows must be positive")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("rows=0", 0),
        ("rate=1e-3", 0.001),
        ("layer_norm=false", False),
        ("kind=cat", "cat"),
        ("dims=4,8, 16", (4, 8, 16)),
        ("dims=", ()),
        ("file=none", None),
        ("file=b=c.json", "b=c.json"),
        ("steps=7", 7),
    ],
)
def test_values_have_the_type_of_their_field(word, value):
    name = word.split("=")[0]
    assert overridden(Config(), [word]) == replace(Config(), **{name: value})


def test_nothing_replaced_is_the_same():
    assert overridden(Config(rows=9), []) == Config(rows=9)
    assert overridden(Config(), ["rows=1", "rate=2"]) == Config(rows=1, rate=2.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["row=0"], "row=0: there is no 'row'; the names are rows, rate, layer_norm, kind, dims"),
        (["rows"], "rows: NAME=VALUE is needed; the names are rows, rate"),
        (["rows=1", "rows=2"], "rows=2: rows is given twice; the names are"),
        (["rows=many"], "rows=many: a whole number is needed; the names are"),
        (["rows=1.5"], "a whole number is needed"),
        (["rate=nan"], "rate=nan: a number is needed"),
        (["dims=4,x"], "dims=4,x: a whole number is needed"),
        (["layer_norm=1"], "true or false is needed"),
        (["kind=sum"], "kind=sum: one of dot, cat is needed"),
        (["odd=1"], "cannot be replaced"),
        (["rows=-1"], "rows=-1: --rows must be positive"),
    ],
)
def test_mistakes_name_the_word_and_what_there_is(words, message):
    with pytest.raises(ConfigError) as error:
        overridden(Config(), words)
    assert f"--space_overrides {message}" in str(error.value) or message in str(error.value)
    assert str(error.value).startswith("--space_overrides")


def test_rows_are_capped_by_hand():
    assert capped_rows((50, 7, 3), 0) == (50, 7, 3)
    assert capped_rows((50, 7, 3), 7) == (7, 7, 3)
    assert capped_rows((50, 7, 3), 1) == (1, 1, 1)


@pytest.mark.parametrize("space", [TOP_BOTTOM_MLPS, EMB_DIM], ids=lambda space: space.name)
def test_a_cap_bounds_supernets_and_models_alike(space):
    capped = replace(SPACE, max_embedding_rows=5)
    net = space.make_supernet(capped, SPEC)
    assert net.embeddings.table.rows == (5, 5, 3)
    architecture = net.random_architecture(torch.Generator().manual_seed(1))
    model = space.make_model(capped, SPEC, architecture)
    assert model.spec.rows == (5, 5, 3)
    assert net.cost(architecture)["embedding_rows"] == 13
    # Ids that differ by a multiple of the cap share a row: in the supernet, built with its weights,
    # and in the supernet itself.
    batch = click_batches(1)[0]
    dense, ids = batch.inputs
    other = torch.stack([ids[:, 0] % 5, ids[:, 1] % 5, ids[:, 2]], dim=1)
    built = net.build(architecture, inherit_weights=True).eval()
    torch.testing.assert_close(built(dense, ids), built(dense, other), rtol=0, atol=0)
    sample = net.one_hot_sample(architecture)
    torch.testing.assert_close(net(dense, ids, sample=sample), net(dense, other, sample=sample))
    torch.testing.assert_close(net(dense, ids, sample=sample), built(dense, ids))
    # Lifted, every id has its row, and the decisions are the same.
    full = space.make_model(overridden(capped, ["max_embedding_rows=0"]), SPEC, architecture)
    assert full.spec.rows == CARDINALITIES
    assert full.spec.dims == model.spec.dims


@pytest.mark.parametrize("space", [EMB_CARD, JOINT], ids=lambda space: space.name)
def test_a_cap_where_rows_are_searched_is_refused(space):
    with pytest.raises(ConfigError, match=f"{space.name} chooses the rows .*--cardinality_options"):
        space.make_supernet(replace(SPACE, max_embedding_rows=5), SPEC)
    space.make_supernet(overridden(SPACE, ["max_embedding_rows=0"]), SPEC)


def test_a_negative_cap_is_refused():
    with pytest.raises(ConfigError, match="--max_embedding_rows must be positive, or 0"):
        replace(SPACE, max_embedding_rows=-1)


@pytest.mark.parametrize(
    "space", [TOP_BOTTOM_MLPS, EMB_DIM, EMB_CARD, JOINT], ids=lambda space: space.name
)
def test_costs_need_no_tables(space, monkeypatch):
    net = space.make_supernet(SPACE, SPEC)
    architecture = net.random_architecture(torch.Generator().manual_seed(2))
    made: list[SuperNet] = []
    make = type(space).make_supernet
    monkeypatch.setattr(
        type(space), "make_supernet", lambda *given: made.append(make(*given)) or made[-1]
    )
    assert costs_of(space, SPACE, SPEC, architecture) == net.cost(architecture)
    assert len(made) == 1
    assert made[0].embeddings.table.weight.is_meta


def test_costs_of_a_capped_and_of_a_full_table_by_hand():
    architecture = Architecture({"emb_dim/C1": 1, "emb_dim/C2": 4, "emb_dim/C3": 4})
    capped = replace(SPACE, max_embedding_rows=5)
    found = costs_of(EMB_DIM, capped, SPEC, architecture)
    assert found["embedding_params"] == 5 * 1 + 5 * 4 + 3 * 4
    lifted = overridden(capped, ["max_embedding_rows=0"])
    found = costs_of(EMB_DIM, lifted, SPEC, architecture)
    assert found["embedding_params"] == 50 * 1 + 7 * 4 + 3 * 4


def test_a_supernet_that_looks_at_its_weights_is_made_in_full():
    class Looking(Scales):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.empty(4).fill_(1.0))
            assert float(self.w.detach().sum()) == 4.0  # fails where there are no numbers

    class Space:
        def make_supernet(self, config, spec):
            return Looking()

    architecture = Looking().random_architecture()
    expected = float(sum(architecture.values()))
    assert costs_of(Space(), None, None, architecture) == {"units": expected}
