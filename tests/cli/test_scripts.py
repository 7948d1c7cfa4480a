"""train_dnas.py and train_sampled.py: flags, result files, exit codes."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dnas import load_model
from dnas.cli import main as console
from dnas.cli import search, train
from dnas.cli.job import JobFlags
from dnas.core import ArchitectureRecord
from dnas.data import PreparedData
from dnas.errors import ConfigError
from dnas.spaces import find_space
from dnas.strategies.search_manager import SearchManager
from dnas.training.task import CLICKS

ROOT = Path(__file__).resolve().parents[2]


# -------------------------------------------------------------------------------- flags


def test_flags_may_have_hyphens(scripts, capsys):
    """Also those that are read before the parser knows all others."""
    words = [word.replace("--search_space", "--search-space") for word in scripts.search_flags()]
    words = [w for w in words if not w.startswith(("--weights", "--arch", "--n_total"))]
    assert search.main([*words, "--search-algorithm=genetic", "--print_config"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["search_algorithm"], printed["search_space"]) == ("genetic", "emb_card")
    assert "population" in printed


def test_print_config_round_trips(scripts, tmp_path, capsys):
    flags = scripts.search_flags("--temp_decay=0.3", "--cardinality_options", "1.0", "0.5")
    assert search.main([*flags, "--print_config"]) == 0
    first = capsys.readouterr().out
    printed = json.loads(first)
    assert (printed["temp_decay"], printed["cardinality_options"]) == (0.3, ["1.0", "0.5"])
    assert (printed["cost"], printed["cost_target"]) == (None, [])
    assert not {"config", "print_config"} & set(printed)
    assert not (tmp_path / "s").exists()  # nothing was done
    path = tmp_path / "c.json"
    path.write_text(first)
    assert search.main([f"--config={path}", "--print_config"]) == 0
    assert capsys.readouterr().out == first
    assert search.main(["--config", str(path), "--temp_decay=0.4", "--print_config"]) == 0
    assert json.loads(capsys.readouterr().out) == {**printed, "temp_decay": 0.4}


def test_targets_on_the_command_line_win_over_a_printed_config(scripts, tmp_path, capsys):
    assert search.main([*scripts.search_flags("--cost_target=30"), "--print_config"]) == 0
    first = capsys.readouterr().out
    assert json.loads(first)["cost_target"] == ["embedding_rows=30.0"]
    path = tmp_path / "c.json"
    path.write_text(first)
    assert search.main([f"--config={path}", "--cost_target=params=100", "--print_config"]) == 0
    assert json.loads(capsys.readouterr().out)["cost_target"] == ["params=100.0"]


def test_toml_configs(scripts, tmp_path, capsys):
    path = tmp_path / "c.toml"
    path.write_text('search_space = "emb_dim"\ndim_options = [2, 4]\nseed = 9\n')
    assert search.main([f"--config={path}", "--print_config"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [printed[k] for k in ("search_space", "dim_options", "seed")] == ["emb_dim", [2, 4], 9]


def test_config_of_a_training_round_trips(searched, tmp_path, capsys):
    assert train.main([*searched.train_flags("--patience=3"), "--print_config"]) == 0
    first = capsys.readouterr().out
    (tmp_path / "c.json").write_text(first)
    assert train.main([f"--config={tmp_path / 'c.json'}", "--print_config"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    "flag", ["--nope=1", "--weights_lr=fast", "--seed", "--sampling_mode=all", "--weight_lr=1"]
)
def test_flags_that_are_wrong_exit_with_2(scripts, flag, capsys):
    with pytest.raises(SystemExit) as error:
        search.main(scripts.search_flags(flag))
    assert error.value.code == 2
    assert flag.split("=")[0].strip("-") in capsys.readouterr().err


def test_two_costs_have_targets_at_once(scripts, tmp_path):
    flags = ("--num_random_archs=0", "--architecture_sampling=1:40", "--weights_optimizer=adagrad")
    sizes = ("--mlp_size_options", "8", "16", "--mlp_bottom_layers=2", "--mlp_top_layers=3")
    targets = {"flops": 9500.0, "embedding_bytes": 1500.0}
    words = ",".join(f"{name}={amount:g}" for name, amount in targets.items())
    assert scripts.search(f"--cost_target={words}", *flags, *sizes, space="joint") == 0
    found = [ArchitectureRecord.load(p) for p in (tmp_path / "s" / "architectures").glob("*.json")]
    drawn = [record.costs for record in found if record.provenance["kind"] == "draw"]
    for name, amount in targets.items():
        costs = torch.tensor([cost[name] for cost in drawn], dtype=torch.float64)
        deviation = float(costs.std()) / len(costs) ** 0.5
        assert abs(float(costs.mean()) - amount) < 4 * deviation + 0.02 * amount, (name, costs)


def test_help_exits_with_0(capsys):
    with pytest.raises(SystemExit) as error:
        search.main(["--search_space=emb_card", "--help"])
    assert error.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--weights_lr", "--cardinality_options", "--data_set", "--host_gpu_id"):
        assert flag in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cost_target=9", "--use_hw_cost"], "--cost_target replaces equations 5 and 6"),
        (["--exponential_cost"], "--exponential_cost has no effect without --use_hw_cost"),
        (["--cost_at_most"], "--cost_at_most has no effect without --cost_target"),
        (["--cost_target=flops"], "--cost_target 'flops': give NAME=AMOUNT with a positive amount"),
        (["--cost_target=flops=1,flops=2"], "--cost_target: flops is given twice, 1 and 2"),
        (["--cost_target=-3"], "--cost_target '-3': give NAME=AMOUNT with a positive amount"),
        (["--cost=flops", "--cost_target=params=1"], "--cost=flops has no effect: --cost_target"),
        (["--architecture_sampling=4"], "architecture_sampling: '4' is not EPOCHS:COUNT"),
        (["--weights_batch_size=0"], "--weights_batch_size must be at least 1, but got 0"),
        (["--arch_interaction_itself", "--arch_interaction_op=cat"], "--arch_interaction_itself"),
        (["--ids=hash"], "--ids=hash needs --max_ind_range"),
        (
            ["--use_hw_cost=False"],
            "--use_hw_cost=False: a switch has no value; write --use_hw_cost",
        ),
        (["--no-use-hw-cost=1"], "--no-use-hw-cost=1: a switch has no value; write --use_hw_cost"),
        (["--search_space=emb_dim"], "--search_space is given more than once"),
    ],
)
def test_flags_that_contradict_each_other_exit_with_2(scripts, tmp_path, flags, message, capsys):
    assert scripts.search(*flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"weight_lr": 1}', "unknown flags ['weight_lr']"),
        ("[1]", "expected an object of flags"),
        ("{", "not a JSON file"),
        (None, "there is no such file"),
        ('{"validate": "no"}', "validate must be true or false, not 'no'"),
    ],
)
def test_config_files_that_are_wrong_exit_with_2(scripts, tmp_path, content, message, capsys):
    path = tmp_path / "c.json"
    if content is not None:
        path.write_text(content)
    assert scripts.search(f"--config={path}", "--print_config") == 2
    assert message in capsys.readouterr().err


def test_config_files_have_the_types_of_the_flags(scripts, tmp_path, capsys):
    path = tmp_path / "c.json"
    path.write_text('{"temp_decay": "fast"}')
    with pytest.raises(SystemExit) as error:
        scripts.search(f"--config={path}", "--print_config")
    assert error.value.code == 2
    assert "--temp_decay" in capsys.readouterr().err


def test_required_flags(capsys):
    with pytest.raises(SystemExit) as error:
        search.main([])
    assert error.value.code == 2
    assert "search_space" in capsys.readouterr().err
    assert search.main(["--search_space=nope"]) == 2
    assert "'nope' is unknown; known are" in capsys.readouterr().err


def test_the_flags_of_listing_3(scripts, tmp_path):
    """As printed, with the values that the training manager fills in."""
    code = search.main(
        [
            "--search_space=emb_card",
            "--embedding_dimension", "32",
            "--cardinality_options", "1.0", "0.1", "0.01", "0.001",
            "--experiment_id=x",
            "--host_gpu_id=cpu",
            "--weights_lr=0.25",
            f"--save_metrics_param={tmp_path / 'result.json'}",
            "--memory_map",
            *scripts.data, "--arch_mlp_bot=4", "--arch_mlp_top=4",
            "--weights_batch_size=128", "--arch_params_batch_size=64",
        ]
    )  # fmt: skip
    assert code == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["settings"]["cardinality_options"] == ["1.0", "0.1", "0.01", "0.001"]
    # The paper's 4:4, the most likely one, and random ones.
    assert len(result["architectures"]) >= 4 + 1 + 1


@pytest.mark.parametrize(
    "flag", ["--n_total_s_net_training_epochs=five", "--num_warmup_epochs=soon"]
)
def test_epochs_that_are_no_number_exit_with_2(scripts, flag):
    assert scripts.search(flag) == 2


@pytest.mark.parametrize("flag", ["--clip_grad_norm_value=inf", "--divergence_factor=nan"])
def test_a_number_that_is_not_finite_exits_with_2(scripts, flag, capsys):
    assert scripts.search(flag) == 2
    assert flag.split("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host_gpu_id", "processes", "expected"),
    [
        ("1", 1, "cuda:1"),
        ("auto", 1, "cuda:0"),
        ("cpu", 1, "cpu"),
        # One of several processes takes the GPU of its number.
        ("0", 2, "cuda:1"),
        ("auto", 2, "cuda:1"),
        ("cpu", 2, "cpu"),
    ],
)
def test_devices(monkeypatch, host_gpu_id, processes, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in (("RANK", 1), ("LOCAL_RANK", 1), ("WORLD_SIZE", processes)):
        monkeypatch.setenv(name, str(value))
    assert JobFlags(host_gpu_id=host_gpu_id).device() == torch.device(expected)


def test_devices_that_are_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"--host_gpu_id 1: torch .* sees 1 GPUs; use"):
        JobFlags(host_gpu_id="1").device()
    with pytest.raises(ConfigError, match="'gpu' is not a GPU number, cpu or auto"):
        JobFlags(host_gpu_id="gpu").device()
    # The first of two processes as well, though it has a GPU: it would wait for the other.
    for name, value in (("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", 2)):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ConfigError, match="sees 1 GPUs for 2 processes; start fewer"):
        JobFlags(host_gpu_id="0").device()


# -------------------------------------------------------------------------------- results


def test_result_of_a_search(searched):
    result = searched.result("s")
    assert result["status"] == "succeeded"
    assert result["error"] is None
    assert (result["kind"], result["search_space"]) == ("supernet", "emb_card")
    assert result["seconds"] > 0
    assert result["peak_memory_bytes"] > 1e6
    assert result["settings"]["temp_decay"] == 0.1
    assert set(result["versions"]) >= {"python", "torch", "numpy"}
    # 343 train rows: 274 for the weights, 69 for theta; 4 and 2 steps an epoch.
    assert result["steps"] == 2 * 4 + 1 * 2
    assert result["validation"]["rows"] == 28
    assert result["data"]["split"]["parts"]["weights"]["rows"] == 274
    folder = searched.folder / "s"
    for name in result["architectures"]:
        record = ArchitectureRecord.load(folder / name)
        assert record.provenance["job"] == "s"
        assert set(record.costs) >= {"flops", "params", "embedding_rows"}
    records = [ArchitectureRecord.load(folder / name) for name in result["architectures"]]
    kinds = [record.provenance["kind"] for record in records]
    assert kinds[:3] == ["most_likely", "draw", "draw"]
    assert set(kinds[3:]) == {"random"}
    assert json.loads((folder / "config.json").read_text()) == result["settings"]


def test_the_saved_config_repeats_the_run(searched, tmp_path):
    code = search.main(
        [
            f"--config={searched.folder / 's' / 'config.json'}",
            f"--save_metrics_param={tmp_path / 'again' / 'result.json'}",
        ]
    )
    assert code == 0
    again = json.loads((tmp_path / "again" / "result.json").read_text())
    first = searched.result("s")
    assert again["validation"] == first["validation"]
    ids = [
        [ArchitectureRecord.load(folder / name).architecture.id for name in result["architectures"]]
        for folder, result in ((searched.folder / "s", first), (tmp_path / "again", again))
    ]
    assert ids[0] == ids[1]


def test_result_of_a_training(searched):
    assert searched.train() == 0
    result = searched.result("t")
    assert (result["status"], result["kind"], result["test"]) == ("succeeded", "sampled", None)
    assert [e["epoch"] for e in result["epochs"]] == [1.0, 2.0]
    best = min(result["epochs"], key=lambda e: e["validation"]["logloss"])
    assert (result["best_epoch"], result["validation"]) == (best["epoch"], best["validation"])
    record = ArchitectureRecord.load(searched.folder / "s" / "architectures" / "0000.json")
    assert result["architecture"] == record.to_json()
    assert result["costs"] == record.costs
    stored = load_file(searched.folder / "t" / "model.safetensors")
    loaded = load_model(searched.folder / "t").state_dict()
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[name], stored[name]) for name in stored)


def test_test_rows_are_opened_only_when_asked_for(searched, monkeypatch):
    opened = []
    loader = PreparedData.loader
    monkeypatch.setattr(
        PreparedData,
        "loader",
        lambda self, split, *a, **k: opened.append(split) or loader(self, split, *a, **k),
    )
    assert searched.train(name="without") == 0
    assert opened == ["train", "validation"]
    opened.clear()
    assert searched.train("--check_test_set_performance", name="with") == 0
    assert sorted(opened) == ["test", "train", "validation"]
    with_test, without = searched.result("with"), searched.result("without")
    assert with_test["test"]["rows"] == 29
    assert with_test["epochs"] == without["epochs"]


@pytest.mark.parametrize("by_name", [True, False])
def test_a_warm_start_begins_with_the_supernets_weights(searched, by_name):
    weights = "supernet" if by_name else searched.folder / "s" / "supernet.safetensors"
    assert searched.train(f"--warm_start={weights}", "--lr=1e-9", name="warm") == 0
    assert searched.train("--lr=1e-9", name="cold") == 0
    most_likely = searched.result("s")["validation"]["logloss"]
    assert searched.result("warm")["validation"]["logloss"] == pytest.approx(most_likely, rel=1e-5)
    assert searched.result("cold")["validation"]["logloss"] != pytest.approx(most_likely, rel=1e-5)


def test_other_data_than_the_searchs_is_refused(searched, capsys):
    assert searched.train("--synthetic_values=41", name="other") == 2
    assert "was searched on other data: cardinalities was" in capsys.readouterr().err
    result = searched.result("other")
    assert (result["status"], result["user_error"]) == ("failed", True)


def test_divergence_has_its_own_code_and_what_was_last_good(scripts, capsys):
    assert scripts.search("--weights_lr=1e30", "--log_every_steps=1") == 4
    result = scripts.result("s")
    assert result["status"] == "diverged"
    assert result["error"]["type"] == "DivergenceError"
    assert result["error"]["step"] == 2
    assert math.isfinite(result["error"]["last_good"]["loss"])


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RuntimeError("boom"), "failed", 1),
        (NotImplementedError("no kernel"), "failed", 1),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", 3),
        (MemoryError(), "out_of_memory", 3),
    ],
)
def test_crashes_and_memory(scripts, monkeypatch, error, status, code, capsys):
    def fail(self):
        raise error

    monkeypatch.setattr(SearchManager, "train_dnas", fail)
    assert scripts.search() == code
    result = scripts.result("s")
    assert (result["status"], result["error"]["type"]) == (status, type(error).__name__)
    assert "in fail" in result["error"]["traceback"]


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(scripts, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "train_dnas.py"),
        *scripts.search_flags(
            "--n_total_s_net_training_epochs=30",
            "--architecture_sampling=29:2",
            "--log_every_steps=5",
            "--no_validate",
        ),
    ]
    folder = tmp_path / "s"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "metrics.jsonl").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 75, log
    assert "run the same command to go on" in log
    assert json.loads((folder / "result.json").read_text())["status"] == "preempted"
    stopped = re.search(r"stopped at step (\d+)", log)[1]
    assert (folder / "checkpoint.pt").exists()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert f"going on from step {stopped}" in again.stderr
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["steps"]) == ("succeeded", 30 * 4 + 29 * 2)


# -------------------------------------------------------------------------------- dnas


def test_the_console_script_says_what_it_knows(capsys):
    assert console.main([]) == 2
    assert console.main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in ("search", "train", "tune", "pipeline", "status", "report"):
        assert f"  {command} " in text
    assert console.main(["serach"]) == 2
    assert "error: unknown command 'serach'" in capsys.readouterr().err


def test_the_console_script_calls_the_scripts(scripts, capsys):
    flags = scripts.search_flags("--print_config")
    assert console.main(["search", *flags]) == 0
    assert json.loads(capsys.readouterr().out)["search_space"] == "emb_card"
    assert console.main(["status", "/no/such/run"]) == 2


@pytest.mark.parametrize("command", console.COMMANDS)
def test_help_names_the_program_as_it_was_called(command, capsys):
    with pytest.raises(SystemExit) as error:
        console.main([command, "--help"])
    assert error.value.code == 0
    assert f"usage: dnas {command} " in capsys.readouterr().out


def test_scripts_keep_their_names(capsys):
    with pytest.raises(SystemExit):
        search.main(["--help"])
    assert "usage: train_dnas.py " in capsys.readouterr().out
    assert "(train_dnas.py)" in console.usage()


def test_errors_in_flags_name_the_program_as_it_was_called(capsys):
    with pytest.raises(SystemExit) as error:
        console.main(["search", "--search_space=emb_card", "--no_such_flag=1"])
    assert error.value.code == 2
    told = capsys.readouterr().err
    assert "dnas search --help" in told
    assert "train_dnas.py" not in told


def test_help_of_the_console_script_needs_no_torch():
    code = (
        "import sys; from dnas.cli.main import main; main(['--help']); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'pandas')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done


@pytest.mark.parametrize("flag", ["--validate", "--no-validate"])
def test_a_misspelt_selection_ends_a_search_before_it_begins(
    scripts, tmp_path, monkeypatch, capsys, flag
):
    monkeypatch.setattr(type(find_space("emb_card")), "task", replace(CLICKS, selection="AUC"))
    assert scripts.search(flag) == 2
    assert "selection 'AUC' is no metric; compute() gives logloss, auc" in capsys.readouterr().err
    assert not (tmp_path / "s" / "metrics.jsonl").exists()


def test_a_misspelt_selection_ends_a_training_before_it_begins(searched, monkeypatch, capsys):
    monkeypatch.setattr(type(find_space("emb_card")), "task", replace(CLICKS, selection="AUC"))
    assert searched.train(name="misspelt") == 2
    assert "selection 'AUC' is no metric; compute() gives logloss, auc" in capsys.readouterr().err
    assert not (searched.folder / "misspelt" / "metrics.jsonl").exists()
