"""Loss and gradient at any parameters, over rows that were laid out once: what solvers in Python are driven by."""

import functools

import numpy as np

from ..kernels import layout
from ..kernels.models import Model
from ..kernels.updates import GRADIENT
from .cache import attach
from .streaming import Stream, passes_over

_spread, _collect = attach(layout.spread), attach(layout.collect)


class Evaluation:
    """Arguments as of `passes_over`; reg: the L2 strength; calls: how many are to come, about. Unchecked."""

    def __init__(
        self,
        model: Model,
        X: np.ndarray | Stream,
        y: np.ndarray | None,
        sample_weight: np.ndarray | None,
        reg: float,
        *,
        n_threads: int | None = None,
        calls: int = 1,
    ) -> None:
        self._passes = passes_over(model, X, y, sample_weight, GRADIENT, [reg], n_threads=n_threads, steps=calls)
        self._memory, self._places = self._passes.memory, _places(model)
        self._like = np.zeros((1, 1), X.dtype)

    @property
    def n_threads(self) -> int:
        return self._passes.n_threads

    def __call__(self, theta: np.ndarray, gradient: np.ndarray) -> float:
        """The loss at theta (size,) float64, NaN where it is not finite; the gradient, an array like it, is written."""
        memory = self._memory
        _spread(theta, self._places, memory.theta, 0, self._like)
        memory.status[0] = memory.status[1] = 0
        if self.n_threads == 1:
            self._passes.run(1, 1)
        else:
            self._passes.run_at_pace(1)
        _collect(memory.theta, 1, self._places, gradient)
        return float(memory.losses[0])


@functools.lru_cache(maxsize=64)
def _places(model: Model) -> np.ndarray:
    return model.places()
