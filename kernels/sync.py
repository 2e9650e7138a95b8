"""Who takes which part of a step: tickets from a counter, for threads that come and go.

All state lies in one int64 array `sync`, a cache line a word. A step has two phases: its blocks of leaves, then its
shares of columns (the sums of small models are one share, which needs no phase of its own). The word TICKETS holds the
number of the phase and the next part of it that nobody has taken; who takes the last part that gets done opens the
next phase. So nobody waits for a thread that has nothing in its hands, and a thread in whose hands a part is keeps the
phase from ending: parameters may be read as long as a ticket is held.

Whoever finds nothing to take looks for a new phase for some microseconds, then sleeps in the system (a futex), so that
on a busy machine the core goes to those who have work.
"""

from .vectors import (
    fetch_add,
    futex_wait,
    futex_wake,
    if_,
    load_acquire,
    pause,
    store_release,
    traced,
    var,
    while_,
)

LINE = 16  # int64 between two words: two cache lines of 64 bytes, one where they have 128
# Set by the caller alone, before it opens a call: threads admitted, first and last step, the phase of the first, and
# the tickets of a call in which nobody else takes part.
STOP, LEAVE, WANTED, FIRST, LAST, BASE, ALONE = range(7)
PHASE, TICKETS, DONE, SLEEPERS, CALL, PARKED, HELPERS = (LINE * i for i in range(1, 8))
SIZE = 8 * LINE

BITS = 20  # of TICKETS for the part; the phase has the others, more than a fit of years can use up
PARTS = (1 << BITS) - 1
CLOSED = 1 << (BITS - 1)  # as the next part: the call is over

SPINS = 2000  # turns of looking for a new phase, 20 to 50 microseconds, before sleeping: as long as waking up takes
CALL_SPINS = 2000  # the same between two calls
CALLER_SLEEP = 20_000  # microseconds after which a caller has a look at its signals
HELPER_SLEEP = 20_000  # and a helper at the stop flag
PARK = 5_000  # microseconds that a helper stays after a call: the next one, or the next slice, finds it there


@traced
def word_at(sync, i) -> int:
    """sync[i], and with it whatever was written before it."""
    return load_acquire(sync, i)


@traced
def take(sync) -> int:
    """TICKETS as it was, with the next part of it taken."""
    return fetch_add(sync, TICKETS, 1)


@traced
def count_done(sync) -> int:
    """Parts of this phase that are done, with one more."""
    return fetch_add(sync, DONE, 1) + 1


@traced
def enter(sync):
    fetch_add(sync, HELPERS, 1)


@traced
def leave(sync):
    fetch_add(sync, HELPERS, -1)


@traced
def open_next(sync, n_threads, phase, part):
    """The next phase of a call for so many threads, from a part on (CLOSED: none); wake who sleeps until it comes.

    The parts of one thread alone are in a word of their own, for a helper may still be about to take another.
    """
    for _ in if_(n_threads == 1):
        store_release(sync, PHASE, phase)
        store_release(sync, ALONE, phase * (1 << BITS) + part)
    for _ in if_(n_threads > 1):
        store_release(sync, DONE, 0)
        store_release(sync, PHASE, phase)
        store_release(sync, TICKETS, phase * (1 << BITS) + part)
        for _ in if_(fetch_add(sync, SLEEPERS, 0) > 0):  # not a load, which might be done before the stores
            futex_wake(sync, PHASE)


@traced
def call_helpers(sync):
    """Tell helpers that wait between two calls of a new one."""
    fetch_add(sync, CALL, 1)
    for _ in if_(fetch_add(sync, PARKED, 0) > 0):
        futex_wake(sync, CALL)


@traced
def wait(sync, i, value, spins, sleepers, microseconds):
    """Until sync[i] is no longer value: so many turns of looking, then one sleep, counted in sync[sleepers]."""
    turns = var(value - value)
    for _ in while_(lambda turns=turns: load_acquire(sync, i) + turns.value // spins == value):
        pause(sync)
        turns += 1
    for _ in if_(load_acquire(sync, i) == value):
        fetch_add(sync, sleepers, 1)
        futex_wait(sync, i, value, microseconds)
        fetch_add(sync, sleepers, -1)


@traced
def meet(sync, n_threads):
    """Wait until all threads have come here, spinning: for measurements that must begin together."""
    fetch_add(sync, DONE, 1)
    for _ in while_(lambda: load_acquire(sync, DONE) < n_threads):
        pause(sync)
