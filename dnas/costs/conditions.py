"""What a measured time depends on beside the operator."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from dnas.errors import ConfigError, CostError

#: Number formats of weights and inputs, as ``--dtype`` names them.
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Under what times were measured; only times under equal conditions can be compared."""

    device: str
    """``cpu`` or ``cuda``."""
    device_name: str
    """Model of the processor or of the GPU."""
    rows: int
    """Rows of a batch."""
    threads: int
    """Threads of one operator on the CPU."""
    dtype: str
    """One of ``DTYPES``."""
    clock: str = "wall"
    """``wall``: the time that passes. ``processor``: that of it in which this process was on a
    processor, for one thread on a CPU that others use as well."""
    torch: str
    """Version."""
    python: str
    """Version, of which the last number is left out."""

    def __post_init__(self) -> None:
        for name in ("rows", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} must be at least 1, but got {getattr(self, name)}")
        if self.dtype not in DTYPES:
            raise ConfigError(f"--dtype {self.dtype}: known are {', '.join(DTYPES)}")
        if self.clock not in ("wall", "processor"):
            raise ConfigError(f"--clock {self.clock}: known are wall and processor")
        if self.clock == "processor" and (self.device != "cpu" or self.threads != 1):
            raise ConfigError(
                f"--clock processor: of one thread on a CPU only, not of {self.threads} on "
                f"{self.device}"
            )

    @classmethod
    def here(
        cls,
        device: str,
        *,
        rows: int,
        threads: int,
        dtype: str = "float32",
        clock: str = "wall",
    ) -> Conditions:
        """Those of this machine and process.

        Raises:
            ConfigError: There is no such device, or a number is out of range.
        """
        return cls(
            device=device,
            device_name=device_name(device),
            rows=rows,
            threads=threads,
            dtype=dtype,
            clock=clock,
            torch=torch.__version__,
            python=".".join(platform.python_version_tuple()[:2]),
        )

    def differences(self, other: Conditions) -> list[str]:
        """What is not the same, as ``"rows 128 there, 256 here"``: there is ``self``."""
        return [
            f"{entry.name} {getattr(self, entry.name)} there, {getattr(other, entry.name)} here"
            for entry in fields(self)
            if getattr(self, entry.name) != getattr(other, entry.name)
        ]

    def flags(self) -> str:
        """The flags of ``dnas profile`` that ask for these conditions."""
        given = f"--device {self.device} --rows {self.rows} --threads {self.threads}"
        for name, default in (("dtype", "float32"), ("clock", "wall")):
            if getattr(self, name) != default:
                given += f" --{name} {getattr(self, name)}"
        return given

    def timer(self) -> Callable[[], float] | None:
        """What ``clock`` of the functions in ``dnas.costs.measuring`` is to be."""
        return time.process_time if self.clock == "processor" else None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any, source: str) -> Conditions:
        """What ``to_json`` gave; ``source`` is named in errors.

        Raises:
            CostError: A field is missing, unknown or of the wrong type.
        """
        if not isinstance(value, Mapping):
            raise CostError(f"{source}: conditions: expected an object, but got {value!r}")
        names = {entry.name: int if entry.type == "int" else str for entry in fields(cls)}
        for name, kind in names.items():
            found = value.get(name)
            if not isinstance(found, kind) or isinstance(found, bool):
                raise CostError(f"{source}: conditions.{name}: {found!r} is not a {kind.__name__}")
        unknown = sorted(set(value) - set(names))
        if unknown:
            raise CostError(f"{source}: conditions: unknown fields {unknown}")
        try:
            return cls(**value)
        except ConfigError as error:
            raise CostError(f"{source}: conditions: {error}") from None


def device_name(device: str) -> str:
    """The model of the processor (``cpu``) or of the current GPU (``cuda``).

    Raises:
        ConfigError: There is no such device.
    """
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("--device cuda: torch finds no GPU here; use --device cpu")
        return torch.cuda.get_device_name()
    if device != "cpu":
        raise ConfigError(f"--device {device}: known are cpu and cuda")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
