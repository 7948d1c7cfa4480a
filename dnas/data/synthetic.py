"""Click logs made up so that the best architecture is known.

Letters: F categorical features, V values of each, n_dense numbers, f a feature, v a value of it.

``cardinality`` plants, for every feature, the fraction of its table's rows that is needed. With
``H_f = max(int(fraction_f * V), 1)`` remaining ids,

    logit = sum_f effect_f[v_f mod H_f]

so a table of ``H_f`` rows, read at ``v mod H_f``, loses nothing; a larger table of rows
``v mod rows`` has rows it does not need, a smaller one mixes values of different effect. The
numbers are noise. Effects are normal, one for each of the ``H_f`` ids, centred; features with
``H_f > 1`` have equal variance.

``rank`` plants, for every feature, the dimension its embedding needs. Features come in pairs (a, b)
of equal rank,

    logit = sum_(a, b) U_a[v_a] . U_b[v_b]

with ``U_f`` a ``(V, max rank)`` matrix whose first ``rank_f`` columns are iid normal and the others
zero: the pair's table of logits has that rank, and the dot product of two embeddings of ``rank_f``
dimensions represents it, fewer do not. All pairs have equal variance; the numbers are noise. (A
product with the numbers instead of a partner would have all features share one basis, the bottom
MLP's output, whose coordinates no training brings into the order that nested dimensions need.)

Labels are 1 with probability sigmoid(logit). Everything follows from the :class:`SyntheticSpec`
alone, in any process; rows are made in chunks of fixed size, each with a generator of its own, so
that no result depends on how many are wanted at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from dnas.data.config import DataConfig
from dnas.data.spec import DataSpec
from dnas.data.store_writer import StoreWriter
from dnas.errors import ConfigError

_CHUNK_ROWS = 1 << 16
_DEFAULT_VALUES = {"cardinality": 2000, "rank": 50}
#: Streams of the generator; part of what a seed means.
_STREAM_PLAN, _STREAM_EFFECTS, _STREAM_ROWS = 0, 1, 2
#: To be raised with every change of what a seed means, so that no store of the old kind is opened.
_GENERATOR = 4


@dataclass(frozen=True, kw_only=True)
class SyntheticSpec:
    """Everything a synthetic data set follows from.

    Attributes:
        kind: What is planted.
        rows: Rows.
        seed: Seed of everything.
        features: F.
        values: V.
        n_dense: Numbers of each row.
        options: The options planted: fractions of V, or ranks.
        logit_std: Standard deviation of the logit over all rows.

    Raises:
        ConfigError: An option cannot be planted.
    """

    kind: Literal["cardinality", "rank"] = "cardinality"
    rows: int = 20000
    seed: int = 0
    features: int = 26
    values: int = 2000
    n_dense: int = 13
    options: tuple[float, ...] = (1.0, 0.1, 0.01, 0.001)
    logit_std: float = 1.5

    def __post_init__(self) -> None:
        if not self.options:
            raise ConfigError("synthetic data: options is empty")
        if self.kind == "rank":
            for rank in self.options:
                if rank != int(rank) or rank < 1:
                    raise ConfigError(
                        f"synthetic data: rank {rank}: must be a positive whole number"
                    )
            if self.features % 2:
                raise ConfigError(
                    f"--synthetic_features={self.features}: planted ranks belong to pairs of "
                    "features; give an even number"
                )
        else:
            for fraction in self.options:
                if not 0 < fraction <= 1:
                    raise ConfigError(f"synthetic data: fraction {fraction}: not in (0, 1]")

    @classmethod
    def from_config(cls, config: DataConfig) -> SyntheticSpec:
        """The spec of the ``--synthetic_*`` flags."""
        kind = config.synthetic_kind
        values = config.synthetic_values or _DEFAULT_VALUES[kind]
        special: dict[str, Any] = {}
        if kind == "rank":
            special = {"options": (2, 4, 8, 16), "logit_std": 2.0}
        return cls(
            kind=kind,
            rows=config.synthetic_rows,
            seed=config.synthetic_seed,
            features=config.synthetic_features,
            values=values,
            **special,
        )

    @property
    def data_spec(self) -> DataSpec:
        """Columns and cardinalities; every feature is declared with all V values."""
        return DataSpec(
            tuple(f"I{i}" for i in range(1, self.n_dense + 1)),
            tuple(f"C{i}" for i in range(1, self.features + 1)),
            (self.values,) * self.features,
        )


class Chunk(NamedTuple):
    """Some rows.

    Attributes:
        labels: ``(rows,)`` uint8.
        dense: ``(rows, n_dense)`` float32.
        ids: ``(rows, F)`` int32 in [0, V).
        probabilities: ``(rows,)`` float64, the true probability of label 1.
    """

    labels: np.ndarray
    dense: np.ndarray
    ids: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Planted:
    """The optimum.

    Attributes:
        kind: "cardinality" or "rank".
        features: Names of the F features.
        options: What could be planted, as in the spec.
        planted: For each feature its option: a fraction, or a rank.
        needed: For each feature the rows (H_f) or dimensions (rank_f) that suffice.
        bayes_log_loss: Mean log loss, on all rows and with their labels, of the true probabilities.
        bayes_entropy: Its expectation over labels: the mean entropy of the true probabilities.
        label_rate: Share of label 1.
    """

    kind: str
    features: tuple[str, ...]
    options: tuple[float, ...]
    planted: tuple[float, ...]
    needed: tuple[int, ...]
    bayes_log_loss: float
    bayes_entropy: float
    label_rate: float

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
        }


def plan(spec: SyntheticSpec) -> tuple[float, ...]:
    """The option planted in each feature: every option as often as any other, or once more."""
    each = 2 if spec.kind == "rank" else 1
    repeated = np.resize(np.array(spec.options, dtype=np.float64), spec.features // each)
    shuffled = np.random.default_rng([spec.seed, _STREAM_PLAN]).permutation(repeated)
    return tuple(float(option) for option in np.repeat(shuffled, each))


def needed(spec: SyntheticSpec) -> tuple[int, ...]:
    """The rows or dimensions that suffice for each feature."""
    if spec.kind == "rank":
        return tuple(int(rank) for rank in plan(spec))
    return tuple(max(int(fraction * spec.values), 1) for fraction in plan(spec))


def effects(spec: SyntheticSpec) -> list[np.ndarray]:
    """The true parameters: for each feature ``(H_f,)`` effects, or its ``(V, max rank)`` matrix."""
    rng = np.random.default_rng([spec.seed, _STREAM_EFFECTS])
    if spec.kind == "rank":
        share = spec.logit_std / np.sqrt(spec.features // 2)
        matrices = []
        for rank in needed(spec):
            matrix = np.zeros((spec.values, int(max(spec.options))))
            matrix[:, :rank] = rng.standard_normal((spec.values, rank))
            # The product of two such rows has variance rank * scale ** 4.
            matrices.append(matrix * np.sqrt(share / np.sqrt(rank)))
        return matrices
    remaining = needed(spec)
    active = max(sum(count > 1 for count in remaining), 1)
    share = spec.logit_std / np.sqrt(active)
    vectors = []
    for count in remaining:
        vector = rng.standard_normal(count)
        # How often each remaining id occurs when the V values are equally likely.
        weight = np.bincount(np.arange(spec.values) % count, minlength=count) / spec.values
        vector -= weight @ vector
        if count > 1:
            vector *= share / np.sqrt(weight @ vector**2)
        vectors.append(vector)
    return vectors


def generate(spec: SyntheticSpec) -> Iterator[Chunk]:
    """All rows, in chunks."""
    parameters = effects(spec)
    for number, start in enumerate(range(0, spec.rows, _CHUNK_ROWS)):
        rng = np.random.default_rng([spec.seed, _STREAM_ROWS, number])
        rows = min(_CHUNK_ROWS, spec.rows - start)
        # Whole chunks are drawn and cut, so that a longer data set begins with a shorter one.
        ids = rng.integers(spec.values, size=(_CHUNK_ROWS, spec.features), dtype=np.int32)[:rows]
        dense = rng.standard_normal((_CHUNK_ROWS, spec.n_dense), dtype=np.float32)[:rows]
        uniform = rng.random(_CHUNK_ROWS)[:rows]
        logit = np.zeros(rows)
        if spec.kind == "rank":
            vectors = [matrix[ids[:, feature]] for feature, matrix in enumerate(parameters)]
            for a, b in zip(vectors[::2], vectors[1::2], strict=True):
                logit += np.einsum("bd,bd->b", a, b)
        else:
            for feature, effect in enumerate(parameters):
                logit += effect[ids[:, feature] % effect.size]
        probabilities = 1 / (1 + np.exp(-logit))
        labels = (uniform < probabilities).astype(np.uint8)
        yield Chunk(labels, dense, ids, probabilities)


def true_probabilities(spec: SyntheticSpec) -> np.ndarray:
    """``(rows,)`` float64 true probability of label 1 of every row, in store order."""
    return np.concatenate([chunk.probabilities for chunk in generate(spec)])


def planted(source: DataConfig | SyntheticSpec) -> Planted:
    """The optimum of a synthetic data set, computed anew from its flags."""
    spec = SyntheticSpec.from_config(source) if isinstance(source, DataConfig) else source
    loss = entropy = positives = 0.0
    for chunk in generate(spec):
        p = np.clip(chunk.probabilities, 1e-15, 1 - 1e-15)
        loss -= float(np.sum(np.log(np.where(chunk.labels == 1, p, 1 - p))))
        entropy -= float(np.sum(p * np.log(p) + (1 - p) * np.log(1 - p)))
        positives += float(chunk.labels.sum())
    return Planted(
        kind=spec.kind,
        features=spec.data_spec.sparse_names,
        options=tuple(float(option) for option in spec.options),
        planted=plan(spec),
        needed=needed(spec),
        bayes_log_loss=loss / spec.rows,
        bayes_entropy=entropy / spec.rows,
        label_rate=positives / spec.rows,
    )


@dataclass(frozen=True)
class SyntheticSource:
    """A synthetic data set as something a store can be built from."""

    spec: SyntheticSpec
    data_set: str = "synthetic"
    has_parts: bool = False

    @property
    def dense_names(self) -> tuple[str, ...]:
        """Numeric columns."""
        return self.spec.data_spec.dense_names

    @property
    def sparse_names(self) -> tuple[str, ...]:
        """Categorical columns."""
        return self.spec.data_spec.sparse_names

    def identity(self) -> dict[str, Any]:
        """Everything that the content depends on, as JSON."""
        # numpy may change its streams between versions, see NEP 19.
        return {
            "generator": _GENERATOR,
            "spec": dataclasses.asdict(self.spec),
            "numpy": np.__version__,
        }

    def write(self, writer: StoreWriter) -> None:
        """Append all rows and finish the writer."""
        for chunk in generate(self.spec):
            writer.append(chunk.labels, chunk.dense, chunk.ids)
        writer.finish(data_set=self.data_set, spec=self.spec.data_spec, identity=self.identity())
