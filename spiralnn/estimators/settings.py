"""The constructor arguments of both classifiers: each with its default and its meaning said once, and checked."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from ..checks.scalars import finite_number, thread_count, whole_number
from ..engine import display
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
    step_size : float, default 1.0
        Length of a step along the negative gradient.
    reg : float, default 1e-3
        L2 strength on W and W2, at least 0. In scikit-learn LogisticRegression has C = 1 / (reg N), MLPClassifier has
        alpha = reg N.
    max_iter : int, default 200, of the network 10 000
        Number of steps, at least 1.
    random_state : int, RandomState or None
        Where starting weights are drawn from: W, then W2, with randn.
    init_scale : float, default 0.01
        Factor on the drawn weights; biases start at 0.
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
        Start from the parameters of the previous fit.
    tol : float or None
        Stop once 10 steps in a row have not lowered the loss by at least tol. None: never.
    callback : function (step, loss, model) or None
        Called after every step with its number, the loss before it and this estimator; something true stops.
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
    loss_curve_ : list of float
        Loss before each step.
    loss_ : float
        The last of them.
    n_iter_ : int
        Steps done.
    converged_ : bool
        Whether tol ended the fit.
    """

    step_size: float = 1.0
    reg: float = 1e-3
    max_iter: int = 200
    random_state: Any = None
    init_scale: float = 0.01
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
        """The constructor arguments that a fit needs, checked."""
        self._check_backend()
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback is {self.callback!r}, expected a function of (step, loss, model) or None")
        if not isinstance(self.progress, bool | np.bool_):
            raise TypeError(f"progress is {self.progress!r}, expected True or False")
        if isinstance(self.verbose, bool | np.bool_):
            verbose = int(self.verbose)
        else:
            verbose = whole_number("verbose", self.verbose, 0)
        finite_number("init_scale", self.init_scale, minimum=0.0)
        if self.progress:
            display.check_installed()
        return {
            "step_size": finite_number("step_size", self.step_size),
            "reg": finite_number("reg", self.reg, minimum=0.0),
            "max_iter": whole_number("max_iter", self.max_iter, 1),
            "n_threads": thread_count(self.n_threads),
            "tol": None if self.tol is None else finite_number("tol", self.tol, minimum=0.0),
            "verbose": verbose,
        }

    def _check_backend(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(f"backend is {self.backend!r}, expected one of {', '.join(map(repr, BACKENDS))}")


def documented(cls: type[T]) -> type[T]:
    """A class whose docstring goes on with what `Settings` says of both classifiers."""
    if cls.__doc__ is not None:  # python -OO keeps none
        heading = "\n\nParameters\n----------\n"
        first, _, own = inspect.cleandoc(cls.__doc__).partition(heading)
        shared = inspect.cleandoc(Settings.__doc__ or "").partition(heading)[2]
        cls.__doc__ = first + heading + "\n".join([*filter(None, [own]), shared, ""])
    return cls
