"""What NASRec networks run, so that it can be measured: operators of one network and of a space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from dnas.core import Operator
from dnas.costs import find_kind
from dnas.models.operators import embedding_operators
from supernets.nasrec.genome import Block, Genome, everything
from supernets.nasrec.network import Network
from supernets.nasrec.shape import Shape

#: Operators of a family with which a law can be fitted, see ``dnas.costs.interpolation``.
_FAMILY = 8


def network_operators(
    network: Network, table_rows: Sequence[int], id_skew: float
) -> tuple[Operator, ...]:
    """What a forward pass runs: look-ups, layers, products.

    Args:
        network: Without dead parts.
        table_rows: Rows of each feature's table.
        id_skew: Zipf exponent of the ids.
    """
    return (*embedding_operators(table_rows, network.shape.dim, id_skew), *network.work())


def extreme_genomes(shape: Shape) -> Iterator[Genome]:
    """The whole supernet, and chains of the smallest blocks of each pair of operators.

    Between the sizes of their operators lie those of all networks, kind by kind.
    """
    yield everything(shape)
    for dense, sparse in product(shape.dense_operators, shape.sparse_operators):
        yield tuple(_smallest(shape, number, dense, sparse) for number in range(shape.num_blocks))


def enough_to_interpolate(operators: Iterable[Operator]) -> bool:
    """Whether there are enough of each family: those that differ in interpolated sizes alone.

    What a random network runs beyond these is of a family that has them, or rare.
    """
    families = Counter(
        (o.kind, tuple(s for s in o.sizes if s[0] not in find_kind(o).interpolated))
        for o in operators
        if find_kind(o).interpolated
    )
    return min(families.values(), default=_FAMILY) >= _FAMILY


def _smallest(shape: Shape, source: int, dense: str, sparse: str) -> Block:
    return Block(
        dense_ops=(dense,),
        sparse_ops=(sparse,),
        dense_in=(source,),
        sparse_in=(source,),
        left=(source,),
        right=(source,),
        dense_dim=shape.dense_dims[0],
        sparse_dim=shape.sparse_dims[0],
        interact=False,
    )
