"""The hardware's limits, measured: what any implementation is held against.

Results are checked in every round, so a rate is never that of a loop which did not run.
"""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import binding

from .. import __version__
from ..engine.cache import attach
from ..engine.memory import aligned
from ..engine.threads import run_threads
from ..kernels import limits
from ..kernels.sync import SIZE
from ..kernels.vectors import VECTOR_BYTES

_multiply_add_chains = attach(limits.multiply_add_chains)
_sum_memory = attach(limits.sum_memory)

# Vectors at once: enough to keep two units of 4 cycles each busy (8); with 16 short registers, as many as fit (6, in
# two halves each). The better of both is the machine's rate.
CHAINS = (6, 12)
CHAIN_STEPS = 1 << 20  # 5 ms a round; below 2^24, up to where float32 counts exactly
MEMORY_BYTES = 256 << 20  # read in a round, at least: several last-level caches
MEMORY_BYTES_PER_THREAD = 32 << 20  # large machines have a last-level cache for every few cores
FILE_BLOCK = 4 << 20  # as rows are read
ROUNDS = 4  # at least; the first of them may compile


class Limits(NamedTuple):
    """What so many threads can do at best together."""

    flops: float  # multiplications and additions a second
    bandwidth: float  # bytes a second, read from memory


def cpu_name() -> str:
    """The processor as the system calls it, and as the compiler does."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name} ({binding.get_host_cpu_name()})"


PLACES = ("--out", "--scratch", "--mpiexec")  # options whose values are of one machine


def _without_places(arguments: Sequence[str]) -> list[str]:
    """What was asked for, wherever it was written to."""
    kept, leaves_out = [], False
    for argument in arguments:
        is_place = argument.partition("=")[0] in PLACES
        if not (is_place or leaves_out):
            kept.append(argument)
        leaves_out = is_place and "=" not in argument
    return kept


def machine(packages: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Where, how and when something is measured, as results files have it. packages: more {name: as installed}."""
    versions = {"spiralnn": __version__, "Python": platform.python_version(), "NumPy": np.__version__}
    versions["Numba"] = numba.__version__
    for name, package in (packages or {}).items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(package)
    command = " ".join(["spiralnn", *_without_places(sys.argv[1:])])
    today = datetime.date.today().isoformat()
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "versions": versions, "command": command, "date": today}


def measure(dtype: Any, n_threads: int = 1, seconds: float = 0.2) -> Limits:
    """Both limits for float32 or float64, each measured for so many seconds; RuntimeError for a wrong result."""
    return Limits(fma_rate(dtype, n_threads, seconds), read_bandwidth(dtype, n_threads, seconds))


def fma_rate(dtype: Any, n_threads: int = 1, seconds: float = 0.2, *, steps: int = CHAIN_STEPS) -> float:
    """Flops a second (2 a multiply-add) of so many threads that keep everything in registers."""
    dtype = np.dtype(dtype)
    lanes = VECTOR_BYTES // dtype.itemsize
    factor, addend = aligned(dtype, [(1, lanes), (1, lanes)])
    factor[...], addend[...] = 1, 1  # so a chain counts its steps; the compiler does not see these numbers

    def rate(n_chains: int) -> float:
        states = [tuple(aligned(dtype, [(1, lanes)] * n_chains)) for _ in range(n_threads)]

        def reset() -> None:
            for state in states:
                for i, chain in enumerate(state):
                    chain[0] = np.arange(lanes) + i

        def correct() -> bool:
            return all(
                np.array_equal(chain[0], np.arange(lanes, dtype=dtype) + (i + steps))
                for state in states
                for i, chain in enumerate(state)
            )

        flops = 2.0 * n_threads * n_chains * lanes * steps
        arguments = [(state, factor, addend, steps) for state in states]
        return _best_rate(_multiply_add_chains, arguments, reset, correct, flops, seconds / len(CHAINS))

    return max(rate(n_chains) for n_chains in CHAINS)


def read_bandwidth(dtype: Any, n_threads: int = 1, seconds: float = 0.2, *, n_bytes: int | None = None) -> float:
    """Bytes a second that so many threads read from n_bytes of memory (by default, more than caches hold)."""
    dtype = np.dtype(dtype)
    lanes = VECTOR_BYTES // dtype.itemsize
    if n_bytes is None:
        n_bytes = max(MEMORY_BYTES, MEMORY_BYTES_PER_THREAD * n_threads)
    run = limits.SUMS * lanes
    share = max(1, n_bytes // dtype.itemsize // n_threads // run)  # runs that each thread reads
    (a,) = aligned(dtype, [(1, n_threads * share * run)])
    a.reshape(-1, lanes)[...] = np.arange(lanes)
    sums = [aligned(dtype, [(limits.SUMS, lanes)])[0] for _ in range(n_threads)]

    def reset() -> None:
        for own in sums:
            own[...] = np.nan

    # whole numbers, exact in float32 up to 2^24: 15 times the 2^20 runs in 256 MiB a thread
    expected = np.tile(np.arange(lanes, dtype=dtype) * share, (limits.SUMS, 1))

    def correct() -> bool:
        return all(np.array_equal(own, expected) for own in sums)

    arguments = [(a, i * share * run, (i + 1) * share * run, sums[i]) for i in range(n_threads)]
    return _best_rate(_sum_memory, arguments, reset, correct, float(a.nbytes), seconds)


def file_rate(path: Any, n_threads: int = 1, before: Callable[[], object] | None = None, rounds: int = 2) -> float:
    """Bytes a second that so many threads read a file with, a block each after the other, into memory that stays in
    caches: from the system's own copy, or from the disk where `before` has the system forget that."""
    size = os.path.getsize(path)
    blocks = range(0, size, FILE_BLOCK)
    best = 0.0
    for _ in range(rounds):
        if before is not None:
            before()
        counts = np.zeros(n_threads, np.int64)

        def enter(thread: int, counts: Any = counts) -> None:
            buffer = bytearray(FILE_BLOCK)
            with open(path, "rb", buffering=0) as file:
                for start in blocks[thread::n_threads]:
                    file.seek(start)
                    counts[thread] += file.readinto(buffer)

        begun = time.perf_counter()
        run_threads(enter, n_threads, np.zeros(SIZE, np.int64), needs_all=True)
        seconds = time.perf_counter() - begun
        if int(counts.sum()) != size:
            raise RuntimeError(f"{str(path)!r} gave {counts.sum()} of {size} bytes: its rate says nothing")
        best = max(best, size / seconds)
    return best


def _best_rate(
    kernel: Any,
    arguments: Sequence[tuple[Any, ...]],
    reset: Callable[[], None],
    correct: Callable[[], bool],
    work: float,
    seconds: float,
) -> float:
    """The most work a second in rounds of kernel(n_threads, sync, *arguments[thread]), one thread for each."""
    n_threads = len(arguments)
    sync = np.zeros(SIZE, np.int64)
    starts, ends = np.empty(n_threads), np.empty(n_threads)

    def enter(thread: int) -> None:
        starts[thread] = time.perf_counter()
        kernel(n_threads, sync, *arguments[thread])
        ends[thread] = time.perf_counter()

    best, rounds, deadline = 0.0, 0, time.perf_counter() + seconds
    while rounds < ROUNDS or time.perf_counter() < deadline:
        reset()
        sync[:] = 0
        run_threads(enter, n_threads, sync, needs_all=True)
        if not correct():
            raise RuntimeError(f"{kernel.__name__} gave a wrong result: its rate says nothing about this machine")
        # nobody begins before the last one has come
        best = max(best, work / (ends.max() - starts.max()))
        rounds += 1
    return best
