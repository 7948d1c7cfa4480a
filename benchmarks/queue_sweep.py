"""How much of the slots' time is training, in a sweep of short jobs?

``tuning.py`` on 2 CPU slots with trainings of one architecture (Adult, which is shipped), in turn
cold, each job with a Python of its own, and warm, forked from a process that has imported torch.
The slots' time, from the first start to the last end, is divided into: training steps; evaluation;
the rest of the job (data, checkpoints, result); Python's start and imports; and between jobs. What
the slots cannot use because the last job runs alone is left out of it and told apart.

    python benchmarks/queue_sweep.py --json queue_sweep.json
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from dnas.files import read_json, write_json
from dnas.runs import SAMPLED, SUPERNET, RunFolder

ROOT = Path(__file__).resolve().parent.parent
SEARCH = """python train_dnas.py
--search_space=emb_card --data_set=adult --data_cache={cache} --host_gpu_id=cpu
--save_metrics_param=SAVE_METRICS_PARAM
--embedding_dimension 8 --cardinality_options 1.0 0.5 0.1 --arch_mlp_bot 64 --arch_mlp_top 64
--weights_batch_size=256 --arch_params_batch_size=256
--n_total_s_net_training_epochs=0.2 --num_warmup_epochs=0.1 --n_alt_train_amt=0.05
--architecture_sampling=0.1:1
--weights_optimizer=adagrad --weights_lr=0.03 --arch_params_lr=0.05
GPU_IDS:cpu
"""
SWEEP = """python {script}
--sampled_arch={architecture} --data_set=adult --data_cache={cache} --host_gpu_id=cpu
--save_metrics_param=SAVE_METRICS_PARAM
--batch_size=256 --n_epochs={epochs:g} --optimizer=adagrad --lr=0.02 --seed={{{seeds}}}
GPU_IDS:cpu,cpu
"""
PARTS = ("steps", "evaluation", "rest of the job", "python and imports", "between jobs")


def tune(folder: Path, name: str, config: str, *flags: str) -> RunFolder:
    """Run a config to its end."""
    path = folder / f"{name}.config"
    path.write_text(config, encoding="utf-8")
    command = [sys.executable, str(ROOT / "tuning.py"), str(path), name, "--runs_dir", str(folder)]
    done = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr + done.stdout)
    return RunFolder(folder / name)


def account(run: RunFolder) -> dict[str, float]:
    """Parts of the slots' time, the median seconds of a job's, and of what lies between jobs."""
    slots: dict[str, list[tuple[dict[str, float], float, float]]] = {}
    for job in run.jobs(SAMPLED):
        status = read_json(job.status)
        phases = read_json(job.path / "phases.json")
        slots.setdefault(status["slot"][0], []).append((phases, status["started"], status["ended"]))
    total = dict.fromkeys(PARTS, 0.0)
    starts, gaps, lengths = [], [], []
    for jobs in slots.values():
        jobs.sort(key=lambda job: job[1])
        previous = jobs[0][1]
        for phases, started, _ in jobs:
            length = phases["ended"] - phases["imported"]
            total["steps"] += phases["steps"]
            total["evaluation"] += phases["evaluation"]
            total["rest of the job"] += length - phases["steps"] - phases["evaluation"]
            # The manager has handed it out; from here on its process is being made.
            total["python and imports"] += phases["imported"] - started
            total["between jobs"] += started - previous
            starts.append(phases["imported"] - started)
            gaps.append(started - previous)
            lengths.append(length)
            previous = phases["ended"]
    whole = sum(total.values())
    first = min(jobs[0][1] for jobs in slots.values())
    last = [max(ended for _, _, ended in jobs) for jobs in slots.values()]
    return {
        **{name: seconds / whole for name, seconds in total.items()},
        "median job s": statistics.median(lengths),
        "median python and imports s": statistics.median(starts),
        "median between jobs s": statistics.median(gaps),
        "wall s": max(last) - first,
        "alone at the end s": max(last) - min(last),
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--epochs", type=float, default=20.0, help="of each training")
    parser.add_argument("--rounds", type=int, default=3, help="sweeps of each way, in turn")
    parser.add_argument("--json", help="file for the numbers")
    settings = parser.parse_args()
    ways = {"cold": ("--cold_start",), "warm": ()}
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = folder / "cache"
        search = tune(folder, "search", SEARCH.format(cache=cache))
        architecture = next(search.jobs(SUPERNET)).architecture_files()[0]
        config = SWEEP.format(
            script=ROOT / "benchmarks" / "timed_training.py",
            architecture=architecture,
            cache=cache,
            epochs=settings.epochs,
            seeds=",".join(map(str, range(settings.jobs))),
        )
        for number in range(settings.rounds):
            for way, flags in ways.items():
                run = tune(folder, f"{way}{number}", config, "--kind", SAMPLED, *flags)
                found[way].append(account(run))
    rows = {
        way: {part: statistics.median(f[part] for f in of) for part in of[0]}
        for way, of in found.items()
    }
    sys.stdout.write("| part of the slots' time | " + " | ".join(rows) + " |\n|---|---|---|\n")
    for part in rows["cold"]:
        shown = (f"{of[part]:.1%}" if part in PARTS else f"{of[part]:.3f}" for of in rows.values())
        sys.stdout.write(f"| {part} | " + " | ".join(shown) + " |\n")
    if settings.json:
        write_json(settings.json, {"settings": vars(settings), "rounds": found})


if __name__ == "__main__":
    main()
