"""The fused kernels under the names and signatures of `kernels.reference`, over threads.

Arrays are C-contiguous float32 or float64, all of one dtype, y holds integers in [0, K); outputs come last and are
overwritten. sample_weight (N,) is of the dtype of X, at least 0, and not all 0. n_threads=None takes all that this
process may use; results do not depend on it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .cache import attach
from .descent import Descent, has_few_inputs, unflatten
from .kernels import linear, softmax, two_layer
from .kernels.tile import scratch_size
from .schedule import Plan, plan, run_threads, threads_for
from .validation import label_bytes, label_view

_linear_scores, _two_layer_scores = attach(linear.scores_rows), attach(two_layer.scores_rows)
_linear_predict, _two_layer_predict = attach(linear.predict_rows), attach(two_layer.predict_rows)
_linear_backward, _two_layer_backward = attach(linear.backward_rows), attach(two_layer.backward_rows)
_softmax = attach(softmax.softmax_cross_entropy_rows)

FORWARD_ROWS = 4096  # rows a call of a forward kernel: fewer, and packing the weights (0.1 ms at 784 x 128) would show
READ_FLOPS = 64.0  # work that reading an input counts as, where a call waits for memory rather than arithmetic


def linear_scores(
    X: np.ndarray, W: np.ndarray, b: np.ndarray, scores: np.ndarray, *, n_threads: int | None = None
) -> bool:
    """scores (N, K) = X W + b. Returns whether all of them are finite."""
    return _scores(X, (W, b), scores, n_threads)


def two_layer_scores(
    X: np.ndarray,
    W: np.ndarray,
    b: np.ndarray,
    W2: np.ndarray,
    b2: np.ndarray,
    scores: np.ndarray,
    *,
    n_threads: int | None = None,
) -> bool:
    """scores (N, K) = max(0, X W + b) W2 + b2. Returns whether they and all on the way to them is finite for sure."""
    return _scores(X, (W, b, W2, b2), scores, n_threads)


def softmax_cross_entropy(
    scores: np.ndarray,
    y: np.ndarray,
    dscores: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    n_threads: int | None = None,
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
    rows = _plan(N, K, 0, 1, scores.itemsize)
    size = scratch_size(softmax.shapes(K, rows.tile_rows, 64 // scores.itemsize), 64 // scores.itemsize)
    losses = np.zeros((rows.n_chunks, 1))

    def work(start: int, stop: int, chunk: int) -> None:
        memory = np.zeros((1, size), scores.dtype)
        _softmax(scores, targets, start, stop, rows.tile_rows, memory, losses, chunk, dscores, 1.0 / total)

    _over_chunks(work, N, rows, threads_for(100.0 * N * K, rows.n_chunks, n_threads))
    return float(_tree_sum(losses)[0]) / total


def linear_backward(
    X: np.ndarray, dscores: np.ndarray, dW: np.ndarray, db: np.ndarray, *, n_threads: int | None = None
) -> None:
    """dW (D, K) = X^T dscores, db (K,) = column sums of dscores."""
    (N, D), K = X.shape, dscores.shape[1]
    _check(X, "dscores", dscores, (N, K))
    _check_params(X, (dW, db))
    _backward(_linear_backward, X, dscores, (), (dW, db), linear.layout(D, 0, K), 0, 4.0 * D * K, n_threads)


def two_layer_backward(
    X: np.ndarray,
    W: np.ndarray,
    b: np.ndarray,
    W2: np.ndarray,
    dscores: np.ndarray,
    dW: np.ndarray,
    db: np.ndarray,
    dW2: np.ndarray,
    db2: np.ndarray,
    *,
    n_threads: int | None = None,
) -> None:
    """Gradients of all four parameters from dscores (N, K); hidden values are computed again, tile by tile."""
    (N, D), (H, K) = X.shape, W2.shape
    params, gradients = (W, b, W2, np.zeros(K, X.dtype)), (dW, db, dW2, db2)
    _check(X, "dscores", dscores, (N, K))
    _check_params(X, params)
    for name, p, out in zip(_NAMES, params, gradients, strict=True):
        _check(X, "d" + name, out, p.shape)
    flops = H * (6.0 * D + 4.0 * K)
    _backward(_two_layer_backward, X, dscores, params, gradients, two_layer.layout(D, H, K), H, flops, n_threads)


def linear_loss_gradients(
    X: np.ndarray,
    y: np.ndarray,
    W: np.ndarray,
    b: np.ndarray,
    reg: float,
    dW: np.ndarray,
    db: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    n_threads: int | None = None,
) -> float:
    """Loss, returned, and gradients of the linear classifier, in one pass over X."""
    return _loss_gradients(X, y, (W, b), reg, (dW, db), sample_weight, n_threads)


def two_layer_loss_gradients(
    X: np.ndarray,
    y: np.ndarray,
    W: np.ndarray,
    b: np.ndarray,
    W2: np.ndarray,
    b2: np.ndarray,
    reg: float,
    dW: np.ndarray,
    db: np.ndarray,
    dW2: np.ndarray,
    db2: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    n_threads: int | None = None,
) -> float:
    """Loss, returned, and gradients of the two-layer network, in one pass over X."""
    return _loss_gradients(X, y, (W, b, W2, b2), reg, (dW, db, dW2, db2), sample_weight, n_threads)


def _loss_gradients(
    X: np.ndarray,
    y: np.ndarray,
    params: Sequence[np.ndarray],
    reg: float,
    gradients: Sequence[np.ndarray],
    sample_weight: np.ndarray | None,
    n_threads: int | None,
) -> float:
    """One step of a descent that goes nowhere."""
    _check_params(X, params)
    for name, p, out in zip(_NAMES, params, gradients, strict=False):
        _check(X, "d" + name, out, p.shape)
    labels = label_view(y, len(X), params[-1].size)
    if sample_weight is not None:
        _check(X, "sample_weight", sample_weight, (len(X),))
    descent = Descent(
        X, labels, params, sample_weight=sample_weight, step_size=0.0, reg=reg, n_threads=n_threads, steps=1
    )
    loss = descent.evaluate()
    for out, gradient in zip(gradients, descent.gradients, strict=True):
        out[...] = gradient
    return loss


def _scores(X: np.ndarray, params: Sequence[np.ndarray], scores: np.ndarray, n_threads: int | None) -> bool:
    _check_params(X, params)
    _check(X, "scores", scores, (len(X), params[-1].size))
    return _forward(_linear_scores if len(params) == 2 else _two_layer_scores, X, params, scores, n_threads)


def predict(X: np.ndarray, params: Sequence[np.ndarray], best: np.ndarray, *, n_threads: int | None = None) -> bool:
    """best (N,) intp = the class of the largest score of each row, the first of equal ones.

    In one pass over X that keeps no scores. Returns whether X, the scores and all on the way to them is finite for
    sure: if not, best means nothing. With few inputs scores are those above the last class, which overflow otherwise.
    """
    _check_params(X, params)
    if best.dtype != np.intp or best.shape != X.shape[:1] or not best.flags.c_contiguous:
        raise ValueError(f"best is {best.dtype} {best.shape}, expected contiguous {np.dtype(np.intp)} {X.shape[:1]}")
    D, K = X.shape[1], params[-1].size
    few_inputs = len(params) == 4 and has_few_inputs(D, K)
    general = _linear_predict if len(params) == 2 else _two_layer_predict
    kernel = _few_inputs_predict(D, K) if few_inputs else general
    return _forward(kernel, X, params, best, n_threads, few_inputs)


@functools.cache
def _few_inputs_predict(D: int, K: int) -> Any:
    kernel = two_layer.few_inputs(D, K - 1)[-1]
    getattr(kernel, "py_func", kernel).kernel_name = f"{D}_inputs_{K}_classes"
    return attach(kernel)


def _forward(
    kernel: Any,
    X: np.ndarray,
    params: Sequence[np.ndarray],
    out: np.ndarray,
    n_threads: int | None,
    few_inputs: bool = False,
) -> bool:
    """A kernel that computes scores, over threads; whether all its calls return 0."""
    N, D = X.shape
    K = params[-1].size
    H = params[0].shape[1] if len(params) == 4 else 0
    rows = _plan(N, D, H, K, X.itemsize, few_inputs)
    size = _scratch(D, H, K, rows.tile_rows, X.itemsize, "few inputs" if few_inputs else "scores")
    run = -(-FORWARD_ROWS // rows.chunk_rows)
    n_threads = threads_for(N * max(2.0 * (H or K) * D + 2.0 * H * K, READ_FLOPS * D), rows.n_chunks, n_threads)
    if n_threads == 1 and rows.n_chunks <= run:  # a call on few rows takes no longer than its parts
        return bool(kernel(X, 0, N, rows.tile_rows, *params, np.zeros((1, size), X.dtype), out) == 0.0)
    returned: list[float] = []

    def work(start: int, stop: int, chunk: int) -> None:
        returned.append(kernel(X, start, stop, rows.tile_rows, *params, np.zeros((1, size), X.dtype), out))

    _over_chunks(work, N, rows, n_threads, run)
    return all(mark == 0.0 for mark in returned)


def _backward(
    kernel: Any,
    X: np.ndarray,
    dscores: np.ndarray,
    params: Sequence[np.ndarray],
    gradients: Sequence[np.ndarray],
    layout: Sequence[tuple[int, ...]],
    H: int,
    flops_per_row: float,
    n_threads: int | None,
) -> None:
    (N, D), K = X.shape, dscores.shape[1]
    first, n, length, _, _ = layout[-1]
    P = first + n * length
    rows = _plan(N, D, H, K, X.itemsize)
    size = _scratch(D, H, K, rows.tile_rows, X.itemsize, "gradients")
    sums = np.zeros((rows.n_chunks, P + 16))

    def work(start: int, stop: int, chunk: int) -> None:
        kernel(X, dscores, start, stop, rows.tile_rows, *params, np.zeros((1, size), X.dtype), sums, chunk)

    _over_chunks(work, N, rows, threads_for(flops_per_row * N, rows.n_chunks, n_threads))
    for out, part in zip(gradients, unflatten(_tree_sum(sums)[:P], layout, X.dtype), strict=True):
        out[...] = part


@functools.lru_cache(maxsize=256)
def _plan(N: int, D: int, H: int, K: int, itemsize: int, few_inputs: bool = False) -> Plan:
    return plan(N, D, H, K, few_inputs, itemsize)


@functools.lru_cache(maxsize=256)
def _scratch(D: int, H: int, K: int, tile_rows: int, itemsize: int, purpose: str) -> int:
    """Elements of scratch memory a thread needs for "scores", "gradients", or a prediction from "few inputs"."""
    unit = 64 // itemsize
    if purpose == "few inputs":
        shapes = two_layer.few_inputs(D, K - 1)[0](H, K, tile_rows, unit)
    elif H:
        shapes = two_layer.general_shapes(D, H, K, tile_rows, unit, keep=purpose == "gradients")
    else:
        shapes = linear.shapes(D, K, tile_rows, unit)
    return scratch_size(shapes, unit)


def _over_chunks(work: Callable[[int, int, int], None], N: int, rows: Plan, n_threads: int, run: int = 1) -> None:
    """work(start, stop, chunk) for all rows, over threads; one call for up to `run` chunks."""
    run = min(run, -(-rows.n_chunks // n_threads))
    stop_flag = np.zeros(1, np.int64)

    def enter(thread: int) -> None:
        for chunk in range(thread * run, rows.n_chunks, n_threads * run):
            if stop_flag[0]:
                return
            work(chunk * rows.chunk_rows, min((chunk + run) * rows.chunk_rows, N), chunk)

    if n_threads == 1:
        enter(0)
    else:
        run_threads(enter, n_threads, stop_flag)


def _tree_sum(parts: np.ndarray) -> Any:
    """Sum over the first axis along the tree of the chunk sums."""
    width = 1
    while width < len(parts):
        for j in range(0, len(parts) - width, 2 * width):
            parts[j] += parts[j + width]
        width *= 2
    return parts[0]


def _check_params(X: np.ndarray, params: Sequence[np.ndarray]) -> None:
    """X, and W, b, W2, b2 of the shapes that follow from X and the sizes of the biases."""
    n = X.shape[1]
    _check(X, "X", X, X.shape)
    for i, p in enumerate(params):
        m = params[i | 1].size
        _check(X, _NAMES[i], p, (m,) if i & 1 else (n, m))
        n = m if i & 1 else n


_NAMES = ("W", "b", "W2", "b2")
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def _check(like: np.ndarray, name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    """Kernels read and write where they are told: shape, dtype and layout must be what they expect."""
    if array.dtype != like.dtype or (array is like and array.dtype not in _FLOATS):
        raise TypeError(f"{name} has dtype {array.dtype}, expected {like.dtype}, which must be float32 or float64")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not C-contiguous")
