"""What a step asks of the host: operators that a device would have to be waited for."""

from __future__ import annotations

from collections.abc import Callable

from torch.utils._python_dispatch import TorchDispatchMode

#: Reads of values, shapes that depend on values, and look-ups with indices that the host may hold.
WAITS = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "unique",
    "equal",
    "index.",
    "is_nonzero",
)


def host_waits(function: Callable[[], object]) -> set[str]:
    """Names of the operators in ``function`` that stop a device, or copy an index to it.

    Operators that the backward pass runs are among them.
    """
    found: set[str] = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            name = str(operator).removeprefix("aten.")
            if name.startswith(WAITS):
                found.add(name)
            return operator(*args, **(kwargs or {}))

    with Watch():
        function()
    return found
