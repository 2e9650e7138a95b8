"""What a worker of Dask does: hold its rows, lend some to a neighbour, and do its part of a pass.

A worker holds runs of rows, in order, as the pieces that Dask had them in. A leaf belongs to whoever holds its first
row: those of its rows that follow the end of a run are lent by others once, for each size of leaves.
"""

import bisect
import pickle
import threading
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from distributed import get_worker

from .. import __version__
from ..checks.values import as_array
from ..engine.folding import Threads, Work
from ..engine.memory import aligned
from ..kernels.tree import Node
from ..resources import available_cpus
from ..rows.rows import Rows
from ..rows.source import RowError, Source

Run = tuple[int, int]  # rows, or leaves, [first, last)
NAMES = ("X", "y", "sample_weight")


class WorkerError(RuntimeError):
    """A worker of Dask, which the message names, cannot do its part, nor can another one in its place."""


class Spec(NamedTuple):
    """Of the arrays X, y and weights as a whole. dtypes: None for one that is not there; computed: as of `Rows`."""

    shape: tuple[int, int]
    dtypes: tuple[np.dtype | None, ...]
    computed: np.dtype


class Partition(NamedTuple):
    """One of X: its number, its rows [start, start + length)."""

    number: int
    start: int
    length: int


class Part(NamedTuple):
    """Rows from `start` on, of a partition; arrays: X, y and weights, None for what is not there."""

    start: int
    partition: Partition
    arrays: tuple[np.ndarray | None, ...]

    @property
    def stop(self) -> int:
        return self.start + next(len(array) for array in self.arrays if array is not None)

    def rows(self, start: int, stop: int, targets_only: bool) -> "Part":
        """Those of them that lie in [start, stop)."""
        first = max(start, self.start)
        cut = slice(first - self.start, min(stop, self.stop) - self.start)
        X, *others = (None if array is None else array[cut] for array in self.arrays)
        return Part(first, self.partition, (None if targets_only else X, *others))


class Pieces(Source):
    """Array i of parts, which lie side by side where they are read; shape is that of the whole array."""

    def __init__(self, parts: Sequence[Part], i: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self._starts, self._partitions = [part.start for part in parts], [part.partition for part in parts]
        self._arrays: list[Any] = [part.arrays[i] for part in parts]

    def buffer(self, n: int) -> np.ndarray:
        return np.empty((n, *self.shape[1:]), self.dtype)

    def read(self, start: int, stop: int, buffer: Any = None) -> np.ndarray:
        """A view where all of them lie in one part."""
        k = self._part(start)
        first = self._starts[k]
        if stop - first <= len(self._arrays[k]):
            return self._arrays[k][start - first : stop - first]
        found = self.buffer(stop - start) if buffer is None else buffer[: stop - start]
        row = start
        while row < stop:
            rows = self._arrays[k][row - self._starts[k] : stop - self._starts[k]]
            found[row - start : row - start + len(rows)] = rows
            row, k = row + len(rows), k + 1
        return found

    def place(self, row: int) -> str:
        partition = self._partitions[self._part(row)]
        return f"row {row - partition.start} of partition {partition.number}"

    def _part(self, row: int) -> int:
        return bisect.bisect_right(self._starts, row) - 1


class Job(NamedTuple):
    """A Work and the state of a pass, pickled. leaf_rows: of its leaves. n_threads: of a worker, at most, None: all."""

    work: bytes
    state: bytes
    leaf_rows: int
    targets_only: bool
    n_threads: int | None


class Holding:
    """What one worker holds: parts in the order of their rows, none of them empty."""

    def __init__(self, spec: Spec, parts: Sequence[Part]) -> None:
        self.parts = parts
        self._spec = spec
        self._lock = threading.Lock()  # a pass that Ctrl-C has left behind may still be under way
        self._threads: dict[tuple[int, bool], Threads] = {}
        self._works: dict[bytes, Work] = {}

    def __reduce__(self) -> Any:
        return Holding, (self._spec, self.parts)

    def __sizeof__(self) -> int:  # by which Dask decides what is better moved
        return sum(array.nbytes for part in self.parts for array in part.arrays if array is not None)

    def roots(self, job: Job, loan: Sequence[Part], leaves: Sequence[Run], n_threads: int) -> list[tuple[Node, Any]]:
        """Of runs of leaves."""
        with self._lock:
            if job.work not in self._works:
                self._works[job.work] = pickle.loads(job.work)
            kind = job.leaf_rows, job.targets_only
            if kind not in self._threads:
                self._threads[kind] = Threads(self._rows(loan), n_threads)
            state = _for_kernels(pickle.loads(job.state))
            return self._threads[kind].forest_of(self._works[job.work], state, leaves).roots()

    def _rows(self, loan: Sequence[Part]) -> Rows:
        parts = sorted([*self.parts, *loan], key=lambda part: part.start)
        N = self._spec.shape[0]
        X, y, weights = (
            None if dtype is None else Pieces(parts, i, shape, dtype)
            for i, (shape, dtype) in enumerate(zip((self._spec.shape, (N,), (N,)), self._spec.dtypes, strict=True))
        )
        assert X is not None
        return Rows(X, y, weights).astype(self._spec.computed)


def _for_kernels(state: Any) -> Any:
    """The arrays of a state as kernels have them of their own process: matrices on a cache line."""
    if isinstance(state, np.ndarray) and state.ndim == 2:
        (copy,) = aligned(state.dtype, [state.shape])
        copy[...] = state
        return copy
    return state


class Done(NamedTuple):
    """What has come of a worker's part of a pass.

    row_error: message and row of what is wrong with a row; failure: whatever else went wrong.
    """

    worker: str
    n_threads: int
    version: str
    roots: Sequence[tuple[Node, Any]] = ()
    row_error: tuple[str, int] | None = None
    failure: str | None = None


# ------------------------------------------------------------------------------------------- tasks


def hold(spec: Spec, partitions: Sequence[Partition], *arrays: Sequence[Any]) -> Holding:
    """Task: some partitions as they are, lists of X, y and weights."""
    try:
        return Holding(spec, _parts(spec, partitions, arrays))
    except Exception as error:
        raise WorkerError(f"worker {get_worker().address}: {error}") from error


def _parts(spec: Spec, partitions: Sequence[Partition], arrays: Sequence[Sequence[Any]]) -> list[Part]:
    parts = []
    for k, partition in enumerate(partitions):
        pieces = [array[k] if array else None for array in arrays]
        shapes = (partition.length, spec.shape[1]), (partition.length,), (partition.length,)
        given = [
            None if dtype is None else _as_declared(f"partition {partition.number} of {name}", piece, shape, dtype)
            for name, piece, shape, dtype in zip(NAMES, pieces, shapes, spec.dtypes, strict=True)
        ]
        parts.append(Part(partition.start, partition, tuple(given)))
    return parts


def _as_declared(name: str, piece: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A partition as an array of the dtype that Dask says; ValueError or TypeError unless it is that."""
    array = as_array(name, piece)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape} as Dask has it")
    if array.dtype != dtype and not np.can_cast(array.dtype, dtype, "safe"):
        raise TypeError(f"{name} has dtype {array.dtype}, expected {dtype} as Dask has it")
    return array.astype(dtype, copy=False)


def lend(holding: Holding, runs: Sequence[Run], targets_only: bool) -> list[Part]:
    """Task: copies of the rows in some runs, as far as they are held."""
    return [
        Part(rows.start, rows.partition, tuple(None if array is None else array.copy() for array in rows.arrays))
        for start, stop in runs
        for part in holding.parts
        if part.start < stop and start < part.stop
        for rows in [part.rows(start, stop, targets_only)]
    ]


def borrow(holding: Holding, loans: Sequence[Sequence[Part]]) -> list[Part]:
    """Task: what several have lent, brought to where the holding is."""
    return [part for loan in loans for part in loan]


def take_part(holding: Holding, loan: Sequence[Part], leaves: Sequence[Run], job: Job) -> Done:
    """Task: one worker's part of a pass. Whatever goes wrong is told with its name."""
    worker = get_worker()
    # as many as the worker has: OMP_NUM_THREADS, which Dask sets to 1 in every worker, is for each of its threads
    n_threads = min(worker.state.nthreads, available_cpus(), job.n_threads or worker.state.nthreads)
    done = Done(worker.address, n_threads, __version__)
    try:
        return done._replace(roots=holding.roots(job, loan, leaves, n_threads))
    except RowError as error:
        return done._replace(row_error=(str(error), error.row))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return done._replace(failure=f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})")
