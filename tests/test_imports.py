"""What the jobs of a search import when they start, and above all what they do not.

A process that forks jobs must have one thread. Libraries that parse raw files start some when they
are imported, or take long, so they wait until there is a file to parse; those that draw belong to
reports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LATE = ("matplotlib", "numba", "pandas", "polars", "pyarrow", "scipy", "seaborn")

#: Runs code, then prints what was imported of LATE, each with the frames that led there, and the
#: names of the threads.
_REPORT = """
import importlib.abc, json, os, sys, traceback
late, code = json.loads(sys.argv[1]), sys.argv[2]
asked = {}
class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in late:
            frames = traceback.extract_stack()[:-1]
            asked[name] = [f"{f.filename}:{f.lineno}" for f in frames if f.filename[0] != "<"]
sys.meta_path.insert(0, Hook())
exec(code)
found = {name: asked[name] for name in late if name in sys.modules}
task, threads = "/proc/self/task", None
if os.path.isdir(task):
    threads = [open(f"{task}/{t}/comm").read().strip() for t in os.listdir(task)]
print(json.dumps([found, threads]))
"""


def after(code: str) -> tuple[dict[str, list[str]], list[str] | None]:
    """What a fresh interpreter has of LATE once it ran ``code``, each with what brought it.

    The second value is the names of its threads, or None where they cannot be told.
    """
    done = subprocess.run(
        [sys.executable, "-c", _REPORT, json.dumps(LATE), code],
        cwd=ROOT,
        # One CPU thread, as a job of many has: BLAS starts its threads when numpy is imported.
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def told(found: dict[str, list[str]]) -> str:
    return "\n".join(f"{name}, imported by\n  " + "\n  ".join(by) for name, by in found.items())


@pytest.mark.parametrize("module", ["dnas.cli.search", "dnas.cli.train"])
def test_scripts_import_no_late_library_and_start_no_thread(module: str) -> None:
    found, threads = after(f"import {module}")
    assert not found, told(found)
    if sys.platform == "linux":
        assert threads is not None
        assert len(threads) == 1, threads


def test_only_building_a_store_parses(tmp_path: Path) -> None:
    code = (
        "from dnas.data import DataConfig, prepare\n"
        f"prepare(DataConfig(data_set='adult', data_cache={str(tmp_path)!r}))"
    )
    found, _ = after(code)
    assert set(found) >= {"numba", "polars", "pyarrow"}, "the check below would show nothing"
    found, _ = after(code)
    assert not found, told(found)
