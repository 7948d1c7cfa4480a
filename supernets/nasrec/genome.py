"""A network of the NASRec space, block by block, and its decisions.

Decisions of block b: ``dense_ops/b.OPERATOR`` and ``sparse_ops/b.OPERATOR`` (off or on),
``dense_in/b.s``, ``sparse_in/b.s``, ``left/b.s`` and ``right/b.s`` (whether source s feeds that
input; 0 is the raw input, k the output of block k), ``dense_dim/b``, ``sparse_dim/b``,
``interact/b`` (Project-Concatenate) and ``fm/b``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dnas.core import Choice, Option
from dnas.errors import ArchitectureError
from supernets.nasrec.shape import Ranges, Shape

INPUTS = ("dense_in", "sparse_in", "left", "right")


@dataclass(frozen=True)
class Block:
    """What was decided for one block.

    Attributes:
        dense_ops: Operators whose sum is the dense output; none: zeros.
        sparse_ops: Operators whose sum is the sparse output; none: zeros.
        dense_in: Sources whose dense outputs are concatenated for fc and dot, ascending.
        sparse_in: Sources whose sparse outputs are concatenated for dot and the sparse operators.
        left: Sources of the first input of gate and sum.
        right: Sources of their second input.
        dense_dim: D.
        sparse_dim: N.
        interact: Project-Concatenate: the dense output goes into the sparse output too.
        fm: The factorization machine of the sparse output is added to the dense output.
    """

    dense_ops: tuple[str, ...]
    sparse_ops: tuple[str, ...]
    dense_in: tuple[int, ...]
    sparse_in: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    dense_dim: int
    sparse_dim: int
    interact: bool
    fm: bool = False


Genome = tuple[Block, ...]


def everything(shape: Shape) -> Genome:
    """All operators, all connections, the largest dimensions: the whole supernet."""
    return tuple(
        Block(
            dense_ops=shape.dense_operators,
            sparse_ops=shape.sparse_operators,
            **{name: tuple(range(number)) for name in INPUTS},
            dense_dim=shape.dense_dims[-1],
            sparse_dim=shape.sparse_dims[-1],
            interact=True,
            fm=shape.fm_link,
        )
        for number in range(1, shape.num_blocks + 1)
    )


# ------------------------------------------------------------------------------------- decisions


def make_choices(shape: Shape) -> list[Choice]:
    """The Choices of the space, theta zero."""
    blocks = range(1, shape.num_blocks + 1)
    off_on = (False, True)
    choices = [
        _switches("dense_ops", [f"{b}.{op}" for b in blocks for op in shape.dense_operators]),
        _switches("sparse_ops", [f"{b}.{op}" for b in blocks for op in shape.sparse_operators]),
    ]
    for name in INPUTS:
        if name in ("dense_in", "sparse_in") or has_binary(shape):
            connections = [f"{b}.{source}" for b in blocks for source in range(b)]
            choices.append(_switches(name, connections))
    for name, dims in (("dense_dim", shape.dense_dims), ("sparse_dim", shape.sparse_dims)):
        rows = {str(b): dims for b in blocks}
        choices.append(Choice(name, rows, row_title="block", column_title="dimension"))
    for name in ("interact", *(("fm",) if shape.fm_link else ())):
        rows = {str(b): off_on for b in blocks}
        choices.append(Choice(name, rows, row_title="block", column_title="on"))
    return choices


def _switches(name: str, decisions: Sequence[str]) -> Choice:
    rows = {decision: (False, True) for decision in decisions}
    return Choice(name, rows, row_title="block.part", column_title="on")


def check_genome(shape: Shape, genome: Genome) -> None:
    """Refuse what has no decision in the space; widths are checked with the other options.

    Raises:
        ArchitectureError: Another number of blocks, an operator or a link that the space lacks.
    """
    if len(genome) != shape.num_blocks:
        raise ArchitectureError(f"{len(genome)} blocks; the space has {shape.num_blocks}")
    known = {*shape.dense_operators, *shape.sparse_operators}
    for number, block in enumerate(genome, start=1):
        unknown = sorted({*block.dense_ops, *block.sparse_ops} - known)
        if unknown:
            raise ArchitectureError(
                f"block {number}: no operator {unknown[0]!r}; the space has {sorted(known)}"
            )
        if block.fm and not shape.fm_link:
            raise ArchitectureError(f"block {number}: the space has no FM link (--fm_link=on)")


def to_decisions(shape: Shape, genome: Genome) -> dict[str, Option]:
    """Every decision of ``genome``."""
    decisions: dict[str, Option] = {}
    for number, block in enumerate(genome, start=1):
        for name, operators in (
            ("dense_ops", shape.dense_operators),
            ("sparse_ops", shape.sparse_operators),
        ):
            for operator in operators:
                decisions[f"{name}/{number}.{operator}"] = operator in getattr(block, name)
        for name in INPUTS:
            if name in ("dense_in", "sparse_in") or has_binary(shape):
                for source in range(number):
                    decisions[f"{name}/{number}.{source}"] = source in getattr(block, name)
        decisions[f"dense_dim/{number}"] = block.dense_dim
        decisions[f"sparse_dim/{number}"] = block.sparse_dim
        decisions[f"interact/{number}"] = block.interact
        if shape.fm_link:
            decisions[f"fm/{number}"] = block.fm
    return decisions


def from_decisions(shape: Shape, decisions: Mapping[str, Option]) -> Genome:
    """The genome; decisions that are not there are off, and dimensions the smallest."""

    def chosen(name: str, number: int, parts: Sequence[str]) -> tuple[str, ...]:
        return tuple(p for p in parts if decisions.get(f"{name}/{number}.{p}", False))

    def sources(name: str, number: int) -> tuple[int, ...]:
        return tuple(s for s in range(number) if decisions.get(f"{name}/{number}.{s}", False))

    return tuple(
        Block(
            dense_ops=chosen("dense_ops", number, shape.dense_operators),
            sparse_ops=chosen("sparse_ops", number, shape.sparse_operators),
            **{name: sources(name, number) for name in INPUTS},
            dense_dim=int(decisions.get(f"dense_dim/{number}", shape.dense_dims[0])),
            sparse_dim=int(decisions.get(f"sparse_dim/{number}", shape.sparse_dims[0])),
            interact=bool(decisions.get(f"interact/{number}", False)),
            fm=bool(decisions.get(f"fm/{number}", False)),
        )
        for number in range(1, shape.num_blocks + 1)
    )


def has_binary(shape: Shape) -> bool:
    """Whether an operator of the space has a left and a right input."""
    return "gate" in shape.dense_operators or "sum" in shape.dense_operators


# ------------------------------------------------------------------------------------- widths


def dense_ranges(shape: Shape, genome: Genome, sources: Sequence[int]) -> Ranges:
    """Where the dense outputs of ``sources`` lie among those of all sources."""
    return tuple(
        (shape.dense_starts[s], shape.num_dense if s == 0 else genome[s - 1].dense_dim)
        for s in sources
    )


def sparse_ranges(shape: Shape, genome: Genome, sources: Sequence[int]) -> Ranges:
    """Where the sparse outputs of ``sources`` lie among those of all sources."""
    ranges: list[tuple[int, int]] = []
    for source in sources:
        start = shape.sparse_starts[source]
        if source == 0:
            ranges.append((start, shape.num_sparse))
            continue
        block = genome[source - 1]
        ranges.append((start, block.sparse_dim))
        if block.interact:
            ranges.append((start + shape.sparse_dims[-1], shape.interact_rows))
    return tuple(ranges)
