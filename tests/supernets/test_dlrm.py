"""The DLRM search spaces: what is searched, backbone widths, models, files."""

from __future__ import annotations

import pytest
import torch

from dnas.core import ArchitectureRecord
from dnas.errors import ArchitectureError, ConfigError
from dnas.models import DLRM
from dnas.spaces import build_model, find_space, known_spaces, load_architecture, make_record
from supernets import EMB_CARD, EMB_DIM, JOINT, TOP_BOTTOM_MLPS, DLRMSpace
from supernets.config import DLRMSpaceConfig
from tests.toys import SPACE, SPEC, click_batches

SPACES = (TOP_BOTTOM_MLPS, EMB_DIM, EMB_CARD, JOINT)


def test_what_each_space_searches():
    assert {s.name: list(s.make_supernet(SPACE, SPEC).choices) for s in SPACES} == {
        "top_bottom_mlps": ["bottom.layer1", "top.layer1", "top.layer2"],
        "emb_dim": ["emb_dim"],
        "emb_card": ["emb_card"],
        "joint": ["bottom.layer1", "emb_card", "emb_dim", "top.layer1", "top.layer2"],
    }
    assert set(known_spaces()) >= {s.name for s in SPACES}
    assert find_space("joint") is JOINT
    assert find_space("supernets:EMB_DIM") is EMB_DIM


def test_the_papers_defaults():
    """Table II; the widths are those of the authors' configs."""
    from dnas.data import DataSpec

    criteo = DataSpec(
        tuple(f"I{i}" for i in range(13)), tuple(f"C{i}" for i in range(26)), (20000,) * 26
    )
    config = DLRMSpaceConfig()
    with torch.device("meta"):
        dim = EMB_DIM.make_supernet(config, criteo)
        mlps = TOP_BOTTOM_MLPS.make_supernet(config, criteo)
    assert dim.bottom.sizes == (13, 1024, 1024, 1024, 128)
    assert dim.top.sizes == (479, 1024, 1024, 1024, 1)
    assert dim.choices["emb_dim"].columns == ("8", "16", "32", "64", "128")
    # 4 + 4 + 4 nodes that choose and 1 output, in each MLP.
    assert sum(len(choice.decisions) for choice in mlps.choices.values()) == 2 * (3 * 4 + 1)
    assert mlps.top.plans[0].inputs == (383,)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_files_build_the_same_model(space, tmp_path):
    net = space.make_supernet(SPACE, SPEC)
    architecture = net.sample_arch(generator=torch.Generator().manual_seed(3))
    record = make_record(space, space.name, SPACE, SPEC, net, architecture, {"kind": "draw"})
    record.save(tmp_path / "a.json")
    again = ArchitectureRecord.load(tmp_path / "a.json")
    assert again.canonical_id == net.canonical(architecture).id
    assert again.costs == net.cost(architecture)
    model = load_architecture(tmp_path / "a.json")
    assert isinstance(model, DLRM)
    assert model.spec == net.build(architecture).spec == build_model(record).spec
    batch = click_batches(1)[0]
    assert model(*batch.inputs).shape == (16,)


def test_costs_are_named_the_same_in_all_spaces():
    costs = [
        net.cost(net.sample_arch())
        for net in (space.make_supernet(SPACE, SPEC) for space in SPACES)
    ]
    assert len({frozenset(cost) for cost in costs}) == 1
    for space, cost in zip(SPACES, costs, strict=True):
        assert space.default_cost in cost


def test_flops_and_params_by_hand():
    net = EMB_CARD.make_supernet(SPACE, SPEC)
    cost = net.cost({"emb_card/C1": 5, "emb_card/C2": 7, "emb_card/C3": 2})
    # 2-6-4, four vectors of 4 dimensions, 10-5-1.
    assert cost["flops"] == 2 * (12 + 24) + 2 * 16 * 4 + 2 * (50 + 5)
    assert cost["params"] == (12 + 6 + 24 + 4) + (50 + 5 + 5 + 1) + (5 + 7 + 2) * 4
    assert cost["embedding_rows"] == 14


@pytest.mark.parametrize("dims", [(1, 1, 1), (1, 4, 1)])
def test_the_backbone_keeps_its_width_whatever_was_sampled(dims):
    net = EMB_DIM.make_supernet(SPACE, SPEC)
    architecture = {f"emb_dim/C{i}": dim for i, dim in enumerate(dims, start=1)}
    model = net.build(net.validate(architecture))
    assert model.embeddings.dims == dims
    assert model.bottom.sizes[-1] == model.embeddings.output_dim == 4


def test_a_model_is_made_without_the_supernets_tables(monkeypatch):
    from dnas.data import DataSpec

    huge = DataSpec(("I1",), ("C1",), (2**31 - 1,))  # 32 GB of float32
    config = DLRMSpaceConfig(
        embedding_dimension=4, arch_mlp_bot=(4,), arch_mlp_top=(), cardinality_options=("1.0", "10")
    )
    net_free = EMB_CARD.make_model(config, huge, _architecture({"emb_card/C1": 10}))
    assert net_free.spec.rows == (10,)


def _architecture(decisions):
    from dnas.core import Architecture

    return Architecture(decisions)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim_options": (8, 8)}, "--dim_options: an option occurs twice"),
        ({"mlp_size_options": ()}, "--mlp_size_options: at least one option is needed"),
        ({"arch_mlp_bot": (0,)}, "--arch_mlp_bot: widths must be positive"),
        ({"mlp_top_layers": 0}, "--mlp_top_layers must be at least 1"),
        (
            {"arch_interaction_op": "cat", "arch_interaction_itself": True},
            "--arch_interaction_itself has no meaning with interaction cat",
        ),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        DLRMSpaceConfig(**changes)


def test_own_options_from_a_file(tmp_path):
    path = tmp_path / "own.json"
    path.write_text('{"dims": {"C1": [2]}, "rows": {"C2": ["3", "1.0"]}}')
    config = DLRMSpaceConfig(**{**SPACE.__dict__, "feature_options": str(path)})
    choices = JOINT.make_supernet(config, SPEC).choices
    assert choices["emb_dim"].options[0] == (None, 2, None)
    assert choices["emb_card"].options[1] == (3, 7, None)
    path.write_text('{"dim": {}}')
    with pytest.raises(ConfigError, match="expected an object with the keys dims and rows"):
        config.own_options()


def test_an_architecture_of_another_space_is_refused():
    net = EMB_DIM.make_supernet(SPACE, SPEC)
    with pytest.raises(ArchitectureError, match="unknown decisions"):
        net.build({**net.sample_arch(), "emb_card/C1": 5})


def test_two_spaces_of_one_name_are_refused():
    from dnas.spaces import register

    assert register(EMB_DIM) is EMB_DIM
    other = DLRMSpace("emb_dim", mlps=False, dims=True, rows=False, default_cost="params")
    with pytest.raises(ConfigError, match="a search space named 'emb_dim' is registered already"):
        register(other)
    for name, message in (
        ("emb", "'emb' is unknown; known are .*emb_dim"),
        ("supernets:NOPE", "has no .NOPE."),
        ("no_such_module:X", "cannot be imported"),
        ("supernets:DLRMSpace", r"is a class; .* SPACE = DLRMSpace\(\)"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_space(name)
