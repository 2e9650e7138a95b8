"""Full-batch gradient descent, compiled whole: Python costs nothing at 300 rows, and Ctrl-C works at any number.

`Descent` holds the state of one descent and advances it. The compiled loop runs in slices of about a tenth of a
second; longer steps are left between tiles when the stop flag is raised.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from .cache import attach
from .kernels import linear, reference, two_layer
from .kernels.barrier import meet, signal, sync_size
from .kernels.simd import ENTRY
from .kernels.tile import aligned
from .kernels.tree import add_row, clear_row, descend, sum_of_squares
from .schedule import Plan, plan, run_threads, threads_for
from .validation import label_bytes

SLICE_SECONDS = 0.1
ASSUMED_FLOPS = 10e9  # a second, for the first slice; the following ones go by what was measured
# Steps shorter than this gain from more threads on a quiet machine and lose on a busy one, where one thread waits for
# the other twice a step: both ways are tried, for TRIAL_SECONDS each, and again every RETRIAL slices. (300, 2, 100, 3)
# takes 15 us on one thread, and 8 to 27 on two. The result is the same, to the last bit.
SHORT_STEP, TRIAL_SECONDS, RETRIAL = 2e-4, 2e-3, 10
PATIENCE = 10  # steps in a row that must gain less than tol before a descent has converged

FEW_INPUTS, FEW_SUMS = 4, 9  # see family_for

RUNNING, DIVERGED, CONVERGED = 0, 1, 2


class Shape(NamedTuple):
    """Sizes of a model for the compiled loop; the first n_weights parameters are weights, the rest biases."""

    H: int
    K: int
    n_weights: int


def _make_advance(name: str, pack: Any, tile: Any) -> Any:
    """The compiled loop for one family of kernels."""

    @njit(**ENTRY)
    def advance(thread, n_threads, sync, X, y, plan, shape, workspace, sums, theta, gradient, losses, status, best,
                total, step_size, reg, tol, first, last):  # fmt: skip
        """Steps [first, last) as seen by one thread: its chunks, then its share of the parameters.

        theta (3, P): step i reads row i % 3 and writes row (i + 1) % 3, so that the parameters before a step that
        diverges are still there. sums (chunks, P + 16) with the loss at P, gradient (1, P), losses (last - first,).
        y is the labels' bytes, or a pair of these and weights; total is N, or the sum of weights.
        """
        N, D = X.shape
        P = theta.shape[1]
        low = P // 8 * thread // n_threads * 8
        high = P // 8 * (thread + 1) // n_threads * 8
        middle = low if shape.n_weights < low else high if shape.n_weights > high else shape.n_weights
        for step in range(first, last):
            now = step % 3
            then = (step + 1) % 3
            pack(theta, now, D, shape.H, shape.K, workspace)
            for chunk in range(thread, plan.n_chunks, n_threads):
                clear_row(sums, chunk)
                start = chunk * plan.chunk_rows
                end = start + plan.chunk_rows if start + plan.chunk_rows < N else N
                for row in range(start, end, plan.tile_rows):
                    if signal(sync, 0) != 0:
                        return
                    rows = plan.tile_rows if row + plan.tile_rows < end else end - row
                    tile(X, y, row, rows, shape.H, shape.K, workspace, sums, chunk)
            if meet(sync, thread, n_threads, 2 * (step - first) + 1) != 0:
                return
            width = 1
            while width < plan.n_chunks:
                for j in range(0, plan.n_chunks - width, 2 * width):
                    add_row(sums, j + width, j, low, high)
                    if thread == 0:
                        add_row(sums, j + width, j, P, P + 8)
                width *= 2
            descend(theta, now, then, sums, gradient, low, middle, 1.0 / total, reg, step_size)
            descend(theta, now, then, sums, gradient, middle, high, 1.0 / total, 0.0, step_size)
            if thread == 0:
                loss = sums[0, P] / total  # NaN of any parameter that is not finite
                if reg > 0.0:  # squares may overflow, and 0 times infinity is no loss
                    loss += 0.5 * reg * sum_of_squares(theta, now, shape.n_weights)
                losses[step - first] = loss
                if not np.isfinite(loss):
                    status[1] = DIVERGED
                elif tol >= 0.0 and loss >= best[0] - tol and best[1] + 1 >= PATIENCE:
                    status[1] = CONVERGED
            if meet(sync, thread, n_threads, 2 * (step - first) + 2) != 0:
                if thread == 0 and status[1] == CONVERGED:  # a step that is done again after the stop
                    status[1] = RUNNING
                return
            if thread == 0 and status[1] != DIVERGED:  # now, not before: the others have done their share
                loss = losses[step - first]
                status[0] = step + 1
                best[1] = 0.0 if loss < best[0] - tol else best[1] + 1.0
                if loss < best[0]:
                    best[0] = loss
            if signal(status, 1) != RUNNING:
                return

    getattr(advance, "py_func", advance).kernel_name = name
    return attach(advance)


class Family(NamedTuple):
    """The kernels that serve a range of shapes."""

    name: str
    layout: Callable[[int, int, int], tuple[tuple[int, ...], ...]]
    workspace: Callable[..., tuple[np.ndarray, ...]]
    advance: Any


LINEAR = Family("linear", linear.layout, linear.workspace, _make_advance("linear", linear.pack, linear.tile))
GENERAL = Family(
    "two_layer_general",
    two_layer.layout,
    two_layer.general_workspace,
    _make_advance("two_layer_general", two_layer.general_pack, two_layer.general_tile),
)


@functools.cache
def _few_inputs_family(two_layer_model: bool, D: int, K: int) -> Family:
    """The kernels made for exactly D inputs and K classes."""
    name = f"{'two_layer' if two_layer_model else 'linear'}_{D}_inputs_{K}_classes"
    if two_layer_model:
        layout, (_, workspace, pack, tile, _) = two_layer.layout, two_layer.few_inputs(D, K - 1)
    else:
        layout, (workspace, pack, tile) = linear.layout, linear.few_inputs(D, K - 1)
    return Family(name, layout, workspace, _make_advance(name, pack, tile))


def family_for(D: int, H: int, K: int) -> Family:
    """The kernels for a shape (H = 0: the linear model). The one place where this is decided.

    With few inputs a hidden value costs few multiply-adds: computing it again beats keeping it, and the gradients
    follow from (D + 1) (K - 1) sums a unit, as long as these fit the registers. Share of the multiply-add rate at
    (3 000, D, 100, K) float64, few against general: (D, K) = (2, 3) 1.06 and 0.75, (3, 3) 0.88 and 0.73, (2, 4) 0.92
    and 0.78; but (4, 3) 0.62 and 0.75, (2, 5) 0.49 and 0.77. The linear model gains 1.4 to 2.3 times.
    """
    if has_few_inputs(D, K):
        return _few_inputs_family(H > 0, D, K)
    return GENERAL if H else LINEAR


def has_few_inputs(D: int, K: int) -> bool:
    return (D + 1) * (K - 1) <= FEW_SUMS and D <= FEW_INPUTS


def flatten(params: Sequence[np.ndarray], layout: Sequence[tuple[int, ...]]) -> np.ndarray:
    """(W, b) or (W, b, W2, b2) as the flat vector of a layout."""
    parts = params if len(params) == 2 else (params[0], params[2].T, params[1], params[3])
    first, rows, length, _, _ = layout[-1]
    theta = np.zeros(first + rows * length)
    for part, (first, rows, length, used_rows, used_columns) in zip(parts, layout, strict=True):
        block = theta[first : first + rows * length].reshape(rows, length)
        block[:used_rows, :used_columns] = np.reshape(part, (used_rows, used_columns))
    return theta


def unflatten(theta: np.ndarray, layout: Sequence[tuple[int, ...]], dtype: Any) -> tuple[np.ndarray, ...]:
    """(W, b) or (W, b, W2, b2), copied from the flat vector of a layout."""
    parts = [
        theta[first : first + rows * length].reshape(rows, length)[:used_rows, :used_columns].astype(dtype)
        for first, rows, length, used_rows, used_columns in layout
    ]
    if len(parts) == 2:
        return parts[0], parts[1][0]
    return parts[0], parts[2][0], np.ascontiguousarray(parts[1].T), parts[3][0]


def step_flops(N: int, D: int, H: int, K: int) -> float:
    """Work of one step: H (4 D + 6 K) multiplications and additions a row; 4 D K for the linear model, where softmax
    counts too (60 a class)."""
    return float(N) * (H * (4 * D + 6 * K) if H else 4 * D * K + 60 * K)


class Descent:
    """One gradient descent: data, parameters, and the losses so far.

    X (N, D) float32 or float64, C-contiguous and finite; y (N,) integer labels in [0, K);
    params (W, b) or (W, b, W2, b2); sample_weight (N,) of the dtype of X, or None. steps: how many one call of `run` is
    about to do, for threads must be worth starting. Nothing is checked here.
    """

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        params: Sequence[np.ndarray],
        *,
        sample_weight: np.ndarray | None = None,
        step_size: float,
        reg: float,
        tol: float | None = None,
        n_threads: int | None = None,
        backend: str = "fused",
        steps: int = 1_000_000,
    ) -> None:
        self.X, self.y, self.sample_weight = X, y, sample_weight
        self.step_size, self.reg, self.tol = float(step_size), float(reg), tol
        self.N, self.D = X.shape
        self._total = float(self.N if sample_weight is None else sample_weight.sum(dtype=np.float64))
        self.H = params[0].shape[1] if len(params) == 4 else 0
        self.K = params[-1].size
        self.n_steps = 0
        self.status = RUNNING
        self._losses = np.empty(64)  # grows by doubling; n_steps of it are in use
        self._best = np.array([np.inf, 0.0])  # the lowest loss so far, and how many steps since it gained tol
        self._slice: tuple[int, np.ndarray, np.ndarray] | None = None  # first step, losses and status of one under way
        self._family = family_for(self.D, self.H, self.K)
        self._layout = self._family.layout(self.D, self.H, self.K)
        start = flatten(params, self._layout)
        (self._theta,) = aligned(np.float64, (3, start.size))
        self._theta[0] = start
        self._pace: dict[int, float] = {}  # seconds a step, by the number of threads, as last measured
        self._n_slices = 0
        self._run_slice: Callable[[int, int], None]
        if backend == "reference":
            self.n_threads = 1
            self._run_slice = self._reference_slice
        else:
            self._prepare(n_threads, steps)
            self._run_slice = self._fused_slice

    def _prepare(self, n_threads: int | None, steps: int) -> None:
        """Everything the compiled loop writes to, allocated once."""
        N, D, H, K = self.N, self.D, self.H, self.K
        P = self._theta.shape[1]
        self._plan: Plan = plan(N, D, H, K, has_few_inputs(D, K), self.X.itemsize)
        self.n_threads = threads_for(step_flops(N, D, H, K), self._plan.n_chunks, n_threads, steps)
        self._shape = Shape(H, K, self._layout[-2][0] if H else self._layout[-1][0])
        self._workspaces = [
            self._family.workspace(D, H, K, self._plan.tile_rows, self.X.dtype) for _ in range(self.n_threads)
        ]
        self._labels = label_bytes(self.y, K)
        (self._sums,) = aligned(np.float64, (self._plan.n_chunks, P + 16))
        self._sync = np.zeros(sync_size(self.n_threads), np.int64)
        (self._gradient,) = aligned(self.X.dtype, (1, P))

    @property
    def losses(self) -> np.ndarray:
        """Loss before each step so far, float64 (n_steps,)."""
        return self._losses[: self.n_steps]

    @property
    def params(self) -> tuple[np.ndarray, ...]:
        """Copies of the parameters after the steps so far."""
        return unflatten(self._theta[self.n_steps % 3], self._layout, self.X.dtype)

    @property
    def gradients(self) -> tuple[np.ndarray, ...]:
        """Gradients of the last step, as of params."""
        return unflatten(self._gradient[0], self._layout, self.X.dtype)

    def state(self) -> tuple[np.ndarray, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """What `restore` goes on from, in float64: losses, and parameters after the last step and before it.

        The latter are those to keep should the next step diverge. Needs one step at least.
        """
        n = self.n_steps
        now, before = (unflatten(self._theta[i % 3], self._layout, np.float64) for i in (n, n - 1))
        return self.losses.copy(), now, before

    def restore(self, losses: np.ndarray, now: Sequence[np.ndarray], before: Sequence[np.ndarray]) -> None:
        """Go on from the state of another descent of the same data, start and settings, with the same bits."""
        n = self.n_steps = len(losses)
        self._losses = np.array(losses)
        self._theta[n % 3] = flatten(now, self._layout)
        self._theta[(n - 1) % 3] = flatten(before, self._layout)
        lowest = np.minimum.accumulate(losses)
        gained = np.flatnonzero(losses[1:] < lowest[:-1] - (self.tol or 0.0)) + 1
        self._best[:] = lowest[-1], n - 1 - (gained[-1] if len(gained) else 0)
        if self.tol is not None and self._best[1] >= PATIENCE:
            self.status = CONVERGED

    def run(
        self, n_steps: int, on_slice: Callable[["Descent"], object] | None = None, slice_steps: int | None = None
    ) -> int:
        """Up to n_steps further steps; returns how many were done.

        on_slice is called with the descent after every slice and stops it by returning something true; slice_steps
        bounds a slice. Ends early when the loss has converged (tol) or is not finite: see `status`. KeyboardInterrupt
        leaves the state after the last whole step.
        """
        first = self.n_steps
        goal = first + n_steps
        try:
            while self.n_steps < goal and self.status == RUNNING:
                n_threads, on_trial = self._choose_threads()
                seconds = self._seconds_per_step(n_threads)
                most = TRIAL_SECONDS if on_trial else SLICE_SECONDS
                steps = max(1, min(goal - self.n_steps, int(most / max(seconds, 1e-9)), slice_steps or goal))
                before, start = self.n_steps, time.perf_counter()
                self._run_slice(steps, n_threads)
                self._close_slice()
                if self.n_steps > before:
                    self._pace[n_threads] = (time.perf_counter() - start) / (self.n_steps - before)
                if on_slice is not None and on_slice(self):
                    break
        finally:
            self._close_slice()  # Ctrl-C may come at any place, in the middle of closing, too
        return self.n_steps - first

    def _choose_threads(self) -> tuple[int, bool]:
        """Threads for the next slice, and whether it is a trial."""
        every = self.n_threads
        if every == 1 or min(self._pace.values(), default=0.0) > SHORT_STEP:
            return every, False
        self._n_slices += 1
        for n in (every, 1):
            if n not in self._pace:
                return n, True
        faster, slower = sorted((every, 1), key=self._pace.__getitem__)
        on_trial = self._n_slices % RETRIAL == 0
        return (slower if on_trial else faster), on_trial

    def _seconds_per_step(self, n_threads: int) -> float:
        """As measured, with another number of threads if need be, or by a guess."""
        measured = self._pace.get(n_threads) or max(self._pace.values(), default=0.0)
        return measured or step_flops(self.N, self.D, self.H, self.K) / ASSUMED_FLOPS

    def evaluate(self) -> float:
        """Loss of the parameters as they are, not finite if that is what it is; sets `gradients`, takes no step."""
        losses = np.empty(1)
        self._run(self.n_steps, self.n_steps + 1, losses, np.array([0, RUNNING]), self.n_threads)
        return float(losses[0])

    def _open_slice(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """(losses, status) for a slice to write to: status[0] is the number of whole steps so far."""
        losses, status = np.empty(steps), np.array([self.n_steps, RUNNING])
        self._slice = self.n_steps, losses, status
        return losses, status

    def _fused_slice(self, steps: int, n_threads: int) -> None:
        first = self.n_steps
        self._run(first, first + steps, *self._open_slice(steps), n_threads)

    def _run(self, first: int, last: int, losses: np.ndarray, status: np.ndarray, n_threads: int) -> None:
        """Steps [first, last) of the compiled loop."""
        self._sync[:] = 0
        targets = self._labels if self.sample_weight is None else (self._labels, self.sample_weight)

        def advance(thread: int) -> None:
            self._family.advance(
                thread, n_threads, self._sync, self.X, targets, self._plan, self._shape,
                self._workspaces[thread], self._sums, self._theta, self._gradient, losses, status, self._best,
                self._total, self.step_size, self.reg, -1.0 if self.tol is None else self.tol, first, last,
            )  # fmt: skip

        # what may last longer than Ctrl-C may wait runs in threads, which the stop flag ends between tiles
        seconds = self._seconds_per_step(n_threads)
        if n_threads == 1 and seconds * (last - first) < 2 * SLICE_SECONDS:
            advance(0)
        else:
            run_threads(advance, n_threads, self._sync)

    def _close_slice(self) -> None:
        """Take over what a slice has done. Cut short and done again, it comes to the same."""
        if self._slice is None:
            return
        first, losses, status = self._slice
        n_steps = int(status[0])
        if n_steps > len(self._losses):
            self._losses = np.concatenate([self._losses, np.empty(max(n_steps, len(self._losses)))])
        self._losses[first:n_steps] = losses[: n_steps - first]
        if status[1] == DIVERGED or not np.isfinite(self._theta[n_steps % 3]).all():
            # losses up to step n_steps - 1 are finite; so are the parameters that the last of them came from. The
            # parameters after it are not, or give a loss that is not: either ends the descent at step n_steps
            self.status = DIVERGED
            self.diverged_at = n_steps
            self.n_steps = max(n_steps - 1, 0)
        else:
            self.status = int(status[1])
            self.n_steps = n_steps
        self._slice = None

    def _reference_slice(self, steps: int, n_threads: int) -> None:
        """The case study's loop on the reference kernels."""
        first = self.n_steps
        losses, status = self._open_slice(steps)
        params = self.params
        gradients = tuple(np.empty_like(p) for p in params)
        kernel = reference.two_layer_loss_gradients if self.H else reference.linear_loss_gradients
        for i in range(steps):
            loss = kernel(self.X, self.y, *params, self.reg, *gradients, self.sample_weight)
            losses[i] = loss
            if not (np.isfinite(loss) and all(np.isfinite(p).all() for p in params)):
                status[1] = DIVERGED
                break
            for p, dp in zip(params, gradients, strict=True):
                p += -np.float64(self.step_size) * dp  # perform a parameter update, rounded once
            self._theta[(first + i + 1) % 3] = flatten(params, self._layout)
            status[0] = first + i + 1
            self._best[1] = 0.0 if loss < self._best[0] - (self.tol or 0.0) else self._best[1] + 1.0
            self._best[0] = min(loss, self._best[0])
            if self.tol is not None and self._best[1] >= PATIENCE:
                status[1] = CONVERGED
                break
