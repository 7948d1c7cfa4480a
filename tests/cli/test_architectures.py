"""dnas architectures: random and given architecture files, which train_sampled.py can train."""

from __future__ import annotations

import json

import pytest
import torch

from dnas.cli import main as console
from dnas.cli import train
from dnas.cli.architectures import different_networks, given_architectures
from dnas.core import ArchitectureRecord, UniformPrior
from dnas.errors import ConfigError
from dnas.spaces import load_architecture
from tests.toys import DATA_FLAGS, SPACE_FLAGS, Scales

BASELINES = (
    "--search_space=ctr_baselines", "--embedding_dimension=4", "--mlp_width_options", "5", "7",
    "--mlp_depth_options", "1", "--attention_dimension=3", "--cin_sizes", "3", "2",
)  # fmt: skip


@pytest.fixture
def write(tmp_path, data_cache):
    def run(*flags: str, space: tuple[str, ...] = BASELINES) -> int:
        out = f"--out={tmp_path / 'a'}"
        words = ["architectures", *space, *DATA_FLAGS, f"--data_cache={data_cache}", out, *flags]
        return console.main(words)

    return run


def records(folder):
    return {path.stem: ArchitectureRecord.load(path) for path in sorted(folder.glob("*.json"))}


def test_each_option_of_a_decision(write, tmp_path):
    assert write("--each", "model/kind", "--set", "width/mlp=7") == 0
    found = records(tmp_path / "a")
    assert sorted(found) == ["autoint", "deepfm", "dlrm", "xdeepfm"]
    for kind, record in found.items():
        # The only depth need not be said.
        assert dict(record.architecture) == {"model/kind": kind, "width/mlp": 7, "depth/mlp": 1}
        assert record.provenance == {"kind": "given"}
        assert record.costs["flops"] > 0
        load_architecture(tmp_path / "a" / f"{kind}.json")


def test_every_combination_of_several(write, tmp_path):
    assert write("--each", "model/kind", "width/mlp") == 0
    assert len(records(tmp_path / "a")) == 8
    assert records(tmp_path / "a")["deepfm+5"].architecture["width/mlp"] == 5


def test_random_architectures_of_any_space(write, tmp_path, data_cache):
    space = ("--search_space=emb_card", *SPACE_FLAGS)
    assert write("--random=5", "--seed=3", space=space) == 0
    found = records(tmp_path / "a")
    assert list(found) == ["0000", "0001", "0002", "0003", "0004"]
    assert len({record.canonical_id for record in found.values()}) == 5
    assert {json.dumps(dict(r.provenance)) for r in found.values()} == {
        '{"kind": "random", "seed": 3}'
    }
    again = ["architectures", *space, *DATA_FLAGS, f"--data_cache={data_cache}", "--random=2"]
    assert console.main([*again, "--seed=3", f"--out={tmp_path / 'b'}"]) == 0
    assert console.main([*again, "--seed=4", f"--out={tmp_path / 'c'}"]) == 0
    assert records(tmp_path / "b")["0001"].architecture == found["0001"].architecture
    assert records(tmp_path / "c")["0000"].architecture != found["0000"].architecture


def test_nothing_is_overwritten(write, tmp_path, capsys):
    assert write("--random=1") == 0
    before = (tmp_path / "a" / "0000.json").read_bytes()
    assert write("--random=2", "--seed=9") == 2
    assert "0000.json exists already, and 0 others" in capsys.readouterr().err
    assert (tmp_path / "a" / "0000.json").read_bytes() == before
    assert not (tmp_path / "a" / "0001.json").exists()


def test_what_is_written_can_be_trained(write, tmp_path, scripts):
    assert write("--each", "model/kind", "--set", "width/mlp=5") == 0
    for kind in ("dlrm", "autoint"):
        flags = scripts.train_flags("--n_epochs=1", name=kind)[1:]
        assert train.main([f"--sampled_arch={tmp_path / 'a' / kind}.json", *flags]) == 0
        result = scripts.result(kind)
        assert result["status"] == "succeeded"
        assert result["costs"]["params"] == result["architecture"]["costs"]["params"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give one of --random, --each and --set, --decisions_of, "),
        (
            ("--random=1", "--set", "width/mlp=5"),
            "give one of --random, --each and --set, --decisions_of, ",
        ),
        (("--random=-1",), "--random must be at least 1"),
        (("--each", "model/kind", "model/kind"), "--each: a decision occurs twice"),
        (("--each", "model"), "--each model: unknown decision; this space has ['depth/mlp'"),
        (("--each", "model/kind"), "missing, among them ['width/mlp']; say with --set"),
        (("--set", "width/mlp"), "--set width/mlp: expected DECISION=OPTION"),
        (("--set", "width/mlp=6"), "--set width/mlp=6: no such option; the options are [5, 7]"),
        (("--set", "w=6"), "--set w: unknown decision"),
        (
            ("--each", "width/mlp", "--set", "width/mlp=5"),
            "--set width/mlp=5: width/mlp is given already",
        ),
        (("--random=9",), "--random 9: 8 different networks, and 1000 draws that gave no other"),
    ],
)
def test_mistakes_are_named(write, tmp_path, capsys, flags, message):
    assert write(*flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_without_each_the_name_is_the_architectures():
    (found,) = given_architectures(Scales(2), (), ("scale/d0=4", "scale/d1=1")).items()
    assert found[0] == found[1].id
    assert dict(found[1]) == {"scale/d0": 4, "scale/d1": 1}


def test_different_networks_are_different_canonically():
    class Sorted(Scales):
        """The order of the factors makes no other network."""

        def canonical(self, architecture):
            factors = sorted(architecture.values())
            return type(architecture)(dict(zip(architecture, factors, strict=True)))

    net = Sorted(2, (1, 2))
    generator = torch.Generator().manual_seed(0)
    assert len(different_networks(net, UniformPrior(net), 3, generator)) == 3
    with pytest.raises(ConfigError, match="3 different networks, and"):
        different_networks(net, UniformPrior(net), 4, generator)


def test_a_space_of_fewer_networks_gives_all_it_has():
    net = Scales(decisions=1, options=(1, 2, 4))
    generator = torch.Generator().manual_seed(1)
    found = different_networks(net, UniformPrior(net), 5, generator, fewer=True)
    assert {architecture["scale/d0"] for architecture in found} == {1, 2, 4}
    with pytest.raises(ConfigError, match="--random 5: 3 different networks"):
        different_networks(net, UniformPrior(net), 5, generator)


def test_the_decisions_of_a_file_with_other_settings(write, tmp_path, data_cache, caplog):
    assert write("--set", "model/kind=deepfm", "width/mlp=7") == 0
    source = next(iter((tmp_path / "a").glob("*.json")))
    wider = ["architectures", *BASELINES, *DATA_FLAGS, f"--data_cache={data_cache}"]
    wider[wider.index("--embedding_dimension=4")] = "--embedding_dimension=6"
    assert console.main([*wider, f"--decisions_of={source}", f"--out={tmp_path / 'b'}"]) == 0
    assert "embedding_dimension was 4, is 6" in caplog.text
    (taken,) = records(tmp_path / "b").values()
    given = ArchitectureRecord.load(source)
    assert (tmp_path / "b" / source.name).exists()
    assert taken.architecture == given.architecture
    assert taken.space_config["embedding_dimension"] == 6
    assert taken.costs["flops"] > given.costs["flops"]
    load_architecture(tmp_path / "b" / source.name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--mlp_width_options", "5", "9"), "does not fit the space as these flags have it"),
        (("--search_space=emb_card",), "an architecture of ctr_baselines, not of emb_card"),
    ],
)
def test_decisions_that_do_not_fit_are_refused(
    write, tmp_path, data_cache, capsys, change, message
):
    assert write("--set", "model/kind=deepfm", "width/mlp=7") == 0
    source = next(iter((tmp_path / "a").glob("*.json")))
    space = BASELINES if change[0].startswith("--mlp") else ()
    words = ["architectures", *space, *change, *DATA_FLAGS, f"--data_cache={data_cache}"]
    assert console.main([*words, f"--decisions_of={source}", f"--out={tmp_path / 'b'}"]) == 2
    error = capsys.readouterr().err
    assert f"--decisions_of {source}" in error
    assert message in error
    assert not (tmp_path / "b").exists()
