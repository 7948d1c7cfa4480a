"""Operators by hand, and the paper's form against the released one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from nasrec_cases import FULL, RELEASED

from supernets.nasrec.dense_operators import _below_diagonal, balanced_rows, pair_places
from supernets.nasrec.layers import Linear, Norm, Weight, _places, layer_weights, merged
from supernets.nasrec.links import FactorizationMachine, Interact
from supernets.nasrec.operators import OPERATORS
from supernets.nasrec.shape import size, upto
from supernets.nasrec.site import Inputs, Operator, Site

BARE = replace(FULL, layer_norm=False)


def run(operator: Operator, inputs: Inputs) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Random weights by the part of their name, and the output."""
    generator = torch.Generator().manual_seed(1)
    weights = {
        w.name: torch.randn(w.shape, generator=generator) for w in layer_weights(operator.layers())
    }
    return {name.split(".", 1)[1]: w for name, w in weights.items()}, operator(weights, inputs)


def some_inputs(site: Site, rows: int = 3) -> Inputs:
    generator = torch.Generator().manual_seed(2)

    def draw(width: int) -> torch.Tensor:
        return torch.randn(rows, width, generator=generator)

    return Inputs(
        dense=draw(size(site.dense)),
        sparse=torch.randn(rows, 4, size(site.sparse), generator=generator),
        left=[draw(length) for _, length in site.left],
        right=[draw(length) for _, length in site.right],
    )


def site(shape=BARE, **changes) -> Site:
    return replace(Site(shape, upto(3), upto(6), upto(3), upto(5), 5, 4), **changes)


def test_fully_connected():
    at = site()
    inputs = some_inputs(at)
    w, out = run(OPERATORS["fc"](at, "1"), inputs)
    expected = torch.relu(inputs.dense @ w["project.weight"].T + w["project.bias"])
    torch.testing.assert_close(out, expected)


def test_gate_and_sum_project_both_sides():
    at = site()
    inputs = some_inputs(at)
    w, out = run(OPERATORS["gate"](at, "1"), inputs)
    gate = torch.sigmoid(inputs.left[0] @ w["gate.weight"].T + w["gate.bias"])
    right = inputs.right[0] @ w["project.weight"].T + w["project.bias"]
    torch.testing.assert_close(out, gate * right)
    assert w["gate.weight"].shape == (5, 3)  # to D, not a square of the padded width
    w, out = run(OPERATORS["sum"](at, "1"), inputs)
    left = inputs.left[0] @ w["left.weight"].T + w["left.bias"]
    torch.testing.assert_close(out, left + inputs.right[0] @ w["right.weight"].T)


def test_gate_and_sum_as_released():
    """The shorter side is padded; the gate's matrix is square; equal widths need no projection."""
    at = site(replace(RELEASED, layer_norm=False))
    inputs = some_inputs(at)
    padded = torch.nn.functional.pad(inputs.left[0], (0, 2))
    w, out = run(OPERATORS["gate"](at, "1"), inputs)
    assert set(w) == {"gate.weight", "gate.bias"}
    gate = torch.sigmoid(padded @ w["gate.weight"].T + w["gate.bias"])
    torch.testing.assert_close(out, gate * inputs.right[0])
    w, out = run(OPERATORS["sum"](at, "1"), inputs)
    assert not w
    torch.testing.assert_close(out, padded + inputs.right[0])
    w, out = run(OPERATORS["sum"](replace(at, dense_dim=2), "1"), inputs)
    total = (padded + inputs.right[0]) @ w["project.weight"].T + w["project.bias"]
    torch.testing.assert_close(out, total)


@pytest.mark.parametrize("balanced", [True, False])
def test_dot_product_is_all_pairs_once(balanced):
    at = site(replace(BARE, balanced_dot=balanced))
    inputs = some_inputs(at)
    w, out = run(OPERATORS["dot"](at, "1"), inputs)
    vectors = [inputs.dense @ w["dense.weight"].T + w["dense.bias"]]
    rows = inputs.sparse
    if balanced:
        rows = rows @ w["rows.weight"].T + w["rows.bias"]
        assert rows.shape[2] == balanced_rows(5) == 3
    vectors += list(rows.unbind(2))
    products = [(vectors[i] * vectors[j]).sum(1) for i in range(len(vectors)) for j in range(i)]
    expected = torch.stack(products, 1) @ w["project.weight"].T + w["project.bias"]
    torch.testing.assert_close(out, expected)


def test_rows_of_balanced_dot_products():
    """``round(sqrt(2 D))``, the values of the released space."""
    found = [balanced_rows(d) for d in (16, 32, 64, 128, 256, 512, 768, 1024)]
    assert found == [6, 8, 11, 16, 23, 32, 39, 45]


def test_places_of_pairs():
    """Rows 1 and 2 of 4: vectors 0, 2, 3; pairs (2,0), (3,0), (3,2) at 1, 3 and 5."""
    places = [start + k for start, length in pair_places(((1, 2),)) for k in range(length)]
    assert places == [1, 3, 5]
    assert pair_places(((0, 2), (2, 1))) == upto(6)


def test_embed_fc_acts_on_rows():
    at = site()
    inputs = some_inputs(at)
    w, out = run(OPERATORS["embed_fc"](at, "1"), inputs)
    expected = torch.einsum("ben,mn->bem", inputs.sparse, w["project.weight"])
    torch.testing.assert_close(out, torch.relu(expected + w["project.bias"]))


def test_attention_is_the_papers_formula():
    at = site()
    inputs = some_inputs(at)
    w, out = run(OPERATORS["attention"](at, "1"), inputs)
    y = (inputs.sparse @ w["project.weight"].T + w["project.bias"]).transpose(1, 2)  # (B, N, e)
    scores = torch.einsum("bie,bje->bij", y, y) / math.sqrt(4)
    torch.testing.assert_close(out, (scores.softmax(2) @ y).transpose(1, 2))


def test_transformer_attention_is_torchs():
    at = site(replace(BARE, transformer_attention=True))
    inputs = some_inputs(at)
    w, out = run(OPERATORS["attention"](at, "1"), inputs)
    layer = torch.nn.TransformerEncoderLayer(
        4, 2, dim_feedforward=4, dropout=0.0, batch_first=True, norm_first=False
    )
    with torch.no_grad():
        for ours, theirs in (
            ("qkv", "self_attn.in_proj_"),
            ("out", "self_attn.out_proj."),
            ("hidden", "linear1."),
            ("back", "linear2."),
            ("norm1", "norm1."),
            ("norm2", "norm2."),
        ):
            for kind in ("weight", "bias"):
                layer.get_parameter(f"{theirs}{kind}").copy_(w[f"{ours}.{kind}"])
        tokens = (inputs.sparse @ w["project.weight"].T + w["project.bias"]).transpose(1, 2)
        expected = layer.train()(tokens).transpose(1, 2)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


def test_factorization_machine_and_interaction():
    at = site(replace(BARE, fm_link=True, interact_rows=2))
    sparse = torch.tensor([[[1.0, 2.0], [0.0, 3.0], [1.0, 1.0], [2.0, 5.0]]])  # (1, e, N)
    machine = FactorizationMachine(at, "1")
    w, _ = run_of(machine, sparse)
    # 2 * sum of products of pairs: 2 * (1*2, 0*3, 1*1, 2*5).
    pairs = torch.tensor([[4.0, 0.0, 2.0, 20.0]])
    torch.testing.assert_close(
        run_of(machine, sparse)[1], pairs @ w["project.weight"].T + w["project.bias"]
    )
    dense = torch.randn(3, 5)
    w, out = run_of(Interact(at, "1"), dense)
    rows = (dense @ w["project.weight"].T + w["project.bias"]).view(3, 2, 4)
    torch.testing.assert_close(out, rows.transpose(1, 2))


def run_of(operator, x):
    generator = torch.Generator().manual_seed(1)
    weights = {
        w.name: torch.randn(w.shape, generator=generator) for w in layer_weights(operator.layers())
    }
    return {name.split(".", 1)[1]: w for name, w in weights.items()}, operator.of(weights, x)


def test_norms_are_over_the_chosen_width():
    norm = Norm("n", upto(3))
    weights = {"n.weight": torch.ones(3), "n.bias": torch.zeros(3)}
    out = norm(weights, torch.tensor([[1.0, 2.0, 3.0]]))
    torch.testing.assert_close(out, torch.tensor([[-1.2247, 0.0, 1.2247]]), atol=1e-4, rtol=0)
    assert norm.operations() == 15


def test_weights_are_parts_of_the_whole():
    whole = torch.arange(24.0).view(4, 6)
    weight = Weight("w", (upto(2), ((0, 1), (2, 2), (4, 1))))
    assert weight.shape == (2, 4)
    part = weight.take(whole)
    assert part.tolist() == [[0, 2, 3, 4], [6, 8, 9, 10]]
    for inner, outer in weight.parts(part, whole):
        assert torch.equal(outer, inner)
        outer += 100
    assert whole[0].tolist() == [100, 1, 102, 103, 104, 5]
    assert merged(((0, 2), (2, 3), (7, 0), (8, 1))) == ((0, 5), (8, 1))
    many = tuple((2 * place, 1) for place in range(40))
    row = torch.arange(80.0)
    assert torch.equal(Weight("w", (many,)).take(row), row[::2])
    assert Weight("w", ((),)).take(row).shape == (0,)
    assert Linear("l", upto(2), ((0, 3), (9, 1)), bias=True, times=5).macs() == 40


def test_what_is_kept_may_be_trained_with_though_it_was_made_for_measuring():
    """Measuring runs in inference mode, whose tensors cannot be saved for a backward pass."""
    _below_diagonal.cache_clear()
    _places.cache_clear()
    with torch.inference_mode():
        kept = [*_below_diagonal(3, torch.device("cpu")), _places(((1, 2),), torch.device("cpu"))]
    assert not any(tensor.is_inference() for tensor in kept)
