"""What a job's numbers come from besides its own flags: the space's setting, and rows by content.

An identity is flat, with JSON values, so that what differs can be named::

    search_space, space.<field>, data.content_hash, loss.<flag>, split.<flag>, split_rows.<part>

Checkpoints and logs of candidates must agree on all of it; a supernet's weights carry in their file
what they come from, see :func:`weights_identity`, and must agree on what matters to who loads them,
see :func:`difference`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from dnas.spaces import Prepared, SearchSpace

#: Parts of the split whose rows must be the same where weights are used again. How the training
#: rows are divided between weights and theta is no matter then.
_ROWS = tuple(f"split_rows.{part}" for part in ("train", "validation", "test"))


def identity(space: SearchSpace, config: Any, data: Prepared) -> dict[str, Any]:
    """The identity of a job.

    Args:
        space: Its search space.
        config: The space's configuration.
        data: Whose ``record`` has ``content_hash``, ``loss_settings`` and ``split``; what it lacks
            is left out.
    """
    found: dict[str, Any] = {
        "search_space": space.name,
        **{f"space.{name}": value for name, value in asdict(config).items()},
    }
    record = data.record
    if "content_hash" in record:
        found["data.content_hash"] = record["content_hash"]
    for name, value in record.get("loss_settings", {}).items():
        found[f"loss.{name}"] = value
    if isinstance(split := record.get("split"), Mapping):
        for name, value in split.items():
            if name != "parts":
                found[f"split.{name}"] = value
        for name, part in split.get("parts", {}).items():
            found[f"split_rows.{name}"] = part["hash"]
    return json.loads(json.dumps(found))


def weights_identity(space: SearchSpace, config: Any, data: Prepared) -> dict[str, Any]:
    """The identity of trained weights: without what says how models are judged or trained.

    That is ``SearchSpace.judging_fields`` and ``one_shot_fields``, and the data's settings of the
    loss.

    Args:
        space: Its search space.
        config: The space's configuration.
        data: As in :func:`identity`.
    """
    free = {f"space.{name}" for name in (*space.judging_fields, *space.one_shot_fields)}
    found = identity(space, config, data)
    return {k: v for k, v in found.items() if k not in free and not k.startswith("loss.")}


def difference(
    recorded: Mapping[str, Any], here: Mapping[str, Any], but_for: Collection[str] = ()
) -> str:
    """In which way weights are not of this space, setting and data; empty if they are.

    What only one of the two has, because another version of the space made the other, is not
    compared.

    Args:
        recorded: The identity that the weights carry.
        here: The identity of who loads them.
        but_for: Fields of the space's configuration that may differ.
    """
    free = {f"space.{name}" for name in but_for}
    other = [
        key for key in recorded if key in here and recorded[key] != here[key] and key not in free
    ]
    rows = [key for key in other if key in _ROWS]
    shown = [
        key
        for key in other
        if key in ("search_space", "data.content_hash")
        or key.startswith("space.")
        or (rows and key.startswith("split."))
    ]
    said = [f"{key} was {recorded[key]!r}, is {here[key]!r}" for key in shown]
    if rows and not any(key.startswith(("split.", "data.")) for key in shown):
        said.append(f"other rows are in {', '.join(key.split('.')[1] for key in rows)}")
    return "; ".join(said)
