"""``dnas status RUN_FOLDER``: print where a run stands, once or until it is over."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dnas.cli.run import guarded
from dnas.jobs.lock import is_worked_on
from dnas.reporting import status_text
from dnas.runs import RunFolder

#: Seconds between two drawings on a terminal, and elsewhere.
_EVERY_S = 1.0
_EVERY_PLAIN_S = 10.0


def main(argv: Sequence[str] | None = None) -> int:
    """Print the status of one run; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="dnas status",
        description="Print a run's jobs by state, devices, what runs and how far it is, what waits "
        "and why, and what failed and why.",
        allow_abbrev=False,
    )
    parser.add_argument("run_folder", type=Path, help="such as runs/<experiment>")
    parser.add_argument(
        "--watch", action="store_true", help="again and again until the run is over"
    )
    options = parser.parse_args(argv)
    run = RunFolder(options.run_folder)
    return guarded(lambda: _watch(run) if options.watch else _once(run))


def _once(run: RunFolder) -> int:
    sys.stdout.write(status_text(run, worked_on=is_worked_on(run)))
    return 0


def _watch(run: RunFolder) -> int:
    on_terminal = sys.stdout.isatty()
    try:
        with _in_place() if on_terminal else contextlib.nullcontext(_below) as draw:
            while True:
                # Asked first: what is drawn last shall be the end.
                worked_on = is_worked_on(run)
                draw(status_text(run, worked_on=worked_on))
                if worked_on is False:
                    return 0
                time.sleep(_EVERY_S if on_terminal else _EVERY_PLAIN_S)
    except KeyboardInterrupt:
        return 130


def _below(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _in_place() -> Iterator[Callable[[str], None]]:
    """Gives a function that draws a text where the last one was."""
    # Not at the top: a look at a run must not wait for it.
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    with Live(console=console, auto_refresh=False) as live:
        yield lambda text: live.update(
            Text(text.rstrip("\n"), no_wrap=True, overflow="ellipsis"), refresh=True
        )


if __name__ == "__main__":
    sys.exit(main())
