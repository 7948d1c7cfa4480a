"""What must not depend on the process: hashed ids, batches, the planted optimum."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from dnas.data import DataConfig, planted, prepare
from tests.data.raw_rows import ROOT, criteo_line, write_lines


def facts(raw: str, cache: str) -> dict[str, Any]:
    """Everything that is compared, as JSON."""
    hashed = prepare(
        DataConfig(
            data_set="criteo_kaggle", raw_data=raw, data_cache=cache, ids="hash", max_ind_range=50
        )
    )
    digest = hashlib.sha256()
    loader = hashed.loader("weights", 10, shuffle=True, seed=5, drop_last=True)
    for batch in loader.batches(7, 70):
        digest.update(batch.dense.numpy().tobytes() + batch.ids.numpy().tobytes())  # type: ignore[union-attr]
    optima = [
        planted(DataConfig(synthetic_kind=kind, synthetic_rows=2000, synthetic_seed=4)).to_json()
        for kind in ("cardinality", "rank")
    ]
    return {"record": hashed.record, "batches": digest.hexdigest(), "optima": optima}


def test_the_same_in_another_process(tmp_path: Path) -> None:
    lines = [criteo_line(str(i % 2), [i], [f"{i * 7919:08x}", ""]) for i in range(300)]
    raw = str(write_lines(tmp_path / "a.txt", lines))
    script = (
        "import sys, json; from tests.data.test_data_processes import facts\n"
        "print(json.dumps(facts(sys.argv[1], sys.argv[2])))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, raw, str(tmp_path / "there")],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert json.loads(found) == facts(raw, str(tmp_path / "here"))
