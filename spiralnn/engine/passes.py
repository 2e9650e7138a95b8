"""Passes over rows in memory: one compiled loop, bound to data, parameters and threads.

`Passes` is add_rows, combine and update as a caller sees them: `run(steps)`. It serves gradient descent and, with the
update that keeps the gradient, everything that is driven from Python.
"""

import functools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks.labels import label_bytes
from ..kernels import lbfgs, loop, tree
from ..kernels.models import Kernels, Model
from ..kernels.rows import BATCHES, WHOLE, Batches, Buffers, Source
from ..kernels.tile import scratch_size
from ..kernels.updates import LBFGS, Update
from .cache import attach
from .memory import aligned
from .pace import ASSUMED_FLOPS, Pace, threads_for
from .plan import Plan, batch_plan, plan
from .threads import Team

BLOCKS, BLOCKS_PER_THREAD = 256, 16  # of leaves that threads take, at most
LOSSES = 1 << 14  # steps of a call at most: 20 ms of the shortest
LOOK_SECONDS = 0.05  # that a caller computes, about, before it has a look at its signals
EVERY_TILE = 1 << 40
# numbers of a descent that nothing but a loss that is not finite ends
NEVER: tuple[float, ...] = (np.inf, 0.0, -1.0, 1.0)

_loops: dict[tuple[str, str, str], Any] = {}


def compiled_loop(kernels: Kernels, update: Update, source: Source = WHOLE) -> Any:
    """The loop of these kernels and this update, one for all shapes that they serve, with its cache on disk."""
    key = kernels.name, update.name, source.name
    if key not in _loops:
        _loops.setdefault(key, attach(loop.compiled(kernels, update, source)))
    return _loops[key]


class Passes:
    """Steps of an update over X (N, D), y (N,) in [0, K), sample_weight (N,) of the dtype of X or None.

    X is float32 or float64, C-contiguous and finite. settings: numbers of the update, the L2 strength first. steps: how
    many are about to be done, for threads must be worth starting. numbers, solver: what `kernels.steps` closes a step
    with. plan: another one than that of the model. Nothing is checked here.
    """

    def __init__(
        self,
        model: Model,
        X: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        update: Update,
        settings: Sequence[float],
        *,
        numbers: Sequence[float] | np.ndarray = NEVER,
        solver: tuple[Any, ...] = (),
        plan: Plan | None = None,
        n_threads: int | None = None,
        steps: int = 1_000_000,
    ) -> None:
        self._lay_out(
            model, model.kernels(), WHOLE, X, X.dtype, len(X), y, sample_weight, update, settings, numbers, solver,
            plan or cached_plan(len(X), model, X.itemsize), n_threads, steps,
        )  # fmt: skip

    def _lay_out(
        self,
        model: Model,
        kernels: Kernels,
        source: Source,
        rows: Any,
        dtype: Any,
        N: int,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        update: Update,
        settings: Sequence[float],
        numbers: Sequence[float] | np.ndarray,
        solver: tuple[Any, ...],
        plan: Plan,
        n_threads: int | None,
        steps: int,
    ) -> None:
        """rows: those of the source, N of them a step."""
        self.model, self.plan = model, plan
        self._rows, self._dtype = rows, dtype
        P, wide = model.padded_size, update.versions > 1  # rules of batches keep theta in what is computed with
        self.n_threads = threads_for(model.flops(N), plan.n_leaves, n_threads, steps)
        self.pace = Pace(model, N, self.n_threads)
        blocks = cached_blocks(plan.n_leaves, max(BLOCKS, BLOCKS_PER_THREAD * self.n_threads))
        n_losses = min(max(steps, 1), LOSSES)
        theta, state = aligned(
            np.float64 if wide else self._dtype,
            [(update.versions, P), state_shape(update, P)],
        )
        sums, losses, places, own = aligned(
            np.float64,
            [
                (len(blocks.leaves) + self.n_threads * blocks.depth, P + loop.EXTRA),
                (1, n_losses),
                (1, len(settings)),
                (1, len(numbers)),
            ],
        )
        places[0], own[0] = settings, numbers
        self.memory = loop.Memory(
            theta,
            state,
            sums,
            losses[0],
            np.zeros(2, np.int64),
            blocks.leaves,
            blocks.additions.reshape(-1),
            places,
            own,
            solver,
        )
        self._loop = compiled_loop(kernels, update, source)
        unit = 64 // self._dtype.itemsize
        self._scratch = scratch_size(kernels.shapes(*model, plan.tile_rows, unit), unit)
        labels = label_bytes(y, model.K)
        self._targets = labels if sample_weight is None else (labels, sample_weight)
        self._cut = loop.Cut(plan.tile_rows, plan.leaf_rows, blocks.depth)
        self._tiles = max(1, int(LOOK_SECONDS * ASSUMED_FLOPS / model.flops(plan.tile_rows)))
        self._n_weights = model.layout.n_weights
        self._own: tuple[Any, ...] | None = None
        self.team = Team(self.n_threads, self._help, loop.CURSOR_SIZE)

    def run(self, steps: int, n_threads: int | None = None) -> int:
        """So many steps, or fewer where one ends the descent; returns what the loop came to (`loop.OVER`).

        Whatever ends it early (Ctrl-C, say), all threads have left, and memory is as the last whole step left it.
        """
        team = self.team
        wanted = n_threads or self.n_threads
        if not team.is_whole:
            team.abandon()
        if wanted > 1:
            self._load()
            team.call_helpers(wanted)
        try:
            team.is_whole = False
            code = self._participate(steps, wanted, self._tiles)
            while code != loop.OVER:
                if code == loop.BUSY:
                    code = self._look_and_go_on(wanted)
                else:
                    break
            team.is_whole = code == loop.OVER
        finally:
            if not team.is_whole:
                team.abandon()
        team.raise_failures()
        return code

    def _look_and_go_on(self, wanted: int) -> int:
        """Go on with a step that is under way; between this and the last time signals were handled."""
        start = time.perf_counter()
        code = self._participate(0, wanted, self._tiles)
        seconds = time.perf_counter() - start
        if seconds > LOOK_SECONDS:
            self._tiles = max(1, self._tiles // 2)
        elif seconds < LOOK_SECONDS / 4:
            self._tiles *= 2
        return code

    def run_at_pace(self, most: int) -> tuple[int, float]:
        """Up to `most` steps, as many and on as many threads as is fastest at the moment: (steps, seconds)."""
        n_threads, steps = self.pace.choose()
        steps = min(steps, most, len(self.memory.losses))
        if n_threads > 1:
            self._load()
            self.team.call_helpers(n_threads)  # what this takes is not part of the pace
        before, start = int(self.memory.status[0]), time.perf_counter()
        self.run(steps, n_threads)
        seconds = time.perf_counter() - start
        done = int(self.memory.status[0]) - before
        if done:
            self.pace.record(n_threads, done, seconds)
        return done, seconds

    def _load(self) -> None:
        """Have the loop compiled before a helper needs it: helpers compile nothing."""
        if self._own is None:
            self._participate(0, 1, 0)

    def _participate(self, steps: int, wanted: int, tiles: int) -> int:
        """The caller's part."""
        if self._own is None:
            self._own = self._arguments(0)
        return self._loop(0, steps, wanted, tiles, *self._own)

    def _help(self, i: int) -> None:
        self._loop(i, 0, 0, EVERY_TILE, *self._arguments(i))

    def _arguments(self, i: int) -> tuple[Any, ...]:
        """What is the same in all calls of thread i; what it writes to is made for it, and lies near it."""
        team = self.team
        return (
            team.sync, self._rows, self._targets, self._cut, self.model, self._n_weights, self._workspace(),
            team.cursors[i], self.memory,
        )  # fmt: skip

    def _workspace(self) -> Any:
        return aligned(self._dtype, [(1, self._scratch)])[0]


class BatchPasses(Passes):
    """Steps over batches of rows, see `kernels.rows.Batches`, in the order of `order` (n,) uint32, which may change.

    affine (2, D): what a column is measured from, and in. The rest as of `Passes`; theta and state are of the dtype of
    X, and have one version.
    """

    def __init__(
        self,
        model: Model,
        X: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        update: Update,
        settings: Sequence[float],
        *,
        order: np.ndarray,
        affine: np.ndarray,
        batch_size: int,
        mean_weight: float,
        numbers: Sequence[float],
        n_threads: int | None = None,
        steps: int = 1_000_000,
    ) -> None:
        rows = Batches(X, order, affine, batch_size, mean_weight)
        kernels = model.batch_kernels()
        self._lay_out(
            model, kernels, BATCHES, rows, X.dtype, batch_size, y, sample_weight, update, settings, numbers, (),
            cached_batch_plan(batch_size, model, X.itemsize), n_threads, steps,
        )  # fmt: skip

    def _workspace(self) -> Any:
        T, D, K = self.plan.tile_rows, self.model.D, self.model.K
        workspace, x, weights = aligned(
            self._dtype, [(1, self._scratch), (T + 64 // self._dtype.itemsize, D), (1, T)]
        )
        y = label_bytes(np.zeros(T + 64, np.uint8 if K <= 256 else np.uint32), K)
        return Buffers(workspace, x, y, weights[0])


def state_shape(update: Update, P: int) -> tuple[int, int]:
    """Rows of the state, and numbers in each."""
    if update is LBFGS:
        return lbfgs.ROWS, P
    return update.versions, (update.state_rows + update.by_row) * P


@functools.lru_cache(maxsize=256)
def cached_plan(N: int, model: Model, itemsize: int, few_inputs: bool | None = None) -> Plan:
    return plan(N, model, itemsize, few_inputs)


@functools.lru_cache(maxsize=256)
def cached_batch_plan(B: int, model: Model, itemsize: int) -> Plan:
    return batch_plan(B, model, itemsize)


@functools.lru_cache(maxsize=64)
def cached_blocks(n_leaves: int, most: int) -> tree.Blocks:
    return tree.blocks(0, n_leaves, most)
