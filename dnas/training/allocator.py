"""The C library's allocator, told to keep what a training step frees for the next step.

Tensors of more than some hundred kilobytes are mapped from the kernel one by one and given back
when they are freed, so that every step pays for the pages of all its tensors again: a tenth of a
CPU step of a DLRM, more of a supernet's. Kept, they are there already.
"""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

#: Tensors up to this size come from the kept memory; the largest value that glibc takes.
_KEPT_TENSOR_BYTES = 32 << 20
#: Free memory at the end of the heap beyond which it is given back after all.
_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Keep freed tensors' memory, up to 1 GiB; whether the C library took it (glibc does).

    The peak of a process does not change, what it holds between peaks does.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    settings = (
        (_M_MMAP_THRESHOLD, _KEPT_TENSOR_BYTES),
        (_M_TRIM_THRESHOLD, _KEPT_BYTES),
        (_M_TOP_PAD, _KEPT_TENSOR_BYTES),
    )
    return all([mallopt(name, value) == 1 for name, value in settings])
