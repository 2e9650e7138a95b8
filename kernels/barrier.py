"""Where the threads of one descent meet, inside compiled code: 0.1 microseconds on two cores.

Each thread owns a slot of the int64 array `sync` (a cache line each) and writes into it the number of the meeting
it has come to; then it waits until all slots have that number. sync[0] is the stop flag: not 0, and everybody leaves.
A thread that waits long gives its core away, for the one it waits for may have none.
"""

from .simd import give_way, read, span, traced, var, when, while_, write

LINE = 8  # int64 in a cache line
BEYOND = 1 << 60  # more than any meeting: what the stop flag adds to every slot
SPINS = 4000  # turns of looking, some microseconds, before the core is given away


def sync_size(n_threads):
    """Length of the sync array for this many threads."""
    return (1 + n_threads) * LINE


@traced
def meet(sync, thread, n_threads, meeting) -> int:
    """Wait until all threads have come to this meeting, or until told to stop (sync[0]). meeting must grow.

    Returns how many have not come. Where that is 0 nobody has left: what all do next, all will do.
    """
    write(sync, (1 + thread) * LINE, meeting)
    for other in span(0, n_threads):
        turns = var(meeting - meeting)
        for _ in while_(lambda other=other: _missing(sync, other, meeting)):
            turns += 1
            for _ in when(turns.value > SPINS):
                give_way(sync)
    absent = var(meeting - meeting)
    for other in span(0, n_threads):
        for _ in when(read(sync, (1 + other) * LINE) < meeting):
            absent += 1
    return absent.value


def _missing(sync, other, meeting):
    """Whether the other thread has not come yet and nobody has been told to stop."""
    return read(sync, (1 + other) * LINE) + read(sync, 0) * BEYOND < meeting


@traced
def signal(sync, i) -> int:
    """The number at i of a shared array; at 0 of sync: whether to stop."""
    return read(sync, i)
