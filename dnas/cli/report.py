"""``dnas report RUN_FOLDER``: write a run's tables and pictures, print its summary."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from dnas.cli.run import guarded
from dnas.runs import RunFolder


def main(argv: Sequence[str] | None = None) -> int:
    """Make the report of one run.

    Args:
        argv: Arguments after the command's name; those of the process by default.

    Returns:
        The exit code: 0, or 2 with a message on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="dnas report",
        description="Write results.csv, pareto.csv, statistics.csv, failures.csv, figures/ and "
        "summary.txt into the folder of a run, finished or not, and print the summary.",
        allow_abbrev=False,
    )
    parser.add_argument("run_folder", type=Path, help="such as runs/<experiment>")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    # Here, so that `dnas --help` does not wait seconds for pandas and seaborn.
    from dnas.reporting import make_report

    def body() -> int:
        sys.stdout.write(make_report(RunFolder(arguments.run_folder)))
        return 0

    return guarded(body)


if __name__ == "__main__":
    sys.exit(main())
