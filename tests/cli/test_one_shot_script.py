"""train_dnas.py --search_algorithm=evolution|genetic|...: flags, files, exit codes, kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from dnas.cli import one_shot, search
from dnas.cli.scoring import ScoringFlags, score_architectures
from dnas.core import ArchitectureRecord
from dnas.data import DataConfig, PreparedData
from dnas.errors import ConfigError
from dnas.spaces import space_config
from dnas.strategies.evaluator import SharedWeightsEvaluator
from dnas.strategies.proposals import Proposals
from dnas.training.task import CLICKS
from supernets import EMB_CARD
from tests.processes import ENVIRONMENT, ROOT, result_of, wait_until
from tests.toys import SPACE_FLAGS

SMALL = (
    "--batch_size=32", "--population=6", "--sample_size=3", "--children=3", "--n_iterations=3",
    "--top_k=4", "--log_every_steps=4", "--cardinality_options", "1.0", "0.1", "0.02",
)  # fmt: skip
COUNT = 6 + 3 * 3


def flags(scripts, *more, name="e", algorithm="evolution"):
    return [
        f"--search_algorithm={algorithm}",
        "--search_space=emb_card",
        *scripts.data,
        *SPACE_FLAGS,
        *scripts.job(name),
        *SMALL,
        *more,
    ]


def lines(folder, file="candidates.jsonl"):
    return [json.loads(line) for line in (folder / file).read_text().splitlines()]


@pytest.fixture(scope="module")
def evolved(tmp_path_factory, data_cache):
    """The scripts after one evolution."""
    from tests.cli.conftest import Scripts

    made = Scripts(tmp_path_factory.mktemp("evolved"), data_cache)
    assert search.main(flags(made, "--save_supernet_weights", "--num_random_archs=2")) == 0
    return made


def test_an_evolution_leaves_its_best_architectures(evolved):
    folder = evolved.folder / "e"
    result = evolved.result("e")
    assert result["status"] == "succeeded"
    assert (result["search_algorithm"], result["evaluations"]) == ("evolution", COUNT)
    records = [ArchitectureRecord.load(folder / path) for path in result["architectures"]]
    assert [r.provenance["kind"] for r in records] == ["evolution"] * 4 + ["random"] * 2
    found = lines(folder)[1:]
    assert [line["candidate"] for line in found] == list(range(COUNT))
    assert [line["iteration"] for line in found] == [0] * 6 + [1] * 3 + [2] * 3 + [3] * 3
    best = sorted(found, key=lambda line: line["score"])[:4]
    for rank, (record, line) in enumerate(zip(records[:4], best, strict=True), start=1):
        assert dict(record.architecture) == line["decisions"]
        assert record.canonical_id == line["canonical_id"]
        assert record.provenance == {
            "job": "e", "kind": "evolution", "rank": rank, "score": line["score"],
            "metrics": line["metrics"], "iteration": line["iteration"],
            "candidate": line["candidate"],
        }  # fmt: skip
        assert dict(record.costs) == line["costs"]
    assert result["validation"] == best[0]["metrics"]
    metrics = lines(folder, "metrics.jsonl")
    assert [line["phase"] for line in metrics if line["event"] == "iteration"] == ["evolution"] * 4
    assert metrics[-1]["step"] == result["steps"] + COUNT
    # Weights and theta rows alike: 6/7 of 400 rows in batches of 32.
    assert result["steps"] == 343 // 32
    assert (folder / "supernet.safetensors").exists()


def test_what_was_found_can_be_trained(evolved):
    from dnas.cli import train

    architecture = evolved.folder / "e" / "architectures" / "0000.json"
    words = [f"--sampled_arch={architecture}", *evolved.data, *evolved.job("t"), "--batch_size=64",
             "--n_epochs=1", "--warm_start=supernet"]  # fmt: skip
    assert train.main(words) == 0
    assert evolved.result("t")["architecture"]["provenance"]["kind"] == "evolution"


def test_another_search_in_the_same_supernet(evolved):
    weights = evolved.folder / "e" / "supernet.safetensors"
    more = (f"--supernet_weights={weights}", "--num_random_archs=0")
    assert search.main(flags(evolved, *more, name="r", algorithm="random_search")) == 0
    result = evolved.result("r")
    assert (result["steps"], result["evaluations"]) == (0, COUNT)  # the same budget
    assert not (evolved.folder / "r" / "checkpoint.pt").exists()
    assert search.main(flags(evolved, *more, name="e2")) == 0
    assert lines(evolved.folder / "e2")[1:] == lines(evolved.folder / "e")[1:]


def test_a_genetic_search_has_the_same_budget_and_flags_of_its_own(evolved, caplog):
    weights = evolved.folder / "e" / "supernet.safetensors"
    more = (f"--supernet_weights={weights}", "--num_parents=2", "--mutation_probability=0.3",
            "--cost_limit", "embedding_rows=60", "embedding_bytes=900")  # fmt: skip
    assert search.main(flags(evolved, *more, name="g", algorithm="genetic")) == 0
    result = evolved.result("g")
    assert (result["search_algorithm"], result["evaluations"]) == ("genetic", COUNT)
    found = lines(evolved.folder / "g")
    assert found[0]["fingerprint"]["parents"] == 2
    assert found[0]["fingerprint"]["mutation_probability"] == 0.3
    assert [line["iteration"] for line in found[1:]] == [0] * 6 + [1] * 3 + [2] * 3 + [3] * 3
    assert max(line["costs"]["embedding_rows"] for line in found[1:]) <= 60
    assert "--search_algorithm=genetic: not used: --sample_size=3" in caplog.text


def test_a_search_by_reinforce(evolved):
    weights = evolved.folder / "e" / "supernet.safetensors"
    more = (f"--supernet_weights={weights}", "--policy_lr=0.1", "--entropy_weight=0.5")
    assert search.main(flags(evolved, *more, name="p", algorithm="reinforce")) == 0
    result = evolved.result("p")
    assert (result["search_algorithm"], result["evaluations"]) == ("reinforce", COUNT)
    found = lines(evolved.folder / "p")
    assert (found[0]["fingerprint"]["lr"], found[0]["fingerprint"]["entropy_weight"]) == (0.1, 0.5)
    first = evolved.folder / "p" / result["architectures"][0]
    assert ArchitectureRecord.load(first).provenance["kind"] == "reinforce"


def test_architecture_files_are_scored_as_in_the_search(evolved):
    folder = evolved.folder / "e"
    records = [ArchitectureRecord.load(path) for path in sorted(folder.glob("architectures/*"))]
    settings = json.loads((folder / "config.json").read_text())
    config = space_config(EMB_CARD, records[0].space_config, "record")
    names = ("data_set", "synthetic_rows", "synthetic_features", "synthetic_values", "data_cache")
    data = DataConfig(**{name: settings[name] for name in names})
    weights = folder / "supernet.safetensors"
    architectures = [record.architecture for record in records]
    found = score_architectures(EMB_CARD, config, data, weights, architectures, ScoringFlags())
    assert found[:4] == [record.provenance["metrics"] for record in records[:4]]
    parted = ScoringFlags(score_rows=10, eval_processes=2)
    few = score_architectures(EMB_CARD, config, data, weights, architectures, parted)
    assert [metrics["rows"] for metrics in few] == [10] * 6
    with pytest.raises(ConfigError, match=r"supernet_weights .*: there is no such file"):
        score_architectures(EMB_CARD, config, data, folder / "no", [], ScoringFlags())


@pytest.mark.parametrize("subset", ["first", "random"])
def test_rows_to_judge_by(scripts, subset, monkeypatch):
    seen = []
    original = SharedWeightsEvaluator.__init__

    def watched(self, super_net, task, score_rows, **more):
        batches = score_rows.batches(0, len(score_rows))
        seen.append([tuple(row) for batch in batches for row in batch.dense.tolist()])
        original(self, super_net, task, score_rows, **more)

    monkeypatch.setattr(SharedWeightsEvaluator, "__init__", watched)
    more = ("--eval_batch_size=7", "--n_epochs=0.1", "--n_iterations=0", f"--score_subset={subset}")
    for name, rows in (("a", 0), ("b", 10), ("c", 10)):
        assert search.main(flags(scripts, *more, f"--score_rows={rows}", name=name)) == 0
    whole, few, again = seen[1::2]  # once before the training, once after it
    assert few == again
    assert len(whole) == 28
    assert len(few) == 10
    assert set(few) <= set(whole)
    assert (few == whole[:10]) == (subset == "first")


def test_the_test_rows_are_never_read(scripts, monkeypatch):
    splits = set()
    original = PreparedData.loader

    def loader(self, split, *args, **kwargs):
        splits.add(split)
        return original(self, split, *args, **kwargs)

    monkeypatch.setattr(PreparedData, "loader", loader)
    assert search.main(flags(scripts)) == 0
    assert splits == {"train", "validation"}


# -------------------------------------------------------------------------------- flags


def test_print_config_round_trips(scripts, tmp_path, capsys):
    assert search.main([*flags(scripts, "--lr=0.3"), "--print_config"]) == 0
    first = capsys.readouterr().out
    printed = json.loads(first)
    assert (printed["search_algorithm"], printed["lr"]) == ("evolution", 0.3)
    assert "temp_decay" not in printed
    (tmp_path / "c.json").write_text(first)
    assert search.main([f"--config={tmp_path / 'c.json'}", "--print_config"]) == 0
    assert capsys.readouterr().out == first


def test_the_flags_are_those_of_the_algorithm(scripts, capsys):
    for algorithm, flag in (("evolution", "--temp_decay=1"), ("dnas", "--population=4")):
        with pytest.raises(SystemExit) as error:
            search.main([f"--search_algorithm={algorithm}", "--search_space=emb_card", flag])
        assert error.value.code == 2
    with pytest.raises(SystemExit) as error:
        search.main(["--search_algorithm=luck", "--search_space=emb_card"])
    assert error.value.code == 2
    assert "random_search" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--finetune_steps=5"], "--finetune_steps: DLRMSuperNet has no linear last layer"),
        (["--cost_limit=0.5"], "--cost_limit: none of 1000 architectures drawn has embedding_rows"),
        (["--cost_limit=time=1"], "--cost_limit time: there is no such cost"),
        (["--recalibration_rows=9"], "--recalibration_rows=9: DLRMSuperNet has no batch norm"),
        (["--path_sampling=any"], "--path_sampling=any: this space has uniform"),
        (["--supernet_weights=no"], "--supernet_weights no: there is no such file"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_trained(scripts, more, message, capsys):
    assert search.main(flags(scripts, *more)) == 2
    assert message in capsys.readouterr().err
    assert scripts.result("e")["error"]["message"].startswith(message[:12])
    assert not (scripts.folder / "e" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--sample_size=7"], "--sample_size=7 is more than --population=6"),
        (["--top_k=0"], "--top_k must be at least 1"),
        (["--cost_limit", "1", "2"], "--cost_limit: embedding_rows is given twice, 1 and 2"),
        (["--supernet_weights=a", "--save_supernet_weights"], "--save_supernet_weights: nothing"),
        (["--score_rows=-1"], "--score_rows must be at least 0"),
        (["--finetune_lr=0"], "--finetune_lr must be positive"),
        (["--recalibration_rows=1"], "--recalibration_rows=1: a single row has no variance"),
        (["--finetune_steps=1"], "--finetune_steps=1 would change nothing"),
        (["--cost_limit=rows=none"], "--cost_limit 'rows=none': give NAME=AMOUNT"),
    ],
)
def test_flags_that_contradict_each_other_exit_with_2(scripts, more, message, capsys):
    assert search.main(flags(scripts, *more)) == 2
    assert message in capsys.readouterr().err
    assert not (scripts.folder / "e").exists()


def test_a_random_search_draws_no_samples(scripts):
    """So a sample may be larger than the population."""
    more = ("--sample_size=7", "--n_epochs=0.1")
    assert search.main(flags(scripts, *more, algorithm="random_search")) == 0
    assert scripts.result("e")["evaluations"] == COUNT


def test_a_limit_is_of_the_spaces_usual_cost(scripts, capsys):
    assert search.main([*flags(scripts, "--cost_limit=30"), "--print_config"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["cost_limit"] == ["embedding_rows=30.0"]


def test_a_misspelt_selection_is_found_before_anything_is_trained(scripts, monkeypatch, capsys):
    monkeypatch.setattr(type(EMB_CARD), "task", replace(CLICKS, selection="AUC"))
    assert search.main(flags(scripts)) == 2
    assert "selection 'AUC' is no metric; compute() gives logloss, auc" in capsys.readouterr().err
    assert not (scripts.folder / "e" / "metrics.jsonl").exists()


def test_flags_of_a_training_that_is_not_done_are_named(evolved, caplog):
    weights = f"--supernet_weights={evolved.folder / 'e' / 'supernet.safetensors'}"
    assert search.main(flags(evolved, weights, "--lr=0.3", name="unused")) == 0
    (line,) = (record.message for record in caplog.records if "not used" in record.message)
    assert line.endswith("not used: --batch_size=32, --lr=0.3, --log_every_steps=4")


def test_a_baseline_that_is_not_found_ends_the_job_before_it_begins(scripts, capsys, monkeypatch):
    """As where the search finds the one architecture within the limit, and the baseline does not:
    here its limit is another one."""
    limits = {"embedding_rows": 0.1}
    monkeypatch.setattr(one_shot, "Proposals", lambda net, _: Proposals(net, limits))
    assert search.main(flags(scripts, "--num_random_archs=2")) == 2
    assert "--cost_limit: none of 1000 architectures drawn" in capsys.readouterr().err
    assert not (scripts.folder / "e" / "metrics.jsonl").exists()


# -------------------------------------------------------------------------------- going on


class Broken(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("at", ["training", "search"])
def test_a_broken_job_goes_on_to_the_same_end(scripts, evolved, at, monkeypatch):
    calls = iter(range(10**6))
    original = SharedWeightsEvaluator.__call__

    def breaking(self, architecture):
        if next(calls) == 8:
            raise Broken
        return original(self, architecture)

    def stopping(self):
        return next(calls) >= 5

    with monkeypatch.context() as patched:
        if at == "search":
            patched.setattr(SharedWeightsEvaluator, "__call__", breaking)
        else:
            patched.setattr(search.run_one_shot.__globals__["StopRequest"], "__call__", stopping)
        code = search.main(flags(scripts, "--num_random_archs=2"))
    assert code == (1 if at == "search" else 75)
    assert search.main(flags(scripts, "--num_random_archs=2")) == 0
    ours, whole = scripts.folder / "e", evolved.folder / "e"
    assert result_of(ours) == result_of(whole)
    assert (ours / "candidates.jsonl").read_bytes() == (whole / "candidates.jsonl").read_bytes()
    first, second = ([{**line, "seconds": 0} for line in lines(f, "metrics.jsonl")]
                     for f in (ours, whole))  # fmt: skip
    assert first == second


@pytest.mark.slow
def test_a_killed_job_goes_on_to_the_same_end(scripts):
    """kill -9 while two other processes evaluate, which end too; then it goes on without such."""
    slowly = "--eval_batch_size=1"
    assert search.main(flags(scripts, slowly, name="whole")) == 0
    folder, whole = scripts.folder / "e", scripts.folder / "whole"
    folder.mkdir()
    candidates, log = folder / "candidates.jsonl", folder / "stdout.log"
    words = flags(scripts, slowly, "--eval_processes=2")
    command = [sys.executable, str(ROOT / "train_dnas.py"), *words]
    with open(log, "wb") as file:
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=file, stderr=file)
        wait_until(
            lambda: candidates.exists() and candidates.read_bytes().count(b"\n") > 3, process, log
        )
        children = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert len(children) >= 3  # two that evaluate, and the one they were forked from
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert candidates.read_bytes().count(b"\n") < 1 + COUNT
    assert search.main(flags(scripts, slowly)) == 0
    assert candidates.read_bytes() == (whole / "candidates.jsonl").read_bytes()
    assert result_of(folder) == result_of(whole)
