"""The six published architectures: their costs to the last digit, and their form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dnas.cli.main import main
from dnas.errors import ArchitectureError
from dnas.spaces import load_architecture
from supernets.nasrec.complexity import released_shape
from supernets.nasrec.liveness import all_live, liveness
from supernets.nasrec.network import Network
from supernets.nasrec.released import parse_released, read_released, released_json

FOLDER = Path(__file__).parents[3] / "configs" / "nasrec"

#: Counted with fvcore on the authors' models: live MACs, of which linears, products and norms; MACs
#: with dead blocks; live MACs with a norm in every operator; dense parameters in units of 100.
COUNTED = {
    "criteo_small": (2_207_808, 2_169_328, 38_480, 0, 2_415_376, 2_251_328, 17_797),
    "criteo_full": (1_466_217, 1_216_601, 231_696, 17_920, 3_182_393, 1_496_537, 22_173),
    "avazu_small": (3_085_600, 3_042_576, 43_024, 0, 3_183_904, 3_140_800, 28_386),
    "avazu_full": (1_877_056, 1_758_000, 108_816, 10_240, 3_803_584, 1_908_016, 31_791),
    "kdd2012_small": (3_482_848, 3_417_472, 65_376, 0, 3_613_920, 3_544_608, 26_065),
    "kdd2012_full": (1_100_233, 862_137, 217_616, 20_480, 1_201_609, 1_131_673, 4_385),
}
DEAD = {
    "criteo_small": [6],
    "criteo_full": [4, 5, 6],
    "avazu_small": [],
    "avazu_full": [4, 5, 6],
    "kdd2012_small": [],
    "kdd2012_full": [6],
}


@pytest.mark.parametrize("name", COUNTED)
def test_costs_of_published_architectures(name, capsys):
    assert main(["cost", str(FOLDER / f"{name}.json"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    live, linear, bmm, norms, executed, with_norm, params = COUNTED[name]
    assert report["macs_live"] == live
    assert (report["linear_macs"], report["bmm_macs"]) == (linear, bmm)
    assert report["norm_operations"] == norms
    assert report["macs_executed"] == executed
    assert report["macs_live_layer_norm"] == with_norm
    assert round(report["dense_parameters"] / 100) == params
    assert report["dead_blocks"] == DEAD[name]
    assert report["flops"] == 2 * (linear + bmm)


def test_parts_of_blocks_that_reach_the_logit():
    """Criteo, small: block 3 has a live dense branch only. KDD, full: block 3 a live sparse one."""
    _, genome = read_released(FOLDER / "criteo_small.json")
    live = liveness(genome)
    assert (live[2].dense(genome[2]), live[2].sparse(genome[2])) == (True, False)
    _, genome = read_released(FOLDER / "kdd2012_full.json")
    live = liveness(genome)
    assert (live[2].dense(genome[2]), live[2].sparse(genome[2])) == (False, True)


@pytest.mark.parametrize("name", COUNTED)
def test_the_published_form_comes_back(name):
    path = FOLDER / f"{name}.json"
    config, genome = read_released(path)
    again = released_json(genome, config)
    stored = json.loads(path.read_text())
    assert {key: stored[key] for key in again} == again
    assert parse_released(again) == (config, genome)


def test_the_same_model_counted_by_torch():
    """FLOPs of the built model, by torch, are those of the formulas."""
    import torch

    from dnas.costs import count_flops, count_params
    from supernets.nasrec.model import NASRecModel

    config, genome = read_released(FOLDER / "kdd2012_full.json")
    shape = released_shape("kdd2012", config, 7, layer_norm=False)
    model = NASRecModel(shape, genome, (5,) * 10)
    costs = Network(shape, genome).costs()
    inputs = torch.randn(4, 3), torch.randint(0, 5, (4, 10))
    assert count_flops(model, inputs, 4) == costs.flops
    assert count_params(model) == costs.params + 5 * 10 * 16
    assert Network(shape, genome, all_live(genome)).costs().params == 438_461


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("micro"), "micro and macro"),
        (lambda v: v.update(config="huge"), "'huge'; known are autoctr, xlarge"),
        (lambda v: v["micro"].pop(), "micro must be a list of num_blocks=7"),
        (
            lambda v: v["macro"][1].update(dense_idx=[2]),
            "block 2 reads block 2; it may read 0 to 1",
        ),
        (lambda v: v["micro"][3].pop("deep_fm"), "block 4: 'deep_fm' is missing"),
        (lambda v: v["micro"][0].update(active_nodes=[9]), "block 1: active_nodes: 9 is none of 0"),
        (lambda v: v["micro"][0].update(active_nodes=[-1]), "block 1: active_nodes: -1 is none of"),
        (lambda v: v.update(config=["xlarge"]), "known are autoctr, xlarge"),
        (lambda v: v.update(num_blocks="7"), "num_blocks must be an integer, but is '7'"),
        (lambda v: v["micro"][0].update(dense_in_dims=0), "block 1: dimensions must be positive"),
    ],
)
def test_mistakes_are_named(change, message):
    value = json.loads((FOLDER / "criteo_full.json").read_text())
    change(value)
    with pytest.raises(ArchitectureError, match=message):
        parse_released(value, "a.json")


def test_cost_of_wrong_files(tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_text('{"some": "thing"}')
    assert main(["cost", str(path)]) == 2
    assert "neither an architecture file of this framework" in capsys.readouterr().err
    value = json.loads((FOLDER / "criteo_full.json").read_text())
    del value["dataset"]
    path.write_text(json.dumps(value))
    assert main(["cost", str(path)]) == 2
    assert "add --dataset, one of avazu, criteo, kdd2012" in capsys.readouterr().err
    assert main(["cost", str(path), "--dataset", "criteo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["macs_live"] == 1_466_217
    assert main(["cost", str(path), "--dataset", "movielens"]) == 2


DATA = ("--data_set=synthetic", "--synthetic_rows=200", "--synthetic_features=4")


def test_a_published_architecture_becomes_a_file_to_train(tmp_path, capsys):
    flags = [*DATA, f"--data_cache={tmp_path / 'cache'}", "--search_space=nasrec_full"]
    files = [str(FOLDER / f"{name}.json") for name in ("criteo_full", "kdd2012_full")]
    out = tmp_path / "out"
    command = ["architectures", *flags, f"--out={out}", "--published", *files]
    assert main([*command, "--variant=released", "--no_layer_norm"]) == 0
    model = load_architecture(out / "criteo_full.json")
    _, genome = read_released(files[0])
    shape = released_shape("criteo", "xlarge", 7, layer_norm=False)
    costs = Network(replace(shape, num_sparse=4), genome).costs()
    tables = sum(p.numel() for p in model.embeddings.parameters())
    assert sum(p.numel() for p in model.parameters()) - tables == costs.params
    # Counted as the published file is; dead blocks are not in it.
    capsys.readouterr()
    assert main(["cost", str(out / "criteo_full.json"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["macs_live"] == costs.fvcore_macs == report["flops"] / 2 + 17_920
    assert report["dense_parameters_live"] == costs.params
    assert report["params"] == costs.params + tables


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--search_space=nasrec_full"], "need --variant=released"),
        (["--search_space=nasrec_small", "--variant=released"], "block 1: no operator 'attention'"),
        (["--search_space=nasrec_full", "--variant=released", "--num_blocks=3"], "--num_blocks"),
        (["--search_space=emb_dim"], "not a form that the search space emb_dim knows"),
    ],
)
def test_a_published_architecture_in_the_wrong_space(tmp_path, capsys, flags, message):
    command = ["architectures", *DATA, f"--data_cache={tmp_path}", *flags]
    path = FOLDER / "criteo_full.json"
    assert main([*command, f"--out={tmp_path / 'out'}", "--published", str(path)]) == 2
    assert message in capsys.readouterr().err
