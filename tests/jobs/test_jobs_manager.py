"""The queue: every way a job can end, retries, stopping, devices."""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dnas.errors import JobError
from dnas.jobs.config import expand, load_config
from dnas.jobs.executors import DebugExecutor, Executor, Handle, LocalExecutor, Order
from dnas.jobs.job import Job, JobSpec
from dnas.jobs.manager import Manager
from dnas.jobs.outcome import Outcome
from dnas.jobs.policy import Policy
from dnas.jobs.retries import Retries
from dnas.jobs.stages import slot_pool
from dnas.runs import SAMPLED, SUPERNET, JobFolder, RunFolder
from tests.jobs.conftest import pool, specs, write_attempt

pytestmark = pytest.mark.usefixtures("no_hang", "no_fsync")


@pytest.fixture
def run_jobs(
    project: Path, write_config: Callable[..., Path], seen: Callable[[Path], Any]
) -> Callable[..., tuple[Outcome, Any]]:
    """Run a config's jobs as real processes."""

    def run(
        arguments: str, *, gpu_ids: str = "cpu", per_gpu: int = 1, **options: Any
    ) -> tuple[Outcome, Any]:
        config = load_config(write_config(arguments, gpu_ids=gpu_ids, per_gpu=per_gpu))
        manager = Manager(
            RunFolder(project / "runs" / "e1"),
            slot_pool({SUPERNET: config}),
            policy=Policy(**options),
        )
        manager.add(expand(config))
        return manager.run(), seen(project / "runs" / "e1")

    return run


def test_every_end_is_seen_and_none_stops_the_others(run_jobs: Callable[..., Any]) -> None:
    outcome, run = run_jobs(
        "--do={ok, exit:1, kill:SIGKILL, kill:SIGSEGV, exit:0, half, raise, error:bad+exit:2,"
        " exit:4, status:diverged, sleep:0+ok}",
        gpu_ids="cpu,cpu",
        retries=Retries(lost=0),
    )
    assert run.states() == ["succeeded", "failed", "lost", *["failed"] * 7, "succeeded"]
    assert run.num_starts() == [1] * 11
    assert (outcome.state, outcome.exit_code) == ("failed", 1)
    assert outcome.counts == {"supernet": {"succeeded": 2, "failed": 8, "lost": 1}}
    reasons = [status["reason"] for status in run.statuses()]
    for reason, words in zip(
        reasons[1:10],
        [
            "exited 1", "killed by SIGKILL", "killed by SIGSEGV", "wrote no result file at ",
            "not whole JSON", "NotImplementedError: CUDA out of memory", "exited 2: DataError: bad",
            "diverged (exited 4)", "diverged (exited 0)",
        ],
        strict=True,
    ):  # fmt: skip
        assert words in reason
    summary = outcome.summary()
    for failure in outcome.failures:
        assert failure.log.exists()
        assert str(failure.log) in summary
    assert "9 without success" in summary
    assert run.status()["jobs"] == outcome.counts
    assert run.status()["state"] == "failed"
    assert run.statuses()[2]["exit_code"] == -9


def test_out_of_memory_goes_to_the_back_and_is_tried_again(run_jobs: Callable[..., Any]) -> None:
    outcome, run = run_jobs("--do={exit:3%ok, ok, status:out_of_memory%ok}")
    assert outcome.exit_code == 0
    assert run.num_starts() == [2, 1, 2]
    order = [event["job"][:4] for event in run.events() if event["state"] == "running"]
    assert order == ["0000", "0001", "0002", "0000", "0002"]
    again = [event["reason"] for event in run.events() if event["state"] == "queued"][3]
    assert again == "retry 1 of 2, alone on a device; out of memory (exited 3)"


def test_out_of_memory_for_ever_is_bounded_also_as_the_last_job(
    run_jobs: Callable[..., Any],
) -> None:
    outcome, run = run_jobs("--do={ok, exit:3}")
    assert run.states() == ["succeeded", "out_of_memory"]
    assert run.num_starts() == [1, 3]
    assert outcome.exit_code == 1
    assert "3 times out of memory" in outcome.failures[0].reason


def test_a_retry_after_out_of_memory_has_the_device_alone(run_jobs: Callable[..., Any]) -> None:
    # The third job asks for another attempt, and so stands behind the first one's retry.
    outcome, run = run_jobs(
        "--do={exit:3%sleep:0.3+ok, sleep:0.4+ok, sleep:0.1+exit:75%sleep:0.2+ok}", per_gpu=2
    )
    assert outcome.exit_code == 0
    assert run.num_starts() == [2, 1, 2]
    retried, *others = [(s["started"], s["ended"]) for s in run.statuses()]
    for begun, ended in others:
        assert ended <= retried[0] or begun >= retried[1]


def test_preempted_jobs_go_on_and_not_for_ever(run_jobs: Callable[..., Any]) -> None:
    outcome, run = run_jobs(
        "--do={exit:75%status:preempted%ok, exit:75}", retries=Retries(preempted=2)
    )
    assert run.states() == ["succeeded", "failed"]
    assert run.num_starts() == [3, 3]
    assert "3 times stopped for another attempt (exited 75)" in outcome.failures[0].reason


def test_each_attempt_has_its_log_and_no_attempt_another_ones_result(
    run_jobs: Callable[..., Any],
) -> None:
    # The second attempt writes nothing: the first one's result must not be taken for its own.
    _, run = run_jobs("--do='say:first+status:out_of_memory%say:second'")
    assert run.states() == ["failed"]
    (folder,) = (run.path / "supernet").iterdir()
    log = (folder / "stdout.log").read_text().splitlines()
    assert [line[:13] for line in log] == ["=== attempt 1", "first", "=== attempt 2", "second"]
    assert sys.executable in log[0]
    assert json.loads((folder / "result.attempt1.json").read_text())["status"] == "out_of_memory"
    assert "first" not in run.statuses()[0]["reason"]


def test_failures_with_one_cause_stop_the_queue(run_jobs: Callable[..., Any]) -> None:
    outcome, run = run_jobs("--n={1,2,3,4,5,6,7,8} --do=say:broken+exit:1")
    assert run.states() == ["failed"] * 5 + ["queued"] * 3
    assert outcome.exit_code == 1
    assert "5 jobs in a row failed for the same reason" in outcome.reason
    assert "3 stay queued: exited 1: broken." in outcome.reason
    assert outcome.reason in outcome.summary()
    assert run.status()["reason"] == outcome.reason
    assert run.status()["jobs"] == {"supernet": {"queued": 3, "failed": 5}}


def test_refused_settings_stop_the_queue_after_two(run_jobs: Callable[..., Any]) -> None:
    _, run = run_jobs("--n={1,2,3,4} --do=error:no_data+exit:2")
    assert run.states() == ["failed"] * 2 + ["queued"] * 2


def test_another_cause_lets_the_queue_go_on(run_jobs: Callable[..., Any]) -> None:
    _, run = run_jobs("--n={1,2} --do={exit:1, exit:5, exit:6, ok}", max_same_failures=2)
    assert run.states() == ["failed", "failed", "failed", "succeeded"] * 2


def test_a_success_between_two_failures_of_one_cause_clears_the_count(
    run_jobs: Callable[..., Any],
) -> None:
    _, run = run_jobs("--n={1,2,3} --do={exit:1, ok}", max_same_failures=2)
    assert run.states() == ["failed", "succeeded"] * 3


def test_out_of_memory_and_divergence_do_not_stop_the_queue(run_jobs: Callable[..., Any]) -> None:
    _, run = run_jobs(
        "--n={1,2,3} --do={exit:3, exit:4}", max_same_failures=2, retries=Retries(out_of_memory=0)
    )
    assert Counter(run.states()) == {"out_of_memory": 3, "failed": 3}


def test_the_limit_of_same_failures_can_be_lifted(run_jobs: Callable[..., Any]) -> None:
    _, run = run_jobs("--n={1,2,3,4,5,6,7} --do=exit:1", max_same_failures=0)
    assert run.states() == ["failed"] * 7


def test_identical_lists_run_every_pair_once(run_jobs: Callable[..., Any]) -> None:
    outcome, run = run_jobs("--w={.01, .02} --a={.01, .02}", gpu_ids="cpu,cpu")
    assert outcome.exit_code == 0
    pairs = [tuple(a for a in r["argv"] if a[:3] in ("--w", "--a")) for r in run.results()]
    assert pairs == [(f"--w={w}", f"--a={a}") for w in (".01", ".02") for a in (".01", ".02")]
    named = [json.loads(p.read_text()) for p in sorted(run.path.glob("supernet/[!.]*/job.json"))]
    assert [tuple(f"--{k}={v}" for k, v in job["settings"].items()) for job in named] == pairs


def test_what_a_job_gets(run_jobs: Callable[..., Any], project: Path) -> None:
    _, run = run_jobs(
        "--n={1,2,3} --g=GPU_ID_PARAM --e EXPERIMENT_ID 'a; \"b\" $c' --do=sleep:0.2+ok",
        gpu_ids="3,5,cpu",
    )
    for result, visible, inside in zip(
        run.results(), ["3", "5", ""], ["0", "0", "cpu"], strict=True
    ):
        assert result["env"]["CUDA_VISIBLE_DEVICES"] == visible
        assert f"--g={inside}" in result["argv"]
        assert result["argv"][4:7] == ["--e", "e1", 'a; "b" $c']
        assert result["cwd"] == str(project)
        assert result["stdin"] == ""
        assert int(result["env"]["OMP_NUM_THREADS"]) >= 1
    assert [s["slot"] for s in run.statuses()] == [["gpu 3"], ["gpu 5"], ["cpu 0"]]


def test_a_program_that_vanishes_is_a_failure_of_its_job(
    project: Path, run_jobs: Callable[..., Any]
) -> None:
    (project / "job.py").unlink()
    outcome, run = run_jobs("--n={1,2}")
    assert run.states() == ["failed", "failed"]
    assert "could not be started: there is no script 'job.py'" in outcome.failures[0].reason


def write_success(folder: JobFolder, order: Order) -> int:
    folder.result.write_text("{}")
    return 0


def test_jobs_may_add_jobs_and_an_error_there_fails_them(
    tmp_path: Path, seen: Callable[[Path], Any]
) -> None:
    def follow(job: Job) -> Iterable[JobSpec]:
        if job.kind == SUPERNET and job.spec.argv[1] == "1":
            raise JobError("it sampled nothing")
        return specs(SAMPLED, 3) if job.kind == SUPERNET else []

    manager = Manager(
        RunFolder(tmp_path / "e"),
        pool(supernet=("0", 1), sampled=("0", 2)),
        executor=DebugExecutor(write_success),
        on_finished=follow,
    )
    manager.add(specs(SUPERNET, 3))
    outcome = manager.run()
    run = seen(tmp_path / "e")
    assert run.states() == ["succeeded", "failed", "succeeded"]
    # Two supernets asked for the same three jobs.
    assert run.states("sampled") == ["succeeded"] * 3
    assert outcome.failures[0].reason == "it sampled nothing"
    assert outcome.exit_code == 1


@pytest.mark.slow
def test_two_thousand_jobs(tmp_path: Path, seen: Callable[[Path], Any]) -> None:
    manager = Manager(
        RunFolder(tmp_path / "e"), pool(supernet=("0,1", 2)), executor=DebugExecutor(write_success)
    )
    manager.add(specs(SUPERNET, 2000))
    begun = time.process_time()
    outcome = manager.run()
    # About 1.5 ms for each job on a slow core; work that grows with the square takes minutes.
    assert time.process_time() - begun < 30
    assert outcome.counts == {"supernet": {"succeeded": 2000}}
    run = seen(tmp_path / "e")
    assert run.status()["jobs"] == {"supernet": {"succeeded": 2000}}
    assert Counter(e["state"] for e in run.events())["succeeded"] == 2000


class Simulation(Executor):
    """Jobs that end in random order, and a check of every device's load at every start."""

    name = "simulation"

    def __init__(self, seed: int, per_gpu: dict[str, int]) -> None:
        self.random = random.Random(seed)
        self.per_gpu = per_gpu
        self.running: dict[Handle, tuple[str, str]] = {}
        self.starts: list[str] = []
        self.most: Counter[str] = Counter()

    def submit(self, orders: Sequence[tuple[JobFolder, Order]]) -> list[Handle]:
        return [self.start(folder, order) for folder, order in orders]

    def start(self, folder: JobFolder, order: Order) -> Handle:
        handle = Handle(folder, order.attempt)
        kind = folder.path.parent.name
        self.running[handle] = (order.variables["CUDA_VISIBLE_DEVICES"], kind)
        self.starts.append(kind)
        load: Counter[str] = Counter()
        for device, of_kind in self.running.values():
            load[device] += 12 // self.per_gpu[of_kind]
        assert max(load.values()) <= 12
        self.most |= load
        return handle

    def exit_code(self) -> int:
        return self.random.choice([0, 0, 0, 3, 75])

    def adopt(self, folder: JobFolder, attempt: int, token: Mapping[str, Any]) -> Handle | None:
        return None

    def next_to_end(self) -> list[Handle]:
        return self.random.sample(sorted(self.running, key=id), min(1, len(self.running)))

    def poll(self, timeout_s: float) -> list[Handle]:
        ended = self.next_to_end()
        for handle in ended:
            del self.running[handle]
            code = self.exit_code()
            if code == 0:
                handle.folder.result.write_text("{}")
            write_attempt(handle.folder, handle.attempt, code)
        return ended

    def cancel(self, handle: Handle, *, kill: bool = False) -> None:
        raise AssertionError("nothing is stopped here")


@pytest.mark.parametrize("seed", range(6))
def test_devices_are_never_overloaded_and_nothing_starves(seed: int, tmp_path: Path) -> None:
    simulation = Simulation(seed, {SUPERNET: 1 + seed % 3, SAMPLED: 1 + seed})
    manager = Manager(
        RunFolder(tmp_path / "e"),
        pool(supernet=("0,1", 1 + seed % 3), sampled=("1,2", 1 + seed)),
        executor=simulation,
        policy=Policy(retries=Retries(out_of_memory=100, preempted=100)),
    )
    manager.add(specs(SAMPLED, 40) + specs(SUPERNET, 20))
    outcome = manager.run()
    assert outcome.counts == {"supernet": {"succeeded": 20}, "sampled": {"succeeded": 40}}
    assert set(simulation.most) == {"0", "1", "2"}
    # Supernets first wherever they may run, though sampled jobs were added before them.
    assert simulation.starts[: 2 * (1 + seed % 3)] == [SUPERNET] * (2 * (1 + seed % 3))


def test_a_job_that_needs_a_whole_device_is_not_overtaken_for_ever(tmp_path: Path) -> None:
    class OneByOne(Simulation):
        def exit_code(self) -> int:
            return 0

        def next_to_end(self) -> list[Handle]:
            return list(self.running)[:1]

    executor = OneByOne(0, {SUPERNET: 1, SAMPLED: 2})
    manager = Manager(
        RunFolder(tmp_path / "e"),
        pool(supernet=("0", 1), sampled=("0", 2)),
        executor=executor,
        on_finished=lambda job: specs(SUPERNET, 1) if job.kind == SAMPLED else [],
    )
    manager.add(specs(SAMPLED, 10))
    assert manager.run().exit_code == 0
    # Two were running and one ended; the other must end, and then it is the supernet's turn.
    assert executor.starts == [SAMPLED] * 2 + [SUPERNET] + [SAMPLED] * 8


def test_a_defect_in_the_manager_leaves_no_process(
    project: Path,
    write_config: Callable[..., Path],
    seen: Callable[[Path], Any],
    alive: Callable[[int], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_config(write_config("--do={ok, sleep:600}", gpu_ids="cpu,cpu"))

    def broken(job: Job) -> list[JobSpec]:
        raise ZeroDivisionError

    executor = LocalExecutor()
    manager = Manager(
        RunFolder(project / "e"), slot_pool({SUPERNET: config}), executor=executor,
        on_finished=broken,
    )  # fmt: skip
    manager.add(expand(config))
    with pytest.raises(ZeroDivisionError):
        manager.run()
    assert executor.poll(0) == []
    run = seen(project / "e")
    assert not any(alive(pid) for pid in run.pids())
    assert run.status()["state"] == "failed"
    assert run.status()["reason"].startswith("the manager ended with ZeroDivisionError")


def test_a_manager_must_be_open_for_its_jobs(tmp_path: Path) -> None:
    manager = Manager(RunFolder(tmp_path / "e"), pool(supernet=("0", 1)))
    with pytest.raises(JobError, match="not open"):
        _ = manager.earlier_jobs
    with pytest.raises(JobError, match="no devices for sampled"):
        manager.add(specs(SAMPLED, 1))
