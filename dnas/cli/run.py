"""Running a command: errors a person can mend become one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from dnas.errors import EXIT_USER_ERROR, DnasError


def guarded(body: Callable[[], int]) -> int:
    """The exit code of ``body``; for a DnasError its message on standard error, and code 2."""
    try:
        return body()
    except DnasError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER_ERROR
