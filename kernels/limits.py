"""What the hardware can do at best: multiply-adds that stay in registers, and reading memory.

Each leaves a result that is known exactly beforehand, so that a loop the compiler dropped is found out.
All threads meet first: what is timed begins with the last of them.
"""

from numba import njit

from .sync import meet
from .vectors import ENTRY, fma, lanes, load, loop, store, traced, var, zeros

SUMS = 4  # vectors that a sum is spread over: additions are then never waited for


@traced
def _multiply_add_chains(chains, factor, addend, steps):
    a, b = load(factor, 0, 0), load(addend, 0, 0)
    values = [var(load(chain, 0, 0)) for chain in chains]
    for _ in loop(0, steps):
        for x in values:
            x.set(fma(x, a, b))
    for chain, x in zip(chains, values, strict=True):
        store(chain, 0, 0, x)


@njit(**ENTRY)
def multiply_add_chains(n_threads, sync, chains, factor, addend, steps):
    """x = x * factor + addend, `steps` times, for every x (1, lanes) of the tuple chains: as many vectors at once."""
    meet(sync, n_threads)
    _multiply_add_chains(chains, factor, addend, steps)


@traced
def _sum_memory(a, start, stop, sums):
    L = lanes(a)
    totals = [var(zeros(a)) for _ in range(SUMS)]
    for t in loop(start, stop, SUMS * L):
        for i, total in enumerate(totals):
            total += load(a, 0, t + i * L)
    for i, total in enumerate(totals):
        store(sums, i, 0, total)


@njit(**ENTRY)
def sum_memory(n_threads, sync, a, start, stop, sums):
    """Sums of a[0, start:stop] into sums (SUMS, lanes), one a lane; stop - start is a multiple of SUMS * lanes."""
    meet(sync, n_threads)
    _sum_memory(a, start, stop, sums)
