"""What a solver is given: data in memory, the model, and where it starts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..engine.streaming import Stream
from ..kernels.models import Model


class Problem(NamedTuple):
    """The minimum of 1/sum w sum_i -w_i log softmax(f(x_i))[y_i] + reg/2 (|W|^2 + |W2|^2) is looked for.

    X (N, D) float32 or float64, C-contiguous and finite; y (N,) integer labels in [0, K); sample_weight (N,) of the
    dtype of X, or None; or X is a stream, which holds them all. params: where it starts, (W, b) or (W, b, W2, b2).
    n_threads=None: all that this process may use. backend: the fused kernels, or the sums of the reference, for rows
    in memory. held: the rows (n,) that are not trained on, which have no weight. is_drawn: whether params are those of
    centred and scaled columns, as `columns.py` has them. carried: what a run before has left, see `Run.carried`.
    Nothing is checked here.
    """

    X: np.ndarray | Stream
    y: np.ndarray | None
    params: Sequence[np.ndarray]
    sample_weight: np.ndarray | None = None
    reg: float = 0.0
    n_threads: int | None = None
    backend: str = "fused"
    held: np.ndarray | None = None
    is_drawn: bool = False
    carried: dict[str, np.ndarray] | None = None

    @property
    def model(self) -> Model:
        return Model.of(self.params)

    @property
    def like(self) -> np.ndarray:
        """An array of the dtype that is computed with."""
        return np.zeros((1, 1), self.X.dtype)

    def in_memory(self) -> tuple[np.ndarray, np.ndarray]:
        """X and y as arrays: of solvers that need them."""
        assert isinstance(self.X, np.ndarray) and self.y is not None
        return self.X, self.y

    @property
    def is_reference(self) -> bool:
        return self.backend == "reference"

    def reference_loss_gradients(self, params: Sequence[np.ndarray]) -> tuple[float, tuple[np.ndarray, ...]]:
        """By the case study's NumPy, over all rows."""
        X, y = self.in_memory()
        gradients = tuple(np.empty_like(p) for p in params)
        with np.errstate(under="ignore"):  # probabilities of next to nothing
            loss = self.model.reference.loss_gradients(X, y, *params, self.reg, *gradients, self.sample_weight)
        return loss, gradients


def finite(params: Sequence[Any]) -> bool:
    return all(np.isfinite(p).all() for p in params)
