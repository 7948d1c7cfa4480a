"""``dnas status RUN_FOLDER``: print where a run stands."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dnas.cli.run import folder_command
from dnas.reporting import status_text


def main(argv: Sequence[str] | None = None) -> int:
    """Print the status of one run; gives the exit code."""
    return folder_command(
        argv,
        "dnas status",
        "Print a run's jobs by state, what runs, what waits and what failed and why.",
        status_text,
    )


if __name__ == "__main__":
    sys.exit(main())
