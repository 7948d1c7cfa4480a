"""What commands that run whole experiments share: a name, and a report at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dnas.errors import DnasError
from dnas.jobs.config import load_config, template_hash
from dnas.jobs.outcome import Outcome


def readable_id(configs: Sequence[Path], middle: str = "", *, longest: int = 80) -> str:
    """A readable name and a hash of all job lists: the same command goes on with its own run.

    Args:
        configs: Tuning configs; the first one gives the name.
        middle: To stand between name and hash.
        longest: Characters of the name.
    """
    stem = "".join(c if c.isalnum() or c in "._=+-" else "_" for c in configs[0].name)
    hashes = "".join(template_hash(load_config(path))[:4] for path in configs)
    return f"{stem.lstrip('._=+-')[:longest]}-{middle}{hashes}".lstrip("-")


def with_report(outcome: Outcome, make: Callable[[], str]) -> Outcome:
    """Print the report that ``make`` makes; one that fails does not undo the jobs."""
    try:
        sys.stdout.write("\n" + make().rstrip("\n") + "\n")
    except DnasError as error:
        problem = f"the report could not be made: {error}"
        return replace(
            outcome, problems=(*outcome.problems, problem), exit_code=outcome.exit_code or 1
        )
    return outcome
