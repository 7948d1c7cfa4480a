"""Architecture and its record: identity, JSON, damaged files."""

from __future__ import annotations

import copy
import json
import math
import pickle

import pytest

from dnas.core import Architecture, ArchitectureRecord
from dnas.errors import ArchitectureError, DnasError


def record(**changes) -> ArchitectureRecord:
    values = {
        "architecture": Architecture({"c/a": 8, "c/b": 0.5}),
        "space": "emb_dim",
        "space_config": {"dim_options": [4, 8]},
        "data_spec": {"sparse_names": ["a", "b"]},
        "canonical_id": "abc",
        "costs": {"params": 12.0},
        "provenance": {"kind": "draw", "step": 3},
    }
    return ArchitectureRecord(**{**values, **changes})


def test_the_id_is_part_of_the_file_format():
    """SHA-256 of the sorted compact JSON; a change makes every stored architecture unreadable."""
    # printf '{"a/x":1,"b/y":"skip","c/z":true}' | sha256sum | cut -c1-12
    assert Architecture({"c/z": True, "a/x": 1, "b/y": "skip"}).id == "25bf28b3daf6"
    assert Architecture({"emb_dim/C2": 0.5, "emb_dim/C1": 8}).id == "68681e10d95b"
    assert Architecture({}).id == "44136fa355b3"


def test_equality_is_of_decisions():
    first, second = Architecture({"a": 1, "b": 2}), Architecture({"b": 2, "a": 1})
    assert first == second
    assert hash(first) == hash(second)
    assert len({first, second, Architecture({"a": 1, "b": 3})}) == 2
    assert first != Architecture({"a": 1})
    assert first != {"a": 1, "b": 2}
    assert Architecture({"a": 1}) != Architecture({"a": True})


def test_it_is_a_mapping_that_does_not_change():
    source = {"b": 2, "a": 1}
    architecture = Architecture(source)
    source["a"] = 9
    assert (dict(architecture), list(architecture), len(architecture)) == (
        {"a": 1, "b": 2}, ["a", "b"], 2
    )  # fmt: skip
    with pytest.raises(TypeError):
        architecture["a"] = 3  # type: ignore[index]
    assert architecture.replacing({"b": 5}) == Architecture({"a": 1, "b": 5})
    assert architecture == Architecture({"a": 1, "b": 2})
    assert eval(repr(architecture)) == architecture


@pytest.mark.parametrize("option", [None, [1], (1,), {"x": 1}])
def test_an_option_is_a_json_scalar(option):
    with pytest.raises(ArchitectureError, match="decision 'a': an option must be a number"):
        Architecture({"a": option})


def test_an_option_is_a_finite_number():
    with pytest.raises(ArchitectureError, match="'a'"):
        Architecture({"a": math.nan})


def test_it_can_be_copied_and_sent_to_another_process():
    architecture = Architecture({"a": 1})
    assert copy.deepcopy(architecture) == architecture
    assert pickle.loads(pickle.dumps(architecture)) == architecture


def test_a_record_round_trips_through_its_file(tmp_path):
    path = tmp_path / "a" / "0000.json"
    record().save(path)
    assert json.loads(path.read_text()) == {
        "format": "dnas.architecture/1",
        "space": "emb_dim",
        "space_config": {"dim_options": [4, 8]},
        "data_spec": {"sparse_names": ["a", "b"]},
        "id": Architecture({"c/a": 8, "c/b": 0.5}).id,
        "canonical_id": "abc",
        "decisions": {"c/a": 8, "c/b": 0.5},
        "costs": {"params": 12.0},
        "provenance": {"kind": "draw", "step": 3},
    }
    assert ArchitectureRecord.load(path) == record()


def test_costs_and_provenance_may_be_missing():
    value = record().to_json()
    del value["costs"], value["provenance"]
    found = ArchitectureRecord.from_json(value)
    assert (found.costs, found.provenance) == ({}, {})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda v: [v], "f.json: format is 'list', expected 'dnas.architecture/1'"),
        (lambda v: {**v, "format": "other/2"}, "f.json: format is 'other/2'"),
        (lambda v: {k: x for k, x in v.items() if k != "format"}, "f.json: format is None"),
        (
            lambda v: {k: x for k, x in v.items() if k not in ("space", "canonical_id")},
            "f.json: missing space, canonical_id",
        ),
        (
            lambda v: {**v, "decisions": {"c/a": 8, "c/b": 0.25}},
            "f.json: id .* does not belong to these decisions",
        ),
        (lambda v: {**v, "decisions": {"c/a": [8]}}, "decision 'c/a': an option must be a number"),
        (lambda v: {**v, "decisions": ["c/a"]}, "decisions must be an object"),
    ],
)
def test_damaged_records_are_refused_with_the_reason(damage, message):
    with pytest.raises(ArchitectureError, match=message):
        ArchitectureRecord.from_json(damage(record().to_json()), "f.json")


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(DnasError, match=r"none\.json: there is no such file"):
        ArchitectureRecord.load(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"format": "dnas.arch')
    with pytest.raises(DnasError, match=r"half\.json: not a JSON file"):
        ArchitectureRecord.load(tmp_path / "half.json")
