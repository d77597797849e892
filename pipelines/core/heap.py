"""Memory that is free goes back to the system: glibc keeps most of what was freed in small pieces.

Source: mallopt(3) and malloc_trim(3).
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

# mallopt(3): M_TRIM_THRESHOLD and M_MMAP_THRESHOLD with the most that glibc raises them to by
# itself, which it no longer does once they are set; and what makes a free look at the threshold.
_TRIM, _TRIM_BYTES = -1, 64 * 2**20
_MMAP, _MMAP_BYTES = -3, 32 * 2**20
_LOOK_BYTES = 128 * 2**10


@cache
def with_thresholds() -> Any:
    """The C library with its thresholds set; None where it is not glibc."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "malloc_trim"):
        return None
    libc.malloc.argtypes, libc.malloc.restype = (ctypes.c_size_t,), ctypes.c_void_p
    libc.free.argtypes = (ctypes.c_void_p,)
    libc.mallopt(_MMAP, _MMAP_BYTES)
    libc.mallopt(_TRIM, _TRIM_BYTES)
    return libc


def give_back() -> None:
    """Give memory that is free back to the system, which takes some milliseconds.

    Of the heaps of other threads, the free end of up to 64 MB stays resident.
    """
    if (libc := with_thresholds()) is None:
        return
    libc.malloc_trim(0)
    # That leaves the free end of every heap but the first thread's. This thread's own is given
    # back by a free while nothing may be kept there.
    libc.mallopt(_TRIM, 0)
    libc.free(libc.malloc(_LOOK_BYTES))
    libc.mallopt(_TRIM, _TRIM_BYTES)
