"""Who computes which rows: the plan of tiles and chunks, and the threads that carry it out.

The plan depends on the shape of the problem alone, never on the machine or the number of threads, so that sums
come out the same to the last bit everywhere. Threads are Python threads inside compiled code that holds no GIL:
they live for one call, so nothing is left behind for a fork to break, two fits may run at once, and Numba's
threading layers, with the traps of each, are not used.
"""

import math
import os
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba.core.compiler_lock import global_compiler_lock

from .resources import available_threads

# A row of a tile's arrays: 384 float64, or 768 float32. Share of the multiply-add rate with few inputs for 256, 384 and
# 512 float64 rows: 1.05, 1.07, 1.03; for 512, 640 and 768 float32 rows: 1.05, 1.07, 1.08 (above 1: see two_layer.py).
# With many inputs 128 of them and 128 hidden units fit the second-level cache: at (784, 128, 10) 256 and 384 float64
# rows reach 0.88 and 0.89.
TILE_BYTES = 3072
# Hidden values of a tile at most. They may leave the second-level cache: at (28, 1024, 10) tiles of 64, 128 and 256
# float64 rows, of 0.5, 1 and 2 MiB, reach 0.86, 0.79 and 0.94, for sums over rows are added up less often.
HIDDEN_BYTES = 2 * 2**20
ROW_BYTES = 256 * 1024  # rows of a tile of the linear model at most, so that backward finds them in the second level
# From 16 vectors of rows on there are two chunks: at (150, 4, 100, 3) a second one costs one thread 5 % of a step, and
# lets two threads share float64 rows.
SPLIT_BYTES = 1024
# Rows of a chunk at least, beyond two chunks, and parameters a row: fewer sums to add up
CHUNK_ROWS, CHUNK_PARAMETERS = 512, 64
MANY_CHUNKS, FEW_CHUNKS = 256, 32  # chunks at most, if their sums take up to CHUNK_BYTES, and if they take more
CHUNK_BYTES = 4 * 2**20
THREAD_FLOPS = 200_000  # work of a step a thread must have to be worth its two meetings (0.1 microseconds each)
START_FLOPS = 20e6  # work of a whole call a thread must have to be worth starting: 0.1 ms quiet, 1 ms on a busy machine

# A child that is forked while another thread compiles would inherit the compiler's lock, held by a thread that it does
# not have, and wait for ever for it. So a fork waits until nobody compiles.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


class Plan(NamedTuple):
    """How N rows are cut. Chunks are what threads share out and what is summed along the tree: a power of two of them,
    for an even share; within a chunk tile follows tile, and between tiles a thread looks at the stop flag.
    """

    tile_rows: int
    chunk_rows: int
    n_chunks: int


def plan(N: int, D: int, H: int, K: int, few_inputs: bool, itemsize: int) -> Plan:
    """The plan for N rows: a function of the problem's shape alone. H is 0 for the linear model."""
    lanes, P = 64 // itemsize, (D + K + 1) * (H or K)
    largest = TILE_BYTES // itemsize
    if not few_inputs:
        held = HIDDEN_BYTES // (H * itemsize) if H else ROW_BYTES // (D * itemsize)
        largest = min(largest, max(64, held // lanes * lanes))
    most = MANY_CHUNKS if 8 * MANY_CHUNKS * P <= CHUNK_BYTES else FEW_CHUNKS
    n_chunks = 1 if N * itemsize < SPLIT_BYTES else 2
    at_least = max(CHUNK_ROWS, P // CHUNK_PARAMETERS)
    while n_chunks < most and 2 * n_chunks * at_least <= N:
        n_chunks *= 2
    unit = lanes if few_inputs else 2 * lanes  # with many inputs two vectors share the weights
    chunk_rows = _rounded_up(math.ceil(N / n_chunks), unit)
    tiles = math.ceil(chunk_rows / largest)
    tile_rows = _rounded_up(math.ceil(chunk_rows / tiles), unit)
    return Plan(tile_rows, chunk_rows, math.ceil(N / chunk_rows))


def _rounded_up(n: int, unit: int) -> int:
    return -(-n // unit) * unit


def threads_for(flops: float, n_chunks: int, n_threads: int | None, steps: int = 1) -> int:
    """Threads worth starting for `steps` steps of so much work, at most n_threads (None: all this process may use)."""
    worth = min(n_chunks, int(flops // THREAD_FLOPS), int(flops * steps // START_FLOPS))
    if worth < 2:  # asking the system would take longer than the work
        return 1
    return max(1, min(worth, available_threads() if n_threads is None else n_threads))


def run_threads(work: Callable[[int], object], n_threads: int, stop: np.ndarray) -> None:
    """work(0), ..., work(n_threads - 1), each in a thread of its own, while the caller waits interruptibly.

    An exception in a thread, or Ctrl-C in the caller, raises the flag stop[0], which compiled code reads between
    tiles, and is raised here once all threads have left.
    """
    failures: list[BaseException] = []
    left = threading.Semaphore(0)

    def enter(thread: int) -> None:
        try:
            _move_to_cpu(thread, n_threads)
            work(thread)
        except BaseException as error:
            failures.append(error)
            stop[0] = 1
        finally:
            left.release()

    threads = [threading.Thread(target=enter, args=(i,), name=f"spiralnn-{i}", daemon=True) for i in range(n_threads)]
    started = 0
    try:
        for thread in threads:
            thread.start()
            started += 1
        for _ in threads:
            left.acquire()  # a lock, not join: a signal handler runs at once
    except BaseException:
        stop[0] = 1
        raise
    finally:
        for thread in threads[: started + 1]:  # Ctrl-C may come while one is starting
            if thread.is_alive():
                thread.join()
    if failures:
        raise failures[0]


def _move_to_cpu(thread: int, n_threads: int) -> None:
    """Have the calling thread go on on a CPU of its own; the system may move it again.

    New threads may begin on one CPU, and are parted only after some milliseconds: in runs of 20 ms, with pauses, a step
    of (300, 2, 100, 3) then takes 17 us instead of 10.
    """
    try:
        cpus = os.sched_getaffinity(0)
        if n_threads <= len(cpus):
            os.sched_setaffinity(0, {sorted(cpus)[thread]})
            os.sched_setaffinity(0, cpus)
    except (AttributeError, OSError):  # this system has no such call, or does not let us
        pass
