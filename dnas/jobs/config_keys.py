"""Lines ``KEY:value`` of tuning configs, and what their values may be."""

from __future__ import annotations

import difflib
import re

from dnas.jobs.braces import GrammarError

#: Spelling in the file -> name of the key.
_KEYS = {
    "GPU_IDS": "GPU_IDS",
    "GPU_IDs": "GPU_IDS",
    "NUM_JOBS_PER_GPU": "NUM_JOBS_PER_GPU",
    "NUM_GPUS_PER_JOB": "NUM_GPUS_PER_JOB",
    "NUM_CPUS_PER_JOB": "NUM_CPUS_PER_JOB",
    "EPOCH_EVAL_FREQ": "EPOCH_EVAL_FREQ",
    "NUM_BEST_ARCHS": "NUM_BEST_ARCHS",
}
_VALID = (
    "GPU_IDS (or GPU_IDs), NUM_JOBS_PER_GPU, NUM_GPUS_PER_JOB, NUM_CPUS_PER_JOB, EPOCH_EVAL_FREQ, "
    "NUM_BEST_ARCHS"
)
_KEY_LINE = re.compile(r"\s*([A-Za-z_]{3,})\s*:(.*)")
_GPU_ID = re.compile(r"\d+|(?:GPU|MIG)-[0-9A-Za-z/-]+")


def key_of(number: int, line: str) -> tuple[str, str] | None:
    """(key, value) of a line, None for one that has no key.

    Args:
        number: Of the line.
        line: Its text.

    Raises:
        GrammarError: The key is not known, or in another case.
    """
    match = _KEY_LINE.fullmatch(line)
    if match is None:
        return None
    name, value = match.groups()
    if name.upper() not in _KEYS and not re.fullmatch(r"[A-Z_]+[a-z]?", name):
        return None
    if name not in _KEYS:
        close = difflib.get_close_matches(name.upper(), set(_KEYS.values()), 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise GrammarError(number, f"unknown key {name!r}{hint}; valid keys: {_VALID}")
    return _KEYS[name], value.strip()


def gpu_ids(line: int, value: str) -> tuple[str, ...]:
    """Devices in the order given; a line number is for messages.

    Raises:
        GrammarError: What is there is none, or is there twice.
    """
    ids: list[str] = []
    for item in (item.strip() for item in value.split(",")):
        if item != "cpu" and not _GPU_ID.fullmatch(item):
            raise GrammarError(
                line,
                f"GPU_IDS:{value}: {item!r} is not a device; valid are GPU numbers (0), GPU UUIDs "
                "(GPU-...) and cpu, separated by commas",
            )
        item = str(int(item)) if item.isdecimal() else item
        if item != "cpu" and item in ids:
            raise GrammarError(
                line,
                f"GPU_IDS:{value}: GPU {item} is listed twice; to share a GPU between jobs set "
                "NUM_JOBS_PER_GPU",
            )
        ids.append(item)
    return tuple(ids)


def whole_number(name: str, line: int, value: str, least: int = 1) -> int:
    """The value of key ``name``.

    Raises:
        GrammarError: It is no whole number, or less than ``least``.
    """
    if not value.isdecimal() or int(value) < least:
        raise GrammarError(
            line, f"{name}:{value}: {value!r} is not a whole number of {least} or more"
        )
    return int(value)


def eval_freq(line: int, value: str) -> tuple[int, int]:
    """``EPOCH_EVAL_FREQ`` as (max, freq).

    Raises:
        GrammarError: These are not two whole numbers.
    """
    items = [item.strip() for item in value.split(",")]
    if len(items) != 2:
        raise GrammarError(
            line, f"EPOCH_EVAL_FREQ:{value}: two numbers are needed, max,freq, e.g. 5,5"
        )
    most, every = (whole_number("EPOCH_EVAL_FREQ", line, item) for item in items)
    return most, every
