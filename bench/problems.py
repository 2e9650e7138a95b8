"""The problems that are timed: rows, labels, starting parameters, and what the reference makes of them.

Both dtypes hold the same numbers (float32 values), so one float64 reference is the truth for either, also at
10^6 rows, where plain float32 sums lose digits.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from spiralnn import make_spiral
from spiralnn.kernels import reference

REG = 1e-3
KEPT = 32  # problems held at once: what a run comes back to, without gathering every shape of a sweep
SOFTMAX_FLOPS = 35  # a score: exp is 30 (a polynomial of degree 11 or so), then sum, division, one-hot
LABEL_BYTES = 8

# Until a large array was freed once, glibc takes the memory of every smaller one from the system anew. It cost the
# reference 4.5 ms a step instead of 1.6 at 3 000 rows, or not, by what had run before; so it always gets its best.
np.empty(31 * 2**20, np.uint8)


@dataclass(frozen=True, eq=False)
class Problem:
    """X (N, D) float32 or float64, C-contiguous; y (N,) int64; params (W, b) or (W, b, W2, b2) of X's dtype."""

    model: str  # "linear" or "two_layer"
    X: np.ndarray
    y: np.ndarray
    params: tuple
    step_size: float
    reg: float = REG

    @property
    def shape(self):
        """N, D, H, K; H is None for the linear model."""
        hidden = self.params[0].shape[1] if self.model == "two_layer" else None
        return *self.X.shape, hidden, self.params[-1].shape[0]

    @property
    def dtype(self):
        return self.X.dtype.name

    @property
    def truth(self):
        return _truth(self.model, *self.shape)

    def flops(self, operation):
        """Multiplications and additions that a call of the operation, or a step, cannot do without.

        Softmax counts where it is all there is, or most of it: on its own and in a step of the linear model. In a
        step of the network it does not: H (4 D + 6 K) a row is what efficiency is defined by.
        """
        N, D, H, K = self.shape
        softmax = SOFTMAX_FLOPS * K
        if operation == "softmax":
            return N * softmax
        if self.model == "linear":
            matrices = {"scores": 2 * D * K, "backward": 2 * D * K, "step": 4 * D * K + softmax}
        else:  # backward alone starts from dscores, so it has the hidden layer to compute again
            matrices = {"scores": H * (2 * D + 2 * K), "backward": H * (4 * D + 4 * K), "step": H * (4 * D + 6 * K)}
        return N * matrices[ARITHMETIC[operation]]

    def traffic(self, operation):
        """Bytes that a call of the operation, or a step, has to read and write when nothing is in a cache."""
        N, D, _, K = self.shape
        row, scores = D * self.X.itemsize, K * self.X.itemsize
        moved = {"forward": row + scores, "softmax": 2 * scores + LABEL_BYTES, "backward": row + scores}
        moved |= {"step": row + LABEL_BYTES, "predict": row + LABEL_BYTES}
        return N * moved["step" if operation == "training" else operation]


# what each operation computes, as far as its flops go
ARITHMETIC = {"forward": "scores", "predict": "scores", "backward": "backward", "step": "step", "training": "step"}


class Truth:
    """What each operation must return, from the float64 reference; computed when first asked for."""

    def __init__(self, problem):
        self.problem = problem
        self.model, self.X, self.y, self.params = problem.model, problem.X, problem.y, problem.params

    @cached_property
    def forward(self):
        scores = np.empty((self.X.shape[0], self.params[-1].size))
        getattr(reference, f"{self.model}_scores")(self.X, *self.params, scores)
        return (scores,)

    @cached_property
    def softmax(self):
        """Loss, dscores."""
        dscores = np.empty_like(self.forward[0])
        return reference.softmax_cross_entropy(self.forward[0], self.y, dscores), dscores

    @cached_property
    def backward(self):
        gradients = tuple(np.empty_like(p) for p in self.params)
        weights = self.params[:3] if self.model == "two_layer" else ()
        getattr(reference, f"{self.model}_backward")(self.X, *weights, self.softmax[1], *gradients)
        return gradients

    @cached_property
    def loss_gradients(self):
        """Loss, gradients."""
        return self._loss_gradients(self.params)

    @cached_property
    def losses(self):
        """Before the first and before the second step."""
        first, *gradients = self.loss_gradients
        moved = [p - self.problem.step_size * g for p, g in zip(self.params, gradients, strict=True)]
        return first, self._loss_gradients(moved)[0]

    def _loss_gradients(self, params):
        gradients = tuple(np.empty_like(p) for p in params)
        kernel = getattr(reference, f"{self.model}_loss_gradients")
        return kernel(self.X, self.y, *params, self.problem.reg, *gradients), *gradients


@lru_cache(maxsize=KEPT)
def problem(model, N, dtype, D=2, H=100, K=3):
    """The same arrays at every call: the case study's spiral where there are two inputs, else normal rows.

    The labels of normal rows follow a random linear teacher, as far as noise lets them. A step changes the loss by
    enough to be checked and is far from diverging: the curvature grows with the number of hidden units H.
    """
    random = np.random.RandomState(0)
    if D == 2:
        X, y = make_spiral(-(-N // K), K, random_state=random)
        X, y = X[:N], y[:N]
        weight_scale, step_size = 0.1, 1.0 if model == "linear" else min(1.0, 100 / H)
    else:
        X, teacher = random.randn(N, D), random.randn(D, K) / np.sqrt(D)
        y = np.argmax(X @ teacher + 0.5 * random.randn(N, K), axis=1)
        y[:K] = np.arange(K)[:N]  # every class occurs
        weight_scale, step_size = 1 / np.sqrt(D), 0.5 if model == "linear" else 4 / H
    shapes = ((D, K), (K,)) if model == "linear" else ((D, H), (H,), (H, K), (K,))
    scales = (weight_scale, 0.1, 0.1, 0.1)  # biases away from zero too: a kernel that forgets them must not pass
    params = [scale * random.randn(*shape) for scale, shape in zip(scales, shapes, strict=False)]
    X, *params = (np.ascontiguousarray(array, np.float32).astype(dtype) for array in (X, *params))
    return Problem(model, X, np.ascontiguousarray(y, np.int64), tuple(params), step_size)


@lru_cache(maxsize=KEPT)
def _truth(model, N, D, H, K):
    return Truth(problem(model, N, "float64", D, H, K))


def check(result, truth, tolerance):
    """Assert that every array of the result is the truth up to tolerance times the largest value of them all.

    Losses are compared with themselves only: beside a loss near 1 a gradient of 1e-3 could be wrong unnoticed.
    """
    assert len(result) == len(truth)
    largest = max((np.abs(value).max() for value in truth if np.ndim(value)), default=0)
    for got, wanted in zip(result, truth, strict=True):
        error = np.abs(np.asarray(got, np.float64) - wanted).max() / (largest if np.ndim(wanted) else abs(wanted))
        assert error <= tolerance, f"relative error {error:.1e}, allowed are {tolerance:.0e}"


def check_classes(classes, scores, tolerance):
    """Assert that classes (N,) are those of the largest true scores (N, K), where rounding cannot decide."""
    classes = np.asarray(classes)
    assert classes.shape == scores.shape[:1]
    assert classes.min() >= 0 and classes.max() < scores.shape[1]
    lost = scores.max(axis=1) - scores[np.arange(len(scores)), classes]
    wrong = lost > tolerance * np.abs(scores).max()
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size} rows have the class of a lower score"
