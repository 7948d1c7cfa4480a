"""Paths, candidates and mutations of the NASRec space, [Zhang2023nasrec]_ sections 4.1 and 4.4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from dnas.core import Architecture, Prior
from dnas.core.sampling import below, happens
from supernets.nasrec.genome import INPUTS, Block, Genome, everything, to_decisions
from supernets.nasrec.liveness import Live, inputs_in_use, liveness
from supernets.nasrec.supernet import NASRecSuperNet

SINGLE_ANY = "single_operator_any_connection"
SINGLE_SINGLE = "single_operator_single_connection"
ANY_ANY = "any_operator_any_connection"


class NASRecPrior(Prior):
    """Draws in the NASRec space.

    *Any connection*: a number of different sources, then that many of them, for the dense and the
    sparse input independently. The number is uniform, or ``1 + Binomial(n - 1, 0.5)``. The two
    inputs of gate and sum have one source each, which may be the same. *Any operator*: a uniform
    number of operators, likewise. Dimensions and links are uniform.

    Args:
        super_net: The space.
        input_limit: Most sources of an input.
        binomial_paths: Binomial numbers of sources in paths; candidates have uniform ones.
    """

    strategies = (SINGLE_ANY, SINGLE_SINGLE, ANY_ANY)
    super_net: NASRecSuperNet

    def __init__(
        self, super_net: NASRecSuperNet, *, input_limit: int, binomial_paths: bool
    ) -> None:
        self.super_net = super_net
        self.shape = super_net.shape
        self.input_limit = input_limit
        self.binomial_paths = binomial_paths
        self._full = super_net.architecture(everything(self.shape))

    def path(self, strategy: str, generator: torch.Generator) -> Architecture:
        """A path to train, by one of the paper's three strategies."""
        return self._trimmed(self.path_genome(strategy, generator))

    def path_genome(self, strategy: str, generator: torch.Generator) -> Genome:
        """The same with the parts that do not reach the logit."""
        strategy = self.check_strategy(strategy)
        count = _binomial if self.binomial_paths else _uniform
        if strategy == SINGLE_SINGLE:
            count = _one
        operators = _uniform if strategy == ANY_ANY else _one
        return self._genome(generator, connections=count, operators=operators)

    def full_path(self) -> Architecture:
        """All operators, all connections, the largest dimensions."""
        return self._full

    def candidate(self, generator: torch.Generator) -> Architecture:
        """One operator in each branch, a uniform number of connections."""
        return self._trimmed(self._fresh(generator))

    def mutate(self, architecture: Architecture, generator: torch.Generator) -> Architecture:
        """One of the paper's six actions in one block, or the FM link where the space has it.

        Blocks and actions are drawn among those that have an effect (in the released code a quarter
        to a half of all mutations change nothing that reaches the logit), and the result of the
        action differs from what was there. What has an effect only now is drawn like a candidate.
        """
        genome = list(self._completed(architecture, self._fresh(generator)))
        lives = liveness(tuple(genome))
        alive = [n for n, live in enumerate(lives) if live.dense_out or live.sparse_out]
        chosen = alive[below(len(alive), generator)]
        actions = self._actions(chosen + 1, genome[chosen], lives[chosen], generator)
        if actions:
            genome[chosen] = actions[below(len(actions), generator)](genome[chosen])
        return self._trimmed(tuple(genome))

    def crossover(
        self, first: Architecture, second: Architecture, generator: torch.Generator
    ) -> Architecture:
        """Each property of each block (its dense operators, its dense sources, ...) of one parent.

        By a fair coin for each of them. What has an effect in one parent only is taken as it is in
        that one; what has none in either, but in the child, is drawn like a candidate's.
        """
        fresh = self._fresh(generator)
        # What a parent does not say, the other one does.
        one = self._completed(first, self._completed(second, fresh))
        other = self._completed(second, self._completed(first, fresh))
        return self._mixed(one, other, 0.5, generator)

    def redraw(
        self, architecture: Architecture, probability: float, generator: torch.Generator
    ) -> Architecture:
        """Each property of each block drawn like a candidate's with ``probability``."""
        fresh = self._fresh(generator)
        return self._mixed(self._completed(architecture, fresh), fresh, probability, generator)

    # ------------------------------------------------------------------ draws

    def _fresh(self, generator: torch.Generator) -> Genome:
        """A candidate with the parts that do not reach the logit."""
        return self._genome(generator, connections=_uniform, operators=_one)

    def _completed(self, architecture: Architecture, rest: Genome) -> Genome:
        """``architecture``, and what has no effect in it as in ``rest``."""
        return self.super_net.genome({**to_decisions(self.shape, rest), **architecture})

    def _mixed(
        self, genome: Genome, other: Genome, probability: float, generator: torch.Generator
    ) -> Architecture:
        """``genome`` with each property of each block from ``other`` with ``probability``."""
        blocks = []
        for block, another in zip(genome, other, strict=True):
            taken = [f.name for f in fields(Block) if happens(probability, generator)]
            blocks.append(replace(block, **{name: getattr(another, name) for name in taken}))
        return self._trimmed(tuple(blocks))

    def _trimmed(self, genome: Genome) -> Architecture:
        return self.super_net.trim(Architecture(to_decisions(self.shape, genome)))

    def _genome(
        self,
        generator: torch.Generator,
        *,
        connections: Callable[[int, torch.Generator], int],
        operators: Callable[[int, torch.Generator], int],
    ) -> Genome:
        shape = self.shape
        blocks = []
        for number in range(1, shape.num_blocks + 1):
            blocks.append(
                Block(
                    dense_ops=_some(shape.dense_operators, operators, generator),
                    sparse_ops=_some(shape.sparse_operators, operators, generator),
                    dense_in=self._sources(number, connections, generator),
                    sparse_in=self._sources(number, connections, generator),
                    left=(below(number, generator),),
                    right=(below(number, generator),),
                    dense_dim=shape.dense_dims[below(len(shape.dense_dims), generator)],
                    sparse_dim=shape.sparse_dims[below(len(shape.sparse_dims), generator)],
                    interact=bool(below(2, generator)),
                    fm=bool(below(2, generator)) and shape.fm_link,
                )
            )
        return tuple(blocks)

    def _sources(
        self,
        number: int,
        count: Callable[[int, torch.Generator], int],
        generator: torch.Generator,
    ) -> tuple[int, ...]:
        limit = min(number, self.input_limit)
        order = torch.randperm(number, generator=generator).tolist()
        return tuple(sorted(order[: count(limit, generator)]))

    # ------------------------------------------------------------------ mutations

    def _actions(
        self, number: int, block: Block, live: Live, generator: torch.Generator
    ) -> list[Callable[[Block], Block]]:
        """What can be changed in a block with an effect."""
        shape = self.shape
        actions: list[Callable[[Block], Block]] = []

        def dims(name: str, options: Sequence[int]) -> None:
            others = [option for option in options if option != getattr(block, name)]
            if others:
                drawn = others[below(len(others), generator)]
                actions.append(lambda b: _with(b, name, drawn))

        def operator(name: str, options: Sequence[str]) -> None:
            taken = getattr(block, name)
            others = [option for option in options if option not in taken]
            if others:
                drawn = others[below(len(others), generator)]
                kept = list(taken)
                if kept:
                    kept.pop(below(len(kept), generator))
                result = tuple(option for option in options if option in (*kept, drawn))
                actions.append(lambda b: _with(b, name, result))

        if live.dense(block):
            dims("dense_dim", shape.dense_dims)
            operator("dense_ops", shape.dense_operators)
        if live.sparse(block):
            dims("sparse_dim", shape.sparse_dims)
            operator("sparse_ops", shape.sparse_operators)
        in_use = inputs_in_use(block, live)
        inputs = [name for name in INPUTS if in_use[name]]
        if inputs and number > 1:
            name = inputs[below(len(inputs), generator)]
            sources = self._other_sources(number, name, getattr(block, name), generator)
            actions.append(lambda b: _with(b, name, sources))
        if live.sparse_out:
            actions.append(lambda b: replace(b, interact=not b.interact))
        if live.dense_out and shape.fm_link:
            actions.append(lambda b: replace(b, fm=not b.fm))
        return actions

    def _other_sources(
        self, number: int, name: str, taken: tuple[int, ...], generator: torch.Generator
    ) -> tuple[int, ...]:
        while True:
            drawn = (
                (below(number, generator),)
                if name in ("left", "right")
                else self._sources(number, _uniform, generator)
            )
            if drawn != taken:
                return drawn


def _with(block: Block, name: str, value: Any) -> Block:
    return replace(block, **{name: value})


def _one(most: int, generator: torch.Generator) -> int:
    return 1


def _uniform(most: int, generator: torch.Generator) -> int:
    """1 .. ``most``, equally likely."""
    return 1 + below(most, generator)


def _binomial(most: int, generator: torch.Generator) -> int:
    """``1 + Binomial(most - 1, 0.5)``."""
    return 1 + int(torch.randint(2, (most - 1,), generator=generator).sum())


def _some(
    options: Sequence[str],
    count: Callable[[int, torch.Generator], int],
    generator: torch.Generator,
) -> tuple[str, ...]:
    order = torch.randperm(len(options), generator=generator).tolist()
    chosen = set(order[: count(len(options), generator)])
    return tuple(option for place, option in enumerate(options) if place in chosen)
