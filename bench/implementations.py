"""Everybody who is timed, one small adapter each: the list at the end is the only place that names them all.

An adapter has a name, its number of threads, whether its first call compiles and the relative error it is allowed in
each dtype. `serves(problem)` says whether it can do the problem at all; `step(problem, steps)` and `predict(problem)`
return a call without arguments, and `losses(result)` the losses that a step's call came to. What peers.py adds has no
more than that; the package's own backends have a method for every operation, whose calls return what
`problems.Truth` holds. The rung between them, ordinary Numba, is a step and has no prediction: who lacks the method for
an operation stays out of it.
"""

import numpy as np
import peers

import spiralnn
from spiralnn import resources
from spiralnn.engine import fused
from spiralnn.kernels import plain, reference
from spiralnn.solvers import descent


class Rung:
    """A step as one of the package's modules does it: its functions, and a descent loop made of them."""

    def __init__(self, name, module, loop, n_threads, tolerance):
        self.name, self.module, self.loop, self.tolerance = name, module, loop, tolerance
        self.n_threads = n_threads
        self.threads = n_threads or resources.available_threads()  # the reference's: those of NumPy's BLAS
        self.compiles = module is not reference
        self.options = {"n_threads": n_threads} if module is fused else {}

    def serves(self, problem):
        return True

    def loss_gradients(self, problem):
        gradients = tuple(np.empty_like(p) for p in problem.params)
        kernel = getattr(self.module, f"{problem.model}_loss_gradients")

        def call():
            loss = kernel(problem.X, problem.y, *problem.params, problem.reg, *gradients, **self.options)
            return loss, *gradients

        return call

    def step(self, problem, steps):
        """A descent from the problem's parameters; each call goes on by so many steps. Results: see `losses`."""
        params = tuple(p.copy() for p in problem.params)
        run = self.loop(problem.X, problem.y, params, step_size=problem.step_size, reg=problem.reg, **self.options)

        def call():
            assert run.run(steps) == steps, "the descent ended early"
            return run

        return call

    def losses(self, result):
        """Losses so far of what a call of step or training returned; apart, so that nobody pays for it on the clock."""
        return tuple(result.losses if isinstance(result, self.loop) else result.loss_curve_)


class Spiralnn(Rung):
    """One of the package's two backends: every operation on its own, and fit."""

    def __init__(self, name, module, loop, backend, n_threads, tolerance):
        super().__init__(name, module, loop, n_threads, tolerance)
        self.backend = backend

    def forward(self, problem):
        N, K = problem.shape[0], problem.shape[-1]
        scores = np.empty((N, K), problem.dtype)
        kernel = getattr(self.module, f"{problem.model}_scores")

        def call():
            kernel(problem.X, *problem.params, scores, **self.options)
            return (scores,)

        return call

    def softmax(self, problem):
        scores = problem.truth.forward[0].astype(problem.dtype)
        dscores = np.empty_like(scores)

        def call():
            return self.module.softmax_cross_entropy(scores, problem.y, dscores, **self.options), dscores

        return call

    def backward(self, problem):
        dscores = problem.truth.softmax[1].astype(problem.dtype)
        gradients = tuple(np.empty_like(p) for p in problem.params)
        weights = problem.params[:3] if problem.model == "two_layer" else ()
        kernel = getattr(self.module, f"{problem.model}_backward")

        def call():
            kernel(problem.X, *weights, dscores, *gradients, **self.options)
            return gradients

        return call

    def training(self, problem, steps):
        """A whole fit, checks of the input and all; each call starts afresh. Results: see `losses`."""
        estimator = self._estimator(problem, steps)
        return lambda: estimator.fit(problem.X, problem.y)

    def predict(self, problem):
        """Class indices (N,) of the problem's parameters: NumPy's shortest way, and what a fitted estimator offers."""
        if self.backend == "reference":
            forward = self.forward(problem)
            return lambda: forward()[0].argmax(axis=1)
        estimator = self._estimator(problem, 1).fit(problem.X, problem.y)
        estimator.coefs_, estimator.intercepts_ = list(problem.params[0::2]), list(problem.params[1::2])
        return lambda: estimator.predict(problem.X)

    def _estimator(self, problem, steps):
        options = {"solver": "gd", "step_size": problem.step_size, "reg": problem.reg, "max_iter": steps}
        options |= {"init": problem.params, "n_threads": self.n_threads, "backend": self.backend}
        if problem.model == "linear":
            return spiralnn.SoftmaxClassifier(**options)
        return spiralnn.TwoLayerNet(hidden_size=problem.shape[2], **options)


class PlainLoop:
    """The case study's loop and nothing else, so that the reference is not slowed by what `Descent` keeps."""

    kernels = reference

    def __init__(self, X, y, params, *, step_size, reg):
        self.X, self.y, self.params, self.step_size, self.reg = X, y, params, step_size, reg
        self.gradients = tuple(np.empty_like(p) for p in params)
        model = "linear" if len(params) == 2 else "two_layer"
        self.kernel = getattr(self.kernels, f"{model}_loss_gradients")
        self.losses = []

    def run(self, n_steps):
        for _ in range(n_steps):
            self.losses.append(self.kernel(self.X, self.y, *self.params, self.reg, *self.gradients))
            for p, dp in zip(self.params, self.gradients, strict=True):
                p += -self.step_size * dp  # perform a parameter update
        return n_steps


class PlainNumbaLoop(PlainLoop):
    """The same loop in Python over compiled functions."""

    kernels = plain


# looser than the tests, because N goes to 10^6
FUSED = {"float64": 1e-11, "float32": 1e-4}
# NumPy adds the columns of dscores one row after the other: in float32, 10^6 rows cost it 5e-3 of db
NUMPY = {"float64": 1e-11, "float32": 2e-2}

OWN = [
    Spiralnn("reference", reference, PlainLoop, "reference", None, NUMPY),
    Spiralnn("fused, 1 thread", fused, descent.Descent, "fused", 1, FUSED),
    Spiralnn("fused, all threads", fused, descent.Descent, "fused", None, FUSED),
]
# a step from what is read most easily to what is fastest
RUNGS = [OWN[0], Rung("plain Numba, 1 thread", plain, PlainNumbaLoop, 1, FUSED), *OWN[1:]]
PEERS = peers.peers()
IMPLEMENTATIONS = [*RUNGS, *PEERS]
