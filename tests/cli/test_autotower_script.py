"""AutoTower through the scripts: searches with and without soft samples, training what they find.

A few steps each; nothing is learned.
"""

from __future__ import annotations

import json
import math
import re

import pytest

from dnas.cli import main as console
from dnas.cli import score, search, train

DATA = (
    "--data_set=towers_synthetic", "--synthetic_users=60", "--synthetic_items=100",
    "--synthetic_events=20", "--host_gpu_id=cpu",
)  # fmt: skip
SPACE = (
    "--search_space=autotower", "--embedding_dimension=2", "--block_dimension=4",
    "--user_blocks=2", "--item_blocks=1",
)  # fmt: skip
ONE_SHOT = (
    "--batch_size=64", "--n_epochs=1", "--optimizer=adam", "--lr=0.003", "--population=3",
    "--sample_size=2", "--children=1", "--n_iterations=1", "--top_k=1",
)  # fmt: skip


def searched(folder, *flags):
    path = folder / "result.json"
    assert search.main([*SPACE, *DATA, *flags, f"--save_metrics_param={path}"]) == 0
    result = json.loads(path.read_text())
    assert result["status"] == "succeeded"
    return [folder / name for name in result["architectures"]]


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        ("evolution", ()),
        ("genetic", ("--anchored", "--block_norm=layer", "--no_output_relu")),
        ("reinforce", ("--anchored",)),
        ("random_search", ()),
    ],
)
def test_a_one_shot_search_and_training_what_it_found(algorithm, settings, tmp_path):
    limits = ("--cost_limit", "paper_flops=40000", "user_paper_params=30000")
    flags = (f"--search_algorithm={algorithm}", *ONE_SHOT, *limits, *settings)
    [found] = searched(tmp_path / "search", *flags)
    record = json.loads(found.read_text())
    assert record["costs"]["paper_flops"] <= 40_000
    assert record["costs"]["user_paper_params"] <= 30_000
    path = tmp_path / "trained" / "result.json"
    words = [
        f"--sampled_arch={found}", *DATA, "--batch_size=64", "--n_epochs=1", "--optimizer=adam",
        "--lr=0.003", f"--save_metrics_param={path}", "--check_test_set_performance",
    ]  # fmt: skip
    assert train.main(words) == 0
    result = json.loads(path.read_text())
    assert math.isfinite(result["validation"]["loss_corrected"])
    assert "recall50.temporal_exclude" in result["test"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--score_rows=100"],
            "--score_rows=100 --score_subset=random: .*; use --score_subset=first, or "
            "--score_rows=0 for all rows",
        ),
        (
            ["--score_rows=50", "--score_subset=first"],
            "--score_rows=50 --score_subset=first: 18 of 32 rows .* TowerBatch has no method rows"
            ".* a multiple of 32 rows; use --score_rows=0",
        ),
        (  # ten batches of the loss, and the next one is all 60 users
            ["--score_rows=352", "--score_subset=first"],
            "--score_rows=352 --score_subset=first: 32 of 60 rows are wanted of the last batch",
        ),
        (
            ["--score_rows=32", "--score_subset=first", "--selection=recall50"],
            "none of 1 batches tells on 'recall50', .* --score_rows and --score_subset take",
        ),
    ],
)
def test_rows_that_cannot_be_had_are_said_before_anything_is_trained(flags, said, tmp_path, capsys):
    words = [
        *SPACE, *DATA, *ONE_SHOT, "--search_algorithm=genetic", "--validation_batch_size=32",
        f"--save_metrics_param={tmp_path}/result.json", *flags,
    ]  # fmt: skip
    assert search.main(words) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_trained_supernet_is_searched_by_another_metric(tmp_path, capsys):
    """Its weights are those of any selection; its candidates are not, nor are other weights."""
    one_shot = ("--search_algorithm=random_search", "--recalibration_rows=64", *ONE_SHOT[-5:])
    [first] = searched(tmp_path / "trained", *one_shot, *ONE_SHOT[:4], "--save_supernet_weights")
    weights = f"--supernet_weights={tmp_path}/trained/supernet.safetensors"
    chosen = (*one_shot, weights, "--selection=recall50")
    [second] = searched(tmp_path / "again", *chosen)
    metrics = [json.loads(each.read_text())["provenance"]["metrics"] for each in (first, second)]
    assert "recall50" not in metrics[0]
    assert 0 < metrics[1]["recall50"] < 1
    words = [*SPACE, *DATA, f"--save_metrics_param={tmp_path}/again/result.json"]
    assert search.main([*words, *one_shot, weights]) == 2  # that folder has other scores
    assert "candidates.jsonl: the checkpoint was made with space.selection='recall50'" in (
        capsys.readouterr().err
    )
    assert search.main([*words, *chosen, "--temperature=0.1"]) == 2
    assert "space.temperature was 0.05, is 0.1" in capsys.readouterr().err
    scored = [f"--supernet={tmp_path}/trained", f"--architectures={tmp_path}/again/architectures"]
    result = tmp_path / "scores" / "result.json"
    assert score.main([*scored, f"--save_metrics_param={result}", "--host_gpu_id=cpu",
                       "--recalibration_rows=64"]) == 0  # fmt: skip
    assert json.loads(result.read_text())["selection"] == "loss_corrected"


def test_a_differentiable_search(tmp_path):
    found = searched(
        tmp_path,
        "--weights_batch_size=128",
        "--arch_params_batch_size=64",
        "--n_total_s_net_training_epochs=1",
        "--num_warmup_epochs=0",
        "--architecture_sampling=1:2",
        "--sampling_mode=batch",
        "--cost=paper_flops",
    )
    kinds = [json.loads(path.read_text())["provenance"]["kind"] for path in found]
    assert kinds == ["most_likely", "draw", "draw", "random", "random", "random"]


def test_a_published_one_can_be_trained(tmp_path):
    """The file that names it, the architecture file, and one epoch."""
    (tmp_path / "table_7.json").write_text(json.dumps({"autotower": "ml_100k"}))
    space = ("--search_space=autotower", "--embedding_dimension=2", "--block_dimension=4")
    words = [
        "architectures", *space, *DATA[:-1], "--published", str(tmp_path / "table_7.json"),
        f"--out={tmp_path}/made",
    ]  # fmt: skip
    assert console.main(words) == 0
    result = tmp_path / "result.json"
    words = [
        f"--sampled_arch={tmp_path}/made/table_7.json", *DATA, "--batch_size=64", "--n_epochs=1",
        "--optimizer=adam", f"--save_metrics_param={result}",
    ]  # fmt: skip
    assert train.main(words) == 0


def test_a_gradient_search_has_no_use_for_an_anchor(tmp_path, capsys):
    flags = (*SPACE, *DATA, "--anchored", f"--save_metrics_param={tmp_path / 's' / 'result.json'}")
    assert search.main([*flags]) == 2
    assert "--anchored: no effect with --search_algorithm=dnas" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_an_anchored_supernet_is_searched_with_and_without_the_flag(tmp_path, caplog):
    genetic = ("--search_algorithm=genetic", *ONE_SHOT)
    [first] = searched(tmp_path / "a", *genetic, "--anchored", "--save_supernet_weights")
    given = f"--supernet_weights={tmp_path / 'a' / 'supernet.safetensors'}"
    unused = "nothing is trained; not used: "
    [second] = searched(tmp_path / "b", *genetic, given)
    assert f"{unused}--anchored" not in caplog.text
    [third] = searched(tmp_path / "c", *genetic, given, "--anchored")
    assert unused in caplog.text
    assert "--anchored" in caplog.text.split(unused)[-1].splitlines()[0]
    ids = {json.loads(path.read_text())["id"] for path in (first, second, third)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("--validation_batch_size=16", "validation_batch_size"),
        ("--frequency_alpha=0.5", "frequency_alpha"),
    ],
)
def test_scores_of_another_loss_are_not_ranked_together(more, key, tmp_path, capsys):
    flags = ("--search_algorithm=random_search", *ONE_SHOT, "--save_supernet_weights")
    searched(tmp_path / "s", *flags)
    path = f"--save_metrics_param={tmp_path / 's' / 'result.json'}"
    assert search.main([*SPACE, *DATA, *flags, more, path]) == 2
    assert f"the checkpoint was made with loss.{key}=" in capsys.readouterr().err
    # The weights may be searched in any setting, in a folder of its own.
    weights = f"--supernet_weights={tmp_path / 's' / 'supernet.safetensors'}"
    searched(tmp_path / "t", *flags[:-1], more, weights)
