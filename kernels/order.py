"""The order of rows in an epoch: a function of seed and epoch alone, so that nothing of it needs to be kept.

Fisher and Yates's shuffle (Knuth, The Art of Computer Programming, volume 2, algorithm 3.4.2 P), row i exchanged with
one of 0, ..., i by a number that is splitmix64's (Steele, Lea and Flood, 2014) at a place of its own.
"""

import numpy as np
from numba import njit

from .vectors import ENTRY

_GOLDEN, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_30, _27, _31, _32 = (np.uint64(n) for n in (30, 27, 31, 32))  # with an int64 beside it, a uint64 becomes a float


@njit(**ENTRY)
def _mixed(x):
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    return x ^ (x >> _31)


@njit(**ENTRY)
def shuffle(order, seed, epoch, first, last):
    """The exchanges of rows [first, last) of order (n,) uint32, at most 2^32 of them. From 0 to n: a permutation."""
    start = _mixed(np.uint64(seed) * _GOLDEN + np.uint64(epoch) + _GOLDEN)
    for i in range(first, last):
        # the upper half of the number times i + 1, without its lower half: in [0, i + 1)
        number = _mixed(start + np.uint64(i) * _GOLDEN) >> _32
        j = (number * (np.uint64(i) + np.uint64(1))) >> _32
        order[i], order[j] = order[j], order[i]
