"""The raw files a flag names, in the order in which their rows count."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Any

from dnas.errors import DataError


def resolve(raw_data: str) -> list[Path]:
    """The files of ``--raw_data``.

    Args:
        raw_data: One path, or several with commas between; each may be a pattern with ``*``, ``?``
            or ``[...]``, whose matches are taken in natural order (day_2 before day_10).

    Raises:
        DataError: A file is missing, named twice, or is a folder.
    """
    if Path(raw_data).expanduser().is_file():
        return [Path(raw_data).expanduser()]
    files: list[Path] = []
    for item in raw_data.split(","):
        item = item.strip()
        path = Path(item).expanduser()
        if path.is_file():
            files.append(path)
        elif path.is_dir():
            raise DataError(
                f"--raw_data={raw_data}: {item} is a folder: name its files, for example "
                f"{item.rstrip('/')}/day_*"
            )
        elif glob.has_magic(item):
            matches = [Path(match) for match in glob.glob(str(path)) if Path(match).is_file()]
            if not matches:
                raise DataError(f"--raw_data={raw_data}: no file matches {item}")
            files += sorted(matches, key=_natural)
        else:
            raise DataError(f"--raw_data={raw_data}: there is no file {item!r}")
    seen: set[Path] = set()
    for path in files:
        real = path.resolve()
        if real in seen:
            raise DataError(f"--raw_data={raw_data}: {path} is named twice")
        seen.add(real)
    return files


def stamp(path: Path) -> dict[str, Any]:
    """What tells a changed file from the same one without reading it."""
    status = path.stat()
    return {"name": path.name, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _natural(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts if part]
