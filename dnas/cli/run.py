"""What commands share: errors a person can mend become one line and an exit code."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from dnas.errors import EXIT_USER_ERROR, DnasError
from dnas.runs import RunFolder

#: What a shell reports of a program that was ended by SIGPIPE.
EXIT_NO_READER = 128 + 13


def guarded(body: Callable[[], int]) -> int:
    """The exit code of ``body``; for a DnasError its message on standard error, and code 2.

    Where the reader of standard output has gone, as ``head`` does, the rest is not written and
    nothing is said.
    """
    try:
        code = _told(body)
        sys.stdout.flush()
    except BrokenPipeError:
        if _has_reader(sys.stdout):
            raise  # another pipe
        return EXIT_NO_READER
    return code


def _told(body: Callable[[], int]) -> int:
    try:
        return body()
    except DnasError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER_ERROR


def _has_reader(stream: TextIO) -> bool:
    """Whether somebody reads a stream; if not, it leads nowhere from now on."""
    try:
        file = stream.fileno()
    except OSError:
        return True  # not a file: what a test or a notebook puts there
    poll = select.poll()
    poll.register(file, 0)  # errors are told without being asked for
    if not poll.poll(0):
        return True
    # Python flushes once more at its end, and would report the same again.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, file)
    os.close(nowhere)
    return False


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
