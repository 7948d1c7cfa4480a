"""What searches leave beside their results: supernets' weights, and architectures."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from dnas.cli.identity import difference
from dnas.core import Architecture, SuperNet
from dnas.errors import ConfigError
from dnas.runs import JobFolder
from dnas.spaces import SearchSpace, SpaceLatency, make_record
from dnas.training.weights import save_weights

logger = logging.getLogger(__name__)

#: Under which name the file of a supernet's weights has its identity, as JSON.
_IDENTITY = "dnas.identity"


class Found(Protocol):
    """An architecture that a search gives."""

    @property
    def architecture(self) -> Architecture:
        """The architecture."""

    def provenance(self) -> Mapping[str, Any]:
        """Its kind and what else is to be remembered of where it came from."""


def save_supernet(folder: JobFolder, super_net: SuperNet, identity: Mapping[str, Any]) -> None:
    """Write a supernet's weights, and what they are of, for :func:`load_supernet`.

    Args:
        folder: Of the search job.
        super_net: Trained.
        identity: As :func:`dnas.cli.identity.weights_identity` gives it.

    Raises:
        OSError: It cannot be written, the disk is full say.
    """
    save_weights(
        folder.supernet_weights, super_net.state_dict(), {_IDENTITY: json.dumps(dict(identity))}
    )


def load_supernet(
    super_net: SuperNet,
    weights: Path,
    flag: str,
    identity: Mapping[str, Any],
    *,
    but_for: Collection[str] = (),
) -> None:
    """Load a supernet's weights, as saved by ``--save_supernet_weights``.

    Weights of another setting of the space may fit and be of other functions; those trained on
    another split have seen rows that are to judge them.

    Args:
        super_net: Gets them.
        weights: The file.
        flag: Which flag named it.
        identity: Of the job that loads them, as ``weights_identity`` gives it.
        but_for: Fields of the space's configuration in which the weights may be of another setting.

    Raises:
        ConfigError: There is no such file, or it is not of this supernet, or was trained in another
            setting of the space or on other data.
    """
    try:
        with safe_open(weights, framework="pt") as file:
            recorded = (file.metadata() or {}).get(_IDENTITY)
        if recorded is None:
            logger.warning(
                "%s %s does not say of which space and data it is: only shapes are checked",
                flag,
                weights,
            )
        elif other := difference(json.loads(recorded), identity, but_for):
            raise ConfigError(
                f"{flag} {weights}: was trained in another setting or on other data: {other}; "
                "give the flags of its search"
            )
        super_net.load_state_dict(load_file(weights))
    except FileNotFoundError:
        raise ConfigError(
            f"{flag} {weights}: there is no such file; search with --save_supernet_weights"
        ) from None
    except (RuntimeError, SafetensorError) as error:
        raise ConfigError(f"{flag} {weights}: not of this supernet: {error}") from error


def write_architectures(
    found: Iterable[Found],
    folder: JobFolder,
    space: SearchSpace,
    space_name: str,
    config: Any,
    spec: Any,
    super_net: SuperNet,
    latency: SpaceLatency | None = None,
) -> list[str]:
    """Write ``architectures/NNNN.json``; gives their paths in the folder.

    Args:
        found: In the order of their numbers.
        folder: Of the search job, whose name they remember.
        space: What they belong to.
        space_name: How the user found the space.
        config: The space's configuration.
        spec: What the space was told about the data.
        super_net: Knows costs and canonical forms.
        latency: What its cost ``latency`` was computed from, if it has one.
    """
    known = {"cost_table": latency.describe()} if latency else {}
    paths = []
    for number, entry in enumerate(found):
        path = folder.architectures / f"{number:04d}.json"
        provenance = {"job": folder.path.name, **entry.provenance(), **known}
        make_record(
            space, space_name, config, spec, super_net, entry.architecture, provenance
        ).save(path)
        paths.append(str(path.relative_to(folder.path)))
    return paths
