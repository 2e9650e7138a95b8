"""Loss and gradients as one function: the objective of any optimiser."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from .checks.arrays import feature_matrix
from .checks.labels import check_label_range, label_view
from .checks.parameters import check_training_memory, checked_parameters, parameter_arrays
from .checks.scalars import finite_number, random_numbers, thread_count, whole_number
from .checks.weights import sample_weights
from .engine.evaluation import Evaluation
from .engine.folding import Threads
from .engine.streaming import Stream
from .engine.survey import coding_of, survey
from .kernels.models import Model
from .rows.rows import Rows, check_own_targets

CALLS = 1000  # of an Objective to come, about: helpers are worth starting for them


class Objective:
    """Mean softmax cross-entropy with L2 term as a function of one flat vector of parameters.

        L = sum_i w_i -log softmax(f(x_i))[y_i] / sum_i w_i + reg/2 (|W|^2 + |W2|^2)

    with w_i = 1, or sample_weight, and f(x) = x W + b, or with hidden_size f(x) = max(0, x W + b) W2 + b2 (Karpathy,
    CS231n, "Putting it together"). Rows are checked and laid out once; each call is then one pass over them. What
    `scipy.optimize.minimize(objective, objective.initial(0), jac=True)` takes.

    Parameters
    ----------
    X : array (N, D), or rows of `spiralnn.open_rows`
        Finite numbers. float32 is computed in float32, every other real dtype in float64. An array is not copied where
        it is C-contiguous and of one of these dtypes, and must not change meanwhile; rows are read in every call.
    y : integer array (N,)
        Labels in [0, n_classes). None where rows hold them, and weights.
    hidden_size : int, optional
        Hidden units of the network, at least 1; None: the linear model.
    n_classes : int, optional
        At least 2; None: the largest label and one.
    reg : float, default 0
        L2 strength on the weights, at least 0. Biases are not penalised.
    sample_weight : array (N,), optional
        Weight of each row in the mean: finite, at least 0, not all 0. A weight of 2 is the row twice. Converted to the
        dtype of X.
    n_threads : int or None
        None: all that this process may use. The result does not depend on it, to the last bit.

    Raises
    ------
    ValueError, TypeError
        Wrong shapes, NaN or infinity in X or sample_weight, labels outside [0, n_classes) or not integers, negative
        reg or weights.
    MemoryError
        A network that cannot fit.

    Attributes
    ----------
    size : int
        Number of parameters: those of W, b, W2, b2 one after the other, each row by row.
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        *,
        hidden_size: int | None = None,
        n_classes: int | None = None,
        reg: float = 0.0,
        sample_weight: Any = None,
        n_threads: int | None = None,
    ) -> None:
        H = 0 if hidden_size is None else whole_number("hidden_size", hidden_size, 1)
        K = None if n_classes is None else whole_number("n_classes", n_classes, 2)
        if isinstance(X, Rows):
            self._lay_out_rows(X, y, H, K, reg, sample_weight, n_threads)
        else:
            self._lay_out(feature_matrix(X), y, H, K, reg, sample_weight, n_threads, CALLS)

    def _lay_out_rows(
        self, rows: Rows, y: Any, H: int, K: int | None, reg: Any, sample_weight: Any, n_threads: Any
    ) -> None:
        """Of rows that are read piece by piece, in every call."""
        check_own_targets(rows, y, sample_weight)
        reg, collector = finite_number("reg", reg, minimum=0.0), Threads(rows, thread_count(n_threads))
        found = survey(collector)
        low, high = min(found.labels), max(found.labels)
        if not isinstance(low, int) or isinstance(low, bool):
            raise TypeError(f"y holds {low!r}, expected integer labels in [0, {'K' if K is None else K})")
        K = check_label_range(low, high, K)
        coding = coding_of(collector, found, None, np.arange(K))
        self._evaluate(Model(rows.D, H, K), Stream(collector, coding), None, None, reg, None, CALLS)

    def _lay_out(
        self,
        matrix: np.ndarray,
        y: Any,
        H: int,
        K: int | None,
        reg: Any,
        sample_weight: Any,
        n_threads: Any,
        calls: int,
    ) -> None:
        N, D = matrix.shape
        labels = label_view(y, N, K)
        K = int(labels.max()) + 1 if K is None else K
        weights = sample_weights(sample_weight, N, matrix.dtype)
        reg = finite_number("reg", reg, minimum=0.0)
        self._evaluate(Model(D, H, K), matrix, labels, weights, reg, thread_count(n_threads), calls)

    def _evaluate(
        self,
        model: Model,
        X: np.ndarray | Stream,
        labels: np.ndarray | None,
        weights: np.ndarray | None,
        reg: float,
        n_threads: int | None,
        calls: int,
    ) -> None:
        self._model, self._dtype = model, X.dtype
        check_training_memory(model)
        self._evaluation = Evaluation(model, X, labels, weights, reg, n_threads=n_threads, calls=calls)
        self._one_at_a_time = threading.Lock()
        self.size = self._model.size

    def __call__(self, theta: np.ndarray, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(loss, gradient) at theta (size,) float64; the gradient is such an array, too: `out` where given.

        float32 rows are computed with theta rounded to float32. The loss is NaN where theta, or a score, is not finite;
        nothing is raised for that. ValueError: theta or out is of another shape or dtype, or out cannot be written to.
        """
        theta = self._vector("theta", theta)
        if out is None:
            out = np.empty(self.size)
        elif self._vector("out", out) is not out or not out.flags.writeable:
            raise ValueError("out is not a C-contiguous array that can be written to")
        with self._one_at_a_time:
            return self._evaluation(theta, out), out

    def _vector(self, name: str, value: Any) -> np.ndarray:
        if type(value) is not np.ndarray or value.dtype != np.float64 or value.shape != (self.size,):
            found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise ValueError(f"{name} is {found}, expected an array of float64 ({self.size},)")
        return value if value.flags.c_contiguous and value.flags.aligned else np.require(value, None, ["C", "A"])

    def initial(self, random_state: Any = None, init_scale: float = 0.01) -> np.ndarray:
        """Normal weights times init_scale and zero biases, as the estimators draw them: an array of `size`."""
        init_scale = finite_number("init_scale", init_scale, minimum=0.0)
        return self._flat(self._model.initial(random_numbers(random_state).randn, init_scale))

    def pack(self, params: Sequence[Any]) -> np.ndarray:
        """(W, b) or (W, b, W2, b2) as one vector. ValueError, TypeError: they do not fit, or are not finite."""
        return self._flat(checked_parameters("params", params, self._model, self._dtype))

    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, ...]:
        """The reverse: copies (W, b) or (W, b, W2, b2), float64."""
        return tuple(part.copy() for part in self._model.split(self._vector("theta", theta)))

    @staticmethod
    def _flat(params: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([p.reshape(-1) for p in params], dtype=np.float64)


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
    """Loss and gradients as of `Objective`, once, for parameters as they come.

    Parameters
    ----------
    X, y, reg, sample_weight, n_threads
        As of `Objective`; labels are in [0, K).
    params : (W, b) or (W, b, W2, b2)
        Shapes (D, K), (K,) or (D, H), (H,), (H, K), (K,), finite. Converted to the dtype of X.
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
        As of `Objective`, and for params and out, before any kernel runs.
    """
    matrix = feature_matrix(X)
    arrays = parameter_arrays("params", params, matrix.shape[1], matrix.dtype)
    shapes = [np.shape(p) for p in params]
    if out is not None:
        _check_out(out, shapes, matrix.dtype)
    D, H, K = Model.of(arrays)
    objective = Objective.__new__(Objective)
    objective._lay_out(matrix, y, H, K, reg, sample_weight, n_threads, calls=1)
    loss, flat = objective(objective._flat(arrays))
    gradients = [part.reshape(shape) for part, shape in zip(objective._model.split(flat), shapes, strict=True)]
    if out is None:
        return loss, tuple(gradient.astype(matrix.dtype) for gradient in gradients)
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
