"""Settings of the hand-crafted baselines; every field is a flag."""

from __future__ import annotations

from dataclasses import dataclass

from dnas.errors import ConfigError
from dnas.models import capped_rows
from supernets.config import check_id_skew


@dataclass(frozen=True, kw_only=True)
class BaselinesConfig:
    """What all baselines have in common, and the hidden layers to choose from.

    The papers' own sizes, for Criteo: MLPs of 400, 400, 400 (DeepFM) and 400, 400 (xDeepFM), CIN
    layers of 200, 200, 200, three interacting layers of two heads of width 32.
    """

    embedding_dimension: int = 16
    """Dimension D of every field's vector."""
    mlp_width_options: tuple[int, ...] = (100, 200, 400)
    """Widths of the MLPs' hidden layers to choose from."""
    mlp_depth_options: tuple[int, ...] = (1, 2, 3)
    """Numbers of hidden layers to choose from, all of one width."""
    attention_layers: int = 3
    """Interacting layers of AutoInt+."""
    attention_heads: int = 2
    """Heads of an interacting layer."""
    attention_dimension: int = 32
    """Width of a head."""
    cin_sizes: tuple[int, ...] = (100, 100)
    """Vectors of each layer of xDeepFM's compressed interaction network."""
    max_embedding_rows: int = 0
    """Most rows of a feature's table, ids are taken modulo; 0: as many as it has ids."""
    id_skew: float = 1.0
    """Zipf exponent of the ids with which look-ups are measured and priced (0: all ids alike). Has
    no effect on training."""

    def __post_init__(self) -> None:
        for name in ("mlp_width_options", "mlp_depth_options", "cin_sizes"):
            values = getattr(self, name)
            if not values:
                raise ConfigError(f"--{name}: at least one number is needed")
            if min(values) < 1:
                raise ConfigError(f"--{name}: numbers must be positive, but got {values}")
        for name in ("mlp_width_options", "mlp_depth_options"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ConfigError(f"--{name}: an option occurs twice in {values}")
        for name in (
            "embedding_dimension",
            "attention_layers",
            "attention_heads",
            "attention_dimension",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} must be at least 1, but got {getattr(self, name)}")
        check_id_skew(self.id_skew)
        if self.max_embedding_rows < 0:
            raise ConfigError(
                f"--max_embedding_rows must be 0 or more, but got {self.max_embedding_rows}"
            )

    def rows(self, cardinalities: tuple[int, ...]) -> tuple[int, ...]:
        """Rows of each feature's table."""
        return capped_rows(cardinalities, self.max_embedding_rows)
