"""The fused kernels under the names and signatures of `kernels.reference`, over threads.

Arrays are C-contiguous float32 or float64, all of one dtype, y holds integers in [0, K); outputs come last and are
overwritten. n_threads=None takes all that this process may use; results do not depend on it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .cache import attach
from .descent import FEW_INPUT_WIDTH, GENERAL, LINEAR, Descent, Family, flatten, unflatten
from .kernels import linear, softmax, two_layer
from .schedule import Plan, plan, run_threads, threads_for
from .validation import label_view

_linear_scores = attach(linear.scores_rows)
_linear_backward = attach(linear.backward_rows)
_two_layer_scores = attach(two_layer.scores_rows)
_two_layer_backward = attach(two_layer.backward_rows)
_softmax = attach(softmax.softmax_cross_entropy_rows)


def linear_scores(
    X: np.ndarray, W: np.ndarray, b: np.ndarray, scores: np.ndarray, *, n_threads: int | None = None
) -> None:
    """scores (N, K) = X W + b."""
    _scores(X, (W, b), scores, n_threads)


def two_layer_scores(
    X: np.ndarray,
    W: np.ndarray,
    b: np.ndarray,
    W2: np.ndarray,
    b2: np.ndarray,
    scores: np.ndarray,
    *,
    n_threads: int | None = None,
) -> None:
    """scores (N, K) = max(0, X W + b) W2 + b2."""
    _scores(X, (W, b, W2, b2), scores, n_threads)


def softmax_cross_entropy(
    scores: np.ndarray, y: np.ndarray, dscores: np.ndarray, *, n_threads: int | None = None
) -> float:
    """Mean cross-entropy loss of scores (N, K), returned; its gradient into dscores (N, K)."""
    N, K = scores.shape
    _check(scores, scores=(scores, (N, K)), dscores=(dscores, (N, K)))
    labels = label_view(y, N, K)
    rows = plan(N, 0, K <= FEW_INPUT_WIDTH, scores.itemsize)
    losses = np.zeros(rows.n_chunks)

    def work(start: int, stop: int, chunk: int, workspace: Any) -> None:
        workspace[0][0, 0] = 0.0
        _softmax(scores, labels, start, stop, rows.tile_rows, workspace, dscores)
        losses[chunk] = workspace[0][0, 0]

    _over_chunks(work, N, rows, 100.0 * N * K, n_threads, lambda: softmax.workspace(K, rows.tile_rows, scores.dtype))
    return float(_tree_sum(losses)) / N


def linear_backward(
    X: np.ndarray, dscores: np.ndarray, dW: np.ndarray, db: np.ndarray, *, n_threads: int | None = None
) -> None:
    """dW (D, K) = X^T dscores, db (K,) = column sums of dscores."""
    (N, D), K = X.shape, dscores.shape[1]
    _check(X, X=(X, (N, D)), dscores=(dscores, (N, K)), dW=(dW, (D, K)), db=(db, (K,)))
    theta = np.zeros((1, flatten((np.zeros((D, K)), np.zeros(K)), LINEAR.layout(D, 0, K)).size))
    _backward(_linear_backward, LINEAR, X, dscores, theta, 0, K, (dW, db), 4.0 * D * K, n_threads)


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
    _check(X, X=(X, (N, D)), W=(W, (D, H)), b=(b, (H,)), W2=(W2, (H, K)), dscores=(dscores, (N, K)))
    _check(X, dW=(dW, (D, H)), db=(db, (H,)), dW2=(dW2, (H, K)), db2=(db2, (K,)))
    theta = _with_origin((W, b, W2, np.zeros(K, X.dtype)))
    flops = H * (6.0 * D + 4.0 * K)
    _backward(_two_layer_backward, GENERAL, X, dscores, theta, H, K + 1, (dW, db, dW2, db2), flops, n_threads)


def linear_loss_gradients(
    X: np.ndarray,
    y: np.ndarray,
    W: np.ndarray,
    b: np.ndarray,
    reg: float,
    dW: np.ndarray,
    db: np.ndarray,
    *,
    n_threads: int | None = None,
) -> float:
    """Loss, returned, and gradients of the linear classifier, in one pass over X."""
    return _loss_gradients(X, y, (W, b), reg, (dW, db), n_threads)


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
    *,
    n_threads: int | None = None,
) -> float:
    """Loss, returned, and gradients of the two-layer network, in one pass over X."""
    return _loss_gradients(X, y, (W, b, W2, b2), reg, (dW, db, dW2, db2), n_threads)


def _loss_gradients(
    X: np.ndarray,
    y: np.ndarray,
    params: Sequence[np.ndarray],
    reg: float,
    gradients: Sequence[np.ndarray],
    n_threads: int | None,
) -> float:
    """One step of a descent that goes nowhere."""
    shapes = _shapes(X, params)
    _check(X, X=(X, X.shape), **{n: (p, s) for n, p, s in zip(_NAMES, params, shapes, strict=False)})
    _check(X, **{"d" + n: (g, s) for n, g, s in zip(_NAMES, gradients, shapes, strict=False)})
    labels = label_view(y, len(X), params[-1].size)
    descent = Descent(X, labels, params, step_size=0.0, reg=reg, n_threads=n_threads, steps=1)
    loss = descent.evaluate()
    for out, gradient in zip(gradients, descent.gradients, strict=True):
        out[...] = gradient
    return loss


def _scores(X: np.ndarray, params: Sequence[np.ndarray], scores: np.ndarray, n_threads: int | None) -> None:
    shapes = _shapes(X, params)
    (N, D), K = X.shape, shapes[-1][0]
    _check(X, X=(X, (N, D)), scores=(scores, (N, K)))
    _check(X, **{n: (p, s) for n, p, s in zip(_NAMES, params, shapes, strict=False)})
    H = shapes[0][1] if len(params) == 4 else 0
    if H:
        kernel, family, theta, classes = _two_layer_scores, GENERAL, _with_origin(params), K + 1
    else:
        kernel, family, classes = _linear_scores, LINEAR, K
        theta = flatten(params, LINEAR.layout(D, 0, K))[None]
    rows = plan(N, H, H == 0 and D <= FEW_INPUT_WIDTH, X.itemsize)

    def work(start: int, stop: int, chunk: int, workspace: Any) -> None:
        kernel(X, start, stop, rows.tile_rows, theta, H, classes, workspace, scores)

    flops = N * (2.0 * H * (D + K) if H else 2.0 * D * K + 10.0 * K)
    _over_chunks(work, N, rows, flops, n_threads, lambda: family.workspace(D, H, classes, rows.tile_rows, X.dtype))


def _backward(
    kernel: Any,
    family: Family,
    X: np.ndarray,
    dscores: np.ndarray,
    theta: np.ndarray,
    H: int,
    K: int,
    gradients: Sequence[np.ndarray],
    flops_per_row: float,
    n_threads: int | None,
) -> None:
    N, D = X.shape
    rows = plan(N, H, H == 0 and D <= FEW_INPUT_WIDTH, X.itemsize)
    sums = np.zeros((rows.n_chunks, theta.shape[1]))

    def work(start: int, stop: int, chunk: int, workspace: Any) -> None:
        kernel(X, dscores, start, stop, rows.tile_rows, theta, H, K, workspace)
        sums[chunk] = workspace[0][0, : theta.shape[1]]

    def workspace() -> Any:
        return family.workspace(D, H, K, rows.tile_rows, X.dtype)

    _over_chunks(work, N, rows, flops_per_row * N, n_threads, workspace)
    parts = unflatten(_tree_sum(sums), family.layout(D, H, K), X.dtype)
    for out, part in zip(gradients, parts, strict=True):
        out[...] = part[tuple(slice(n) for n in out.shape)]  # without the class that served as origin


def _over_chunks(
    work: Callable[[int, int, int, Any], None],
    N: int,
    rows: Plan,
    flops: float,
    n_threads: int | None,
    workspace: Callable[[], Any],
) -> None:
    """work(start, stop, chunk, workspace) for every chunk of rows, over threads."""
    n_threads = threads_for(flops, rows.n_chunks, n_threads)
    chunk_rows = rows.block_rows * rows.chunk_blocks
    stop_flag = np.zeros(1, np.int64)

    def enter(thread: int) -> None:
        own = workspace()
        for chunk in range(thread, rows.n_chunks, n_threads):
            if stop_flag[0]:
                return
            work(chunk * chunk_rows, min((chunk + 1) * chunk_rows, N), chunk, own)

    if n_threads == 1:
        enter(0)
    else:
        run_threads(enter, n_threads, stop_flag)


def _tree_sum(parts: np.ndarray) -> Any:
    """Sum over the first axis along the tree of the block sums."""
    width = 1
    while width < len(parts):
        for j in range(0, len(parts) - width, 2 * width):
            parts[j] += parts[j + width]
        width *= 2
    return parts[0]


def _with_origin(params: Sequence[np.ndarray]) -> np.ndarray:
    """theta (1, P) with one more class, whose scores are zero: the origin that the kernels measure from."""
    W, b, W2, b2 = params
    W2 = np.concatenate([W2, np.zeros((len(W2), 1), W2.dtype)], axis=1)
    b2 = np.concatenate([b2, np.zeros(1, b2.dtype)])
    return flatten((W, b, W2, b2), two_layer.layout(W.shape[0], W.shape[1], b2.size))[None]


_NAMES = ("W", "b", "W2", "b2")


def _shapes(X: np.ndarray, params: Sequence[np.ndarray]) -> tuple[tuple[int, ...], ...]:
    """The shapes that params must have, from X and the sizes of the biases."""
    sizes = (X.shape[1], *(p.size for p in params[1::2]))
    return tuple(s for n, m in zip(sizes, sizes[1:], strict=False) for s in ((n, m), (m,)))


def _check(like: np.ndarray, **arrays: tuple[np.ndarray, tuple[int, ...]]) -> None:
    """Kernels read and write where they are told: shape, dtype and layout must be what they expect."""
    for name, (array, shape) in arrays.items():
        if array.dtype != like.dtype or array.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name} has dtype {array.dtype}, expected {like.dtype}, which must be float32 or float64")
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
        if not array.flags.c_contiguous:
            raise ValueError(f"{name} is not C-contiguous")
