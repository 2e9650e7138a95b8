"""Loss, gradient and Hessian of the linear model at any parameters, in one pass: what Newton's method is driven by."""

import numpy as np

from ..kernels import newton
from ..kernels.models import Model, SecondOrder
from ..kernels.updates import GRADIENT
from .cache import attach
from .passes import Passes
from .plan import hessian_plan
from .streaming import Hessians, Stream, StreamedPasses

_collect = attach(newton.collect)


class Curvature:
    """Of the mean loss without L2 term. affine (2, D): mean and scale of the columns, in whose variables it all is.

    Other arguments as of `Passes`; calls: how many are to come, about. Nothing is checked here.
    """

    def __init__(
        self,
        model: Model,
        X: np.ndarray | Stream,
        y: np.ndarray | None,
        sample_weight: np.ndarray | None,
        affine: np.ndarray,
        *,
        n_threads: int | None = None,
        calls: int = 1,
    ) -> None:
        D, _, K = model
        whole = SecondOrder(*model)
        self.model = model
        if isinstance(X, Stream):
            self._passes: Passes | StreamedPasses = StreamedPasses(whole, X, GRADIENT, [0.0], kind=Hessians)
        else:
            assert y is not None
            self._passes = Passes(
                whole, X, y, sample_weight, GRADIENT, [0.0], plan=hessian_plan(len(X), D, K, X.itemsize),
                n_threads=n_threads, steps=calls,
            )  # fmt: skip
        self.memory = self._passes.memory
        size = newton.gradient_size(D, K)
        theta = self.memory.theta[0]
        self._params = theta[:size].reshape(D + 1, -1)[:, :K]
        theta[size : size + 2 * D] = affine.reshape(-1)

    @property
    def n_threads(self) -> int:
        return self._passes.n_threads

    def __call__(self, params: np.ndarray, gradient: np.ndarray, hessian: np.ndarray) -> float:
        """The loss at params (D + 1, K), biases last, NaN where it is not finite.

        gradient (D + 1, K) and hessian (M, M), its upper triangle, are written: see `kernels.newton`.
        """
        memory = self.memory
        self._params[:] = params
        memory.status[0] = memory.status[1] = 0
        if self.n_threads == 1:
            self._passes.run(1, 1)
        else:
            self._passes.run_at_pace(1)
        _collect(memory.theta[1], self.model.D, self.model.K, gradient, hessian)
        return float(memory.losses[0])
