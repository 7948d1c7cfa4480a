"""Architecture: what was decided, as an immutable mapping from decision to option."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dnas.errors import ArchitectureError
from dnas.files import read_json, write_json

#: An option as it stands in JSON.
Option = int | float | str | bool

FORMAT = "dnas.architecture/1"


def _digest(decisions: Mapping[str, Option]) -> str:
    canonical = json.dumps(dict(sorted(decisions.items())), separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class Architecture(Mapping[str, Option]):
    """An immutable mapping ``"choice/decision" -> option`` with a hash that is stable everywhere.

    Two architectures are equal when their decisions are; what was measured of them and where they
    came from stands beside them in an :class:`ArchitectureRecord`.
    """

    __slots__ = ("_decisions", "id")

    def __init__(self, decisions: Mapping[str, Option]) -> None:
        if not isinstance(decisions, Mapping):
            raise ArchitectureError(f"decisions must be an object, but are {decisions!r}")
        for key, option in decisions.items():
            if option != option:
                raise ArchitectureError(f"decision {key!r}: NaN is no option")
            if not isinstance(key, str) or not isinstance(option, int | float | str | bool):
                raise ArchitectureError(
                    f"decision {key!r}: an option must be a number, a string or a bool, "
                    f"but got {option!r}"
                )
        self._decisions = MappingProxyType(dict(sorted(decisions.items())))
        #: Twelve hexadecimal digits of the SHA-256 of the sorted decisions.
        self.id: str = _digest(decisions)

    def __getitem__(self, decision: str) -> Option:
        return self._decisions[decision]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decisions)

    def __len__(self) -> int:
        return len(self._decisions)

    def __reduce__(self) -> tuple[type[Architecture], tuple[dict[str, Option]]]:
        return Architecture, (dict(self._decisions),)  # the proxy itself cannot be copied

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self.id == other.id

    def __repr__(self) -> str:
        return f"Architecture({dict(self._decisions)!r})"

    def replacing(self, changes: Mapping[str, Option]) -> Architecture:
        """The same architecture with some decisions taken otherwise."""
        return Architecture({**self._decisions, **changes})


@dataclass(frozen=True)
class ArchitectureRecord:
    """An architecture as a file: how to build it, what it costs, where it came from."""

    architecture: Architecture
    space: str
    """Name of the search space, as given to ``--search_space``."""
    space_config: Mapping[str, Any]
    """The search space's resolved configuration."""
    data_spec: Mapping[str, Any]
    """What the space was told about the data: feature names, cardinalities."""
    canonical_id: str
    """Equal for architectures that are the same network when trained from scratch."""
    costs: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            "format": FORMAT,
            "space": self.space,
            "space_config": dict(self.space_config),
            "data_spec": dict(self.data_spec),
            "id": self.architecture.id,
            "canonical_id": self.canonical_id,
            "decisions": dict(self.architecture),
            "costs": dict(self.costs),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_json(
        cls, value: Mapping[str, Any], source: str = "architecture"
    ) -> ArchitectureRecord:
        """Read a record back.

        Args:
            value: What ``to_json`` gave.
            source: Named in errors, usually the file.

        Raises:
            ArchitectureError: A field is missing, or the decisions do not match the stored id.
        """
        if not isinstance(value, Mapping) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, Mapping) else type(value).__name__
            raise ArchitectureError(f"{source}: format is {found!r}, expected {FORMAT!r}")
        fields = ("space", "space_config", "data_spec", "id", "canonical_id", "decisions")
        missing = [name for name in fields if name not in value]
        if missing:
            raise ArchitectureError(f"{source}: missing {', '.join(missing)}")
        architecture = Architecture(value["decisions"])
        if architecture.id != value["id"]:
            raise ArchitectureError(
                f"{source}: id {value['id']} does not belong to these decisions "
                f"({architecture.id}); the file was edited, remove it or restore its id"
            )
        return cls(
            architecture=architecture,
            space=value["space"],
            space_config=value["space_config"],
            data_spec=value["data_spec"],
            canonical_id=value["canonical_id"],
            costs=value.get("costs", {}),
            provenance=value.get("provenance", {}),
        )

    def save(self, path: str | Path) -> None:
        """Write the record to ``path`` atomically."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> ArchitectureRecord:
        """Read the record at ``path``; errors name the file."""
        return cls.from_json(read_json(path), source=str(path))
