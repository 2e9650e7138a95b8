"""The fused kernels under the names and signatures of `kernels.reference`, over threads.

Arrays are C-contiguous float32 or float64, all of one dtype, y holds integers in [0, K); outputs come last and are
overwritten. sample_weight (N,) is of the dtype of X, at least 0, and not all 0. n_threads=None takes all that this
process may use; results do not depend on it.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks.labels import label_bytes, label_view
from ..kernels import reference, softmax
from ..kernels.loop import EXTRA
from ..kernels.models import Kernels, Model
from ..kernels.tile import scratch_size
from .cache import attach
from .evaluation import Evaluation
from .pace import threads_for
from .passes import cached_plan
from .plan import Plan
from .threads import over_leaves

Array = np.ndarray

_softmax = attach(softmax.softmax_cross_entropy_rows)
_normalize = {False: attach(softmax.probabilities_rows), True: attach(softmax.log_probabilities_rows)}

FORWARD_ROWS = 4096  # rows a call of a forward kernel: fewer, and packing the weights (0.1 ms at 784 x 128) would show
READ_FLOPS = 64.0  # work that reading an input counts as, where a call waits for memory rather than arithmetic


def linear_scores(X: Array, W: Array, b: Array, scores: Array, *, n_threads: int | None = None) -> bool:
    """scores (N, K) = X W + b. Returns whether all of them are finite."""
    return any_scores(X, (W, b), scores, n_threads=n_threads)


def two_layer_scores(
    X: Array, W: Array, b: Array, W2: Array, b2: Array, scores: Array, *, n_threads: int | None = None
) -> bool:
    """scores (N, K) = max(0, X W + b) W2 + b2. Returns whether they and all on the way to them is finite for sure."""
    return any_scores(X, (W, b, W2, b2), scores, n_threads=n_threads)


def softmax_cross_entropy(
    scores: Array, y: Array, dscores: Array, sample_weight: Array | None = None, *, n_threads: int | None = None
) -> float:
    """Mean cross-entropy loss of scores (N, K), returned; its gradient into dscores (N, K)."""
    N, K = scores.shape
    _check(scores, "scores", scores, (N, K))
    _check(scores, "dscores", dscores, (N, K))
    targets: Any = label_bytes(label_view(y, N, K), K)
    total = float(N)
    if sample_weight is not None:
        _check(scores, "sample_weight", sample_weight, (N,))
        targets, total = (targets, sample_weight), float(sample_weight.sum(dtype=np.float64))
    rows = cached_plan(N, Model(K, 0, 1), scores.itemsize, few_inputs=False)
    size = scratch_size(softmax.shapes(K, rows.tile_rows, 64 // scores.itemsize), 64 // scores.itemsize)
    losses = np.zeros((rows.n_leaves, 1))

    def work(start: int, stop: int, leaf: int) -> None:
        memory = np.zeros((1, size), scores.dtype)
        _softmax(scores, targets, start, stop, rows.tile_rows, memory, losses, leaf, dscores, 1.0 / total)

    over_leaves(work, N, rows, threads_for(100.0 * N * K, rows.n_leaves, n_threads))
    return float(reference.combine(losses)[0]) / total


def probabilities(scores: Array, *, are_logs: bool = False, n_threads: int | None = None) -> None:
    """Scores (N, K), finite, become class probabilities, or their logarithms; 0, or -inf, where none is as small.

    NumPy's exp and log are not the same to the last bit on all processors; these are.
    """
    N, K = scores.shape
    _check(scores, "scores", scores, (N, K))
    rows = cached_plan(N, Model(K, 0, 1), scores.itemsize, few_inputs=False)
    size = scratch_size(softmax.shapes(K, rows.tile_rows, 64 // scores.itemsize), 64 // scores.itemsize)

    def work(start: int, stop: int, leaf: int) -> None:
        _normalize[are_logs](scores, start, stop, rows.tile_rows, np.zeros((1, size), scores.dtype))

    over_leaves(work, N, rows, threads_for(100.0 * N * K, rows.n_leaves, n_threads))


def linear_backward(X: Array, dscores: Array, dW: Array, db: Array, *, n_threads: int | None = None) -> None:
    """dW (D, K) = X^T dscores, db (K,) = column sums of dscores."""
    (N, D), K = X.shape, dscores.shape[1]
    _check(X, "dscores", dscores, (N, K))
    _check_params(X, (dW, db))
    _backward(Model(D, 0, K), X, dscores, (), (dW, db), n_threads)


def two_layer_backward(
    X: Array, W: Array, b: Array, W2: Array, dscores: Array, dW: Array, db: Array, dW2: Array, db2: Array, *,
    n_threads: int | None = None,
) -> None:  # fmt: skip
    """Gradients of all four parameters from dscores (N, K); hidden values are computed again, tile by tile."""
    (N, D), (H, K) = X.shape, W2.shape
    params, gradients = (W, b, W2, np.zeros(K, X.dtype)), (dW, db, dW2, db2)
    _check(X, "dscores", dscores, (N, K))
    _check_params(X, params)
    for name, p, out in zip(_NAMES, params, gradients, strict=True):
        _check(X, "d" + name, out, p.shape)
    _backward(Model(D, H, K), X, dscores, params, gradients, n_threads)


def linear_loss_gradients(
    X: Array, y: Array, W: Array, b: Array, reg: float, dW: Array, db: Array, sample_weight: Array | None = None, *,
    n_threads: int | None = None,
) -> float:  # fmt: skip
    """Loss, returned, and gradients of the linear classifier, in one pass over X."""
    return _loss_gradients(X, y, (W, b), reg, (dW, db), sample_weight, n_threads)


def two_layer_loss_gradients(
    X: Array, y: Array, W: Array, b: Array, W2: Array, b2: Array, reg: float,
    dW: Array, db: Array, dW2: Array, db2: Array, sample_weight: Array | None = None, *, n_threads: int | None = None,
) -> float:  # fmt: skip
    """Loss, returned, and gradients of the two-layer network, in one pass over X."""
    return _loss_gradients(X, y, (W, b, W2, b2), reg, (dW, db, dW2, db2), sample_weight, n_threads)


def _loss_gradients(
    X: Array, y: Array, params: Sequence[Array], reg: float, gradients: Sequence[Array], sample_weight: Array | None,
    n_threads: int | None,
) -> float:  # fmt: skip
    """Both at the parameters given."""
    _check_params(X, params)
    for name, p, out in zip(_NAMES, params, gradients, strict=False):
        _check(X, "d" + name, out, p.shape)
    labels = label_view(y, len(X), params[-1].size)
    if sample_weight is not None:
        _check(X, "sample_weight", sample_weight, (len(X),))
    evaluation = Evaluation(Model.of(params), X, labels, sample_weight, float(reg), n_threads=n_threads)
    theta = np.concatenate([p.reshape(-1) for p in params], dtype=np.float64)
    slopes = np.empty_like(theta)
    loss = evaluation(theta, slopes)
    for out, slope in zip(gradients, Model.of(params).split(slopes), strict=True):
        out[...] = slope
    return loss


def any_scores(X: Array, params: Sequence[Array], scores: Array, *, n_threads: int | None = None) -> bool:
    """Scores (N, K) of either model. Returns whether they and all on the way to them is finite for sure."""
    _check_params(X, params)
    _check(X, "scores", scores, (len(X), params[-1].size))
    return _forward(Model.of(params), False, X, params, scores, n_threads)


def predict(X: Array, params: Sequence[Array], best: Array, *, n_threads: int | None = None) -> bool:
    """best (N,) intp = the class of the largest score of each row, the first of equal ones.

    In one pass over X that keeps no scores. Returns whether X, the scores and all on the way to them is finite for
    sure: if not, best means nothing. With few inputs scores are those above the last class, which overflow otherwise.
    """
    _check_params(X, params)
    if best.dtype != np.intp or best.shape != X.shape[:1] or not best.flags.c_contiguous:
        raise ValueError(f"best is {best.dtype} {best.shape}, expected contiguous {np.dtype(np.intp)} {X.shape[:1]}")
    return _forward(Model.of(params), True, X, params, best, n_threads)


@functools.lru_cache(maxsize=64)
def _kernels(model: Model) -> Kernels:
    """The kernels of a model, with the cache on disk."""
    kernels = model.kernels()
    for kernel in (kernels.scores_rows, kernels.predict_rows, kernels.backward_rows):
        attach(kernel)
    return kernels


@functools.lru_cache(maxsize=256)
def _forward_kernel(model: Model, N: int, itemsize: int, predicts: bool) -> tuple[Any, Plan, int]:
    """The kernel for scores, or for their largest, its plan and the elements of scratch memory a call needs."""
    kernels = _kernels(model)
    kernel, shapes = kernels.scores_rows, kernels.forward_shapes
    if predicts:
        kernel, shapes = kernels.predict_rows, kernels.predict_shapes
    # scores are those of the general kernels for any shape, as are predictions of the linear model
    rows = cached_plan(N, model, itemsize, few_inputs=shapes is not kernels.forward_shapes)
    return kernel, rows, _scratch(shapes, rows.tile_rows, itemsize)


def _forward(
    model: Model, predicts: bool, X: Array, params: Sequence[Array], out: Array, n_threads: int | None
) -> bool:
    """Scores, or their largest, over threads; whether all calls of the kernel return 0."""
    N = len(X)
    kernel, rows, size = _forward_kernel(model, N, X.itemsize, predicts)
    run = -(-FORWARD_ROWS // rows.leaf_rows)
    n_threads = threads_for(max(model.forward_flops(N), N * READ_FLOPS * model.D), rows.n_leaves, n_threads)
    if n_threads == 1 and rows.n_leaves <= run:  # a call on few rows takes no longer than its parts
        return bool(kernel(X, 0, N, rows.tile_rows, *params, np.zeros((1, size), X.dtype), out) == 0.0)
    returned: list[float] = []

    def work(start: int, stop: int, leaf: int) -> None:
        returned.append(kernel(X, start, stop, rows.tile_rows, *params, np.zeros((1, size), X.dtype), out))

    over_leaves(work, N, rows, n_threads, run)
    return all(mark == 0.0 for mark in returned)


def _backward(
    model: Model, X: Array, dscores: Array, params: Sequence[Array], gradients: Sequence[Array], n_threads: int | None
) -> None:
    kernels, N, P = _kernels(model), len(X), model.padded_size
    rows = cached_plan(N, model, X.itemsize, few_inputs=False)
    size = _scratch(kernels.backward_shapes, rows.tile_rows, X.itemsize)
    sums = np.zeros((rows.n_leaves, P + EXTRA))

    def work(start: int, stop: int, leaf: int) -> None:
        memory = np.zeros((1, size), X.dtype)
        kernels.backward_rows(X, dscores, start, stop, rows.tile_rows, *params, memory, sums, leaf)

    over_leaves(work, N, rows, threads_for(model.backward_flops(N), rows.n_leaves, n_threads))
    for out, part in zip(gradients, model.unflatten(reference.combine(sums)[:P], X.dtype), strict=True):
        out[...] = part


def _scratch(shapes: Any, tile_rows: int, itemsize: int) -> int:
    """Elements of scratch memory for arrays of these shapes."""
    return scratch_size(shapes(tile_rows, 64 // itemsize), 64 // itemsize)


def _check_params(X: Array, params: Sequence[Array]) -> None:
    """X, and W, b, W2, b2 of the shapes that follow from X and the sizes of the biases."""
    n = X.shape[1]
    _check(X, "X", X, X.shape)
    for i, p in enumerate(params):
        m = params[i | 1].size
        _check(X, _NAMES[i], p, (m,) if i & 1 else (n, m))
        n = m if i & 1 else n


_NAMES = ("W", "b", "W2", "b2")
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def _check(like: Array, name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Kernels read and write where they are told: shape, dtype and layout must be what they expect."""
    if array.dtype != like.dtype or (array is like and array.dtype not in _FLOATS):
        raise TypeError(f"{name} has dtype {array.dtype}, expected {like.dtype}, which must be float32 or float64")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not C-contiguous")
