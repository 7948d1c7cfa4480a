"""``train_sampled.py`` that also says where its time went.

Started by ``queue_sweep.py``, it writes ``phases.json`` into the job's folder: Unix times of the
first line, of the end of the imports and of the end; seconds in training steps and in evaluations.
"""

import time

begun = time.time()

import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import supernets  # noqa: E402, F401  (registers the search spaces)
from dnas.cli.train import main  # noqa: E402
from dnas.files import write_json  # noqa: E402
from dnas.jobs.attempt import JOB_FOLDER_VARIABLE  # noqa: E402
from dnas.training.standalone import StandaloneTrainer  # noqa: E402

imported = time.time()
seconds = {"steps": 0.0, "evaluation": 0.0}


def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the seconds that ``function`` takes to those of ``name``."""

    def call(*arguments: Any) -> Any:
        before = time.monotonic()
        try:
            return function(*arguments)
        finally:
            seconds[name] += time.monotonic() - before

    return call


if __name__ == "__main__":
    # Steps with the reading of their batches; metrics on validation and test rows.
    StandaloneTrainer._run_until = timed("steps", StandaloneTrainer._run_until)  # type: ignore[method-assign]
    StandaloneTrainer._metrics = timed("evaluation", StandaloneTrainer._metrics)  # type: ignore[method-assign]
    code = main()
    phases = {"begun": begun, "imported": imported, "ended": time.time(), **seconds}
    write_json(Path(os.environ[JOB_FOLDER_VARIABLE]) / "phases.json", phases, durable=False)
    sys.exit(code)
