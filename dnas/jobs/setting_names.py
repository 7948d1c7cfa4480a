"""What the settings of a tuning config are called, each brace list being one."""

from __future__ import annotations

import itertools
import re

from dnas.jobs.braces import Brace, Word


def setting_names(words: tuple[Word, ...]) -> list[str]:
    """A name for each brace: the flag it is the value of, made unique by a number."""
    names: list[str] = []
    flag = "argument"
    for word in words:
        for position, part in enumerate(word.parts):
            if isinstance(part, str):
                if position == 0 and part.startswith("-"):
                    flag = part.lstrip("-").split("=")[0] or flag
                continue
            name = _flag_inside(part) if position == 0 else None
            names.append(_unique(name or flag, names))
    return names


def _flag_inside(brace: Brace) -> str | None:
    """Flag name of a list of whole flags such as ``{--memory_map, }``."""
    for words in brace.alternatives:
        if words and re.match(r"--?[A-Za-z]", words[0]):
            return words[0].lstrip("-").split("=")[0]
    return None


def _unique(name: str, taken: list[str]) -> str:
    if name not in taken:
        return name
    return next(f"{name}_{n}" for n in itertools.count(2) if f"{name}_{n}" not in taken)


def setting_value(brace: Brace, words: tuple[str, ...]) -> str:
    """The alternative as text; a flag that is there or not reads ``true`` or ``false``."""
    flags = [a for a in brace.alternatives if a]
    if (
        len(brace.alternatives) == 2
        and len(flags) == 1
        and re.fullmatch(r"--?[A-Za-z]\w*", " ".join(flags[0]))
    ):
        return "true" if words else "false"
    return " ".join(words)
