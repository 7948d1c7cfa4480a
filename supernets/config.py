"""Settings of the DLRM search spaces; every field is a flag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dnas.errors import ConfigError
from dnas.files import read_json


def check_id_skew(value: float) -> None:
    """Refuse an exponent of no Zipf law that ids follow.

    Raises:
        ConfigError: It is negative, or absurd.
    """
    if not 0 <= value < 10:
        raise ConfigError(f"--id_skew must be in [0, 10), but got {value}")


@dataclass(frozen=True, kw_only=True)
class DLRMSpaceConfig:
    """The backbone and what is searched in it. Defaults are those of the paper's Table II."""

    embedding_dimension: int = 32
    """Backbone dimension D, where dimensions are not searched."""
    arch_mlp_bot: tuple[int, ...] = (1024, 1024, 1024)
    """Hidden widths of the bottom MLP, where it is not searched."""
    arch_mlp_top: tuple[int, ...] = (1024, 1024, 1024)
    """Hidden widths of the top MLP, where it is not searched."""
    mlp_size_options: tuple[int, ...] = (128, 256, 512, 1024)
    """Widths to choose from in both MLPs."""
    mlp_bottom_layers: int = 5
    """Most layers of a searched bottom MLP."""
    mlp_top_layers: int = 5
    """Most layers of a searched top MLP."""
    dim_options: tuple[int, ...] = (8, 16, 32, 64, 128)
    """Embedding dimensions to choose from; the largest is the backbone's D."""
    cardinality_options: tuple[str, ...] = ("1.0", "0.1", "0.01", "0.001")
    """Rows to choose from: fractions of a feature's ids (0.1), or numbers (1000)."""
    max_embedding_rows: int = 0
    """Most rows of a feature's table, where rows are not searched; ids beyond share rows. 0: none.
    A final model may lift it (train_sampled.py --space_overrides)."""
    id_skew: float = 1.0
    """Zipf exponent of the ids with which look-ups are measured and priced (0: all ids alike). Has
    no effect on training."""
    feature_options: str | None = None
    """JSON file with own option lists: {"dims": {feature: [8, 16]}, "rows": {feature: ["0.1"]}}."""
    arch_interaction_op: Literal["dot", "cat"] = "dot"
    """Feature interaction: pairwise dot products, or concatenation."""
    arch_interaction_itself: bool = False
    """Keep each vector's product with itself in the dot interaction."""

    def __post_init__(self) -> None:
        for name in ("arch_mlp_bot", "arch_mlp_top", "mlp_size_options", "dim_options"):
            values = getattr(self, name)
            if any(value < 1 for value in values):
                raise ConfigError(f"--{name}: widths must be positive, but got {values}")
        for name in ("mlp_size_options", "dim_options", "cardinality_options"):
            values = getattr(self, name)
            if not values:
                raise ConfigError(f"--{name}: at least one option is needed")
            if len(set(values)) != len(values):
                raise ConfigError(f"--{name}: an option occurs twice in {values}")
        for name in ("embedding_dimension", "mlp_bottom_layers", "mlp_top_layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} must be at least 1, but got {getattr(self, name)}")
        check_id_skew(self.id_skew)
        if self.max_embedding_rows < 0:
            raise ConfigError(
                f"--max_embedding_rows must be positive, or 0 for no cap, but got "
                f"{self.max_embedding_rows}"
            )
        if self.arch_interaction_itself and self.arch_interaction_op == "cat":
            raise ConfigError("--arch_interaction_itself has no meaning with interaction cat")

    def own_options(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Features' own lists of dimensions and of rows.

        Raises:
            ConfigError: The file has other keys than ``dims`` and ``rows``.
        """
        if self.feature_options is None:
            return {}, {}
        value = read_json(self.feature_options)
        if not isinstance(value, dict) or not set(value) <= {"dims", "rows"}:
            raise ConfigError(
                f"{self.feature_options}: expected an object with the keys dims and rows, each a "
                "mapping from feature to a list of options"
            )
        return value.get("dims", {}), value.get("rows", {})
