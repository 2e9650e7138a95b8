"""L-BFGS of the kernels as a search that is driven from Python, and functions for it."""

import numpy as np

from spiralnn.engine.memory import aligned
from spiralnn.kernels import lbfgs
from spiralnn.kernels.lbfgs import (
    EVALUATIONS,
    GOAL,
    GOES_ON,
    GRADIENT,
    ITERATION,
    LENGTH,
    LOSS,
    NEWEST,
    NOISE,
    NUMBERS,
    POINT,
    REACHED_GOAL,
    ROWS,
    TOLERANCE,
    FirstLayer,
)

P = 32
PLAIN = FirstLayer(0, 16, 0), np.ones((2, 0))  # no first layer: theta is x
LIKE = np.empty((1, 16))  # float64


class Search:
    """Minimises f, which takes a vector and returns (value, gradient), as a solver would that makes the passes."""

    def __init__(self, f, start, *, tol=1e-8, noise=2.0**-52, goal=10**6, layer=PLAIN):
        self.f, (self.layer, self.affine) = f, layer
        self.theta, self.vectors, self.numbers = aligned(np.float64, [(1, P), (ROWS, P), (1, NUMBERS)])
        self.losses, n = np.full(10_000, np.nan), self.numbers[0]
        n[[TOLERANCE, NOISE, GOAL, NEWEST, LENGTH]] = tol, noise, goal, -1.0, 1.0
        self.vectors[POINT, : len(start)] = start
        self.size = len(start)
        lbfgs.point(self.theta, 0, self.vectors, self.affine, self.layer, LIKE)
        self.trials = []  # (parameters, loss, gradient), all of them
        self.accepted = []  # those of them that were moved to, the start first
        self.outcome = GOES_ON

    def number(self, place):
        return float(self.numbers[0, place])

    @property
    def point(self):
        return self.vectors[POINT, : self.size].copy()

    def step(self):
        """One evaluation; what `advance` makes of it."""
        at = self.theta[0, : self.size].copy()
        loss, gradient = self.f(at)
        self.trials.append((at, loss, np.array(gradient)))
        self.theta[0, : self.size] = gradient
        iterations = self.number(ITERATION)
        self.outcome = lbfgs.advance(
            self.theta, 0, self.vectors, self.numbers, loss, self.affine, self.layer, LIKE, self.losses
        )
        if self.number(ITERATION) > iterations or len(self.trials) == 1:
            self.accepted.append(self.trials[-1])
        return self.outcome

    def run(self, most=2000):
        for _ in range(most):  # less than there is room for losses
            if self.step() not in (GOES_ON, REACHED_GOAL):
                break
        return self.outcome

    def check(self):
        """What holds of every search, whatever its end."""
        losses = [loss for _, loss, _ in self.accepted]
        assert len(losses) == self.number(ITERATION) + 1
        assert (np.diff(losses) <= 0.0).all() or len(losses) == 1
        np.testing.assert_array_equal(self.losses[: len(losses) - 1], losses[1:])
        assert self.number(EVALUATIONS) == len(self.trials)
        assert self.number(LOSS) == losses[-1]
        assert abs(self.point - self.accepted[-1][0]).max() <= 1e-15 * abs(self.point).max()
        np.testing.assert_array_equal(self.vectors[GRADIENT, : self.size], self.accepted[-1][2])


def quadratic(size, condition=100.0, seed=0):
    """1/2 (x - c)^T A (x - c), and c."""
    random = np.random.default_rng([size, seed])
    Q = np.linalg.qr(random.standard_normal((size, size)))[0]
    A = Q * np.geomspace(1.0, condition, size) @ Q.T
    c = random.standard_normal(size)

    def f(x):
        slope = A @ (x - c)
        return 0.5 * float((x - c) @ slope), slope

    return f, c


def rosenbrock(x):
    a, b = x[0::2], x[1::2]
    slope = np.empty_like(x)
    slope[0::2] = -400.0 * a * (b - a * a) - 2.0 * (1.0 - a)
    slope[1::2] = 200.0 * (b - a * a)
    return float((100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2).sum()), slope
