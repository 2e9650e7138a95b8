"""Full-batch gradient descent, as the case study has it."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.pace import SLICE_SECONDS
from ..engine.run import DIVERGED, RUNNING, STOPPED_GAINING, Judge, Run
from ..engine.streaming import Stream, passes_over
from ..kernels.updates import GRADIENT_DESCENT
from .problem import Problem, finite

PATIENCE = 10  # steps in a row that must gain less than tol before a descent is over, unless somebody says otherwise


class Descent(Run):
    """Steps of constant size against the gradient. losses: before each step.

    tol: the run is over once `patience` steps in a row have not lowered the loss by at least so much; None: never.
    steps: how many are about to be done, for threads must be worth starting.
    """

    def __init__(
        self,
        X: np.ndarray | Stream,
        y: np.ndarray | None,
        params: Sequence[np.ndarray],
        *,
        sample_weight: np.ndarray | None = None,
        step_size: float,
        reg: float,
        tol: float | None = None,
        patience: int = PATIENCE,
        n_threads: int | None = None,
        backend: str = "fused",
        steps: int = 1_000_000,
        judge: Judge | None = None,
    ) -> None:
        self._problem = problem = Problem(X, y, params, sample_weight, float(reg), n_threads, backend)
        super().__init__(problem.model, X.dtype, judge)
        self.X = X
        self.step_size, self.tol, self.patience = float(step_size), tol, patience
        self._slice_from = 0
        self.passes = passes_over(
            self.model,
            X,
            y,
            sample_weight,
            GRADIENT_DESCENT,
            [problem.reg, self.step_size],
            numbers=(np.inf, 0.0, -1.0 if tol is None else tol, patience),
            n_threads=1 if problem.is_reference else n_threads,
            steps=steps,
        )
        self.plan = self.passes.plan
        self._memory = self.passes.memory
        self._memory.theta[0] = self.model.flatten(params)

    @property
    def n_threads(self) -> int:
        return self.passes.n_threads

    def is_converged(self) -> bool:
        """Whether it no longer gained, and did not swing: its last losses are within tol of the lowest before them."""
        if self.status != STOPPED_GAINING:
            return False
        losses = self.losses
        lowest = np.minimum.accumulate(losses)[:-1]
        return bool((losses[1:] <= lowest + (self.tol or 0.0))[-self.patience :].all())

    def _params(self, dtype: Any) -> tuple[np.ndarray, ...]:
        return self._params_of(self.n_steps, dtype)

    def _params_of(self, step: int, dtype: Any) -> tuple[np.ndarray, ...]:
        return self.model.unflatten(self._memory.theta[step % 3], dtype)

    def _state(self) -> dict[str, np.ndarray]:
        """Parameters after the last step and before it: the latter are those to keep should the next step diverge."""
        return {
            f"{when}_{i}": p
            for when, step in (("now", self.n_steps), ("before", self.n_steps - 1))
            for i, p in enumerate(self._params_of(step, np.float64))
        }

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        now, before = ([arrays[f"{when}_{i}"] for i in range(len(self.model.shapes))] for when in ("now", "before"))
        if not (self.n_steps and finite(now) and finite(before)):
            raise ValueError("its parameters are not finite")
        n, losses, numbers = self.n_steps, self.losses, self._memory.numbers[0]
        self._memory.theta[n % 3] = self.model.flatten(now)
        self._memory.theta[(n - 1) % 3] = self.model.flatten(before)
        lowest = np.minimum.accumulate(losses)
        gained = np.flatnonzero(losses[1:] < lowest[:-1] - (self.tol or 0.0)) + 1
        numbers[:2] = lowest[-1], n - 1 - (gained[-1] if len(gained) else 0)

    def _open(self) -> None:
        self._memory.status[:] = self.n_steps, RUNNING
        self._slice_from = self.n_steps

    def _advance(self, most: int) -> None:
        if self._problem.is_reference:
            self._advance_reference(most)
        else:
            self.passes.run_at_pace(most)

    def _close(self) -> None:
        first, (n_steps, status) = self._slice_from, map(int, self._memory.status)
        self._record(first, self._memory.losses[: n_steps - first])
        if status == DIVERGED or not np.isfinite(self._memory.theta[n_steps % 3]).all():
            # losses up to step n_steps - 1 are finite; so are the parameters that the last of them came from. The
            # parameters after it are not, or give a loss that is not: either ends the descent at step n_steps
            self.status = DIVERGED
            self.diverged_at = f"step {n_steps}"
            self.n_steps = max(n_steps - 1, 0)
        else:
            self.status = status
            self.n_steps = n_steps
        self.n_passes = self.n_steps

    def _advance_reference(self, steps: int) -> None:
        """The case study's loop on the reference kernels."""
        memory, first, deadline = self._memory, self.n_steps, time.perf_counter() + SLICE_SECONDS
        params, numbers = self._params(self.dtype), memory.numbers[0]
        for step in range(first, first + min(steps, len(memory.losses))):
            loss, gradients = self._problem.reference_loss_gradients(params)
            memory.losses[step - first] = loss
            if not (np.isfinite(loss) and finite(params)):
                memory.status[1] = DIVERGED
                break
            for p, dp in zip(params, gradients, strict=True):
                p += -np.float64(self.step_size) * dp  # perform a parameter update, rounded once
            memory.theta[(step + 1) % 3] = self.model.flatten(params)
            numbers[1] = 0.0 if loss < numbers[0] - (self.tol or 0.0) else numbers[1] + 1.0
            numbers[0] = min(loss, numbers[0])
            is_over = self.tol is not None and numbers[1] >= self.patience
            memory.status[:] = step + 1, STOPPED_GAINING if is_over else RUNNING
            if is_over or time.perf_counter() > deadline:
                break


