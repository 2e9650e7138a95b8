"""Full-batch gradient descent: losses so far, whole steps, and what ends it.

`Descent` holds the state of one descent and advances it in slices of about a tenth of a second, each of which is one
call of the compiled loop: Python costs nothing at 300 rows, and Ctrl-C works at any number.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..kernels.loop import CONVERGED, DIVERGED, PATIENCE, RUNNING
from ..kernels.models import Model
from ..kernels.updates import GRADIENT_DESCENT
from .pace import SLICE_SECONDS
from .passes import Passes


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
        self.model = Model.of(params)
        self.step_size, self.reg, self.tol = float(step_size), float(reg), tol
        self.n_steps = 0
        self.status = RUNNING
        self._losses = np.empty(64)  # grows by doubling; n_steps of it are in use
        self._slice_from: int | None = None  # the first step of a slice under way
        self._is_reference = backend == "reference"
        self._passes = Passes(
            self.model,
            X,
            y,
            sample_weight,
            GRADIENT_DESCENT,
            [self.reg, self.step_size],
            tol=tol,
            n_threads=1 if self._is_reference else n_threads,
            steps=steps,
        )
        self.n_threads, self.plan = self._passes.n_threads, self._passes.plan
        self._memory = self._passes.memory
        self._memory.theta[0] = self.model.flatten(params)

    @property
    def losses(self) -> np.ndarray:
        """Loss before each step so far, float64 (n_steps,)."""
        return self._losses[: self.n_steps]

    @property
    def params(self) -> tuple[np.ndarray, ...]:
        """Copies of the parameters after the steps so far."""
        return self._params(self.n_steps, self.X.dtype)

    def _params(self, step: int, dtype: Any) -> tuple[np.ndarray, ...]:
        return self.model.unflatten(self._memory.theta[step % 3], dtype)

    def state(self) -> tuple[np.ndarray, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """What `restore` goes on from, in float64: losses, and parameters after the last step and before it.

        The latter are those to keep should the next step diverge. Needs one step at least.
        """
        now, before = (self._params(step, np.float64) for step in (self.n_steps, self.n_steps - 1))
        return self.losses.copy(), now, before

    def restore(self, losses: np.ndarray, now: Sequence[np.ndarray], before: Sequence[np.ndarray]) -> None:
        """Go on from the state of another descent of the same data, start and settings, with the same bits."""
        n = self.n_steps = len(losses)
        self._losses = np.array(losses)
        self._memory.theta[n % 3] = self.model.flatten(now)
        self._memory.theta[(n - 1) % 3] = self.model.flatten(before)
        lowest = np.minimum.accumulate(losses)
        gained = np.flatnonzero(losses[1:] < lowest[:-1] - (self.tol or 0.0)) + 1
        self._memory.best[:] = lowest[-1], n - 1 - (gained[-1] if len(gained) else 0)
        if self.tol is not None and self._memory.best[1] >= PATIENCE:
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
                self._open_slice()
                most = min(goal - self.n_steps, slice_steps or goal)
                if self._is_reference:
                    self._run_reference(most)
                else:
                    self._passes.run_at_pace(most)
                self._close_slice()
                if on_slice is not None and on_slice(self):
                    break
        finally:
            self._close_slice()  # Ctrl-C may come at any place, in the middle of closing, too
        return self.n_steps - first

    def _open_slice(self) -> None:
        self._memory.status[:] = self.n_steps, RUNNING
        self._slice_from = self.n_steps

    def _close_slice(self) -> None:
        """Take over what a slice has done. Cut short and done again, it comes to the same."""
        if self._slice_from is None:
            return
        first, (n_steps, status) = self._slice_from, map(int, self._memory.status)
        if n_steps > len(self._losses):
            self._losses = np.concatenate([self._losses, np.empty(max(n_steps, len(self._losses)))])
        self._losses[first:n_steps] = self._memory.losses[: n_steps - first]
        if status == DIVERGED or not np.isfinite(self._memory.theta[n_steps % 3]).all():
            # losses up to step n_steps - 1 are finite; so are the parameters that the last of them came from. The
            # parameters after it are not, or give a loss that is not: either ends the descent at step n_steps
            self.status = DIVERGED
            self.diverged_at = n_steps
            self.n_steps = max(n_steps - 1, 0)
        else:
            self.status = status
            self.n_steps = n_steps
        self._slice_from = None

    def _run_reference(self, steps: int) -> None:
        """The case study's loop on the reference kernels."""
        memory, first, deadline = self._memory, self.n_steps, time.perf_counter() + SLICE_SECONDS
        params = self.params
        gradients = tuple(np.empty_like(p) for p in params)
        for step in range(first, first + min(steps, len(memory.losses))):
            loss = self.model.reference.loss_gradients(
                self.X, self.y, *params, self.reg, *gradients, self.sample_weight
            )
            memory.losses[step - first] = loss
            if not (np.isfinite(loss) and all(np.isfinite(p).all() for p in params)):
                memory.status[1] = DIVERGED
                break
            for p, dp in zip(params, gradients, strict=True):
                p += -np.float64(self.step_size) * dp  # perform a parameter update, rounded once
            memory.theta[(step + 1) % 3] = self.model.flatten(params)
            memory.best[1] = 0.0 if loss < memory.best[0] - (self.tol or 0.0) else memory.best[1] + 1.0
            memory.best[0] = min(loss, memory.best[0])
            converged = self.tol is not None and memory.best[1] >= PATIENCE
            memory.status[:] = step + 1, CONVERGED if converged else RUNNING
            if converged or time.perf_counter() > deadline:
                break
