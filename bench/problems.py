"""The problems of the suite: a spiral of N rows, starting parameters, and what the reference makes of them.

Both dtypes hold the same numbers (float32 values), so one float64 reference is the truth for either, also at
10^6 rows, where plain float32 sums lose digits.
"""

import functools
from dataclasses import dataclass

import numpy as np

from spiralnn import make_spiral
from spiralnn.kernels import reference

D, H, K = 2, 100, 3  # the case study: inputs, hidden units, classes
STEP_SIZE, REG = 1.0, 1e-3

# Until a large array was freed once, glibc takes the memory of every smaller one from the system anew. It cost the
# reference 4.5 ms a step instead of 1.6 at 3 000 rows, or not, by what had run before; so it always gets its best.
np.empty(31 * 2**20, np.uint8)


@dataclass(frozen=True, eq=False)
class Problem:
    model: str  # "linear" or "two_layer"
    X: np.ndarray
    y: np.ndarray
    params: tuple

    @property
    def shape(self):
        """N, D, H, K; H is None for the linear model."""
        hidden = self.params[0].shape[1] if self.model == "two_layer" else None
        return *self.X.shape, hidden, self.params[-1].shape[0]

    @property
    def dtype(self):
        return self.X.dtype.name

    @functools.cached_property
    def truth(self):
        return _truth(self.model, self.X.shape[0])

    def flops(self, operation):
        """Multiplications and additions one step of the operation cannot do without; None where exp dominates."""
        N, D, H, K = self.shape
        linear = {"forward": 2 * D * K, "backward": 2 * D * K, "step": 4 * D * K}
        # backward alone starts from dscores, so it has the hidden layer to compute again
        hidden = {"forward": 2 * D + 2 * K, "backward": 4 * D + 4 * K, "step": 4 * D + 6 * K}
        row = {name: H * flops for name, flops in hidden.items()} if self.model == "two_layer" else linear
        operation = "step" if operation == "training" else operation
        return N * row[operation] if operation in row else None


@dataclass(frozen=True)
class Truth:
    """What each operation must return, from the float64 reference."""

    forward: tuple
    softmax: tuple
    backward: tuple
    loss_gradients: tuple
    losses: tuple  # before the first and before the second step


@functools.cache
def problem(model, N, dtype):
    """The same arrays at every call, so that a suite of hundreds of rows builds each problem once."""
    random = np.random.RandomState(0)
    X, y = make_spiral(-(-N // K), K, random_state=random)
    shapes = ((D, K), (K,)) if model == "linear" else ((D, H), (H,), (H, K), (K,))
    # biases away from zero too: a kernel that forgets them must not pass
    params = [0.1 * random.randn(*shape) for shape in shapes]
    X, *params = (np.ascontiguousarray(array, np.float32).astype(dtype) for array in (X[:N], *params))
    return Problem(model, X, np.ascontiguousarray(y[:N]), tuple(params))


@functools.cache
def _truth(model, N):
    given = problem(model, N, "float64")
    X, y, params = given.X, given.y, given.params
    scores = np.empty((N, K))
    getattr(reference, f"{model}_scores")(X, *params, scores)
    dscores = np.empty_like(scores)
    loss = reference.softmax_cross_entropy(scores, y, dscores)

    backward = tuple(np.empty_like(p) for p in params)
    weights = params[:3] if model == "two_layer" else ()
    getattr(reference, f"{model}_backward")(X, *weights, dscores, *backward)

    loss_gradients = getattr(reference, f"{model}_loss_gradients")
    gradients = tuple(np.empty_like(p) for p in params)
    first = loss_gradients(X, y, *params, REG, *gradients)
    moved = [p - STEP_SIZE * g for p, g in zip(params, gradients, strict=True)]
    second = loss_gradients(X, y, *moved, REG, *(np.empty_like(p) for p in params))
    return Truth((scores,), (loss, dscores), backward, (first, *gradients), (first, second))


def check(result, truth, tolerance):
    """Assert that every array of the result is the truth up to tolerance times the largest value of them all.

    Losses are compared with themselves only: beside a loss near 1 a gradient of 1e-3 could be wrong unnoticed.
    """
    assert len(result) == len(truth)
    largest = max((np.abs(value).max() for value in truth if np.ndim(value)), default=0)
    for got, wanted in zip(result, truth, strict=True):
        error = np.abs(np.asarray(got, np.float64) - wanted).max() / (largest if np.ndim(wanted) else abs(wanted))
        assert error <= tolerance, f"relative error {error:.1e}, allowed are {tolerance:.0e}"
