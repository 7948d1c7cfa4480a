"""Architectures in the JSON form that the NASRec authors publish.

Fields: ``micro`` and ``macro``, one entry for each block; ``config`` is ``xlarge`` (NASRec-Full)
or ``autoctr`` (NASRec-Small). A block's ``active_nodes`` are numbers of operators,
``dense_in_dims`` and ``sparse_in_dims`` its *output* sizes; producers are 0 for the raw input and k
for block k.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnas.errors import ArchitectureError
from dnas.files import read_json
from supernets.nasrec.genome import Block, Genome
from supernets.nasrec.shape import DENSE_OPERATORS, SPARSE_OPERATORS

#: Published name of a space -> its operators by node number.
NODES: dict[str, tuple[str, ...]] = {
    "xlarge": ("fc", "dot", "gate", "sum", "attention", "embed_fc"),
    "autoctr": ("fc", "dot", "embed_fc"),
}
#: Options of the released spaces.
RELEASED_DENSE_DIMS = (16, 32, 64, 128, 256, 512, 768, 1024)
RELEASED_SPARSE_DIMS = (16, 32, 48, 64)
#: Rows that Project-Concatenate adds in the released code.
RELEASED_INTERACT_ROWS = 8
#: Embedding dimension of the published models.
RELEASED_DIM = 16

#: Data set -> numbers and categories of a row, after the preprocessing of the published models.
DATASETS = {"criteo": (13, 26), "avazu": (1, 23), "kdd2012": (3, 10)}
#: Other names of them.
DATASET_ALIASES = {
    "criteo_kaggle": "criteo",
    "kdd": "kdd2012",
    "kdd2012_track2": "kdd2012",
}

_SOURCES = {
    "dense_in": "dense_idx",
    "sparse_in": "sparse_idx",
    "left": "dense_left_idx",
    "right": "dense_right_idx",
}


def is_released(value: object) -> bool:
    """Whether a JSON value looks like a published architecture."""
    return isinstance(value, Mapping) and {"micro", "macro"} <= set(value)


def read_released(path: str | Path) -> tuple[str, Genome]:
    """The published name of the space, and the genome, of a file.

    Raises:
        ArchitectureError: Something is missing or impossible; the message names it.
    """
    return parse_released(read_json(path), str(path))


def parse_released(value: object, source: str = "architecture") -> tuple[str, Genome]:
    """The same for a JSON value; ``source`` is named in errors."""
    if not is_released(value):
        raise ArchitectureError(f"{source}: expected an object with the lists micro and macro")
    assert isinstance(value, Mapping)
    config = value.get("config", "xlarge")
    if not isinstance(config, str) or config not in NODES:
        raise ArchitectureError(
            f"{source}: config is {config!r}; known are {', '.join(sorted(NODES))}"
        )
    micro, macro = value["micro"], value["macro"]
    number = value.get("num_blocks", len(micro) if isinstance(micro, list) else 0)
    if type(number) is not int:
        raise ArchitectureError(f"{source}: num_blocks must be an integer, but is {number!r}")
    for name, entries in (("micro", micro), ("macro", macro)):
        if not isinstance(entries, list) or len(entries) != number or not entries:
            raise ArchitectureError(
                f"{source}: {name} must be a list of num_blocks={number} blocks"
            )
    return config, tuple(
        _block(micro[at - 1], macro[at - 1], NODES[config], at, f"{source}: block {at}")
        for at in range(1, number + 1)
    )


def _block(
    micro: Mapping[str, Any], macro: Mapping[str, Any], nodes: tuple[str, ...], number: int, at: str
) -> Block:
    try:
        active = [_operator(nodes, node) for node in micro["active_nodes"]]
        sources = {
            name: tuple(sorted({int(s) for s in macro[key]})) for name, key in _SOURCES.items()
        }
        dims = int(micro["dense_in_dims"]), int(micro["sparse_in_dims"])
        flags = bool(micro["dense_sparse_interact"]), bool(micro["deep_fm"])
    except KeyError as error:
        raise ArchitectureError(f"{at}: {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise ArchitectureError(f"{at}: {error}") from None
    late = sorted({s for chosen in sources.values() for s in chosen if not 0 <= s < number})
    if late:
        raise ArchitectureError(f"{at} reads block {late[0]}; it may read 0 to {number - 1}")
    if min(dims) < 1:
        raise ArchitectureError(f"{at}: dimensions must be positive, but are {dims}")
    return Block(
        dense_ops=tuple(op for op in DENSE_OPERATORS if op in active),
        sparse_ops=tuple(op for op in SPARSE_OPERATORS if op in active),
        **sources,
        dense_dim=dims[0],
        sparse_dim=dims[1],
        interact=flags[0],
        fm=flags[1],
    )


def _operator(nodes: tuple[str, ...], node: int) -> str:
    if not 0 <= node < len(nodes):
        raise ValueError(f"active_nodes: {node} is none of 0 to {len(nodes) - 1}")
    return nodes[node]


def released_json(genome: Genome, config: str) -> dict[str, Any]:
    """A genome in the published form.

    Raises:
        ArchitectureError: It has an operator that the released space ``config`` lacks.
    """
    nodes = NODES[config]
    micro, macro = [], []
    for number, block in enumerate(genome, start=1):
        operators = (*block.dense_ops, *block.sparse_ops)
        missing = sorted(set(operators) - set(nodes))
        if missing:
            raise ArchitectureError(f"block {number}: {config!r} has no operator {missing[0]!r}")
        micro.append(
            {
                "active_nodes": sorted(nodes.index(operator) for operator in operators),
                "dense_in_dims": block.dense_dim,
                "sparse_in_dims": block.sparse_dim,
                "dense_sparse_interact": int(block.interact),
                "deep_fm": int(block.fm),
            }
        )
        macro.append({key: list(getattr(block, name)) for name, key in _SOURCES.items()})
    return {"micro": micro, "macro": macro, "num_blocks": len(genome), "config": config}
