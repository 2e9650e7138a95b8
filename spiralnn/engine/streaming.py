"""Passes over rows that are not one array in memory: `Passes` as its callers see it, over a `Collector`.

A step is a pass, driven from Python, and a compiled function that closes it: the sums are those of the compiled loop to
the last bit, and so is everything that follows from them.
"""

import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..kernels import loop, pieces, sync, tree
from ..kernels.models import Kernels, Model
from ..kernels.steps import RUNNING
from ..kernels.tile import scratch_size
from ..kernels.tree import Node
from ..kernels.updates import Update
from ..rows.coded import Coded, Coding
from .cache import attach
from .folding import Collector
from .memory import aligned
from .passes import NEVER, Passes, cached_plan, state_shape
from .plan import Plan, hessian_plan


@functools.cache
def _closing(update: Update) -> Any:
    return attach(pieces.closing(update))


_adding: dict[str, Any] = {}


def compiled_adding(kernels: Kernels) -> Any:
    """The function that adds up rows with these kernels, one for all shapes that they serve."""
    if kernels.name not in _adding:
        _adding.setdefault(kernels.name, attach(pieces.adding(kernels)))
    return _adding[kernels.name]


class Stream(NamedTuple):
    """Rows to train on that are not one array: what takes the place of X, y and weights. Checked already."""

    collector: Collector
    coding: Coding

    @property
    def dtype(self) -> np.dtype:
        return self.collector.rows.dtype

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def shape(self) -> tuple[int, int]:
        return self.collector.rows.N, self.collector.rows.D

    @property
    def is_weighted(self) -> bool:
        return self.coding.weighing.factors is not None or self.collector.rows.weights is not None


class Gradients(NamedTuple):
    """Work: the sums of a pass at given parameters, for N rows of so many bytes a number."""

    model: Model
    N: int
    itemsize: int
    coding: Coding

    @property
    def plan(self) -> Plan:
        return cached_plan(self.N, self.model, self.itemsize)

    def flops(self, N: int) -> float:
        return self.model.flops(N)

    def row_bytes(self, rows: Any) -> int:
        return rows.D * self.itemsize

    def adder(self, rows: Any, depth: int, most: int) -> "GradientAdder":
        return GradientAdder(self.model, self.plan, Coded(rows, self.coding), depth, most)

    def merge(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return tree.add_rows_of_sums(left, right)


class Hessians(Gradients):
    """The same with the Hessian: model is a `SecondOrder`."""

    @property
    def plan(self) -> Plan:
        return hessian_plan(self.N, self.model.D, self.model.K, self.itemsize)


class GradientAdder:
    """One thread's part of it. State of a pass: theta (1, P), as kernels have it."""

    def __init__(self, model: Model, plan: Plan, rows: Coded, depth: int, most: int) -> None:
        self._rows, self._buffers = rows, rows.buffers(most)
        kernels = model.kernels()
        self._add, self._model, self._plan, self._N = compiled_adding(kernels), model, plan, rows.N
        unit = 64 // rows.dtype.itemsize
        size = scratch_size(kernels.shapes(*model, plan.tile_rows, unit), unit)
        (self._workspace,) = aligned(rows.dtype, [(1, size)])
        (self._sums,) = aligned(np.float64, [(depth + 2, model.padded_size + loop.EXTRA)])
        self._cut = loop.Cut(plan.tile_rows, plan.leaf_rows, depth)
        self._cursor, self._sync = np.zeros(pieces.CURSOR_SIZE, np.int64), np.zeros(sync.SIZE, np.int64)
        self._theta = np.zeros((1, model.padded_size))

    def open(self, state: np.ndarray) -> None:
        self._theta = state
        self._cursor[pieces.PACKED] = 1

    def begin(self, node: Node) -> None:
        row = node.first * self._plan.leaf_rows
        self._cursor[: pieces.PACKED] = node.first, node.first, row, 0

    def add(self, start: int, stop: int) -> None:
        X, y = self._rows.piece(start, stop, self._buffers)
        self._add(
            X, y, start, self._N, self._theta, self._cut, self._model, self._workspace, self._sums, self._cursor,
            self._sync,
        )  # fmt: skip

    def end(self) -> np.ndarray:
        return self._sums[0].copy()


class StreamedPasses:
    """Steps of an update over the rows of a collector: arguments and use as of `Passes`."""

    def __init__(
        self,
        model: Model,
        stream: Stream,
        update: Update,
        settings: Sequence[float],
        *,
        numbers: Sequence[float] | np.ndarray = NEVER,
        solver: tuple[Any, ...] = (),
        kind: type[Gradients] = Gradients,
    ) -> None:
        self.model, self._collector = model, stream.collector
        self._work = kind(model, stream.shape[0], stream.itemsize, stream.coding)
        self.plan = self._work.plan
        P = model.padded_size
        theta, state = aligned(np.float64, [(update.versions, P), state_shape(update, P)])
        sums, places, own = aligned(np.float64, [(1, P + loop.EXTRA), (1, len(settings)), (1, len(numbers))])
        places[0], own[0] = settings, numbers
        none = np.empty((0, 2), np.int64)
        self.memory = loop.Memory(
            theta, state, sums, np.empty(1), np.zeros(2, np.int64), none, none.reshape(-1), places, own, solver
        )
        self._close = _closing(update)
        self._like = np.zeros((1, 1), stream.dtype)
        self._n_weights = model.layout.n_weights

    @property
    def n_threads(self) -> int:
        return self._collector.n_threads

    def run(self, steps: int, n_threads: int | None = None) -> None:
        """One step, however many are asked for; memory is as before where something ends it early."""
        memory = self.memory
        step = int(memory.status[0])
        now = step % len(memory.theta)
        memory.sums[0] = self._collector.total(self._work, memory.theta[now : now + 1])
        self._close(step, self._n_weights, self._like, memory)

    def run_at_pace(self, most: int) -> tuple[int, float]:
        """A step: (steps, seconds)."""
        start, before = time.perf_counter(), int(self.memory.status[0])
        if most > 0 and self.memory.status[1] == RUNNING:
            self.run(1)
        return int(self.memory.status[0]) - before, time.perf_counter() - start


def passes_over(
    model: Model,
    X: np.ndarray | Stream,
    y: np.ndarray | None,
    sample_weight: np.ndarray | None,
    update: Update,
    settings: Sequence[float],
    *,
    numbers: Sequence[float] | np.ndarray = NEVER,
    solver: tuple[Any, ...] = (),
    n_threads: int | None = None,
    steps: int = 1_000_000,
) -> Passes | StreamedPasses:
    """`Passes` of rows in memory; of a stream, which holds its labels, weights and threads, a StreamedPasses."""
    if isinstance(X, Stream):
        return StreamedPasses(model, X, update, settings, numbers=numbers, solver=solver)
    assert y is not None
    return Passes(
        model, X, y, sample_weight, update, settings, numbers=numbers, solver=solver, n_threads=n_threads, steps=steps
    )
