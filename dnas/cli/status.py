"""``dnas status RUN_FOLDER``: print where a run stands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dnas.cli.run import guarded
from dnas.reporting import status_text
from dnas.runs import RunFolder


def main(argv: Sequence[str] | None = None) -> int:
    """Print the status of one run.

    Args:
        argv: Arguments after the command's name; those of the process by default.

    Returns:
        The exit code: 0, or 2 with a message on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="dnas status",
        description="Print a run's jobs by state, what runs, what waits and what failed and why.",
        allow_abbrev=False,
    )
    parser.add_argument("run_folder", type=Path, help="such as runs/<experiment>")
    arguments = parser.parse_args(argv)

    def body() -> int:
        sys.stdout.write(status_text(RunFolder(arguments.run_folder)))
        return 0

    return guarded(body)


if __name__ == "__main__":
    sys.exit(main())
