"""Embedding cardinality search, arXiv:2110.14812 VI-C3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dnas.core import Choice
from dnas.errors import ConfigError
from supernets.embedding import EmbeddingSuperNet


def rows_of_option(option: str, cardinality: int) -> int:
    """Rows an option means for a feature of ``cardinality`` ids.

    ``"0.1"`` (with a point or an exponent) is a fraction: ``max(int(0.1 * cardinality), 1)``.
    ``"1000"`` is a number of rows, at most ``cardinality``.

    Raises:
        ConfigError: Neither a fraction in (0, 1] nor a positive integer.
    """
    try:
        if option.isdigit():
            rows = int(option)
            if rows >= 1:
                return min(rows, cardinality)
        else:
            fraction = float(option)
            if 0.0 < fraction <= 1.0:
                return max(int(fraction * cardinality), 1)
    except ValueError:
        pass
    raise ConfigError(
        f"cardinality_options: {option!r} is neither a fraction in (0, 1] such as 0.1 nor a "
        "positive number of rows such as 1000"
    )


def merged_rows(options: Sequence[str], cardinality: int) -> list[int | None]:
    """Rows of each option for one feature; options equal to an earlier one become None."""
    seen: set[int] = set()
    merged: list[int | None] = []
    for option in options:
        rows = rows_of_option(option, cardinality)
        merged.append(None if rows in seen else rows)
        seen.add(rows)
    return merged


def card_choice(
    features: Sequence[str],
    cardinalities: Sequence[int],
    options: Sequence[str | float],
    own_options: Mapping[str, Sequence[str | float]] | None = None,
    *,
    name: str = "emb_card",
) -> Choice:
    """A decision for each feature among numbers of rows.

    Args:
        features: Names.
        cardinalities: Original number of ids of each feature.
        options: Fractions (``0.1`` or ``"0.1"``) or numbers of rows (``1000`` or ``"1000"``).
        own_options: Feature name -> its own options.
        name: Of the Choice.
    """
    own = {feature: [str(o) for o in row] for feature, row in (own_options or {}).items()}
    unknown = sorted(set(own) - set(features))
    if unknown:
        raise ConfigError(f"cardinality options for unknown features {unknown}")
    shared = [str(option) for option in options]
    if not shared:
        raise ConfigError("cardinality_options: at least one option is needed")
    table = {
        feature: merged_rows(own.get(feature, shared), count)
        for feature, count in zip(features, cardinalities, strict=True)
    }
    return Choice(
        name,
        table,
        columns=None if own else shared,
        row_title="feature",
        column_title="rows kept (fraction, or number)",
        row_notes=[f"{count:,}" for count in cardinalities],
    )


class EmbeddingCardSuperNet(EmbeddingSuperNet):
    """Chooses each feature's number of embedding rows; an id is looked up at ``id % rows``.

    Args:
        cardinalities: Original number of ids of each feature.
        cardinality_options: Fractions of it, or numbers of rows.
        dim: Embedding dimension.
        features: Names, default ``"0"``, ``"1"``, ...
        own_options: Feature name -> its own options.
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        cardinality_options: Sequence[str | float],
        dim: int,
        *,
        features: Sequence[str] | None = None,
        own_options: Mapping[str, Sequence[str | float]] | None = None,
    ) -> None:
        names = features or [str(number) for number in range(len(cardinalities))]
        choice = card_choice(names, cardinalities, cardinality_options, own_options)
        super().__init__(cardinalities, dim, rows=choice)
