"""``tuning.py`` on a real Slurm and on a real Ray: the same run folder, the same promises."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from slurm_cluster import SlurmCluster, why_not

from tests.jobs.test_jobs_ray import RayCluster

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class Tuning:
    """``tuning.py`` on a config without devices, in processes that end with the test."""

    def __init__(self, project: Path, arguments: str, *flags: str) -> None:
        self.folder = project / "runs" / "e1"
        (project / "config").write_text(
            f"python -S job.py --save=SAVE_METRICS_PARAM {arguments}\n"
            f"NUM_GPUS_PER_JOB:{0 if 'slurm' in flags else 1}\n"
        )
        self._flags = flags
        self._live: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        manager = subprocess.Popen(
            [sys.executable, str(ROOT / "tuning.py"), "config", "e1", *self._flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._live.append(manager)
        return manager

    def finish(self, manager: subprocess.Popen[str]) -> str:
        output, _ = manager.communicate(timeout=120)
        assert manager.returncode == 0, output
        return output

    def kill(self, manager: subprocess.Popen[str]) -> None:
        manager.kill()
        manager.communicate()

    def end(self) -> None:
        for manager in self._live:
            with contextlib.suppress(ValueError):
                self.kill(manager)

    def states(self) -> list[str]:
        return [self.status(path)["state"] for path in self.jobs()]

    def jobs(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("supernet/[0-9]*") if path.is_dir())

    def status(self, job: Path) -> dict[str, Any]:
        return json.loads((job / "status.json").read_text())

    def starts(self) -> list[int]:
        """How often each job's program has begun."""
        files = [job / "starts.txt" for job in self.jobs()]
        return [len(f.read_text().splitlines()) if f.exists() else 0 for f in files]

    def events(self) -> Counter[str]:
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        return Counter(json.loads(line)["state"] for line in lines)


@pytest.fixture
def tuning(project: Path) -> Iterator[Callable[..., Tuning]]:
    made: list[Tuning] = []

    def make(arguments: str, *flags: str) -> Tuning:
        made.append(Tuning(project, arguments, *flags))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayCluster]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster = RayCluster()
    cluster.nodes.append(cluster.add_node())
    yield cluster
    cluster.shutdown()


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    pytest.importorskip("submitit", reason="needs submitit: pip install 'dnas[slurm]'")
    if reason := why_not():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        cluster = SlurmCluster(Path(folder))
        try:
            cluster.start()
            for name, value in cluster.variables.items():
                monkeypatch.setenv(name, value)
            yield cluster
        finally:
            cluster.stop()


def test_a_ray_node_is_killed_and_the_manager_too(
    ray_cluster: RayCluster, tuning: Callable[..., Tuning], eventually: Callable[..., None]
) -> None:
    numbers = ",".join(map(str, range(18)))
    run = tuning(
        f"--n={{{numbers}}} --do=sleep:1.5+ok",
        "--executor=ray",
        "--ray_address",
        ray_cluster.address,
    )
    manager = run.start()
    eventually(lambda: sum(run.starts()) >= 4, "jobs run on three nodes", 60)
    ray_cluster.kill_node(ray_cluster.nodes[0])
    eventually(lambda: run.events()["lost"] >= 1, "a job of the node is lost", 60)
    run.kill(manager)
    run.finish(run.start())
    assert run.states() == ["succeeded"] * 18
    # No attempt began twice, and only lost ones were begun again.
    assert sum(run.starts()) <= 18 + run.events()["lost"]
    for job in run.jobs():
        assert json.loads((job / "result.json").read_text())["status"] == "succeeded"
        assert run.starts()[run.jobs().index(job)] <= run.status(job)["attempts"]


def test_slurm_requeues_cancels_and_outlives_the_manager(
    slurm: SlurmCluster, tuning: Callable[..., Tuning], eventually: Callable[..., None]
) -> None:
    run = tuning(
        "--do={ok, 'save_on_term+until:never%ok', save_on_term+until:never,"
        " until:go+ok, sleep:0+ok}",
        "--executor",
        "slurm",
    )
    manager = run.start()
    eventually(lambda: run.starts()[1:4] == [1, 1, 1], "the long ones run", 60)
    ids = [run.status(job)["token"].get("slurm_id") for job in run.jobs()]
    assert len({slurm_id.split("_")[0] for slurm_id in ids[1:4]}) == 1, "they went as one array"
    slurm.run("scontrol", "requeue", ids[1])
    slurm.run("scancel", ids[2])
    eventually(lambda: run.states()[2] == "cancelled", "cancelled by scancel", 60)
    eventually(lambda: run.states()[1] == "succeeded", "requeued and done", 90)
    run.kill(manager)
    second = run.start()
    eventually(
        lambda: "still runs, waiting for it" in (run.folder / "events.jsonl").read_text(),
        "the fourth is adopted",
        60,
    )
    (Path.cwd() / "go").touch()
    run.finish(second)
    assert run.states() == ["succeeded", "succeeded", "cancelled", "succeeded", "succeeded"]
    assert run.starts() == [1, 2, 1, 1, 1]
    assert [run.status(job)["attempts"] for job in run.jobs()] == [1] * 5
