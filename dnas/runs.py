"""The one place that knows the names of the files in a run folder.

::

    runs/<experiment>/
      experiment.json events.jsonl status.json
      supernet/<job>/  job.json status.json stdout.log metrics.jsonl checkpoint.pt theta.npz
                       architectures/*.json result.json
      sampled/<job>/   job.json status.json stdout.log metrics.jsonl checkpoint.pt
                       model.safetensors result.json
      choice.json      which of them was chosen
      final/<job>/     the chosen one, trained as the final model; files as in sampled
      choice.final_2.json  final_2/<job>/   and so on: the best of the stage before, trained again
      results.csv pareto.csv statistics.csv complexity.csv cdf.csv failures.csv summary.txt
      latency.csv      where latency was measured
      figures/

and in a study of rank correlation (docs/ranking.md) also::

      study.json  ranking/
      drawn/<job>/     job.json status.json stdout.log architectures/*.json result.json
      scored/<job>/    job.json status.json stdout.log scores.jsonl result.json
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: The kinds of job, which are also the names of their folders.
SUPERNET = "supernet"
SAMPLED = "sampled"
FINAL = "final"
#: Stages that train the best of the stage before: the third of an experiment, and what follows it.
FINALS = (FINAL, *(f"{FINAL}_{number}" for number in range(2, 10)))
#: Those of a study of rank correlation only: random subnets, and their scores in a supernet.
DRAWN = "drawn"
SCORED = "scored"


def stage_before(kind: str) -> str:
    """The stage of whose architectures ``kind``, one of ``FINALS``, trains the best."""
    return (SAMPLED, *FINALS)[FINALS.index(kind)]


@dataclass(frozen=True)
class JobFolder:
    """File names of one job. ``path`` is the folder; nothing here touches the disk by itself."""

    path: Path

    @property
    def job(self) -> Path:
        """What the job is: id, argv, settings. Written before it starts."""
        return self.path / "job.json"

    @property
    def status(self) -> Path:
        """Where the job stands, as the manager sees it."""
        return self.path / "status.json"

    @property
    def log(self) -> Path:
        """Standard output and error of the job's processes, all attempts."""
        return self.path / "stdout.log"

    @property
    def order(self) -> Path:
        """What the newest attempt is to run, and how."""
        return self.path / "order.json"

    @property
    def stop(self) -> Path:
        """Asks the job's supervisor, on whatever host it is, to end the job."""
        return self.path / "stop.json"

    def attempt(self, number: int) -> Path:
        """What attempt ``number`` (from 1) says of itself: who runs it, beats, how it ended."""
        return self.path / f"attempt.{number}.json"

    @property
    def config(self) -> Path:
        """The job's resolved configuration, every flag with its value, as ``--config`` reads it."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON line for each log interval or evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The last state from which training can go on."""
        return self.path / "checkpoint.pt"

    @property
    def progress(self) -> Path:
        """How far the job is, written about once a second while it trains."""
        return self.path / "progress.json"

    @property
    def theta(self) -> Path:
        """theta, probabilities and entropies over time."""
        return self.path / "theta.npz"

    @property
    def candidates(self) -> Path:
        """One JSON line for each candidate that a search with shared weights evaluated."""
        return self.path / "candidates.jsonl"

    @property
    def supernet_weights(self) -> Path:
        """The trained supernet's state dict, for warm starts."""
        return self.path / "supernet.safetensors"

    @property
    def model(self) -> Path:
        """State dict of the best epoch of a stand-alone model."""
        return self.path / "model.safetensors"

    @property
    def architectures(self) -> Path:
        """Folder of the architectures this job sampled, one JSON file each."""
        return self.path / "architectures"

    @property
    def scores(self) -> Path:
        """One JSON line for each architecture that has been scored."""
        return self.path / "scores.jsonl"

    @property
    def result(self) -> Path:
        """What came out: the file whose appearance ends the job."""
        return self.path / "result.json"

    def architecture_files(self) -> list[Path]:
        """The architecture files that are there, in name order."""
        return sorted(self.architectures.glob("[!.]*.json"))


@dataclass(frozen=True)
class RunFolder:
    """File names of one experiment."""

    path: Path

    @property
    def experiment(self) -> Path:
        """Resolved configuration, versions, hashes."""
        return self.path / "experiment.json"

    @property
    def events(self) -> Path:
        """One JSON line for each thing that happened."""
        return self.path / "events.jsonl"

    @property
    def status(self) -> Path:
        """Where the run stands; always whole."""
        return self.path / "status.json"

    def choice(self, kind: str = FINAL) -> Path:
        """Which architectures of the stage before were chosen for ``kind``, one of ``FINALS``, and
        by what."""
        return self.path / ("choice.json" if kind == FINAL else f"choice.{kind}.json")

    @property
    def lock(self) -> Path:
        """Held by the live manager."""
        return self.path / "manager.lock"

    @property
    def requests(self) -> Path:
        """Folder of what people ask the live manager for, one file each."""
        return self.path / "requests"

    @property
    def slurm(self) -> Path:
        """Folder of the scripts and logs that Slurm's own side needs."""
        return self.path / "slurm"

    @property
    def results(self) -> Path:
        """One row for each trained architecture."""
        return self.path / "results.csv"

    @property
    def pareto(self) -> Path:
        """The rows of ``results`` that no other row beats in both quality and cost."""
        return self.path / "pareto.csv"

    @property
    def statistics(self) -> Path:
        """Min, mean, median, max in the manner of the paper's Tables III-V."""
        return self.path / "statistics.csv"

    @property
    def complexity(self) -> Path:
        """Quality, operations and parameters of each architecture, as in NASRec's Table 5."""
        return self.path / "complexity.csv"

    @property
    def distribution(self) -> Path:
        """Cumulative distribution of the validation metric, as in NASRec's Figure 5."""
        return self.path / "cdf.csv"

    @property
    def latency(self) -> Path:
        """Latency of each architecture, predicted and measured."""
        return self.path / "latency.csv"

    @property
    def failures(self) -> Path:
        """One row for each job that ended without a result that counts."""
        return self.path / "failures.csv"

    @property
    def summary(self) -> Path:
        """The one-screen summary, as printed."""
        return self.path / "summary.txt"

    @property
    def study(self) -> Path:
        """What a study of rank correlation was asked for; only there in one."""
        return self.path / "study.json"

    @property
    def ranking(self) -> Path:
        """Folder of what a study of rank correlation found: tables, pictures, ranking.md."""
        return self.path / "ranking"

    @property
    def figures(self) -> Path:
        """Folder of pictures."""
        return self.path / "figures"

    def job(self, kind: str, job_id: str) -> JobFolder:
        """The folder of one job of ``kind``, such as ``SUPERNET``."""
        return JobFolder(self.path / kind / job_id)

    def jobs(self, kind: str) -> Iterator[JobFolder]:
        """The job folders of ``kind`` that exist, in name order."""
        folder = self.path / kind
        if folder.is_dir():
            for child in sorted(folder.iterdir()):
                if child.is_dir() and not child.name.startswith("."):
                    yield JobFolder(child)
