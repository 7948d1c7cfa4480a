"""Which parts of a network reach the logit, and the one form that equal networks have.

A part that does not reach the logit is not built, not computed and not counted. In the published
NASRec-Full models it is half of all multiplications.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from supernets.nasrec.genome import INPUTS, Block, Genome
from supernets.nasrec.shape import Shape

_BINARY = frozenset({"gate", "sum"})


@dataclass(frozen=True)
class Live:
    """What of one block reaches the logit.

    Attributes:
        dense_out: Somebody reads the dense output.
        sparse_out: Somebody reads the sparse output.
    """

    dense_out: bool
    sparse_out: bool

    def dense(self, block: Block) -> bool:
        """Whether the dense operators reach the logit."""
        return self.dense_out or (self.sparse_out and block.interact)

    def sparse(self, block: Block) -> bool:
        """Whether the sparse operators reach the logit."""
        return self.sparse_out or (self.dense_out and block.fm)

    def interact(self, block: Block) -> bool:
        """Whether Project-Concatenate reaches the logit."""
        return self.sparse_out and block.interact

    def fm(self, block: Block) -> bool:
        """Whether the factorization machine reaches the logit."""
        return self.dense_out and block.fm


def inputs_read(block: Block, live: Live) -> dict[str, bool]:
    """Which inputs an operator in use reads."""
    dense_ops = set(block.dense_ops) if live.dense(block) else set()
    sparse_ops = set(block.sparse_ops) if live.sparse(block) else set()
    binary = bool(dense_ops & _BINARY)
    return {
        "dense_in": bool(dense_ops & {"fc", "dot"}),
        "sparse_in": "dot" in dense_ops or bool(sparse_ops),
        "left": binary,
        "right": binary,
    }


def inputs_in_use(block: Block, live: Live) -> dict[str, tuple[int, ...]]:
    """Sources of each input that an operator in use reads; empty where none does."""
    return {n: getattr(block, n) if read else () for n, read in inputs_read(block, live).items()}


def liveness(genome: Genome) -> tuple[Live, ...]:
    """What reaches the logit, which reads both outputs of the last block."""
    dense = [False] * len(genome) + [True]
    sparse = [False] * len(genome) + [True]
    for number in range(len(genome), 0, -1):
        used = inputs_in_use(genome[number - 1], Live(dense[number], sparse[number]))
        for name in INPUTS:
            outputs = sparse if name == "sparse_in" else dense
            for source in used[name]:
                outputs[source] = True
    return tuple(Live(d, s) for d, s in zip(dense[1:], sparse[1:], strict=True))


def all_live(genome: Genome) -> tuple[Live, ...]:
    """As if everything reached the logit: what a program executes that does not look."""
    return (Live(True, True),) * len(genome)


def decisions_with_effect(shape: Shape, genome: Genome) -> set[str]:
    """Keys of the decisions that the built network depends on."""
    keys: set[str] = set()
    for number, (block, live) in enumerate(zip(genome, liveness(genome), strict=True), start=1):
        is_dense, is_sparse = live.dense(block), live.sparse(block)
        if is_dense:
            keys |= {f"dense_ops/{number}.{op}" for op in shape.dense_operators}
            keys.add(f"dense_dim/{number}")
        if is_sparse:
            keys |= {f"sparse_ops/{number}.{op}" for op in shape.sparse_operators}
            keys.add(f"sparse_dim/{number}")
        if live.sparse_out:
            keys.add(f"interact/{number}")
        if live.dense_out and shape.fm_link:
            keys.add(f"fm/{number}")
        for name, is_read in inputs_read(block, live).items():
            if is_read:
                keys |= {f"{name}/{number}.{source}" for source in range(number)}
    return keys


def canonical_genome(shape: Shape, genome: Genome) -> Genome:
    """One form for networks that are the same when trained from scratch.

    Dead parts are off; live blocks have the lowest numbers that their inputs allow, in an order
    that depends on what they compute and not on how they were numbered; a sum, which commutes, has
    its inputs in order. (Two orders of blocks that differ only in which of two identical blocks
    feeds which successor may remain apart.)
    """
    lives = liveness(genome)
    pruned = [_without_dead_parts(shape, b, live) for b, live in zip(genome, lives, strict=True)]
    is_live = [live.dense_out or live.sparse_out for live in lives]
    last = len(genome)
    digests: dict[int, str] = {0: "raw"}
    for number, block in enumerate(pruned, start=1):
        digests[number] = _digest(block, digests)
    new_number = {0: 0, last: last}
    waiting = [number for number in range(1, last) if is_live[number - 1]]
    while waiting:
        ready = [n for n in waiting if all(s in new_number for s in _sources(pruned[n - 1]))]
        placed = min(
            ready,
            key=lambda n: (digests[n], _renumbered(pruned[n - 1], new_number)[:4], n),
        )
        new_number[placed] = len(new_number) - 1
        waiting.remove(placed)
    result = [_nothing(shape)] * last
    for number in range(1, last + 1):
        if number == last or is_live[number - 1]:
            block = pruned[number - 1]
            sources: dict[str, Any] = dict(zip(INPUTS, _renumbered(block, new_number), strict=True))
            if "gate" not in block.dense_ops:
                sources["left"], sources["right"] = sorted((sources["left"], sources["right"]))
            result[new_number[number] - 1] = replace(block, **sources)
    return tuple(result)


def _without_dead_parts(shape: Shape, block: Block, live: Live) -> Block:
    nothing = _nothing(shape)
    is_dense, is_sparse = live.dense(block), live.sparse(block)
    return Block(
        dense_ops=block.dense_ops if is_dense else (),
        sparse_ops=block.sparse_ops if is_sparse else (),
        **inputs_in_use(block, live),
        dense_dim=block.dense_dim if is_dense else nothing.dense_dim,
        sparse_dim=block.sparse_dim if is_sparse else nothing.sparse_dim,
        interact=live.interact(block),
        fm=live.fm(block),
    )


def _nothing(shape: Shape) -> Block:
    return Block((), (), (), (), (), (), shape.dense_dims[0], shape.sparse_dims[0], False, False)


def _sources(block: Block) -> set[int]:
    return {source for name in INPUTS for source in getattr(block, name)}


def _renumbered(block: Block, new_number: dict[int, int]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(sorted(new_number[s] for s in getattr(block, name))) for name in INPUTS)


def _digest(block: Block, digests: dict[int, str]) -> str:
    """Of what the block computes, in terms of what its sources compute."""
    value = asdict(block)
    for name in INPUTS:
        value[name] = sorted(digests[source] for source in getattr(block, name))
    if "gate" not in block.dense_ops:
        value["left"], value["right"] = sorted((value["left"], value["right"]))
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
