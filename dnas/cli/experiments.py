"""What commands that run whole experiments share: a name, and a report at the end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dnas.errors import DnasError
from dnas.jobs.config import load_config, template_hash
from dnas.jobs.outcome import Outcome

logger = logging.getLogger(__name__)


def readable_id(configs: Sequence[Path], middle: str = "", *, longest: int = 80) -> str:
    """A readable name and a hash of all job lists: the same command goes on with its own run.

    Args:
        configs: Tuning configs; the first one gives the name.
        middle: To stand between name and hash.
        longest: Characters of the name.
    """
    name = configs[0].name
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._=+-") else "_" for c in name)
    hashes = "".join(template_hash(load_config(path))[:4] for path in configs)
    return f"{stem.lstrip('._=+-')[:longest]}-{middle}{hashes}".lstrip("-")


def with_report(outcome: Outcome, make: Callable[[], str]) -> Outcome:
    """Print the report that ``make`` makes; one that fails does not undo the jobs."""
    try:
        text = make()
    except (DnasError, OSError) as error:
        problem = f"the report could not be made: {error}"
    except Exception as error:  # a defect: what the jobs came to is still to be said
        logger.exception("the report")
        problem = f"the report could not be made: {type(error).__name__}: {error}"
    else:
        sys.stdout.write("\n" + text.rstrip("\n") + "\n")
        return outcome
    return replace(outcome, problems=(*outcome.problems, problem), exit_code=outcome.exit_code or 1)
