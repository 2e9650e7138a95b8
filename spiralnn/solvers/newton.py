"""Newton's method for the linear model: the Hessian beside the gradient in every pass, and a Cholesky factor of it.

    H d = -g,  W <- W + a d,  a = 1 and then less until the loss falls enough

(Nocedal and Wright, Numerical Optimization, 2006: backtracking, algorithm 3.1, with the interpolation 3.57, and a
multiple of the identity, algorithm 3.3.)
The arithmetic is that of `kernels.newton`, in the variables of `Columns`: the method itself would take the same steps
in any, but sums of centred columns do not cancel, and a factor of scaled ones is exact to more digits.
"""

import time
from typing import Any, NamedTuple

import numpy as np

from ..engine.cache import attach
from ..engine.curvature import Curvature
from ..engine.pace import SLICE_SECONDS
from ..engine.run import AT_ROUNDING, CONVERGED, DIVERGED, NO_DESCENT, RUNNING, Judge, Run
from ..engine.streaming import Stream
from ..kernels import newton, reference
from ..kernels.lbfgs import C1, FEW
from ..kernels.models import Model
from .columns import Columns
from .problem import Problem
from .quasi_newton import ROUNDING

MAX_UNKNOWNS = 300  # a pass costs their square, and a step their cube
# L-BFGS takes so many times as long to tol = 1e-4, from zeros, on real tables with so many numbers in X or more (AVX2,
# one thread): 1.0 to 3.8 (float64) and 0.7 to 3.3 (float32) with up to so many unknowns; 1.0 to 3.9 and 0.7 to 3.8 with
# 65 to 110; 0.4 to 0.9 with 153, 0.06 with 585. On columns that know nothing of each other, its best case, 0.5 to 0.9.
# With fewer numbers either takes a millisecond or two, and L-BFGS, whose loop is compiled, the less.
FEW_UNKNOWNS, MANY_NUMBERS = 50, 100_000
MOST_TRIALS = 10  # of a step's length; then the diagonal grows, which turns the step, too
LEAST_SHARE, MOST_SHARE = 0.05, 0.5  # of a length without success that is tried next
# What is added to the diagonal, in its largest element: so much more after a search without success, so much less after
# one with; beyond the last there is no H left to speak of, where all rows are saturated, and the step is along -g
GROWTH, DECAY, LAST_SHIFT = 100.0, 0.1, 1e-2
# By bytes of a number of X: the first shift, and the share of the diagonal below which a pivot is rounding
FIRST_SHIFT, LEAST_PIVOT = {8: 1e-10, 4: 1e-6}, {8: 1e-13, 4: 1e-6}

_penalize, _direct, _product = (attach(f) for f in (newton.penalize, newton.direct, newton.product))


def unknowns(model: Model) -> int:
    """Rows of the Hessian of the linear model: the last class is the origin."""
    return (model.D + 1) * (model.K - 1)


def wins(model: Model, N: int) -> bool:
    """Whether it takes less time than L-BFGS, as a rule."""
    return unknowns(model) <= FEW_UNKNOWNS and N * (model.D + 1) >= MANY_NUMBERS


class _Iterate(NamedTuple):
    """Where a run is, in one piece, so that Ctrl-C finds the old one or the new one. Arrays are never written again.

    point (D + 1, K), biases last, with its gradient, hessian (M, M), loss and largest element of the gradient; the next
    evaluation is at point + step direction, the trials-th of a search along it. slope: of the loss, along it.
    """

    point: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    direction: np.ndarray
    loss: float = np.nan
    largest: float = np.nan
    slope: float = np.nan
    iteration: int = 0
    evaluations: int = 0
    shift: float = 0.0
    step: float = 1.0
    trials: int = 0
    outcome: int = RUNNING


class Newton(Run):
    """Newton's method with a line search in the variables of `Columns`. losses: after each iteration.

    tol: it has converged where no element of the gradient is larger. steps: iterations that are about to be done.
    """

    unit = "iteration"

    def __init__(self, problem: Problem, *, tol: float, steps: int, judge: Judge | None = None) -> None:
        super().__init__(problem.model, problem.X.dtype, judge)
        X = problem.X
        self._problem, self._tol, self._noise = problem, tol, ROUNDING[X.itemsize]
        self._columns = columns = Columns(problem)
        largest = np.finfo(X.dtype).max
        columns.affine = np.clip(columns.affine, -largest, largest).astype(X.dtype).astype(np.float64)
        self.n_passes = columns.n_passes
        self._ridge = np.append(problem.reg * columns.scale**2, 0.0)
        self.n_threads, self._curvature = 1, None
        if not problem.is_reference:
            self._curvature = Curvature(
                self.model, X, problem.y, problem.sample_weight, columns.affine,
                n_threads=problem.n_threads, calls=2 * steps,
            )  # fmt: skip
            self.n_threads = self._curvature.n_threads
        point, M = self._rounded(np.vstack(columns.start(problem))), unknowns(self.model)
        self._at = _Iterate(point, np.zeros_like(point), np.zeros((M, M)), np.zeros_like(point))
        self._slice_from, self._slice_losses = 0, list[float]()

    def _rounded(self, point: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return point.astype(self.dtype).astype(np.float64)

    @property
    def loss(self) -> float:
        """At the point, before the first iteration, too."""
        return self._at.loss

    @property
    def position(self) -> float:
        return self._at.evaluations

    def _params(self, dtype: Any) -> tuple[np.ndarray, ...]:
        point = self._at.point
        return tuple(p.astype(dtype) for p in self._columns.leave([point[:-1], point[-1]]))

    def _state(self) -> dict[str, np.ndarray]:
        at = self._at
        numbers = [at.loss, at.iteration, at.evaluations, at.shift, at.step, at.trials, at.outcome]
        arrays = {"point": at.point.copy(), "gradient": at.gradient.copy(), "hessian": at.hessian.copy()}
        return {**arrays, "numbers": np.array(numbers, np.float64)}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        point, gradient, hessian = (arrays[name].copy() for name in ("point", "gradient", "hessian"))
        loss, iteration, evaluations, shift, step, trials, outcome = arrays["numbers"].tolist()
        if not all(np.isfinite(a).all() for a in (point, gradient, hessian)) or iteration != self.n_steps:
            raise ValueError("its arrays are not finite")
        at = self._at._replace(
            point=point, gradient=gradient, hessian=hessian, loss=loss, iteration=self.n_steps,
            evaluations=int(evaluations),
        )  # fmt: skip
        if at.evaluations:
            at = self._directed(at, shift)._replace(step=step, trials=int(trials))
        if outcome in (AT_ROUNDING, NO_DESCENT):
            at = at._replace(outcome=int(outcome))
        self._at, self.status = at, at.outcome

    def _open(self) -> None:
        self._slice_from, self._slice_losses = self.n_steps, []

    def _advance(self, most: int) -> None:
        goal, deadline = self.n_steps + most, time.perf_counter() + SLICE_SECONDS
        if isinstance(self._problem.X, Stream):  # ranks go through the same slices, however long each takes
            deadline = 0.0
        while self._at.outcome == RUNNING and self._at.iteration < goal:
            self._evaluate()
            if time.perf_counter() > deadline:
                break

    def _close(self) -> None:
        first, at = self.n_steps, self._at
        self._record(first, np.array(self._slice_losses[first - self._slice_from : at.iteration - self._slice_from]))
        self.n_steps, self.status = at.iteration, at.outcome
        self.n_passes = self._columns.n_passes + at.evaluations
        if at.outcome == NO_DESCENT and not np.isfinite(at.loss):
            self.status, self.diverged_at = DIVERGED, "the start"

    def _evaluate(self) -> None:
        """A pass, and what follows from it."""
        at = self._at
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            trial = self._rounded(at.point + at.step * at.direction)
            gradient, hessian = np.empty_like(at.gradient), np.zeros_like(at.hessian)
            measure = self._curvature or self._reference
            loss = measure(trial, gradient, hessian) + _penalize(trial, self._ridge, gradient, hessian)
            largest = float(np.abs(gradient).max())
        there = at._replace(
            point=trial, gradient=gradient, hessian=hessian, loss=loss, largest=largest, evaluations=at.evaluations + 1
        )
        if not at.evaluations:
            is_start = np.isfinite(loss) and largest < np.inf
            self._at = self._directed(there, 0.0) if is_start else there._replace(outcome=NO_DESCENT, point=at.point)
            return
        expected, rounding = -at.step * at.slope, FEW * self._noise * abs(at.loss)
        is_at_rounding = expected <= rounding or at.loss == 0.0
        # where the loss cannot tell any more, the gradient can
        is_equal = is_at_rounding and loss <= at.loss + rounding and largest <= 0.5 * at.largest
        if loss <= at.loss - C1 * expected or is_equal:
            shift = DECAY * min(at.shift, LAST_SHIFT) if at.shift > FIRST_SHIFT[self.dtype.itemsize] else 0.0
            del self._slice_losses[at.iteration - self._slice_from :]
            self._slice_losses.append(loss)
            self._at = self._directed(there._replace(iteration=at.iteration + 1), shift)
            return
        share = MOST_SHARE
        if np.isfinite(loss):  # where the parabola through both losses is least
            share = min(max(0.5 * expected / (loss - at.loss + expected), LEAST_SHARE), MOST_SHARE)
        at = at._replace(evaluations=there.evaluations, trials=at.trials + 1, step=share * at.step)
        if is_at_rounding:
            at = at._replace(outcome=AT_ROUNDING)
        elif at.trials >= MOST_TRIALS and at.shift == np.inf:
            at = at._replace(outcome=NO_DESCENT)
        elif at.trials >= MOST_TRIALS:
            at = self._directed(at, max(GROWTH * at.shift, FIRST_SHIFT[self.dtype.itemsize]))
        self._at = at

    def _directed(self, at: _Iterate, shift: float) -> _Iterate:
        """At the beginning of a search, along Newton's direction if there is one, or at the end of the run."""
        largest, direction, bytes_ = float(np.abs(at.gradient).max()), np.zeros_like(at.point), self.dtype.itemsize
        at = at._replace(largest=largest, step=1.0, trials=0)
        if largest <= self._tol:
            return at._replace(outcome=CONVERGED)
        if shift <= LAST_SHIFT:
            shift = _direct(
                at.point, self._ridge, at.gradient, at.hessian, shift, FIRST_SHIFT[bytes_], LAST_SHIFT,
                LEAST_PIVOT[bytes_], direction,
            )  # fmt: skip
        slope = _product(at.gradient, direction)
        if not (shift <= LAST_SHIFT and slope < 0.0):
            shift, direction = np.inf, at.gradient * (-max(1.0, float(np.abs(at.point).max())) / largest)
            slope = _product(at.gradient, direction)
        return at._replace(direction=direction, slope=slope, shift=shift)

    def _reference(self, params: np.ndarray, gradient: np.ndarray, hessian: np.ndarray) -> float:
        """The same by NumPy's sums, of centred and scaled columns."""
        problem, (mean, scale) = self._problem, self._columns.affine.astype(self.dtype)
        X, y = problem.in_memory()
        X, (W, b) = (X - mean) * scale, (params[:-1].astype(self.dtype), params[-1].astype(self.dtype))
        dW, db = np.empty_like(W), np.empty_like(b)
        loss = reference.linear_loss_gradients(X, y, W, b, 0.0, dW, db, problem.sample_weight)
        gradient[:-1], gradient[-1] = dW, db
        hessian[:] = reference.linear_hessian(X, W, b, problem.sample_weight)
        return loss
