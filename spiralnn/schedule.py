"""Who computes which rows: the plan of tiles, blocks and chunks, and the threads that carry it out.

The plan depends on the shape of the problem alone, never on the machine or the number of threads, so that sums
come out the same to the last bit everywhere. Threads are Python threads inside compiled code that holds no GIL:
they live for one call, so nothing is left behind for a fork to break, two fits may run at once, and Numba's
threading layers, with the traps of each, are not used.
"""

import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

# Rows of a tile with few inputs: 384 float64, or 768 float32. Share of the multiply-add rate for 256, 384 and 512
# float64 rows: 1.05, 1.07, 1.03; for 512, 640 and 768 float32 rows: 1.05, 1.07, 1.08. (Above 1: see two_layer.py.)
TILE_BYTES = 3072
WIDE_TILE_BYTES = 2048  # with many inputs: 256 rows, so that 64 inputs and 128 hidden units fit the second-level cache
HIDDEN_BYTES = 512 * 1024  # hidden values of a tile at most, half of a 1 MiB second-level cache
LONG_RUN_TILES = 256  # from so many tiles on, a block is BLOCK_TILES of them: fewer sums to add up
BLOCK_TILES = 8
MAX_CHUNKS = 32  # block sums kept at once; more would cost memory (P + 1 numbers each), fewer would limit threads
THREAD_FLOPS = 200_000  # work of a step a thread must have to be worth its two meetings (0.1 microseconds each)
START_FLOPS = 20e6  # work of a whole call a thread must have to be worth starting: 0.1 ms quiet, 1 ms on a busy machine


class Plan(NamedTuple):
    """How N rows are cut: tiles within blocks within chunks. All counts in rows or in the next smaller unit."""

    tile_rows: int
    block_rows: int
    n_blocks: int
    chunk_blocks: int
    n_chunks: int


def plan(N: int, n_hidden: int, few_inputs: bool, itemsize: int) -> Plan:
    """The plan for N rows: a function of the problem's shape alone. n_hidden is 0 for the linear model."""
    lanes = 64 // itemsize
    tile_rows = (TILE_BYTES if few_inputs else WIDE_TILE_BYTES) // itemsize
    if not few_inputs and n_hidden:
        tile_rows = min(tile_rows, max(64, HIDDEN_BYTES // (n_hidden * itemsize) // lanes * lanes))
    # equal tiles, and two at least where there are rows for them, so that two threads can share a small problem
    tiles = max(2, math.ceil(N / tile_rows))
    tile_rows = min(tile_rows, math.ceil(N / tiles / lanes) * lanes)
    block_rows = tile_rows * (BLOCK_TILES if tiles > LONG_RUN_TILES else 1)
    n_blocks = math.ceil(N / block_rows)
    chunk_blocks = 1
    while chunk_blocks * MAX_CHUNKS < n_blocks:
        chunk_blocks *= 2
    return Plan(tile_rows, block_rows, n_blocks, chunk_blocks, math.ceil(n_blocks / chunk_blocks))


def available_threads() -> int:
    """CPUs this process may use: affinity, cgroup quota and Numba's own limit (NUMBA_NUM_THREADS)."""
    try:
        n = len(os.sched_getaffinity(0))
    except AttributeError:  # no affinity on this system
        n = os.cpu_count() or 1
    quota = _cgroup_quota()
    if quota is not None:
        n = min(n, max(1, math.floor(quota)))
    return max(1, min(n, numba.config.NUMBA_NUM_THREADS))


def _cgroup_quota() -> float | None:
    """CPUs that the control group grants, None when it sets no limit."""
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        path = next(line.rpartition(":")[2].strip() for line in lines if "::" in line)
    except (OSError, StopIteration):
        path = "/"
    for group in (root / path.lstrip("/"), root):  # the group itself, or what a container sees of it as the root
        try:
            quota, period = (group / "cpu.max").read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        except (OSError, ValueError):
            pass
    try:
        quota_us = int((root / "cpu" / "cpu.cfs_quota_us").read_text())
        period_us = int((root / "cpu" / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us > 0 else None


def threads_for(flops: float, n_chunks: int, n_threads: int | None, steps: int = 1) -> int:
    """Threads worth starting for `steps` steps of so much work, at most n_threads (None: all this process may use)."""
    worth = min(n_chunks, int(flops // THREAD_FLOPS), int(flops * steps // START_FLOPS))
    if worth < 2:  # asking the system would take longer than the work
        return 1
    return max(1, min(worth, available_threads() if n_threads is None else n_threads))


def run_threads(work: Callable[[int], object], n_threads: int, stop: np.ndarray) -> None:
    """work(0), ..., work(n_threads - 1), each in a thread of its own, while the caller waits interruptibly.

    An exception in a thread, or Ctrl-C in the caller, raises the flag stop[0], which compiled code reads between
    blocks, and is raised here once all threads have left.
    """
    failures: list[BaseException] = []
    left = threading.Semaphore(0)

    def enter(thread: int) -> None:
        try:
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
        for thread in threads[:started]:
            thread.join()
    if failures:
        raise failures[0]
