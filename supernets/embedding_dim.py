"""Embedding dimension search, arXiv:2110.14812 VI-C2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dnas.core import Choice
from dnas.errors import ConfigError
from supernets.embedding import EmbeddingSuperNet


def dim_choice(
    features: Sequence[str],
    cardinalities: Sequence[int],
    dim_options: Sequence[int],
    own_options: Mapping[str, Sequence[int]] | None = None,
    *,
    name: str = "emb_dim",
) -> Choice:
    """A decision for each feature among dimensions.

    Args:
        features: Names.
        cardinalities: For the notes beside the heatmap's rows.
        dim_options: Options of every feature without a list of its own.
        own_options: Feature name -> its own options.
        name: Of the Choice.
    """
    own = dict(own_options or {})
    unknown = sorted(set(own) - set(features))
    if unknown:
        raise ConfigError(f"dimension options for unknown features {unknown}")
    lists = {f: sorted(set(own.get(f, dim_options))) for f in features}
    for feature, options in lists.items():
        if not options or options[0] < 1:
            raise ConfigError(f"feature {feature!r}: dimensions must be positive, got {options}")
    columns = sorted({dim for options in lists.values() for dim in options})
    return Choice(
        name,
        {f: [dim if dim in options else None for dim in columns] for f, options in lists.items()},
        columns=[str(dim) for dim in columns],
        row_title="feature",
        column_title="embedding dimension",
        row_notes=[f"{count:,}" for count in cardinalities],
    )


class EmbeddingDimSuperNet(EmbeddingSuperNet):
    """Chooses each feature's embedding dimension.

    Args:
        cardinalities: Rows of each feature's table.
        dim_options: Dimensions to choose from.
        features: Names, default ``"0"``, ``"1"``, ...
        own_options: Feature name -> its own dimensions.
        output_dim: Backbone dimension, default the largest option.
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        dim_options: Sequence[int],
        *,
        features: Sequence[str] | None = None,
        own_options: Mapping[str, Sequence[int]] | None = None,
        output_dim: int | None = None,
    ) -> None:
        names = features or [str(number) for number in range(len(cardinalities))]
        choice = dim_choice(names, cardinalities, dim_options, own_options)
        largest = max(int(column) for column in choice.columns)
        width = output_dim or largest
        if width < largest:
            raise ConfigError(f"output_dim {width} is below the largest option {largest}")
        super().__init__(cardinalities, width, dims=choice)
