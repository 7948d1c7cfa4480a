"""Settings of the NASRec spaces; every field is a flag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dnas.errors import ConfigError
from dnas.models import capped_rows
from supernets.config import check_id_skew
from supernets.nasrec.released import (
    RELEASED_DENSE_DIMS,
    RELEASED_INTERACT_ROWS,
    RELEASED_SPARSE_DIMS,
)
from supernets.nasrec.shape import DENSE_OPERATORS, SPARSE_OPERATORS, Shape

_PAPER_DENSE_DIMS = (32, 64, 128, 256, 512)
_PAPER_SPARSE_DIMS = (16, 32, 64)
#: Most sources of an input in the released code.
_RELEASED_MAX_INPUTS = 4


@dataclass(frozen=True, kw_only=True)
class NASRecConfig:
    """The space of arXiv:2207.07187, section 3.

    Settings left at auto, 0 or nothing are those of the variant.

    Raises:
        ConfigError: A value is out of range.
    """

    variant: Literal["paper", "released"] = "paper"
    """Default of the other settings: as the paper states them, or as the authors' code has them."""
    num_blocks: int = 7
    """Choice blocks n."""
    embedding_dimension: int = 16
    """Dimension e of embeddings and of all sparse tensors."""
    operators: tuple[str, ...] = ()
    """Operators to choose from, of fc, gate, sum, dot, embed_fc, attention; none: the space's."""
    dense_dims: tuple[int, ...] = ()
    """Widths of dense outputs to choose from; none: 32 to 512 (paper), 16 to 1024 (released)."""
    sparse_dims: tuple[int, ...] = ()
    """Rows of sparse outputs to choose from; none: 16, 32, 64 (paper), and 48 (released)."""
    interact_rows: int = 0
    """Rows that Project-Concatenate adds; 0: 1 (paper) or 8 (released)."""
    fm_link: Literal["auto", "on", "off"] = "auto"
    """Whether blocks may add a factorization machine; auto: off (paper) or on (released)."""
    attention: Literal["auto", "formula", "transformer"] = "auto"
    """softmax(x x^T / sqrt(e)) x (paper), or a transformer layer (released)."""
    attention_heads: int = 8
    """Heads of the transformer layer."""
    binary_inputs: Literal["auto", "project", "pad"] = "auto"
    """How gate and sum match their inputs: two projections (paper), or zeros (released)."""
    balanced_dot: bool = True
    """Project to round(sqrt(2 D)) rows before the dot product, section 4.2."""
    layer_norm: bool = True
    """Normalise every operator. The authors train their final models without."""
    max_inputs: int = 0
    """Most sources of an input in drawn networks; 0: no limit (paper) or 4 (released)."""
    connection_counts: Literal["auto", "uniform", "binomial"] = "auto"
    """Number of sources of an input in training paths: uniform over 1..n (paper), or
    1 + Binomial(n - 1, 0.5) (released). Candidates of a search are always uniform."""
    max_embedding_rows: int = 0
    """Most rows of a table, ids are taken modulo; 0: no limit. The paper searches with 500000."""
    id_skew: float = 1.0
    """Zipf exponent of the ids with which look-ups are measured and priced (0: all ids alike). Has
    no effect on training."""

    def __post_init__(self) -> None:
        for name, low in (
            ("num_blocks", 1),
            ("embedding_dimension", 1),
            ("interact_rows", 0),
            ("attention_heads", 1),
            ("max_inputs", 0),
            ("max_embedding_rows", 0),
        ):
            if getattr(self, name) < low:
                raise ConfigError(f"--{name} must be at least {low}, but got {getattr(self, name)}")
        check_id_skew(self.id_skew)
        for name in ("dense_dims", "sparse_dims"):
            dims = getattr(self, name)
            if any(dim < 1 for dim in dims) or len(set(dims)) != len(dims):
                raise ConfigError(f"--{name}: different positive widths are needed, got {dims}")
        known = (*DENSE_OPERATORS, *SPARSE_OPERATORS)
        for operator in self.operators:
            if operator not in known:
                raise ConfigError(f"--operators: {operator!r} is none of {', '.join(known)}")
        if self.operators:
            for kind, names in (("dense", DENSE_OPERATORS), ("sparse", SPARSE_OPERATORS)):
                if not set(self.operators) & set(names):
                    raise ConfigError(f"--operators: one of the {kind} ones {names} is needed")

    @property
    def _released(self) -> bool:
        return self.variant == "released"

    @property
    def _transformer(self) -> bool:
        return self.attention == "transformer" or (self.attention == "auto" and self._released)

    def input_limit(self) -> int:
        """Most sources of an input in drawn networks; the number of blocks where there is none."""
        default = _RELEASED_MAX_INPUTS if self._released else self.num_blocks
        return self.max_inputs or default

    def binomial_paths(self) -> bool:
        """Whether training paths have binomial numbers of sources."""
        if self.connection_counts == "auto":
            return self._released
        return self.connection_counts == "binomial"

    def table_rows(self, cardinalities: tuple[int, ...]) -> tuple[int, ...]:
        """Rows of each feature's table."""
        return capped_rows(cardinalities, self.max_embedding_rows)

    def shape(self, num_dense: int, num_sparse: int, operators: tuple[str, ...]) -> Shape:
        """What is fixed for data with these numbers of columns.

        Args:
            num_dense: Numbers of a row.
            num_sparse: Categories of a row.
            operators: Of the space, where ``operators`` does not say others.

        Raises:
            ConfigError: The heads of the attention do not divide the embedding dimension.
        """
        chosen = self.operators or operators
        released = self._released
        if (
            self._transformer
            and "attention" in chosen
            and self.embedding_dimension % self.attention_heads
        ):
            raise ConfigError(
                f"--attention_heads={self.attention_heads} must divide --embedding_dimension="
                f"{self.embedding_dimension}"
            )
        dense = self.dense_dims or (RELEASED_DENSE_DIMS if released else _PAPER_DENSE_DIMS)
        sparse = self.sparse_dims or (RELEASED_SPARSE_DIMS if released else _PAPER_SPARSE_DIMS)
        return Shape(
            num_dense=num_dense,
            num_sparse=num_sparse,
            dim=self.embedding_dimension,
            num_blocks=self.num_blocks,
            dense_operators=tuple(op for op in DENSE_OPERATORS if op in chosen),
            sparse_operators=tuple(op for op in SPARSE_OPERATORS if op in chosen),
            dense_dims=tuple(sorted(dense)),
            sparse_dims=tuple(sorted(sparse)),
            interact_rows=self.interact_rows or (RELEASED_INTERACT_ROWS if released else 1),
            fm_link=released if self.fm_link == "auto" else self.fm_link == "on",
            layer_norm=self.layer_norm,
            balanced_dot=self.balanced_dot,
            transformer_attention=self._transformer,
            attention_heads=self.attention_heads,
            pad_inputs=released if self.binary_inputs == "auto" else self.binary_inputs == "pad",
        )
