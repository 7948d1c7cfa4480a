from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from fake_run import FakeRun, sampled_result, write_theta

from dnas.cli import report as report_command
from dnas.errors import JobError
from dnas.reporting import make_report
from dnas.runs import RunFolder


@pytest.fixture
def fake(tmp_path: Path) -> FakeRun:
    return FakeRun(tmp_path / "demo")


def theta(fake: FakeRun, job: str, sharpness: float = 4.0, name: str = "emb_card") -> None:
    path = fake.run.job("supernet", job).theta
    write_theta(path, name, ["C1", "C2"], ["1.0", "0.1"], moments=3, sharpness=sharpness)


def full(fake: FakeRun) -> None:
    fake.run_status()
    fake.supernet("0", logloss=0.4609, resolved={"cost": "embedding_rows"})
    theta(fake, "0")
    fake.sampled("s0", 0.4500, arch="s0", rows=4e6, test=True, settings={"weights_lr": "0.5"})
    fake.sampled("s1", 0.4509, arch="s1", rows=1e6, origin="most_likely")
    fake.sampled("s2", 0.4590, arch="s2", rows=5e5)
    fake.sampled("r0", 0.4550, arch="r0", rows=3e6, origin="random")
    fake.sampled("r1", 0.4570, arch="r1", rows=3e6, origin="random")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[FakeRun, str]:
    """A whole run and its summary, for tests that only look."""
    fake = FakeRun(tmp_path_factory.mktemp("runs") / "demo")
    full(fake)
    return fake, make_report(fake.run)


def test_the_report_of_a_whole_run(reported: tuple[FakeRun, str]) -> None:
    fake, text = reported
    assert fake.run.summary.read_text(encoding="utf-8") == text
    results = pd.read_csv(fake.run.results)
    assert sorted(results["job"]) == ["r0", "r1", "s0", "s1", "s2"]
    pareto = pd.read_csv(fake.run.pareto)
    main = pareto[pareto["cost_metric"] == "embedding_rows"]
    assert main["job"].tolist() == ["s2", "s1", "s0"]
    assert pareto["cost_metric"].unique().tolist() == ["embedding_rows", "params"]
    statistics = pd.read_csv(fake.run.statistics)
    assert set(statistics["population"]) == {"searched", "random"}
    assert sorted(p.name for p in fake.run.figures.iterdir()) == [
        "0.emb_card.heatmap.png", "0.entropy.png", "cdf.validation_logloss.png",
        "front.embedding_rows.png", "front.params.png",
    ]  # fmt: skip
    assert not [p for p in fake.run.path.rglob("*") if p.name.startswith(".")]


def test_the_summary_says_what_a_person_wants_to_know(reported: tuple[FakeRun, str]) -> None:
    _, text = reported
    lines = text.splitlines()
    assert lines[0] == "experiment criteo_demo: finished"
    assert "5 trainings of 5 architectures (2 of them random)" in text
    best = lines.index("best by validation log loss (lower is better)")
    assert "sampled/s0  architecture id-s0 (draw of supernet/0)" in lines[best + 1]
    assert "logloss 0.45000" in lines[best + 2]
    assert "embedding_rows 4 M" in lines[best + 2]
    assert "test: logloss 0.44900" in lines[best + 3]
    assert lines[best + 4] == "cheapest within 0.001 of it: 4x less embedding_rows"
    assert "sampled/s1" in lines[best + 5]
    likely = next(i for i, line in enumerate(lines) if line.startswith("most likely"))
    assert lines[likely + 2].split() == [
        "supernet/0", "->", "sampled/s1", "2", "0.45090", "0.46090", "1", "M",
    ]  # fmt: skip
    against = next(i for i, line in enumerate(lines) if line.startswith("against random"))
    assert lines[against + 2].split()[:5] == ["searched", "3", "3", "0.45000", "0.45330"]
    assert lines[against + 3].split()[:5] == ["random", "2", "2", "0.45500", "0.45600"]
    assert lines[against + 4].split()[:3] == ["difference", "-0.00500", "-0.00270"]
    # Best of 2 of (0.45, 0.4509, 0.459) is 0.4503 on average; that of the random two 0.455.
    assert "best of 2 each -0.00470" in lines[against + 5]
    assert "The search beat random choice" in lines[against + 7]
    assert "searched, best epoch of each of 3 trainings" in text
    assert "without a result" not in text
    assert "nearly uniform" not in text
    assert "figures/ (5 pictures)" in lines[-1]


def test_a_search_that_lost_to_chance_is_told_so(fake: FakeRun) -> None:
    fake.sampled("s0", 0.46, arch="s0")
    fake.sampled("r0", 0.45, arch="r0", origin="random")
    assert "The search did NOT beat random choice" in make_report(fake.run)


def test_without_random_architectures_it_says_that_nothing_is_known(fake: FakeRun) -> None:
    fake.sampled("s0", 0.46, arch="s0")
    assert "not known, no random architecture was trained" in make_report(fake.run)
    for job in fake.run.jobs("sampled"):
        job.result.unlink()
    fake.sampled("r0", 0.45, arch="r0", origin="random")
    assert "not known, no searched architecture was trained" in make_report(fake.run)


def test_given_architectures_are_neither_searched_nor_random(fake: FakeRun) -> None:
    for job, loss in (("g0", 0.46), ("g1", 0.48)):
        fake.sampled(job, loss, arch=job, origin="given", space="ctr_baselines")
    text = make_report(fake.run)
    assert "2 architectures (2 of them given)" in text
    assert "given, best epoch of each of 2 trainings" in text
    assert "against random" not in text
    fake.sampled("s0", 0.45, arch="s0", space="ctr_baselines")
    fake.sampled("r0", 0.47, arch="r0", origin="random", space="ctr_baselines")
    text = make_report(fake.run)
    assert "4 architectures (1 of them random, 2 of them given)" in text
    assert "searched, best epoch of each of 1 training" in text
    line = next(line for line in text.splitlines() if line.split()[:1] == ["searched"])
    assert line.split()[1:5] == ["1", "1", "0.45000", "0.45000"]


def test_a_theta_that_did_not_move_is_pointed_out(fake: FakeRun) -> None:
    fake.supernet("0")
    theta(fake, "0", sharpness=0.01)
    fake.supernet("1")
    theta(fake, "1")
    assert "theta is nearly uniform in supernet/0:" in make_report(fake.run)


def test_pictures_without_anything_in_them_do_no_harm(fake: FakeRun) -> None:
    for job, rows, absent in (("empty", [], []), ("absent", ["C1"], [(0, 0), (0, 1)])):
        fake.supernet(job)
        path = fake.run.job("supernet", job).theta
        write_theta(path, "p", rows, ["x", "y"], absent=absent)
    make_report(fake.run)
    assert (fake.run.figures / "absent.p.heatmap.png").exists()
    assert not (fake.run.figures / "empty.p.heatmap.png").exists()


def test_partial_runs(fake: FakeRun) -> None:
    text = make_report(fake.run)
    assert "no architecture has been trained to an end yet" in text
    assert pd.read_csv(fake.run.results).empty
    assert pd.read_csv(fake.run.pareto).empty
    fake.supernet("0")
    theta(fake, "0")
    fake.job("sampled", "0", state="running")
    text = make_report(fake.run)
    assert "no architecture has been trained to an end yet" in text
    assert "sampled jobs  1: 1 running" in text
    assert (fake.run.figures / "0.emb_card.heatmap.png").exists()
    fake.sampled("1", 0.45)
    assert "best by validation log loss" in make_report(fake.run)


def test_only_diverged_results(fake: FakeRun) -> None:
    fake.sampled("1", float("nan"))
    text = make_report(fake.run)
    assert "1 diverged" in text
    assert "best by validation log loss" not in text


def test_results_without_any_cost(fake: FakeRun) -> None:
    for job, loss in (("0", 0.45), ("1", 0.46)):
        fake.job("sampled", job, result={"validation": {"logloss": loss}})
    text = make_report(fake.run)
    assert "logloss 0.45000" in text
    assert pd.read_csv(fake.run.pareto).empty


def test_damage_is_named_and_does_not_stop_the_report(fake: FakeRun) -> None:
    full(fake)
    fake.job("sampled", "torn", result='{"status": "succ')
    fake.run.job("supernet", "0").theta.write_bytes(b"torn")
    fake.run.experiment.write_text("torn", encoding="utf-8")
    text = make_report(fake.run)
    assert "experiment demo: finished" in text
    assert "sampled/torn failed: result.json: not a JSON file" in text
    assert "supernet/0: theta.npz cannot be used" in text
    assert "best by validation log loss" in text
    failures = pd.read_csv(fake.run.failures)
    assert failures["job"].tolist() == ["torn"]


def test_failures_of_one_reason_are_told_together_with_a_log(fake: FakeRun) -> None:
    fake.sampled("0", 0.45)
    for i in range(5):
        fake.job("sampled", f"oom{i}", state="out_of_memory", reason="needs 90 GiB")
    text = make_report(fake.run)
    assert "5 jobs without a result" in text
    assert "  sampled/oom0 and 4 more out of memory: needs 90 GiB\n    log sampled/oom0/" in text


def test_the_summary_fits_one_screen_whatever_happens(fake: FakeRun) -> None:
    long = "a_name_that_is_much_longer_than_anybody_would_want_to_type_" * 3
    fake.run_status(state="running")
    for i in range(5):
        fake.supernet(f"{i}_{long[:80]}", resolved={"cost_metric": "params"})
        theta(fake, f"{i}_{long[:80]}", sharpness=0.01)
        space = f"space{i % 4}"
        for origin in ("draw", "most_likely", "random"):
            fake.sampled(
                f"{i}_{origin}_{long[:80]}", 0.45 + i / 1e4, arch=f"{i}{origin}", origin=origin,
                supernet=f"{i}_{long[:80]}", rows=1e6 + i, space=space, test=True,
                settings={"weights_lr": str(i), "another_long_flag_name": long},
            )  # fmt: skip
        fake.job("sampled", f"f{i}", state="failed", reason=f"{i} {long}")
    lines = make_report(fake.run).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("5 jobs without a result") for line in lines)
    assert "summary.txt" in lines[-1]


def test_reporting_again_replaces_the_files(fake: FakeRun) -> None:
    full(fake)
    make_report(fake.run)
    result = sampled_result(0.44, arch="s9", rows=1e5)
    fake.job("sampled", "s9", settings={"weights_lr": "2.0"}, result=result)
    assert "sampled/s9" in make_report(fake.run)
    assert len(pd.read_csv(fake.run.results)) == 6


def test_command(fake: FakeRun, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    full(fake)
    assert report_command.main([str(fake.run.path)]) == 0
    assert capsys.readouterr().out == fake.run.summary.read_text(encoding="utf-8")
    assert report_command.main([str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert "no such run folder" in captured.err
    assert captured.out == ""
    with pytest.raises(SystemExit) as caught:
        report_command.main([])
    assert caught.value.code == 2


def test_a_run_that_is_none_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(JobError):
        make_report(RunFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_reporting_needs_no_torch_and_status_no_pandas() -> None:
    script = """
import sys
import dnas.cli.status, dnas.cli.report
assert not {"pandas", "matplotlib", "seaborn", "numpy"} & set(sys.modules)
import dnas.reporting
for name in dnas.reporting.__all__:
    getattr(dnas.reporting, name)
assert "torch" not in sys.modules
assert set(dnas.reporting._HOME) == set(dnas.reporting.__all__)
"""
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", script], check=True, cwd=root)
