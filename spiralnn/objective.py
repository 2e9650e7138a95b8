"""Loss and gradients as one function: the objective of any optimiser."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .descent import Descent
from .validation import feature_matrix, finite_number, label_view, parameter_arrays, sample_weights, thread_count


def loss_and_gradients(
    X: Any,
    y: Any,
    params: Sequence[Any],
    *,
    reg: float = 0.0,
    sample_weight: Any = None,
    n_threads: int | None = None,
    out: Sequence[np.ndarray] | None = None,
) -> tuple[float, tuple[np.ndarray, ...]]:
    """Mean softmax cross-entropy with L2 term, and its gradients, in one pass over X.

        L = sum_i w_i -log softmax(f(x_i))[y_i] / sum_i w_i + reg/2 (|W|^2 + |W2|^2)

    with w_i = 1, or sample_weight, and
    f(x) = x W + b, or f(x) = max(0, x W + b) W2 + b2 (Karpathy, CS231n, "Putting it together").

    Parameters
    ----------
    X : array (N, D)
        Finite numbers. float32 is computed in float32, every other real dtype in float64.
    y : integer array (N,)
        Labels in [0, K).
    params : (W, b) or (W, b, W2, b2)
        Shapes (D, K), (K,) or (D, H), (H,), (H, K), (K,), finite. Converted to the dtype of X.
    reg : float, default 0
        L2 strength on the weights, at least 0. Biases are not penalised.
    sample_weight : array (N,), optional
        Weight of each row in the mean: finite, at least 0, not all 0. A weight of 2 is the row twice. Converted to the
        dtype of X.
    n_threads : int or None
        None: all that this process may use. The result does not depend on it, to the last bit.
    out : sequence of arrays, optional
        Where to write the gradients: order, shapes and dtype of params (as converted).

    Returns
    -------
    loss : float
        Not finite when the scores overflow; nothing is raised for that.
    gradients : tuple of arrays
        In the order and shapes of params; the arrays of `out` when given.

    Raises
    ------
    ValueError, TypeError
        Wrong shapes, NaN or infinity in X, params or sample_weight, labels outside [0, K) or not integers, negative reg
        or weights: before any kernel runs.
    """
    X = feature_matrix(X)
    given = params
    params = parameter_arrays("params", params, X.shape[1], X.dtype)
    labels = label_view(y, X.shape[0], params[-1].size)
    weights = sample_weights(sample_weight, X.shape[0], X.dtype)
    reg = finite_number("reg", reg, minimum=0.0)
    shapes = [np.shape(p) for p in given]
    if out is not None:
        _check_out(out, shapes, X.dtype)
    descent = Descent(
        X,
        labels,
        params,
        sample_weight=weights,
        step_size=0.0,
        reg=reg,
        n_threads=thread_count(n_threads),
        steps=1,
    )
    loss = descent.evaluate()
    gradients = tuple(g.reshape(shape) for g, shape in zip(descent.gradients, shapes, strict=True))
    if out is None:
        return loss, gradients
    for target, gradient in zip(out, gradients, strict=True):
        target[...] = gradient
    return loss, tuple(out)


def _check_out(out: Any, shapes: Sequence[tuple[int, ...]], dtype: Any) -> None:
    if not isinstance(out, Sequence) or len(out) != len(shapes):
        found = f"{len(out)} arrays" if isinstance(out, Sequence) else type(out).__name__
        raise ValueError(f"out holds {found}, expected {len(shapes)} arrays")
    for i, (array, shape) in enumerate(zip(out, shapes, strict=True)):
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"out[{i}] is {found}, expected an array of {dtype}")
        if array.shape != shape:
            raise ValueError(f"out[{i}] has shape {array.shape}, expected {shape}")
        if not array.flags.writeable:
            raise ValueError(f"out[{i}] is read-only, expected an array to write to")
