"""``dnas report RUN_FOLDER``: write a run's tables and pictures, print its summary."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from dnas.cli.run import folder_command
from dnas.runs import RunFolder


def main(argv: Sequence[str] | None = None) -> int:
    """Make the report of one run; gives the exit code."""
    return folder_command(
        argv,
        "dnas report",
        "Write results.csv, pareto.csv, statistics.csv, failures.csv, figures/ and summary.txt "
        "into the folder of a run, finished or not, and print the summary; for a study of rank "
        "correlation its tables and pictures too, into ranking/.",
        _report,
    )


def _report(run: RunFolder) -> str:
    # Here, so that `dnas --help` does not wait seconds for pandas and seaborn.
    from dnas.reporting import make_ranking_report, make_report

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    text = make_report(run)
    return text + "\n" + make_ranking_report(run) if run.study.exists() else text


if __name__ == "__main__":
    sys.exit(main())
