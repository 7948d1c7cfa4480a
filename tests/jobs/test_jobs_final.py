"""The third stage: the best sampled architecture, chosen once, when nothing can change it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dnas.cli import pipeline as pipeline_script
from dnas.cli import tune as tune_script
from dnas.cli.main import main as dnas_command
from dnas.errors import ConfigError, JobError
from dnas.files import write_json
from dnas.jobs import Manager, Outcome, SlotPool, run_pipeline
from dnas.jobs.choice import Choice, choose, read_choice, write_choice
from dnas.jobs.executors.debug import DebugExecutor
from dnas.jobs.experiment import record_duplicates
from dnas.jobs.job import Job, JobSpec, State
from dnas.jobs.policy import Policy
from dnas.jobs.slots import Slots, devices
from dnas.runs import RunFolder

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("no_hang", "no_fsync")

#: Writes what values.json has for the architecture and --lr; fails where that has nothing.
_JUDGED = """
if options.get("do") == "judge":
    canonical = json.load(open(options["arch"]))["canonical_id"]
    value = json.load(open("values.json")).get(canonical + options["lr"])
    if value is None:
        sys.exit(1)
    write({"status": "succeeded", "validation": {"logloss": value}, "argv": sys.argv})
"""
SAMPLED = "--arch=SAMPLED_ARCH_PARAM --do=judge --lr={1, 2}"
FINAL = "--arch=BEST_ARCH_PARAM --do=ok --seed={1, 2}"
VALUES = {"A1": 0.5, "A2": 0.42, "B1": 0.45, "B2": 0.6, "C1": 0.43, "C2": 0.7}


class Stages:
    """Three configs in the current folder, and what came of them."""

    def __init__(self, write_config: Callable[..., Path], seen: Callable[[Path], Any]) -> None:
        self._write, self.run = write_config, seen(Path("runs") / "e1")
        self.write()
        self.judge(VALUES)

    def write(
        self,
        supernets: str = "--do=arch:A,B,C+ok",
        sampled: str = SAMPLED,
        final: str = FINAL,
        *,
        number: int | None = None,
    ) -> None:
        self.configs = [
            self._write(text, gpu_ids="cpu,cpu", name=name)
            for name, text in (("dnas", supernets), ("sampled", sampled), ("final", final))
        ]
        if number is not None:
            with open(self.configs[2], "a", encoding="utf-8") as handle:
                handle.write(f"NUM_BEST_ARCHS:{number}\n")

    def follow(self, text: str, number: int = 1) -> None:
        """Another final stage, after those that are there."""
        self.configs.append(self._write(text, gpu_ids="cpu,cpu", name=f"stage_{len(self.configs)}"))
        with open(self.configs[-1], "a", encoding="utf-8") as handle:
            handle.write(f"NUM_BEST_ARCHS:{number}\n")

    @staticmethod
    def judge(values: dict[str, float | None]) -> None:
        write_json("values.json", values)

    def go(self, **more: Any) -> Outcome:
        return run_pipeline(*self.configs[:2], "e1", final_configs=self.configs[2:], **more)

    def command(self, *flags: str) -> list[str]:
        return [*map(str, self.configs), "--experiment_id=e1", "--no_report", *flags]

    def jobs(self, kind: str) -> list[dict[str, Any]]:
        return [
            json.loads(p.read_text()) for p in sorted(self.run.path.glob(f"{kind}/[!.]*/job.json"))
        ]

    def choice(self, name: str = "choice.json") -> dict[str, Any]:
        return json.loads((self.run.path / name).read_text())

    def finals(self, kind: str = "final") -> list[tuple[str, dict[str, str]]]:
        return [(job["canonical_id"], job["settings"]) for job in self.jobs(kind)]


@pytest.fixture
def stages(project: Path, write_config: Callable[..., Path], seen: Callable[[Path], Any]) -> Stages:
    program = project / "job.py"
    program.write_text(program.read_text() + _JUDGED)
    return Stages(write_config, seen)


def test_the_best_architecture_is_trained_by_every_final_job_when_all_else_is_over(
    stages: Stages,
) -> None:
    outcome = stages.go()
    assert (outcome.exit_code, outcome.state) == (0, "finished")
    assert outcome.counts["final"] == {"succeeded": 2}
    assert stages.finals() == [("A", {"seed": "1"}), ("A", {"seed": "2"})]
    for job, result in zip(stages.jobs("final"), stages.run.results("final"), strict=True):
        assert json.loads(Path(job["architecture"]).read_text())["canonical_id"] == "A"
        assert f"--arch={job['architecture']}" in result["argv"]
    choice = stages.choice()
    assert (choice["metric"], choice["maximize"], choice["number"]) == ("logloss", False, 1)
    assert (choice["candidates"], choice["controls"], choice["without_value"]) == (3, 0, [])
    (chosen,) = choice["chosen"]
    assert (chosen["value"], chosen["canonical_id"], chosen["jobs"]) == (0.42, "A", 2)
    (best,) = [
        j for j in stages.jobs("sampled") if (j["canonical_id"], j["settings"]["lr"]) == ("A", "2")
    ]
    assert chosen["job"] == f"sampled/{best['id']}"
    assert (stages.run.path / chosen["architecture"]).samefile(best["architecture"])
    assert (choice["runner_up"]["value"], choice["runner_up"]["canonical_id"]) == (0.43, "C")
    events = stages.run.events()
    position = next(i for i, e in enumerate(events) if e["state"] == "chosen")
    assert chosen["job"] in events[position]["reason"]
    assert "runner-up" in events[position]["reason"]
    ends = [e for e in events[:position] if e["state"] == "succeeded"]
    assert len(ends) == 1 + 6
    assert {e["kind"] for e in events[position + 1 :] if e["kind"]} == {"final"}
    assert stages.run.status()["stage"] == "done"


def test_several_of_the_best(stages: Stages) -> None:
    stages.write(number=2)
    assert stages.go().exit_code == 0
    assert stages.finals() == [(a, {"seed": s}) for a in "AC" for s in "12"]
    assert stages.choice()["runner_up"]["canonical_id"] == "B"
    stages.write(number=1)
    with pytest.raises(JobError, match=r"final:5: NUM_BEST_ARCHS is 1, but .* was made for 2"):
        stages.go()


def test_more_than_there_are_takes_all(stages: Stages) -> None:
    stages.write(number=9, final="--arch=BEST_ARCH_PARAM")
    assert stages.go().exit_code == 0
    assert [canonical for canonical, _ in stages.finals()] == ["A", "C", "B"]
    assert stages.choice()["runner_up"] is None


# ---- several final stages ----------------------------------------------------------------------


def halving(stages: Stages) -> None:
    """The two best once more, of which C is then the best; B, not among them, would have been."""
    stages.judge(VALUES | {"A3": 0.41, "C3": 0.35, "B3": 0.01})
    stages.write(final="--arch=BEST_ARCH_PARAM --do=judge --lr={3}", number=2)
    stages.follow(FINAL)


def assert_halved(stages: Stages) -> None:
    assert stages.finals() == [("A", {"lr": "3"}), ("C", {"lr": "3"})]
    assert stages.finals("final_2") == [("C", {"seed": "1"}), ("C", {"seed": "2"})]
    (chosen,) = stages.choice("choice.final_2.json")["chosen"]
    assert (chosen["job"].partition("-")[0], chosen["value"]) == ("final/0001", 0.35)
    for kind, starts in (("sampled", 6), ("final", 2), ("final_2", 2)):
        assert stages.run.num_starts(kind) == [1] * starts


def test_each_final_stage_takes_the_best_of_the_one_before(stages: Stages) -> None:
    halving(stages)
    outcome = stages.go()
    assert (outcome.exit_code, outcome.state) == (0, "finished")
    assert_halved(stages)
    events = stages.run.events()
    chosen = [i for i, event in enumerate(events) if event["state"] == "chosen"]
    assert len(chosen) == 2
    assert {e["kind"] for e in events[chosen[1] + 1 :] if e["kind"]} == {"final_2"}
    assert "final_2" not in {e["kind"] for e in events[: chosen[1]]}
    assert stages.go().exit_code == 0  # nothing follows anew
    assert_halved(stages)


def test_another_final_stage_can_be_added(stages: Stages) -> None:
    halving(stages)
    (last,) = stages.configs[3:]
    del stages.configs[3:]
    assert stages.go().exit_code == 0
    assert not (stages.run.path / "final_2").exists()
    stages.configs.append(last)
    assert stages.go().exit_code == 0
    assert_halved(stages)


@pytest.mark.parametrize("stage", ["final", "final_2"])
@pytest.mark.parametrize("moment", ["before the file", "after the file"])
def test_a_session_that_ends_around_either_choice_is_continued_alike(
    moment: str, stage: str, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dnas.jobs import final as final_module

    write = final_module.write_choice

    def die(run: RunFolder, kind: str, choice: Choice) -> None:
        if kind != stage or moment == "after the file":
            write(run, kind, choice)
        if kind == stage:
            raise KeyboardInterrupt

    halving(stages)
    with monkeypatch.context() as patch:
        patch.setattr(final_module, "write_choice", die)
        with pytest.raises(KeyboardInterrupt):
            stages.go()
    assert stages.go().exit_code == 0
    assert_halved(stages)


def test_when_no_job_of_a_final_stage_succeeds_the_next_has_nothing_to_choose(
    stages: Stages,
) -> None:
    halving(stages)
    stages.judge(VALUES)
    outcome = stages.go()
    assert outcome.exit_code == 1
    assert "none of the 2 final jobs succeeded" in outcome.reason
    assert stages.jobs("final_2") == []


def test_what_a_retried_job_would_change_is_said_once_for_each_stage(
    stages: Stages, caplog: pytest.LogCaptureFixture
) -> None:
    halving(stages)
    stages.judge(VALUES | {"A3": 0.41, "C3": 0.35, "B2": None})
    assert stages.go().exit_code == 1  # B failed once
    stages.judge(VALUES | {"A3": 0.41, "C3": 0.35, "B2": 0.01})
    assert dnas_command(["retry", str(stages.run.path), "--failed"]) == 0
    caplog.clear()
    assert stages.go().exit_code == 0
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("choice: ")]
    assert len(said) == 1
    assert "that of before stays for final, though today's would be" in said[0]
    assert stages.finals() == [("A", {"lr": "3"}), ("C", {"lr": "3"})]


def test_a_choice_without_the_one_before_is_refused(stages: Stages) -> None:
    halving(stages)
    assert stages.go().exit_code == 0
    (stages.run.path / "choice.json").unlink()
    with pytest.raises(JobError, match=r"choice.final_2.json was made .*choice.json, is gone; to"):
        stages.go()
    (stages.run.path / "choice.final_2.json").unlink()
    assert stages.go().exit_code == 0
    assert_halved(stages)


def test_waiting_jobs_of_a_stage_that_is_left_out_are_named(
    stages: Stages, caplog: pytest.LogCaptureFixture
) -> None:
    halving(stages)
    assert stages.go().exit_code == 0
    folder = min(stages.run.path.glob("final_2/[!.]*"))
    status = json.loads((folder / "status.json").read_text())
    write_json(folder / "status.json", status | {"state": "queued"})
    del stages.configs[3:]
    assert stages.go().exit_code == 0
    assert (
        f"final_2 jobs of an earlier session are not over (1, first {folder.name})" in caplog.text
    )


def test_more_final_stages_than_there_can_be_are_refused(stages: Stages) -> None:
    for _ in range(9):
        stages.follow(FINAL)
    with pytest.raises(ConfigError, match=r"10 configs follow .*final; give 9 at most"):
        stages.go()
    assert not stages.run.path.exists()


# ---- what takes no part -------------------------------------------------------------------------


def test_what_failed_for_good_takes_no_part_and_is_named(stages: Stages) -> None:
    stages.judge(VALUES | {"A2": None})
    assert stages.go().exit_code == 1
    assert {canonical for canonical, _ in stages.finals()} == {"C"}
    (failed,) = [
        j["id"]
        for j, s in zip(stages.jobs("sampled"), stages.run.statuses("sampled"), strict=True)
        if s["state"] == "failed"
    ]
    assert stages.choice()["without_value"] == [f"sampled/{failed}"]
    assert "1 job has no value" in json.dumps(stages.run.events())


def test_without_any_value_nothing_is_chosen_and_it_is_said(stages: Stages) -> None:
    stages.write(sampled="--arch=SAMPLED_ARCH_PARAM --do=ok")  # succeeds, and measures nothing
    outcome = stages.go()
    assert (outcome.exit_code, outcome.state) == (1, "failed")
    assert "none of the 3 sampled jobs succeeded with a validation metric" in outcome.reason
    assert not (stages.run.path / "choice.json").exists()
    assert stages.jobs("final") == []


def test_while_starts_are_stopped_nothing_is_chosen(stages: Stages) -> None:
    """Jobs that wait for somebody to mend the cause may still change the choice."""
    stages.judge({"A1": 0.5})
    assert stages.go(policy=Policy(max_same_failures=2)).exit_code == 1
    assert "queued" in stages.run.states("sampled")
    assert not (stages.run.path / "choice.json").exists()
    stages.judge(VALUES)
    assert dnas_command(["retry", str(stages.run.path), "--failed"]) == 0
    assert stages.go().exit_code == 0
    assert {canonical for canonical, _ in stages.finals()} == {"A"}


def test_a_choice_stays_whatever_comes_later(stages: Stages) -> None:
    stages.judge(VALUES | {"A2": None})
    assert stages.go().exit_code == 1
    before = stages.choice(), stages.jobs("final")
    assert stages.go().exit_code == 1  # nothing to do
    stages.judge(VALUES)
    assert dnas_command(["retry", str(stages.run.path), "--failed"]) == 0
    assert stages.go().exit_code == 0
    assert (stages.choice(), stages.jobs("final")) == before
    assert stages.run.num_starts("final") == [1, 1]
    kept = [e for e in stages.run.events() if e["state"] == "choice kept"]
    assert len(kept) == 1
    assert "0.42" in kept[0]["reason"]


def test_a_final_stage_can_be_added_to_a_run_that_has_none(stages: Stages) -> None:
    dnas, sampled, final = map(str, stages.configs)
    assert pipeline_script.main([dnas, sampled, "--no_report"]) == 0
    (path,) = Path("runs").iterdir()
    assert not (path / "final").exists()
    assert pipeline_script.main([dnas, sampled, final, "--no_report"]) == 0
    assert len(list((path / "final").iterdir())) == 2
    with contextlib.suppress(FileNotFoundError):
        assert [p.name for p in Path("runs").iterdir()] == [path.name]


def test_other_final_jobs_under_the_same_name_are_refused(stages: Stages) -> None:
    assert stages.go().exit_code == 0
    stages.write(final=FINAL.replace("2}", "3}"))
    with pytest.raises(JobError, match="started with other final jobs; line 2 differs"):
        stages.go()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"final": "--do=ok"}, "final:1: BEST_ARCH_PARAM is missing; .*--sampled_arch=BEST_ARCH"),
        (
            {"final": "{--a=BEST_ARCH_PARAM, }"},
            "final:1: BEST_ARCH_PARAM is missing from the job with a=",
        ),
        ({"sampled": FINAL}, "sampled:2: BEST_ARCH_PARAM stands for the best .*config of sampled"),
        ({"final": SAMPLED}, r"final:2: SAMPLED_ARCH_PARAM .*final jobs \(here BEST_ARCH_PARAM do"),
        ({"supernets": FINAL}, "dnas:2: BEST_ARCH_PARAM .*supernet jobs; are the two configs swap"),
        ({"number": 0}, "final:5: NUM_BEST_ARCHS:0: '0' is not a whole number of 1 or more"),
    ],
)
def test_configs_that_do_not_fit_are_refused_before_any_job(
    what: dict[str, Any], message: str, stages: Stages
) -> None:
    stages.write(**what)
    with pytest.raises(ConfigError, match=message):
        stages.go()
    assert not Path("runs").exists()


def test_a_number_of_best_ones_elsewhere_is_refused(stages: Stages) -> None:
    with open(stages.configs[1], "a", encoding="utf-8") as handle:
        handle.write("NUM_BEST_ARCHS:2\n")
    with pytest.raises(ConfigError, match="sampled:5: NUM_BEST_ARCHS would be ignored"):
        stages.go()


def test_a_dry_run_shows_three_stages(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    stages.write(number=3)
    assert pipeline_script.main(stages.command("--dry_run")) == 0
    out = capsys.readouterr().out
    assert "supernet: 1 job (" in out
    assert "sampled: 2 jobs for each distinct architecture that the supernets sample (" in out
    assert "final: 2 jobs for each of the 3 best of the sampled architectures, when all" in out
    final = [line.split() for line in out[out.index("\nfinal") :].splitlines() if "0" in line[:3]]
    assert [row[1:3] for row in final] == [["next", "free"]] * 2
    stages.follow(FINAL)
    command = stages.command("--dry_run")
    # As by somebody who adds a stage to the command of before.
    assert pipeline_script.main([*command[:3], *command[4:], command[3]]) == 0
    assert "final_2: 2 jobs for the best of the final architectures" in capsys.readouterr().out
    assert not Path("runs").exists()


def test_people_reach_final_jobs_by_the_same_commands(
    stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.write(final="--arch=BEST_ARCH_PARAM --do='say:hello+exit:1%ok'")
    assert stages.go().exit_code == 1
    capsys.readouterr()
    run = str(stages.run.path)
    assert dnas_command(["status", run]) == 0
    assert "final" in capsys.readouterr().out
    assert dnas_command(["logs", run, "final/0000"]) == 0
    assert "hello" in capsys.readouterr().out
    assert dnas_command(["cancel", run, "final/0"]) == 2
    assert "nothing to cancel" in capsys.readouterr().err
    assert dnas_command(["retry", run, "final/0000"]) == 0
    assert stages.go().exit_code == 0
    assert stages.run.num_starts("final") == [2]


def test_tuning_runs_the_final_stage_alone(
    stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    dnas, sampled, final = map(str, stages.configs)
    assert tune_script.main([dnas, "e1"]) == 0
    assert tune_script.main([final, "e1"]) == 2
    assert "but there is no job in runs/e1/sampled" in capsys.readouterr().err
    assert tune_script.main([sampled, "e1"]) == 0
    assert tune_script.main([final, "e1"]) == 0
    assert {canonical for canonical, _ in stages.finals()} == {"A"}
    assert stages.choice()["chosen"][0]["value"] == 0.42
    assert tune_script.main([final, "e1", "--kind=final_3"]) == 2
    assert "but there is no job in runs/e1/final_2" in capsys.readouterr().err
    # A sampled job that waits may change the choice.
    folder = min(stages.run.path.glob("sampled/[!.]*"))
    status = json.loads((folder / "status.json").read_text())
    write_json(folder / "status.json", status | {"state": "queued"})
    assert tune_script.main([final, "e1"]) == 2
    assert f"1 jobs are not over yet (sampled/{folder.name}" in capsys.readouterr().err


# ---- restarts -----------------------------------------------------------------------------------


@pytest.fixture
def managers(stages: Stages) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts ``run_dnas_pipeline.py`` on the three configs; nothing outlives the test."""
    live: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        live.append(
            subprocess.Popen(
                [sys.executable, str(ROOT / "run_dnas_pipeline.py"), *stages.command()],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        return live[-1]

    yield start
    for manager in live:
        manager.kill()
        manager.wait()
    for pid in stages.run.pids():
        with contextlib.suppress(OSError):
            if b"job.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def test_a_manager_killed_while_final_jobs_run_finds_them_again(
    stages: Stages,
    managers: Callable[[], subprocess.Popen[str]],
    project: Path,
    eventually: Callable[..., None],
) -> None:
    stages.write(final=FINAL.replace("ok", "until:go+ok"))
    manager = managers()
    eventually(lambda: stages.run.num_starts("final") == [1, 1], "the final jobs run")
    manager.kill()
    manager.wait()
    before = stages.choice()
    # What the sampled jobs say today is not asked any more.
    for folder in stages.run.path.glob("sampled/[!.]*"):
        write_json(folder / "result.json", {"validation": {"logloss": 0.1}})
    manager = managers()
    eventually(lambda: "still runs, waiting for it" in json.dumps(stages.run.events()), "adopted")
    (project / "go").touch()
    output, _ = manager.communicate(timeout=40)
    assert manager.returncode == 0, output
    assert stages.choice() == before
    assert stages.run.num_starts("final") == [1, 1]
    assert stages.run.num_starts("sampled") == [1] * 6


@pytest.mark.parametrize("moment", ["before the file", "after the file", "half of the jobs"])
def test_a_session_that_ends_around_the_choice_is_continued_alike(
    moment: str, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dnas.jobs import final as final_module
    from dnas.jobs.store import JobStore

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "before the file":
            patch.setattr(final_module, "write_choice", die)
        elif moment == "after the file":
            patch.setattr(final_module.FinalJobs, "_specs", die)
        else:
            create = JobStore.create

            def half(self: JobStore, spec: JobSpec) -> Job:
                if dict(spec.settings).get("seed") == "2":
                    raise KeyboardInterrupt
                return create(self, spec)

            patch.setattr(JobStore, "create", half)
        with pytest.raises(KeyboardInterrupt):
            stages.go()
    assert stages.go().exit_code == 0
    assert stages.finals() == [("A", {"seed": "1"}), ("A", {"seed": "2"})]
    assert stages.run.num_starts("final") == [1, 1]
    assert stages.run.num_starts("sampled") == [1] * 6


def test_a_run_that_was_moved_keeps_its_choice(stages: Stages) -> None:
    assert stages.go().exit_code == 0
    Path("runs").rename("moved")
    dnas, sampled, final = stages.configs
    assert run_pipeline(dnas, sampled, "e1", "moved", final_configs=[final]).exit_code == 0
    folders = sorted(Path("moved/e1/final").iterdir())
    assert [len((f / "starts.txt").read_text().splitlines()) for f in folders] == [1, 1]
    job = json.loads((folders[0] / "job.json").read_text())
    assert Path(job["architecture"]).is_relative_to(Path("moved").absolute())


def test_a_damaged_choice_is_not_guessed(stages: Stages) -> None:
    assert stages.go().exit_code == 0
    (stages.run.path / "choice.json").write_text('{"format": "dnas.choice/1"')
    with pytest.raises(JobError, match=r"choice.json is damaged .* restore it, or remove it"):
        stages.go()
    (stages.run.path / "choice.json").unlink()
    assert stages.go().exit_code == 0
    assert stages.run.num_starts("final") == [1, 1]


# ---- the choice itself --------------------------------------------------------------------------


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., list[Job]]:
    """Sampled jobs by name: ``(architecture, content of the result, or None for a failed job)``."""

    def make(*given: tuple[str, dict[str, Any] | None]) -> list[Job]:
        run, jobs = RunFolder(tmp_path / "e"), []
        for index, (canonical, result) in enumerate(given):
            spec = JobSpec(
                kind="sampled", argv=("x",), settings=(("n", str(index)),),
                architecture=str(run.path / "supernet" / "s" / f"{canonical}.json"),
                canonical_id=canonical,
            )  # fmt: skip
            job = Job(spec=spec, id=f"{index:04d}", folder=run.job("sampled", f"{index:04d}"))
            job.state = State.FAILED if result is None else State.SUCCEEDED
            if result is not None:
                write_json(job.folder.result, result)
            jobs.append(job)
        return jobs

    return make


def logloss(value: float | None) -> dict[str, Any]:
    return {"validation": {"logloss": value, "auc": None if value is None else 1 - value}}


def test_equal_values_are_told_apart_by_the_job(
    judged: Callable[..., list[Job]], tmp_path: Path
) -> None:
    jobs = judged(
        ("C", logloss(0.5)), ("B", logloss(0.4)), ("A", logloss(0.4)), ("B", logloss(0.4))
    )
    choice = choose(RunFolder(tmp_path / "e"), jobs, 1)
    assert [c.job for c in choice.chosen] == ["sampled/0001"]
    assert choice.chosen[0].jobs == 2
    assert choice.chosen[0].architecture == "supernet/s/B.json"
    assert choice.runner_up is not None
    assert choice.runner_up.canonical_id == "A"
    assert choose(RunFolder(tmp_path / "e"), reversed(jobs), 1) == choice


def test_what_a_search_found_is_no_control_whoever_drew_it_first(
    judged: Callable[..., list[Job]], tmp_path: Path
) -> None:
    def drawn(value: float, kind: str) -> dict[str, Any]:
        return logloss(value) | {"architecture": {"provenance": {"kind": kind}}}

    run = RunFolder(tmp_path / "e")
    jobs = judged(
        ("A", drawn(0.3, "largest")), ("B", drawn(0.4, "draw")), ("C", drawn(0.2, "random"))
    )
    assert choose(run, jobs, 1).chosen[0].canonical_id == "B"
    twin = {"architecture": "supernet/t/0.json", "same_as": "supernet/s/A.json"}
    record_duplicates(run, [twin | {"canonical_id": "A", "origin": "most_likely"}])
    assert choose(run, jobs, 1).chosen[0].canonical_id == "A"
    record_duplicates(run, [twin | {"canonical_id": "A", "origin": "random"}])
    assert choose(run, jobs, 1).chosen[0].canonical_id == "B"


def test_the_results_say_by_what_they_are_judged(
    judged: Callable[..., list[Job]], tmp_path: Path
) -> None:
    run, by_auc = RunFolder(tmp_path / "e"), {"selection": {"metric": "auc", "maximize": True}}
    jobs = judged(("A", logloss(0.4) | by_auc), ("B", logloss(0.3) | by_auc), ("C", logloss(None)))
    with pytest.raises(JobError, match="different metrics"):
        choose(run, judged(("A", logloss(0.4) | by_auc), ("B", logloss(0.3))), 1)
    jobs = judged(("A", logloss(0.4) | by_auc), ("B", logloss(0.3) | by_auc))
    choice = choose(run, jobs, 1)
    assert (choice.metric, choice.maximize) == ("auc", True)
    assert [(c.canonical_id, c.value) for c in choice.chosen] == [("B", 0.7)]
    # A program that says nothing is taken by its only metric.
    errors = ({"validation": {"rmse": value, "rows": 10}} for value in (0.4, 0.3))
    choice = choose(run, judged(*zip("AB", errors, strict=True)), 1)
    assert (choice.metric, choice.maximize, choice.chosen[0].value) == ("rmse", False, 0.3)


def test_what_was_trained_for_comparison_takes_no_part_beside_what_was_searched(
    judged: Callable[..., list[Job]], tmp_path: Path
) -> None:
    def origin(kind: str) -> dict[str, Any]:
        return {"architecture": {"provenance": {"kind": kind}}}

    run, controls = (
        RunFolder(tmp_path / "e"),
        [
            ("A", logloss(0.1) | origin("random")),
            ("B", logloss(0.2) | origin("given")),
            ("D", logloss(0.3) | origin("largest")),
            ("E", logloss(0.3) | origin("smallest")),
        ],
    )
    choice = choose(run, judged(*controls, ("C", logloss(0.9) | origin("draw"))), 1)
    assert [c.canonical_id for c in choice.chosen] == ["C"]
    assert (choice.candidates, choice.controls, choice.runner_up) == (1, 4, None)
    assert "4 architectures were trained for comparison alone" in str(choice)
    choice = choose(run, judged(*controls), 1)  # a random search
    assert [c.canonical_id for c in choice.chosen] == ["A"]
    assert choice.controls == 0


def test_values_that_are_none_take_no_part(
    judged: Callable[..., list[Job]], tmp_path: Path
) -> None:
    foreign = {"accuracy": 0.9}
    jobs = judged(("A", None), ("B", logloss(None)), ("C", foreign), ("D", logloss(0.9)))
    choice = choose(RunFolder(tmp_path / "e"), jobs, 2)
    assert [c.canonical_id for c in choice.chosen] == ["D"]
    assert choice.without_value == ("sampled/0000", "sampled/0001", "sampled/0002")


def test_a_result_that_has_become_unreadable_stops_the_choice(
    judged: Callable[..., list[Job]], tmp_path: Path
) -> None:
    jobs = judged(("A", logloss(0.1)), ("B", logloss(0.9)))
    jobs[0].folder.result.write_text("{")
    with pytest.raises(JobError, match="so that the best architecture is not known"):
        choose(RunFolder(tmp_path / "e"), jobs, 1)


def test_choices_are_read_back(judged: Callable[..., list[Job]], tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "e")
    assert read_choice(run, "final") is None
    origin = {"architecture": {"provenance": {"kind": "most_likely"}}}
    choice = choose(run, judged(("A", logloss(0.1) | origin), ("B", logloss(0.2)), ("C", None)), 1)
    write_choice(run, "final", choice)
    assert read_choice(run, "final") == choice
    assert read_choice(run, "final_2") is None
    assert choice.chosen[0].origin == "most_likely"
    assert str(choice) == (
        "by validation logloss (lower is better) among 2 architectures: sampled/0000 "
        "(logloss 0.1); runner-up "
        "sampled/0001 (0.2); 1 job has no value and took no part"
    )


# ---- the manager's part -------------------------------------------------------------------------


def manager_with(path: Path, follow: Callable[[], list[JobSpec]]) -> Manager:
    slots = SlotPool({"supernet": Slots(devices=devices(["cpu"]))})

    def run_here(folder: Any, order: Any) -> int:
        write_json(folder.result, {"status": "succeeded"})
        return 0

    manager = Manager(RunFolder(path), slots, executor=DebugExecutor(run_here), on_all_ended=follow)
    manager.add([spec(0)])
    return manager


def spec(n: int) -> JobSpec:
    return JobSpec(kind="supernet", argv=("env", str(n), "SAVE_METRICS_PARAM"))


def test_a_disk_that_is_full_at_the_choice_is_waited_for(project: Path) -> None:
    asked: list[int] = []

    def follow() -> list[JobSpec]:
        asked.append(len(asked))
        if len(asked) == 1:
            raise OSError(28, "No space left on device")
        return [spec(0), spec(1)]

    outcome = manager_with(project / "e", follow).run()
    assert outcome.counts == {"supernet": {"succeeded": 2}}
    assert len(asked) == 3  # refused, followed, and nothing new


def test_followers_may_follow_followers(project: Path) -> None:
    manager = manager_with(
        project / "e", lambda: [spec(n) for n in range(len(manager.jobs) + 1)][:4]
    )
    assert manager.run().counts == {"supernet": {"succeeded": 4}}
