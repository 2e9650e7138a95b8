"""The constructor arguments of both classifiers: each with its default and its meaning said once, and checked."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from ..checks.scalars import finite_number, number_between, one_of, thread_count, truth, whole_number
from ..engine import display
from ..solvers.choice import SCHEDULES, SOLVERS
from .protocol import ClassifierProtocol

BACKENDS = ("fused", "reference")

T = TypeVar("T")

@dataclasses.dataclass(kw_only=True, repr=False, eq=False)
class Settings(ClassifierProtocol):
    """The constructor arguments of both classifiers, and what is found out by a fit.

    They are fields of a dataclass: a subclass adds its own, or another default, and gets a constructor that spells all
    of them out.

    Parameters
    ----------
    solver : {"auto", "gd", "sgd", "adam", "lbfgs", "newton-cholesky"}
        "gd": full-batch gradient descent, as the case study has it. "lbfgs": limited-memory BFGS. "sgd", "adam": an
        update a batch of rows. "newton-cholesky": Newton's method, of the linear model with (D + 1) (K - 1) up to 300.
        "auto": the network takes "lbfgs" below 1000 rows and "adam" from there on; the linear model "lbfgs", or
        "newton-cholesky" where it is faster; either takes "adam" where batch_size is given. `solver_` says which.
        All but "gd" see columns of X centred and scaled, by a change of variables that leaves the objective as it is.
    step_size : float or None
        Of gradient descent, and of sgd and adam (their largest, positive). None: 1.0 for "gd", 0.1 for "sgd", 0.01 for
        "adam" (0.001 for either in partial_fit). "lbfgs" and "newton-cholesky" have none, "auto" chooses one.
    reg : float or None
        L2 strength on W and W2, at least 0. None: 1e-3 for "gd", else 1e-4. In scikit-learn LogisticRegression has
        C = 1 / (reg N), MLPClassifier has alpha = reg N.
    max_iter : int or None
        Number of steps, of iterations, or with batches of epochs, at least 1. None: for "gd" 200, of the network
        10 000; for "lbfgs" 1000, of the network 200; for "newton-cholesky" 100; with batches 40, or as many as make
        1500 updates, or 4 million rows (10 at least).
    batch_size : int or None
        Rows of a batch of "sgd" and "adam", at most N, which is full batch. None: 32 for less than 2048 rows, 64 for
        less than 4096, else 128.
    learning_rate : {"linear", "constant", "invscaling", "adaptive"} or None
        How step_size goes on: to zero at the end of the last epoch ("linear", the default; "constant" in partial_fit),
        by one over the root of the number of the epoch, or divided by 5 where the loss no longer gains tol.
    momentum : float, default 0.9
        Of "sgd", from 0 to less than 1.
    nesterovs_momentum : bool, default True
        Whether that is Nesterov's.
    beta_1, beta_2 : float, default 0.9 and 0.999
        Decay of the moments of "adam", from 0 to less than 1.
    epsilon : float, default 1e-8
        What keeps "adam" from dividing by 0, positive.
    shuffle : bool, default True
        Whether rows come in another order in each epoch, one that random_state fixes.
    early_stopping : bool, default False
        Hold out a share of the rows (or take those of `validation` in fit), look at their accuracy after every step,
        stop where it no longer gains, and keep the parameters of the best step.
    validation_fraction : float, default 0.1
        That share, of each class, between 0 and 1.
    n_iter_no_change : int, default 10
        Steps, or epochs, in a row without a gain of tol that are one too many.
    random_state : int, RandomState or None
        Where starting weights are drawn from (W, then W2), then the order of batches, then the rows held out.
    init_scale : float or None
        Weights start as normal numbers times this; biases at 0. None: 0.01 for "gd"; for the others the network starts
        with Glorot's uniform weights (6 / (fan in + fan out)), the linear model at 0. Those of the first layer are for
        columns that are centred and scaled, but for "gd".
    init : (W, b) or (W, b, W2, b2) or None
        Explicit starting parameters of shapes (D, K), (K,), or (D, H), (H,), (H, K), (K,), instead of drawn ones.
    class_weight : dict, "balanced" or None
        Factor on the weights of each class's rows: by class, 1 where it is not named, or so that all classes weigh the
        same. With it, or with sample_weight, a fit holds a weight a row.
    n_threads : int or None
        None: all CPUs this process may use, as far as they pay. Results do not depend on it, to the last bit.
    verbose : int, default 0
        k: print the loss every k steps.
    warm_start : bool, default False
        Start from the parameters of the previous fit, and with what its solver remembered, where it is the same.
    tol : float or None
        "gd", "sgd", "adam": stop once n_iter_no_change steps, or epochs, in a row have not lowered the loss by at least
        tol; None: never, but 1e-4 where learning_rate is not "linear". "lbfgs", "newton-cholesky": converged where no
        element of the gradient, with respect to the changed variables, is larger; None: 1e-4. With early_stopping also
        what accuracy must gain; None: 1e-4.
    callback : function (step, loss, model) or None
        Called after every step, iteration or epoch with its number, its loss and this estimator; something true stops.
    progress : bool, default False
        Show a progress bar, on a terminal or in a notebook; needs tqdm.
    backend : {"fused", "reference"}
        The fused kernels, or the case study's NumPy.

    Attributes
    ----------
    classes_ : array (K,)
        The distinct labels, sorted.
    n_features_in_ : int
        D.
    feature_names_in_ : array (D,)
        Column names, when X had some.
    coefs_ : list of arrays
        (D, K), or (D, H), (H, K).
    intercepts_ : list of arrays
        (K,), or (H,), (K,).
    solver_ : str
        The solver that "auto" came to, or the one that was named.
    loss_curve_ : list of float
        The loss of each step: before it ("gd"), after it ("lbfgs", "newton-cholesky"), or the mean over an epoch's
        batches on the way.
    loss_ : float
        The last of them.
    n_iter_ : int
        Steps, iterations or epochs done.
    n_passes_ : float
        Passes over X: steps, evaluations or epochs, and one for means and variances.
    converged_ : bool
        Whether the solver found nothing more to gain: tol ended the fit, and of "gd" the last losses are within tol of
        the lowest before them.
    validation_scores_, validation_loss_curve_ : list of float, or None
        Accuracy, and loss without L2 term, of the rows held out or given, after each step.
    best_validation_score_ : float or None
        The best of the former.
    """

    solver: str = "auto"
    step_size: float | None = None
    reg: float | None = None
    max_iter: int | None = None
    batch_size: int | None = None
    learning_rate: str | None = None
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    shuffle: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    random_state: Any = None
    init_scale: float | None = None
    init: Sequence[Any] | None = None
    class_weight: Any = None
    n_threads: int | None = None
    verbose: int = 0
    warm_start: bool = False
    tol: float | None = None
    callback: Callable[[int, float, Any], Any] | None = None
    progress: bool = False
    backend: str = "fused"

    def _checked_settings(self) -> dict[str, Any]:
        """The constructor arguments that a fit needs, checked one by one; None where the solver has its own."""
        self._check_backend()
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback is {self.callback!r}, expected a function of (step, loss, model) or None")
        for name in ("progress", "early_stopping", "shuffle", "nesterovs_momentum", "warm_start"):
            truth(name, getattr(self, name))
        if isinstance(self.verbose, bool | np.bool_):
            verbose = int(self.verbose)
        else:
            verbose = whole_number("verbose", self.verbose, 0)
        if self.progress:
            display.check_installed()
        one_of("solver", self.solver, SOLVERS)
        if self.learning_rate is not None:
            one_of("learning_rate", self.learning_rate, SCHEDULES)

        def maybe(name: str, check: Callable[..., Any], *limits: Any, **named: Any) -> Any:
            value = getattr(self, name)
            return None if value is None else check(name, value, *limits, **named)

        return {
            "solver": self.solver,
            "step_size": maybe("step_size", finite_number),
            "reg": maybe("reg", finite_number, minimum=0.0),
            "max_iter": maybe("max_iter", whole_number, 1),
            "batch_size": maybe("batch_size", whole_number, 1),
            "learning_rate": self.learning_rate,
            "init_scale": maybe("init_scale", finite_number, minimum=0.0),
            "tol": maybe("tol", finite_number, minimum=0.0),
            "momentum": number_between("momentum", self.momentum, 0.0, 1.0),
            "nesterovs_momentum": bool(self.nesterovs_momentum),
            "beta_1": number_between("beta_1", self.beta_1, 0.0, 1.0),
            "beta_2": number_between("beta_2", self.beta_2, 0.0, 1.0),
            "epsilon": number_between("epsilon", self.epsilon, 0.0, math.inf, open_below=True),
            "shuffle": bool(self.shuffle),
            "early_stopping": bool(self.early_stopping),
            "validation_fraction": number_between(
                "validation_fraction", self.validation_fraction, 0.0, 1.0, open_below=True
            ),
            "n_iter_no_change": whole_number("n_iter_no_change", self.n_iter_no_change, 1),
            "n_threads": thread_count(self.n_threads),
            "verbose": verbose,
        }

    def _check_backend(self) -> None:
        one_of("backend", self.backend, BACKENDS)


def documented(cls: type[T]) -> type[T]:
    """A class whose docstring goes on with what `Settings` says of both classifiers."""
    if cls.__doc__ is not None:  # python -OO keeps none
        heading = "\n\nParameters\n----------\n"
        first, _, own = inspect.cleandoc(cls.__doc__).partition(heading)
        shared = inspect.cleandoc(Settings.__doc__ or "").partition(heading)[2]
        cls.__doc__ = first + heading + "\n".join([*filter(None, [own]), shared, ""])
    return cls
