"""Arrays that kernels write to, each on a cache line, in large pages of memory where they are many.

Pages of 2 MiB spare the loops over a tile a look-up of addresses every 4 KiB, and its cost from depending on where the
system happened to put the pages: (28, 128, 2) float64 took 175 to 241 ns a row in ten processes on two threads, and
157 to 160 with them.
"""

import contextlib
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..kernels.tile import carve, scratch_size

LARGE_PAGE = 2 << 20
# From so much on: less lies in pages whose addresses the processor holds at once (64 of 4 KiB), and a large page
# costs 0.1 ms when it is first written to.
LARGE = 256 << 10


def aligned(dtype: Any, shapes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """Arrays (rows, columns) of zeros: one piece of memory for all."""
    dtype = np.dtype(dtype)
    size = scratch_size(shapes, 64 // dtype.itemsize)
    return carve(_zeros(size * dtype.itemsize).view(dtype)[np.newaxis, :size], shapes)


def _zeros(n_bytes: int) -> np.ndarray:
    n_bytes = -(-n_bytes // 64) * 64
    if n_bytes >= LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError, ValueError):
            whole = -(-n_bytes // LARGE_PAGE) * LARGE_PAGE
            pages = mmap.mmap(-1, whole + LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            bytes_ = np.frombuffer(pages, np.uint8)
            first = -bytes_.__array_interface__["data"][0] % LARGE_PAGE
            pages.madvise(mmap.MADV_HUGEPAGE, first, whole)  # a system without them says so, or ignores it
            return bytes_[first : first + n_bytes]
    return np.zeros(n_bytes, np.uint8)
