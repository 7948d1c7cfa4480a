"""A module for other processes: one block of shared memory with all its tensors.

torch shares every tensor by a file descriptor of its own, of which a process may have few and a
supernet wants many. Here the module is pickled without its tensors, which lie side by side in one
block; a process that unpacks it has views of that block, so that all processes have one copy.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnas.errors import ConfigError

#: Tensors begin at multiples of this many bytes, as allocators have it.
_ALIGNMENT = 64


@dataclass(frozen=True)
class Place:
    """Where a tensor is.

    Attributes:
        start: Its first byte in the block.
        shape: Its shape; it is contiguous.
        dtype: Its dtype.
        parameter: Whether it is a Parameter.
        requires_grad: Whether it wants gradients.
    """

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    parameter: bool
    requires_grad: bool


@dataclass(frozen=True)
class SharedModule:
    """A packed module, cheap to send to other processes of this host.

    Attributes:
        skeleton: The module, pickled without tensors.
        places: Of its tensors.
        block: ``(bytes,)`` uint8 in shared memory.
    """

    skeleton: bytes
    places: tuple[Place, ...]
    block: Tensor

    @classmethod
    def pack(cls, module: nn.Module) -> SharedModule:
        """Copy ``module``, from whatever device it is on.

        Raises:
            ConfigError: It cannot be pickled.
        """
        file = io.BytesIO()
        packer = _Packer(file)
        try:
            packer.dump(module)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"--eval_processes: {type(module).__name__} cannot be sent to another process "
                f"({error}); use --eval_processes=1"
            ) from error
        block = torch.empty(packer.size, dtype=torch.uint8).share_memory_()
        for tensor, place in zip(packer.tensors, packer.places, strict=True):
            _view(block, place).copy_(tensor.detach())
        return cls(file.getvalue(), tuple(packer.places), block)

    def unpack(self) -> Any:
        """The module on the CPU; its tensors are views of the block."""
        return _Unpacker(io.BytesIO(self.skeleton), self).load()


def _view(block: Tensor, place: Place) -> Tensor:
    """``place.shape`` of ``place.dtype``, in the block itself."""
    size = place.dtype.itemsize
    for extent in place.shape:
        size *= extent
    return block[place.start : place.start + size].view(place.dtype).view(place.shape)


class _Packer(pickle.Pickler):
    """Pickles all but tensors, which it collects; a tensor that occurs twice is one."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.tensors: list[Tensor] = []
        self.places: list[Place] = []
        self.size = 0
        self._numbers: dict[int, int] = {}

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, Tensor):
            return None
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self.tensors)
            self.tensors.append(value)
            place = Place(
                self.size,
                tuple(value.shape),
                value.dtype,
                isinstance(value, nn.Parameter),
                value.requires_grad,
            )
            self.places.append(place)
            size = value.numel() * value.element_size()
            self.size += -(-size // _ALIGNMENT) * _ALIGNMENT
        return self._numbers[id(value)]


class _Unpacker(pickle.Unpickler):
    """Puts views of the block where tensors were."""

    def __init__(self, file: io.BytesIO, shared: SharedModule) -> None:
        super().__init__(file)
        self._shared = shared
        self._made: dict[int, Tensor] = {}

    def persistent_load(self, number: int) -> Tensor:
        if number not in self._made:
            place = self._shared.places[number]
            tensor = _view(self._shared.block, place)
            if place.parameter:
                tensor = nn.Parameter(tensor, requires_grad=place.requires_grad)
            self._made[number] = tensor
        return self._made[number]
