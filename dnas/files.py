"""Files that are either whole or absent: every write goes to a temporary name, then renames."""

from __future__ import annotations

import errno
import json
import os
import re
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dnas.errors import DnasError

#: Names that :func:`replacing` gives to its temporary files.
_TEMPORARY = re.compile(r"\.(?P<stem>.+)\.[0-9a-f]{8}\.tmp(?P<suffix>(\.[^.]*)?)")
#: Names that safetensors gives to temporary files of its own, which it renames to the one that it
#: was given; whose they are they do not say.
_OF_SAFETENSORS = re.compile(r"\.tmp[0-9A-Za-z]{6}")


@contextmanager
def replacing(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; rename it to ``path`` when the block ends.

    If the block raises, the temporary file is removed and ``path`` keeps what it had. If
    ``durable``, the data is flushed to the disk before the rename, so that a power cut leaves the
    old file or the new one; news that the next second overtakes need no such flush.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: np.savez and matplotlib choose by it or append to it.
    temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}.tmp{target.suffix}")
    try:
        yield temporary
        if durable:
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if error.filename is None:  # of a write: "no space left on device" without saying where
            error.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary_files(folder: str | Path, *, of: Collection[Path] | None = None) -> list[Path]:
    """Remove what writers that were killed in the middle have left in ``folder``.

    Args:
        folder: Searched itself, not the folders in it; need not exist.
        of: Only what was to become one of these files, in a folder where somebody else may be
            writing others just now.

    Returns:
        The files removed.
    """
    found = []
    for path in sorted(Path(folder).glob(".*tmp*")):
        if _is_left_over(path, of):
            path.unlink(missing_ok=True)
            found.append(path)
    return found


def _is_left_over(path: Path, of: Collection[Path] | None) -> bool:
    if _OF_SAFETENSORS.fullmatch(path.name):
        return of is None or any(target.suffix == ".safetensors" for target in of)
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    return of is None or path.with_name(match["stem"] + match["suffix"]) in of


def write_text(path: str | Path, text: str, *, durable: bool = True) -> None:
    """Write ``text`` to ``path`` so that a reader sees the old content or the new, never a part."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, *, durable: bool = True) -> None:
    """Write ``value`` as JSON (indented, NaN refused) by write-then-rename."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n", durable=durable)


def read_json(path: str | Path) -> Any:
    """Read one JSON file.

    Raises:
        DnasError: The file is missing, is not one, may not be read, or is not JSON; the message
            names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DnasError(f"{path}: there is no such file") from None
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise DnasError(f"{path}: cannot be read: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DnasError(f"{path}: not a JSON file ({error})") from None


def append_json_line(path: str | Path, value: Any) -> None:
    """Append one JSON line with a single write, so that lines of several writers do not mix.

    A last line that a crash has cut short stays a line of its own.
    """
    line = json.dumps(value, allow_nan=False).encode() + b"\n"
    with open(path, "a+b", buffering=0) as handle:
        if handle.seek(0, os.SEEK_END):
            handle.seek(-1, os.SEEK_END)
            if handle.read(1) != b"\n":
                line = b"\n" + line
        if handle.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def read_json_lines(path: str | Path, *, skip_damaged: bool = False) -> list[Any]:
    """Read a JSON-lines file; a last line cut short by a crash is left out.

    Args:
        path: The file; none is a file without lines.
        skip_damaged: Leave out any line that is not JSON, wherever it is.

    Raises:
        DnasError: A line before the last is not JSON, unless ``skip_damaged``.
    """
    source = Path(path)
    if not source.exists():
        return []
    values = []
    lines = source.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line))
        except ValueError:  # of JSON or of UTF-8
            if skip_damaged:
                continue
            if number == len(lines):
                break
            shown = line[:80].decode(errors="replace")
            raise DnasError(f"{path}:{number}: not JSON: {shown!r}") from None
    return values


def keep_json_lines(path: str | Path, keep: Callable[[Any], bool]) -> None:
    """Drop the lines for which ``keep`` is false, as a resumed run does with what it will redo.

    Damaged lines are dropped too.
    """
    kept = [line for line in read_json_lines(path, skip_damaged=True) if keep(line)]
    if Path(path).exists():
        write_text(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept))
