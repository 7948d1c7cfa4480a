"""Running a command: errors a person can mend become one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from dnas.errors import EXIT_USER_ERROR, DnasError


def guarded(main: Callable[[Sequence[str]], int], argv: Sequence[str] | None) -> int:
    """Call ``main`` with the words after the program's name.

    Returns:
        Its exit code, or ``EXIT_USER_ERROR`` after printing a DnasError's message.
    """
    try:
        return main(sys.argv[1:] if argv is None else argv)
    except DnasError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER_ERROR
