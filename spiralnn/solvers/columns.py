"""Columns as a solver wants them: centred, and scaled to the same spread, without touching X.

With x' = (x - mean) * scale the first layer is x W + b = x' W' + b', W' = W / scale, b' = b + mean W: an affine change
of variables, in which unscaled columns train as standardised ones do. The objective is the same, |W|^2 of raw W too.
So a column has a share in its curvature that is its variance, and one that is the L2 strength, and scale is one over
the root of both: a column that hardly varies is not blown up beyond what the L2 term would let it have.

In float32 x W + b cancels where the mean of a column is beyond some 10^4 times its spread: L-BFGS, which reads X as it
lies, then knows its gradients to three digits. Batches are centred as they are copied.
"""

from collections.abc import Sequence

import numpy as np

from ..engine.statistics import column_statistics, stream_statistics
from ..engine.streaming import Stream
from .problem import Problem

# Of the loss along a score, near its end. 0.1: on raw digits L-BFGS takes twice as many iterations; 0.001: no fewer
CURVATURE = 0.01
TINY = 1e-9  # a spread below this share of the mean is rounding: the column is constant


class Columns:
    """Of a problem, or as a run before had them. affine (2, D) float64: mean, scale. n_passes: that it took over X."""

    def __init__(self, problem: Problem) -> None:
        self.n_passes = 0 if problem.carried is not None else 1
        if problem.carried is not None:
            self.affine = problem.carried["affine"]
            return
        mean, variance = _statistics(problem)
        if not np.isfinite(variance).all():
            column = int(np.isfinite(variance).argmin())
            raise FloatingPointError(f"X[:, {column}] varies beyond the squares that float64 holds. Scale X")
        varies = variance > (TINY * mean) ** 2
        spread = np.sqrt(variance + problem.reg / CURVATURE, out=np.ones_like(variance), where=varies)
        self.affine = np.stack([mean, 1.0 / spread])

    @property
    def scale(self) -> np.ndarray:
        return self.affine[1]

    def enter(self, params: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(W', b', ...) of (W, b, ...), float64."""
        W, b, *others = (p.astype(np.float64) for p in params)
        mean, scale = self.affine
        return [W / scale[:, np.newaxis], b + _total(mean, W), *others]

    def start(self, problem: Problem) -> list[np.ndarray]:
        """Where the problem starts, in these variables."""
        return [p.astype(np.float64) for p in problem.params] if problem.is_drawn else self.enter(problem.params)

    def leave(self, params: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(W, b, ...) of (W', b', ...), float64."""
        W, b, *others = (p.astype(np.float64) for p in params)
        mean, scale = self.affine
        W = W * scale[:, np.newaxis]
        return [W, b - _total(mean, W), *others]


def _statistics(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of the columns, over the rows that are trained on."""
    X, weights = problem.X, problem.sample_weight
    if isinstance(X, Stream):
        return stream_statistics(X)
    if problem.held is not None:
        weights = np.ones(len(X), X.dtype) if weights is None else weights.copy()
        weights[problem.held] = 0.0
    return column_statistics(X, weights, problem.n_threads)


def _total(mean: np.ndarray, W: np.ndarray) -> np.ndarray:
    """mean W, row after row: a matrix product would add in an order of its own."""
    total = np.zeros(W.shape[1])
    for shift, row in zip(mean.tolist(), W, strict=True):
        if shift:
            total += shift * row
    return total
