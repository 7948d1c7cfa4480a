"""The space of hand-crafted models: decisions, models, costs, files, settings."""

from __future__ import annotations

import itertools

import pytest
import torch
from table import BASELINES, CAPPED

from dnas.core import Architecture, Sample
from dnas.errors import ConfigError
from dnas.models import DLRM, AutoInt, DeepFM, XDeepFM
from dnas.spaces import find_space, load_architecture, make_record
from supernets import CTR_BASELINES, BaselinesConfig
from tests.toys import SPEC, click_batches


def decisions(kind: str, width: int = 5, depth: int = 2) -> Architecture:
    return Architecture({"model/kind": kind, "width/mlp": width, "depth/mlp": depth})


def test_what_is_decided():
    net = CTR_BASELINES.make_supernet(BASELINES, SPEC)
    assert {key: c.options[0] for c in net.choices.values() for key in c.keys} == {
        "model/kind": ("dlrm", "deepfm", "autoint", "xdeepfm"),
        "width/mlp": (5, 7),
        "depth/mlp": (1, 2),
    }
    assert find_space("ctr_baselines") is CTR_BASELINES


@pytest.mark.parametrize(
    ("kind", "made"),
    [("dlrm", DLRM), ("deepfm", DeepFM), ("autoint", AutoInt), ("xdeepfm", XDeepFM)],
)
def test_files_build_the_models(kind, made, tmp_path):
    net = CTR_BASELINES.make_supernet(BASELINES, SPEC)
    record = make_record(
        CTR_BASELINES, "ctr_baselines", BASELINES, SPEC, net, decisions(kind), {"kind": "given"}
    )
    record.save(tmp_path / "a.json")
    model = load_architecture(tmp_path / "a.json")
    assert type(model) is made
    hidden = model.top.sizes[1:-1] if kind == "dlrm" else model.deep.sizes[1:-1]
    assert hidden == (5, 5)
    assert model(*click_batches(1)[0].inputs).shape == (16,)
    assert CTR_BASELINES.default_cost in record.costs


def test_costs_by_hand():
    net = CTR_BASELINES.make_supernet(BASELINES, SPEC)
    # 60 ids, D = 4; DLRM 2-5-5-4, four vectors, 10-5-5-1.
    assert net.cost(decisions("dlrm")) == {
        "flops": 2 * (10 + 25 + 20) + 2 * 16 * 4 + 2 * (50 + 25 + 5),
        "params": (15 + 30 + 24) + (55 + 30 + 6) + 240,
        "embedding_params": 240.0,
        "embedding_bytes": 960.0,
    }
    # DeepFM: five vectors, 20-7-1, and 62 first-order weights.
    assert net.cost(decisions("deepfm", 7, 1)) == {
        "flops": 2 * (140 + 7) + 4,
        "params": (147 + 8) + 62 * 4 + 62,
        "embedding_params": 300.0,
        "embedding_bytes": 1200.0,
    }


def test_a_soft_sample_mixes_the_logits_of_all_models():
    net = CTR_BASELINES.make_supernet(BASELINES, SPEC)
    batch = click_batches(1)[0]
    soft = net.soft_sample(1.0, 16, torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.zeros(16)
        for (k, kind), (w, width), (p, depth) in itertools.product(
            enumerate(("dlrm", "deepfm", "autoint", "xdeepfm")),
            enumerate((5, 7)),
            enumerate((1, 2)),
        ):
            weight = soft["model"][:, 0, k] * soft["width"][:, 0, w] * soft["depth"][:, 0, p]
            model = net.build(decisions(kind, width, depth), inherit_weights=True)
            expected += weight * model(*batch.inputs)
        found = net(*batch.inputs, sample=Sample(soft.weights))
    torch.testing.assert_close(found, expected)


def test_capped_tables_take_ids_modulo():
    net = CTR_BASELINES.make_supernet(CAPPED, SPEC)
    assert net.rows == (6, 6, 3)
    model = CTR_BASELINES.make_model(CAPPED, SPEC, decisions("xdeepfm"))
    dense = torch.randn(1, 2)
    torch.testing.assert_close(
        model(dense, torch.tensor([[49, 6, 2]])), model(dense, torch.tensor([[1, 0, 2]]))
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mlp_width_options": ()}, "--mlp_width_options: at least one number is needed"),
        ({"mlp_depth_options": (2, 0)}, "--mlp_depth_options: numbers must be positive"),
        ({"mlp_depth_options": (2, 2)}, "--mlp_depth_options: an option occurs twice"),
        ({"cin_sizes": ()}, "--cin_sizes: at least one number is needed"),
        ({"attention_heads": 0}, "--attention_heads must be at least 1"),
        ({"max_embedding_rows": -1}, "--max_embedding_rows must be 0 or more"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        BaselinesConfig(**changes)
