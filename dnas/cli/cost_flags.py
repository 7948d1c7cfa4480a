"""Amounts of named costs as flags: ``--cost_target flops=2e6,embedding_bytes=2e8``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from dnas.core import SuperNet
from dnas.errors import ConfigError, CostError
from dnas.spaces import LATENCY, LatencyTable, SpaceLatency


def named_amounts(flag: str, words: Sequence[str], usual: str) -> dict[str, float]:
    """Cost name -> amount.

    Args:
        flag: Such as ``--cost_target``, for errors.
        words: Of the command line, each ``NAME=AMOUNT`` or several of them between commas. A plain
            number is an amount of ``usual``.
        usual: Name of a cost.

    Raises:
        ConfigError: An amount is no positive number, or a cost is named twice.
    """
    found: dict[str, float] = {}
    for part in (part.strip() for word in words for part in word.split(",")):
        name, equals, text = part.rpartition("=")
        name = name.strip() if equals else usual
        try:
            amount = float(text)
        except ValueError:
            amount = math.nan
        if not name or not (amount > 0 and math.isfinite(amount)):
            raise ConfigError(
                f"{flag} {part!r}: give NAME=AMOUNT with a positive amount, such as {usual}=2e6; "
                "several between commas"
            )
        if name in found:
            raise ConfigError(f"{flag}: {name} is given twice, {found[name]:g} and {amount:g}")
        found[name] = amount
    return found


def as_words(amounts: dict[str, float]) -> tuple[str, ...]:
    """The words that ``named_amounts`` reads as ``amounts``."""
    return tuple(f"{name}={amount!r}" for name, amount in amounts.items())


def with_latency(
    super_net: SuperNet, path: str | None, wanted: Iterable[str]
) -> SpaceLatency | None:
    """Give the supernet the cost ``latency`` where ``--cost_table`` is given.

    Args:
        super_net: Says what it runs.
        path: The flag.
        wanted: Costs that the search is about.

    Raises:
        ConfigError: Latency is wanted without a table, or the table does not do.
    """
    if path is None:
        if LATENCY in wanted:
            raise ConfigError(
                f"{LATENCY} needs --cost_table FILE, the measured operators of this space: make it "
                "with dnas profile SPACE [flags of the space and its data] --output FILE"
            )
        return None
    try:
        return LatencyTable.load(path).attach(super_net)
    except CostError as error:
        raise ConfigError(f"--cost_table: {error}") from None
