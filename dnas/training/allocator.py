"""The C library's allocator, told to keep what a training step frees for the next step.

Tensors of more than some hundred kilobytes are mapped from the kernel one by one and given back
when they are freed, so that every step pays for the pages of all its tensors again. Taken from the
heap, and the heap kept, they are there already. What it gains is in docs/results/speed.md.
"""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4

#: The heap grows by at least so much.
_PAD_BYTES = 32 << 20
#: Free memory at the end of the heap beyond which it is given back after all; the largest int.
_KEPT_BYTES = 2**31 - 1


def keep_freed_memory() -> bool:
    """Keep freed tensors' memory, up to 2 GiB; whether the C library took it (glibc does).

    What a process holds between peaks grows, and the peak of very large steps too.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_TOP_PAD, _PAD_BYTES))
    return all([mallopt(name, value) == 1 for name, value in settings])
