from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd
import pytest
from fake_run import FakeRun, sampled_result

from dnas.errors import DnasError, JobError
from dnas.reporting import cost_columns, failures_frame, results_frame
from dnas.reporting.maincost import main_cost, named_cost, varying_costs
from dnas.reporting.records import count_states, read_job, read_run
from dnas.reporting.statistics import population
from dnas.runs import RunFolder


@pytest.fixture
def fake(tmp_path: Path) -> FakeRun:
    return FakeRun(tmp_path / "demo")


def test_a_row_says_all_there_is_to_say(fake: FakeRun) -> None:
    fake.supernet("0_1", settings={"hw_cost_coef": "0.0003"})
    costs = {"flops": 2e6, "params": 5, "embedding_rows": 7, "embedding_bytes": 28,
             "average_dim": 81.5, "latency_us": 12.5, "note": "text is no cost"}  # fmt: skip
    result = sampled_result(0.45, arch="a", supernet="0_1", test=True, costs=costs)  # type: ignore[arg-type]
    fake.job("sampled", "0_3", settings={"weights_lr": "0.5", "flag": "on"}, result=result)
    frame = results_frame(fake.run)
    assert len(frame) == 1
    row = frame.iloc[0]
    expected = {
        "job": "0_3", "stage": "sampled", "architecture_id": "id-a",
        "canonical_id": "canonical-a", "origin": "draw",
        "search_space": "emb_card", "supernet_job": "0_1", "theta_step": 1200, "theta_epochs": 4.0,
        "log_probability": -3.25, "search.hw_cost_coef": 0.0003, "setting.weights_lr": 0.5,
        "setting.flag": "on", "setting.seed": 1, "setting.n_epochs": 6, "validation_logloss": 0.45,
        "validation_auc": 0.8, "validation_ne": 0.8, "validation_calibration": 1.01,
        "best_epoch": 3.0, "test_logloss": 0.449, "test_auc": 0.8, "flops": 2e6, "params": 5,
        "embedding_rows": 7, "embedding_bytes": 28, "average_dim": 81.5, "cost.latency_us": 12.5,
        "seconds": 60.0, "peak_memory_bytes": 1000,
    }  # fmt: skip
    for name, value in expected.items():
        assert row[name] == pytest.approx(value) if isinstance(value, float) else row[name] == value
    assert "setting.path" not in frame
    assert cost_columns(frame) == [
        "flops", "params", "embedding_rows", "embedding_bytes", "average_dim", "cost.latency_us",
    ]  # fmt: skip
    assert list(frame.columns[:3]) == ["job", "stage", "architecture_id"]


def test_a_provenance_may_name_its_supernet_by_path(fake: FakeRun) -> None:
    fake.supernet("0_1", settings={"x": "2"})
    fake.sampled("a", 0.45, supernet="supernet/0_1")
    frame = results_frame(fake.run)
    assert frame["supernet_job"].tolist() == ["0_1"]
    assert frame["search.x"].tolist() == [2]


def test_what_a_search_with_shared_weights_found(fake: FakeRun) -> None:
    result = sampled_result(0.45)
    result["architecture"]["provenance"] = {
        "job": "0", "kind": "evolution", "rank": 1, "score": 0.46, "iteration": 7,
    }  # fmt: skip
    fake.job("sampled", "e", settings={}, result=result)
    fake.sampled("r", 0.47, origin="random")
    frame = results_frame(fake.run).set_index("job")
    found = frame.loc["e"]
    assert (found["origin"], found["search_score"], found["search_iteration"]) == (
        "evolution", 0.46, 7,
    )  # fmt: skip
    assert found[["theta_step", "theta_epochs", "log_probability"]].isna().all()
    assert frame.loc["r", ["search_score", "search_iteration"]].isna().all()
    assert population(frame).to_dict() == {"e": "searched", "r": "random"}


def test_an_empty_run_has_an_empty_table_with_its_columns(fake: FakeRun) -> None:
    frame = results_frame(fake.run)
    assert frame.empty
    assert {"job", "validation_logloss", "flops", "test_auc"} <= set(frame.columns)
    assert failures_frame(fake.run).empty
    assert main_cost(frame, read_run(fake.run)) is None


def test_missing_keys_are_missing_values(fake: FakeRun) -> None:
    fake.job("sampled", "0", result={"validation": {"logloss": 0.45}})
    fake.job("sampled", "1", result={"status": "succeeded", "validation": {"logloss": None}})
    frame = results_frame(fake.run).set_index("job")
    assert frame.loc["0", "validation_logloss"] == 0.45
    assert pd.isna(frame.loc["1", "validation_logloss"])
    assert frame.drop(columns=["stage", "validation_logloss"]).isna().all(axis=None)


def test_the_best_epoch_is_found_when_the_result_does_not_name_it(fake: FakeRun) -> None:
    epochs = [
        {"epoch": float(i + 1), "validation": {"logloss": loss}}
        for i, loss in enumerate([0.47, 0.45, 0.46])
    ]
    result = {**sampled_result(0.0), "epochs": [*epochs, "junk"], "validation": None}
    del result["best_epoch"]
    fake.job("sampled", "0", result=result)
    row = results_frame(fake.run).iloc[0]
    assert (row["validation_logloss"], row["best_epoch"]) == (0.45, 2.0)


def test_results_of_other_programs_are_counted_and_left_out(
    fake: FakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    fake.job("sampled", "0", result={"status": "succeeded"})
    fake.job("sampled", "1", result={"answer": 42}, exit_code=0)
    fake.sampled("2", 0.45)
    with caplog.at_level(logging.INFO):
        frame = results_frame(fake.run)
    assert frame["job"].tolist() == ["2"]
    assert "2 jobs wrote results without validation metrics" in caplog.text
    assert failures_frame(fake.run).empty


def test_failures_are_listed_with_reason_and_log(fake: FakeRun) -> None:
    error = {"type": "DataError", "message": "x.csv: no such file\nsecond line", "traceback": "T"}
    fake.job("sampled", "0", state="failed", exit_code=2, attempts=3, reason="exit code 2",
             result={"status": "failed", "error": error})  # fmt: skip
    fake.job("sampled", "1", state="out_of_memory", reason="needs 90 GiB")
    fake.job("sampled", "2", state="failed", result={"status": "diverged", "error": None})
    fake.job("sampled", "3", state="succeeded")
    fake.job("supernet", "4", state="cancelled", reason="stopped by the user")
    fake.job("sampled", "5", state="running", result={"status": "failed", "error": error})
    fake.job("sampled", "6", state=None, result={"status": "preempted"})
    fake.job("sampled", "7", state="timed_out", reason="its time was over", attempts=1)
    fake.job("sampled", "8", state="lost", result={"status": "preempted"})
    table = failures_frame(fake.run).set_index("job")
    assert table["state"].to_dict() == {
        "0": "failed", "1": "out_of_memory", "2": "diverged", "3": "failed", "6": "preempted",
        "7": "timed_out", "8": "lost",
    }  # fmt: skip
    assert table.loc["0", "reason"] == "DataError: x.csv: no such file"
    assert table.loc["0", "log"] == "sampled/0/stdout.log"
    assert (table.loc["0", "attempts"], table.loc["0", "exit_code"]) == (3, 2)
    assert table.loc["1", "reason"] == "needs 90 GiB"
    assert table.loc["2", "reason"] == "no reason was recorded"
    assert "no result.json" in table.loc["3", "reason"]
    # A cancelled job is no failure, and is counted all the same.
    assert count_states(read_run(fake.run).supernet) == {"cancelled": 1}


@pytest.mark.parametrize("text", ['{"status": "succ', "[1, 2]", "", "\x00\x01"])
def test_a_damaged_result_is_a_failure_named_not_a_crash(fake: FakeRun, text: str) -> None:
    fake.job("sampled", "0", result=text or " ")
    fake.sampled("1", 0.45)
    assert results_frame(fake.run)["job"].tolist() == ["1"]
    table = failures_frame(fake.run)
    assert table["job"].tolist() == ["0"]
    assert "result.json" in table["reason"].iloc[0]


def test_a_result_being_written_by_a_running_job_is_not_a_failure(fake: FakeRun) -> None:
    fake.job("sampled", "0", state="running", result='{"status"')
    assert failures_frame(fake.run).empty
    record = read_run(fake.run).sampled[0]
    assert (record.state, record.reason) == ("running", "")


def test_damaged_job_and_status_files_do_not_lose_the_result(fake: FakeRun) -> None:
    folder = fake.sampled("0", 0.45)
    folder.job.write_text("{", encoding="utf-8")
    folder.status.write_text("nonsense", encoding="utf-8")
    assert results_frame(fake.run)["validation_logloss"].tolist() == [0.45]
    problems = read_job("sampled", folder).problems
    assert [p.split(":")[0] for p in problems] == ["job.json", "status.json"]


@pytest.mark.parametrize(
    ("manager", "exit_code", "own", "state"),
    [
        (None, None, "succeeded", "succeeded"),
        ("running", None, "succeeded", "succeeded"),
        ("succeeded", 0, None, "succeeded"),
        ("failed", 1, None, "failed"),
        (None, 7, None, "failed"),
        ("failed", 9, "succeeded", "failed"),
        ("failed", 4, "diverged", "diverged"),
        ("queued", 75, "preempted", "queued"),
        ("out_of_memory", 3, "failed", "out_of_memory"),
        ("cancelled", None, "preempted", "cancelled"),
    ],
)
def test_state_from_manager_and_result(
    fake: FakeRun, manager: str | None, exit_code: int | None, own: str | None, state: str
) -> None:
    result = {"validation": {"logloss": 0.4}} | ({"status": own} if own else {})
    folder = fake.job("sampled", "0", state=manager, result=result)
    status = json.loads(folder.status.read_text()) if folder.status.exists() else {}
    folder.status.write_text(json.dumps({**status, "exit_code": exit_code}))
    assert read_job("sampled", folder).state == state


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="no such run folder"):
        read_run(RunFolder(tmp_path / "nowhere"))
    with pytest.raises(DnasError, match="not a run folder"):
        read_run(RunFolder(tmp_path))


@pytest.mark.parametrize(
    "settings",
    [
        {"cost_metric": "latency_us"},
        {"cost_metric": ["latency_us", "flops"]},
        {"cost": "latency_us", "cost_target": ["flops=2e6"]},
        {"cost": None, "cost_target": ["latency_us=300", "flops=2e6"]},
        {"cost": "", "cost_target": [], "cost_limit": ["latency_us=300"]},
        {"cost_metric": [], "cost_target": [], "cost": "latency_us"},
    ],
)
def test_the_main_cost_is_what_the_search_was_told(
    fake: FakeRun, settings: dict[str, object]
) -> None:
    fake.supernet("0", resolved=settings)
    fake.sampled("0", 0.45, costs={"flops": 1.0, "latency_us": 3.0, "embedding_rows": 3.0})
    assert main_cost(results_frame(fake.run), read_run(fake.run)) == "cost.latency_us"


def test_plain_targets_name_no_cost() -> None:
    assert named_cost({"cost_target": [2e6], "cost_limit": ["30"]}) is None


@pytest.mark.parametrize(("default", "cost"), [("params", "params"), (None, "embedding_rows")])
def test_the_main_cost_of_a_space(fake: FakeRun, default: str | None, cost: str) -> None:
    fake.supernet("0", resolved={"cost_metric": "unheard_of"})
    for job, rows in (("0", 1.0), ("1", 2.0)):
        costs = {"flops": 5.0, "params": 5.0, "embedding_rows": rows}
        fake.sampled(job, 0.45, costs=costs, default_cost=default)
    frame = results_frame(fake.run)
    assert varying_costs(frame) == ["embedding_rows"]
    assert main_cost(frame, read_run(fake.run)) == cost


def test_without_any_varying_cost_the_first_is_the_main_one(fake: FakeRun) -> None:
    fake.sampled("0", 0.45, space="my_space", costs={"params": 5.0, "size": 4.0})
    assert main_cost(results_frame(fake.run), read_run(fake.run)) == "params"
