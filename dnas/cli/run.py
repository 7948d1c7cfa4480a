"""What commands share: errors a person can mend become one line and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dnas.errors import EXIT_USER_ERROR, DnasError
from dnas.runs import RunFolder


def guarded(body: Callable[[], int]) -> int:
    """The exit code of ``body``; for a DnasError its message on standard error, and code 2."""
    try:
        return body()
    except DnasError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER_ERROR


def folder_command(
    argv: Sequence[str] | None,
    program: str,
    description: str,
    show: Callable[[RunFolder], str],
) -> int:
    """A command whose one argument is a run folder: print what ``show`` says of it.

    Args:
        argv: Arguments after the command's name; those of the process by default.
        program: For the help text.
        description: For the help text.
        show: Gives the text to print.

    Returns:
        The exit code: 0, or 2 with a message on standard error.
    """
    parser = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    parser.add_argument("run_folder", type=Path, help="such as runs/<experiment>")
    arguments = parser.parse_args(argv)

    def body() -> int:
        sys.stdout.write(show(RunFolder(arguments.run_folder)))
        return 0

    return guarded(body)
