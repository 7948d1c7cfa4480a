"""What was read from large raw files, kept for the next job.

::

    <data_cache>/<data set>-<12 hex digits>/  spec.json  users.npy  items.npy  times.npy ...

The name has a hash of the files' names, sizes and times of change, and of this format: another file
is another folder. The length of histories is not in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dnas.data.once import build_once
from dnas.data.raw_files import stamp
from dnas.data.retrieval.interactions import ARRAYS, KEYS, Interactions
from dnas.data.retrieval.spec import TowerSpec
from dnas.errors import DataError
from dnas.files import read_json, write_json

logger = logging.getLogger(__name__)

_FORMAT = "dnas.interactions/2"
_SPEC = "spec.json"


def cached(
    data_set: str,
    files: Sequence[Path],
    cache: str | Path,
    seq_len: int,
    read: Callable[[], Interactions],
) -> Interactions:
    """What ``read`` gives, from the cache if it is there, and else put there.

    Several processes may do this at the same time: one reads, the others wait.

    Args:
        data_set: For the folder's name.
        files: What ``read`` reads.
        cache: Folder of all such folders.
        seq_len: Length of histories.
        read: Reads the raw files.

    Raises:
        DataError: The raw files cannot be used, they changed while they were read, or the cache
            cannot be written or is damaged.
    """
    final = _folder(data_set, files, cache)

    def build(folder: Path) -> None:
        start = time.monotonic()
        logger.info("%s: reading %s", final, ", ".join(map(str, files)))
        data = read()
        for name in (*ARRAYS, *KEYS):
            np.save(folder / f"{name}.npy", getattr(data, name), allow_pickle=False)
        write_json(folder / _SPEC, data.spec.to_json())
        if _folder(data_set, files, cache) != final:
            raise DataError(f"{final}: a raw file changed while it was read: start again")
        logger.info("%s: %d rows in %.1f s", final, len(data), time.monotonic() - start)

    build_once(final, _SPEC, build)
    spec = TowerSpec.from_json(read_json(final / _SPEC))
    try:
        names = (*ARRAYS, *KEYS)
        arrays = {name: np.load(final / f"{name}.npy", allow_pickle=False) for name in names}
    except (OSError, ValueError) as error:
        raise DataError(f"{final}: damaged ({error}): delete this folder") from None
    return Interactions(**arrays, spec=dataclasses.replace(spec, seq_len=seq_len))


def _folder(data_set: str, files: Sequence[Path], cache: str | Path) -> Path:
    text = json.dumps([_FORMAT, data_set, [stamp(path) for path in files]])
    return Path(cache) / f"{data_set}-{hashlib.blake2b(text.encode()).hexdigest()[:12]}"
