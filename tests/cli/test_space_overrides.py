"""train_sampled.py --space_overrides: another configuration of the same architecture, recorded."""

from __future__ import annotations

import json

import pytest

from dnas.cli import train
from dnas.core import ArchitectureRecord
from dnas.spaces import build_model


@pytest.fixture(scope="session")
def capped(tmp_path_factory, data_cache):
    """The scripts after a search with capped tables."""
    from tests.cli.conftest import Scripts

    made = Scripts(tmp_path_factory.mktemp("capped"), data_cache)
    flags = ("--max_embedding_rows=9", "--dim_options", "2", "4", "--save_supernet_weights")
    assert made.search(*flags, space="emb_dim") == 0
    return made


def tables(result):
    """Rows and parameters of the embedding tables, as a result says."""
    return result["costs"]["embedding_rows"], result["costs"]["embedding_params"]


def test_a_cap_is_lifted_and_everything_says_so(capped, tmp_path):
    assert capped.train(name="as_searched") == 0
    assert capped.train("--space_overrides", "max_embedding_rows=0", name="lifted") == 0
    before, after = capped.result("as_searched"), capped.result("lifted")
    assert before["architecture"]["space_config"]["max_embedding_rows"] == 9
    assert after["architecture"]["space_config"]["max_embedding_rows"] == 0
    assert after["settings"]["space_overrides"] == ["max_embedding_rows=0"]
    changed = {"max_embedding_rows": 9}
    assert after["architecture"]["space_config"] | changed == before["architecture"]["space_config"]
    for name in ("id", "canonical_id", "decisions", "provenance"):
        assert after["architecture"][name] == before["architecture"][name]
    rows, params = tables(after)
    assert rows == sum(after["architecture"]["data_spec"]["cardinalities"])
    assert tables(before)[0] == sum(
        min(9, c) for c in after["architecture"]["data_spec"]["cardinalities"]
    )
    assert after["architecture"]["costs"]["embedding_params"] == params
    assert after["costs"]["flops"] == before["costs"]["flops"]
    grown = params - tables(before)[1]
    assert grown > 0
    assert after["costs"]["params"] - before["costs"]["params"] == grown
    # The result's architecture is the model that was trained.
    model = build_model(ArchitectureRecord.from_json(after["architecture"]))
    assert sum(p.numel() for p in model.parameters()) == after["costs"]["params"]
    assert after["selection"] == {"metric": "logloss", "maximize": False}


def test_replacing_a_value_by_itself_changes_nothing(capped):
    assert capped.train(name="a") == 0
    assert capped.train("--space_overrides=max_embedding_rows=9", name="b") == 0
    one, other = capped.result("a"), capped.result("b")
    for name in ("architecture", "costs", "epochs"):
        assert other[name] == one[name]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("max_rows=0", "there is no 'max_rows'; the names are embedding_dimension, arch_mlp_bot"),
        ("max_embedding_rows=x", "a whole number is needed; the names are"),
        ("max_embedding_rows=-2", "--max_embedding_rows must be positive"),
    ],
)
def test_mistakes_end_before_there_is_a_job(capped, word, message, capsys):
    assert capped.train(f"--space_overrides={word}", name="wrong") == 2
    assert f"error: --space_overrides {word}: {message}" in capsys.readouterr().err
    assert not (capped.folder / "wrong").exists()


def test_decisions_that_the_configuration_does_not_have_are_refused(capped, capsys):
    assert capped.train("--space_overrides=dim_options=32,64", name="other") == 2
    assert capped.result("other")["user_error"]


def test_a_warm_start_goes_with_what_leaves_the_supernet_as_it_is(capped, capsys):
    warm = "--warm_start=supernet"
    assert capped.train(warm, "--space_overrides=max_embedding_rows=9", name="warm") == 0
    assert capped.train(warm, "--space_overrides=max_embedding_rows=0", name="bad") == 2
    error = capsys.readouterr().err
    assert "--space_overrides max_embedding_rows=0 with --warm_start" in error
    assert "not of this supernet" in error


def test_overrides_round_trip_through_a_config_file(capped, tmp_path, capsys):
    flags = ("--space_overrides", "max_embedding_rows=0", "embedding_dimension=8")
    assert train.main([*capped.train_flags(*flags), "--print_config"]) == 0
    first = capsys.readouterr().out
    assert json.loads(first)["space_overrides"] == list(flags[1:])
    (tmp_path / "c.json").write_text(first)
    assert train.main([f"--config={tmp_path / 'c.json'}", "--print_config"]) == 0
    assert capsys.readouterr().out == first
