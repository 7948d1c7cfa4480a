"""Two stages: what supernets sample is trained once, at once, and failures stay where they are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dnas.cli import pipeline as pipeline_script
from dnas.cli import tune as tune_script
from dnas.cli.main import main as dnas_command
from dnas.errors import ConfigError, JobError
from dnas.jobs import run_pipeline

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("no_hang", "no_fsync")

SAMPLED = "--arch=SAMPLED_ARCH_PARAM --lr={1, 2}"


@pytest.fixture
def configs(write_config: Callable[..., Path]) -> Callable[..., tuple[Path, Path]]:
    """Write a pair of configs: arguments of the supernets and of the sampled architectures."""

    def write(
        supernets: str, sampled: str = SAMPLED, *, gpu_ids: str = "cpu,cpu", **keys: Any
    ) -> tuple[Path, Path]:
        return (
            write_config(supernets, gpu_ids=gpu_ids, name="dnas", **keys),
            write_config(sampled, gpu_ids=gpu_ids, name="sampled", **keys),
        )

    return write


def jobs_of(run: Any, kind: str) -> list[dict]:
    return [json.loads(p.read_text()) for p in sorted(run.path.glob(f"{kind}/[!.]*/job.json"))]


def test_every_distinct_architecture_is_trained_once_with_every_setting(
    configs: Callable[..., tuple[Path, Path]], project: Path, seen: Callable[[Path], Any]
) -> None:
    dnas, sampled = configs("--do={'arch:A,B,A+ok', 'arch:B,C+ok'}")
    before = dnas.read_bytes(), sampled.read_bytes()
    outcome = run_pipeline(dnas, sampled, "e1")
    assert (outcome.exit_code, outcome.state) == (0, "finished")
    assert (dnas.read_bytes(), sampled.read_bytes()) == before
    run = seen(project / "runs" / "e1")
    jobs = jobs_of(run, "sampled")
    assert Counter((j["canonical_id"], j["settings"]["lr"]) for j in jobs) == {
        (canonical_id, lr): 1 for canonical_id in "ABC" for lr in "12"
    }
    for job, result in zip(jobs, run.results("sampled"), strict=True):
        assert (
            json.loads(Path(job["architecture"]).read_text())["canonical_id"] == job["canonical_id"]
        )
        assert f"--arch={job['architecture']}" in result["argv"]
    duplicates = json.loads((run.path / "experiment.json").read_text())["duplicates"]
    # Which B is the duplicate depends on which supernet ends first; that one of each is does not.
    assert sorted(d["canonical_id"] for d in duplicates) == ["A", "B"]
    trained = {Path(job["architecture"]) for job in jobs}
    for duplicate in duplicates:
        one, other = (run.path / duplicate[key] for key in ("architecture", "same_as"))
        assert json.loads(one.read_text())["canonical_id"] == duplicate["canonical_id"]
        assert json.loads(other.read_text())["canonical_id"] == duplicate["canonical_id"]
        assert other.absolute() in trained
        assert one.absolute() not in trained
    assert run.status()["stage"] == "done"


def test_sampled_jobs_start_while_a_supernet_still_runs(
    configs: Callable[..., tuple[Path, Path]], project: Path, seen: Callable[[Path], Any]
) -> None:
    # The second supernet ends only when a sampled job has run.
    program = project / "job.py"
    program.write_text(
        program.read_text()
        + "\nif any(a.startswith('--arch') for a in sys.argv): open('sampled_ran', 'w').close()\n"
    )
    dnas, sampled = configs("--do={arch:A+ok, until:sampled_ran+arch:B+ok}")
    assert run_pipeline(dnas, sampled, "e1").exit_code == 0
    events = [
        (e["kind"], e["state"])
        for e in seen(project / "runs" / "e1").events()
        if e["state"] in ("running", "succeeded")
    ]
    first_sampled = events.index(("sampled", "running"))
    assert events[first_sampled:].count(("supernet", "succeeded")) == 1


def test_supernets_go_before_sampled_jobs(
    configs: Callable[..., tuple[Path, Path]], project: Path, seen: Callable[[Path], Any]
) -> None:
    dnas, sampled = configs("--do={arch:A+ok, arch:B+ok, arch:C+ok}", gpu_ids="cpu")
    assert run_pipeline(dnas, sampled, "e1").exit_code == 0
    started = [e["kind"] for e in seen(project / "runs" / "e1").events() if e["state"] == "running"]
    assert started == ["supernet"] * 3 + ["sampled"] * 6


def test_a_supernet_without_architectures_fails_alone(
    configs: Callable[..., tuple[Path, Path]], project: Path, seen: Callable[[Path], Any]
) -> None:
    dnas, sampled = configs(
        "--do={ok, arch:A+ok, arch:+ok, arch:Z+exit:1}", "--arch=SAMPLED_ARCH_PARAM"
    )
    outcome = run_pipeline(dnas, sampled, "e1")
    run = seen(project / "runs" / "e1")
    assert run.states() == ["failed", "succeeded", "failed", "failed"]
    assert "sampled no architecture" in run.statuses()[0]["reason"]
    assert "without a canonical_id" in run.statuses()[2]["reason"]
    assert [job["canonical_id"] for job in jobs_of(run, "sampled")] == ["A"]
    assert run.states("sampled") == ["succeeded"]
    assert outcome.exit_code == 1


def test_a_restart_trains_nothing_twice_and_agrees_about_duplicates(
    configs: Callable[..., tuple[Path, Path]], project: Path, seen: Callable[[Path], Any]
) -> None:
    # The second supernet comes first in the first session.
    dnas, sampled = configs(
        "--do={'sleep:0.5+arch:A,B+ok', 'arch:B,C+ok'}",
        "--arch=SAMPLED_ARCH_PARAM --do='exit:1%ok'",
    )
    assert run_pipeline(dnas, sampled, "e1").exit_code == 1
    run = seen(project / "runs" / "e1")
    jobs, experiment = jobs_of(run, "sampled"), (run.path / "experiment.json").read_text()
    assert len(jobs) == 3
    assert "0001" in next(j["architecture"] for j in jobs if j["canonical_id"] == "B")
    assert dnas_command(["retry", str(run.path), "--failed"]) == 0
    assert run_pipeline(dnas, sampled, "e1").exit_code == 0
    assert jobs_of(run, "sampled") == jobs
    assert (run.path / "experiment.json").read_text() == experiment
    assert run.num_starts() == [1, 1]
    assert run.num_starts("sampled") == [2, 2, 2]


@pytest.mark.parametrize(
    ("supernets", "sampled", "message"),
    [
        ("--do=ok", "--do=ok", "sampled:1: SAMPLED_ARCH_PARAM is missing"),
        (
            "--do=ok",
            "{--a=SAMPLED_ARCH_PARAM, }",
            "sampled:1: SAMPLED_ARCH_PARAM is missing from the job with a=",
        ),
        ("--a=SAMPLED_ARCH_PARAM", SAMPLED, "dnas:2: .*are the two configs swapped"),
    ],
)
def test_configs_that_do_not_fit_are_refused_before_any_job(
    supernets: str,
    sampled: str,
    message: str,
    configs: Callable[..., tuple[Path, Path]],
    project: Path,
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_pipeline(*configs(supernets, sampled), "e1")
    assert not (project / "runs").exists()


@pytest.mark.parametrize("experiment_id", ["", "../x", "a/b", "-x", "a b", "x" * 101, ".hidden"])
def test_ids_that_are_no_folder_names_are_refused(
    experiment_id: str, configs: Callable[..., tuple[Path, Path]]
) -> None:
    with pytest.raises(ConfigError, match="experiment id"):
        run_pipeline(*configs("--do=ok"), experiment_id)


def test_either_config_changed_is_refused(configs: Callable[..., tuple[Path, Path]]) -> None:
    assert run_pipeline(*configs("--do=arch:A+ok"), "e1").exit_code == 0
    with pytest.raises(JobError, match="started with other sampled jobs; line 2 differs"):
        run_pipeline(*configs("--do=arch:A+ok", SAMPLED.replace("2}", "3}")), "e1")
    with pytest.raises(JobError, match="started with other supernet jobs; line 2 differs"):
        run_pipeline(*configs("--do=arch:B+ok"), "e1")


# ---- the scripts --------------------------------------------------------------------------------


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Run folders for which a report was asked."""
    import dnas.reporting

    asked: list[Path] = []

    def make_report(run: Any) -> str:
        asked.append(run.path)
        return "THE REPORT\n"

    monkeypatch.setattr(dnas.reporting, "make_report", make_report, raising=False)
    return asked


def test_the_pipeline_script_reports_what_succeeded(
    configs: Callable[..., tuple[Path, Path]],
    reports: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    dnas, sampled = configs("--do=arch:A+ok", "--a=SAMPLED_ARCH_PARAM --do={ok, exit:1}")
    code = pipeline_script.main(
        [str(dnas), str(sampled), "--experiment_id", "e1", "--runs_dir", "r"]
    )
    out = capsys.readouterr().out
    assert code == 1
    assert reports == [Path("r/e1")]
    assert out.index("THE REPORT") < out.index("1 without success")
    assert "stdout.log" in out


def test_no_report_on_request_and_an_id_by_default(
    configs: Callable[..., tuple[Path, Path]], reports: list[Path], project: Path
) -> None:
    dnas, sampled = configs("--do=arch:A+ok")
    for _ in range(2):
        assert pipeline_script.main([str(dnas), str(sampled), "--no_report"]) == 0
    assert reports == []
    (run,) = (project / "runs").iterdir()
    assert run.name.startswith("dnas-")


def test_a_report_that_fails_is_said_and_does_not_hide_the_outcome(
    configs: Callable[..., tuple[Path, Path]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import dnas.reporting

    def make_report(run: Any) -> str:
        raise JobError("no metrics in x")

    monkeypatch.setattr(dnas.reporting, "make_report", make_report, raising=False)
    dnas, sampled = configs("--do=arch:A+ok")
    assert pipeline_script.main([str(dnas), str(sampled), "--experiment_id=e1"]) == 1
    out = capsys.readouterr().out
    assert "the report could not be made: no metrics in x" in out
    assert "sampled: 2 succeeded" in out


def test_dry_runs_write_nothing(
    configs: Callable[..., tuple[Path, Path]], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dnas, sampled = configs("--lr={1, 2, 3}", gpu_ids="0,1", per_gpu=1)
    assert pipeline_script.main([str(dnas), str(sampled), "--dry_run"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith("  0")]
    assert [row[1:3] for row in rows] == [["gpu", "0"], ["gpu", "1"]] + [["next", "free"]] * 3
    assert "supernet: 3 jobs (" in out
    assert "sampled: 2 jobs for each distinct architecture" in out
    assert "--lr=3" in out
    assert tune_script.main([str(dnas), "e1", "--dry_run"]) == 0
    assert "0002-lr=3-" in capsys.readouterr().out
    assert sorted(p.name for p in project.iterdir()) == ["dnas", "job.py", "sampled"]


def test_tuning_runs_stages_one_by_one(
    configs: Callable[..., tuple[Path, Path]],
    project: Path,
    seen: Callable[[Path], Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    dnas, sampled = configs("--do={'arch:A,B+ok', arch:B+ok}")
    assert tune_script.main([str(sampled), "e1"]) == 2
    assert "run their config with this experiment id first" in capsys.readouterr().err
    assert tune_script.main([str(dnas), "e1"]) == 0
    assert tune_script.main([str(sampled), "e1"]) == 0
    run = seen(project / "runs" / "e1")
    assert run.states("sampled") == ["succeeded"] * 4
    assert set(json.loads((run.path / "experiment.json").read_text())["configs"]) == {
        "supernet",
        "sampled",
    }


def test_tuning_runs_any_program_and_a_given_kind(
    project: Path, seen: Callable[[Path], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = project / "any"
    config.write_text(
        """sh -c 'echo "{\\"x\\": 1}" > "$0"' SAVE_METRICS_PARAM\nGPU_IDS:cpu\n""",
    )
    assert tune_script.main([str(config), "e1", "--kind", "sampled"]) == 0, capsys.readouterr()
    assert seen(project / "runs" / "e1").results("sampled") == [{"x": 1}]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gone", "e1"], 2, "error: gone: cannot read this tuning config"),
        (["bad", "e1"], 2, "error: bad:1: "),
        (["missing", "e1"], 2, "error: missing:1: there is no script 'nowhere.py'"),
        (["bad"], 2, "EXPERIMENT_ID"),
        (["bad", "e1", "--dry"], 2, "unrecognized arguments: --dry"),
    ],
)
def test_mistakes_are_messages_without_a_trace(
    arguments: list[str], code: int, message: str, project: Path
) -> None:
    (project / "bad").write_text("python job.py\nGPU_IDS:0\n")
    (project / "missing").write_text("python nowhere.py SAVE_METRICS_PARAM\nGPU_IDS:0\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tuning.py"), *arguments], capture_output=True, text=True
    )
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "runs").exists()


def test_gpus_outside_the_allocation_stop_everything(
    configs: Callable[..., tuple[Path, Path]],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    dnas, sampled = configs("--do=ok", gpu_ids="4,0")
    assert pipeline_script.main([str(dnas), str(sampled)]) == 2
    assert "dnas:3: GPU_IDS names GPU 0" in capsys.readouterr().err


def test_without_configs_it_is_the_quick_start(
    configs: Callable[..., tuple[Path, Path]],
    project: Path,
    reports: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pair = configs("--do=arch:A+ok", "--arch=SAMPLED_ARCH_PARAM --do='exit:1%ok'")
    monkeypatch.setattr(pipeline_script, "quickstart_configs", lambda: pair)
    assert pipeline_script.main([]) == 1
    assert dnas_command(["retry", "runs/quickstart", "--failed"]) == 0
    assert pipeline_script.main([]) == 0  # unfinished: goes on
    assert (project / "runs" / "quickstart" / "status.json").exists()
    assert len(reports) == 2
    capsys.readouterr()
    assert pipeline_script.main([]) == 0  # finished: says so
    out = capsys.readouterr().out
    assert "has been run: its results are in runs/quickstart" in out
    assert "--experiment_id quickstart2" in out
    assert len(reports) == 2
    assert pipeline_script.main(["only_one"]) == 2
    assert "SAMPLED_CONFIG is missing" in capsys.readouterr().err


def test_the_quick_start_is_beside_the_scripts() -> None:
    for path in pipeline_script.quickstart_configs():
        assert path.parent == ROOT / "configs"


def test_the_queue_starts_without_heavy_libraries() -> None:
    heavy = ("torch", "numpy", "pandas", "matplotlib", "polars")
    code = (
        "import sys, dnas.cli.pipeline, dnas.cli.tune, dnas.jobs\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
