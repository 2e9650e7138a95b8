"""Arrays that begin on a page of memory, for what the system reads from files."""

import mmap
from typing import Any

import numpy as np


def page_array(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of zeros, C-contiguous, whose pages are taken from the system when they are first written to."""
    array = np.empty(0, np.uint8)
    n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if n_bytes:
        # without these flags children of a fork would write to the same memory
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        array = np.frombuffer(mmap.mmap(-1, n_bytes, **private), np.uint8)
    return array.view(dtype).reshape(shape)
