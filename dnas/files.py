"""Files that are either whole or absent: every write goes to a temporary name, then renames."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dnas.errors import DnasError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; rename it to ``path`` when the block ends.

    If the block raises, the temporary file is removed and ``path`` keeps what it had. The data is
    flushed to the disk before the rename, so that a power cut leaves the old file or the new one.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: np.savez and matplotlib choose by it or append to it.
    temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}.tmp{target.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` so that a reader sees the old content or the new, never a part."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as JSON (indented, NaN refused) by write-then-rename."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read one JSON file.

    Raises:
        DnasError: The file is missing or is not JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DnasError(f"{path}: there is no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DnasError(f"{path}: not a JSON file ({error})") from None


def append_json_line(path: str | Path, value: Any) -> None:
    """Append one JSON line with a single write, so that lines of several writers do not mix."""
    line = json.dumps(value, allow_nan=False) + "\n"
    with open(path, "a", encoding="utf-8") as handle:
        handle.write(line)


def read_json_lines(path: str | Path) -> list[Any]:
    """Read a JSON-lines file; a last line cut short by a crash is left out."""
    source = Path(path)
    if not source.exists():
        return []
    values = []
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError:
            if number == len(lines):
                break
            raise DnasError(f"{path}:{number}: not JSON: {line[:80]!r}") from None
    return values


def keep_json_lines(path: str | Path, keep: Callable[[Any], bool]) -> None:
    """Drop the lines for which ``keep`` is false, as a resumed run does with what it will redo."""
    lines = read_json_lines(path)
    kept = [line for line in lines if keep(line)]
    if Path(path).exists():
        write_text(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept))
