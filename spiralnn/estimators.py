"""The two estimators: check, allocate, call."""

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import fused, watching
from .checkpoint import Keeper, checked_place
from .engine.descent import CONVERGED, DIVERGED, Descent
from .kernels.models import Model
from .protocol import ClassifierProtocol, column_names, not_fitted
from .validation import (
    check_finite,
    check_training_memory,
    checked_parameters,
    class_labels,
    feature_matrix,
    finite_number,
    kernel_array,
    label_bytes,
    label_column,
    random_numbers,
    sample_weights,
    sorted_classes,
    thread_count,
    training_weights,
    whole_number,
)

BACKENDS = ("fused", "reference")
PREDICT_ROWS = 1 << 17  # rows whose scores are held at a time where only their largest is wanted


class _Classifier(ClassifierProtocol):
    """What both classifiers share. A subclass says which parameters it has and how they are drawn."""


    # Set by each subclass's own __init__, which scikit-learn wants to see spelled out.
    step_size: float
    reg: float
    max_iter: int
    random_state: Any
    init_scale: float
    init: Sequence[Any] | None
    class_weight: Any
    n_threads: int | None
    verbose: int
    warm_start: bool
    tol: float | None
    callback: Callable[[int, float, Any], Any] | None
    progress: bool
    backend: str

    # -------------------------------------------------------------------------------------------------- fit

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        checkpoint: Any = None,
        checkpoint_every: float = 60.0,
        resume: bool = False,
    ) -> Any:
        """Train by full-batch gradient descent.

        Ctrl-C ends it within half a second, plus what writing a checkpoint takes: fit returns with a
        FitInterruptedWarning, and the fitted attributes hold the state after the last whole step.

        Parameters
        ----------
        X : array (N, D)
            Finite numbers. float32 is computed in float32 and stays float32, every other real dtype in float64.
        y : array (N,)
            Class labels of any one sortable kind, at least two different ones.
        sample_weight : array (N,), optional
            Weight of each row in the loss: finite, at least 0, not all 0. A weight of 2 is the row twice.
        checkpoint : path or None
            A file that keeps the state of the run: written after the first moments, every `checkpoint_every` seconds
            and at the end, whole at any moment. Where it cannot be written, a CheckpointWarning says so once, and the
            run goes on.
        checkpoint_every : float, default 60.0
            Seconds between two checkpoints, at least 0.
        resume : bool, default False
            Go on from the checkpoint, to the very bits the run would have had, or from the beginning where there is
            none. The data and all that changes the result must be what they were; `max_iter`, which counts the steps
            before, may be larger, and `n_threads`, `verbose`, `progress` and `callback` may be others. The callback is
            asked about the last step of the checkpoint first. Starting weights that are not fixed by `init`,
            `warm_start` or an int as `random_state` are those of the checkpoint.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            An argument is not what it must be, or the checkpoint is of another run, which the message compares; before
            any kernel runs and any fitted state changes.
        ModelFileError, OSError
            The checkpoint to go on from is damaged or cannot be read; as early.
        ImportError
            progress is True, but tqdm is not installed; as early.
        FloatingPointError
            The loss or a parameter became NaN or infinite; the message names the step. The fitted attributes then hold
            the last finite parameters with a finite loss.
        KeyboardInterrupt
            Ctrl-C came before the first step was done, or within a second after it ended another fit.
        """
        settings = self._checked_settings()
        path, every = checked_place(checkpoint, checkpoint_every, resume)
        names = column_names(X)
        descent, classes = self._checked_descent(
            settings,
            X,
            y,
            sample_weight,
            continues=self.warm_start and self.__sklearn_is_fitted__(),
            steps=1 if self.callback is not None else settings["max_iter"],
        )
        keeper = None
        if path is not None:
            keeper = Keeper(path, every, self._run_settings(settings), self._run_data(descent))
            if resume:
                keeper.restore(descent, settings["max_iter"])
        self._begin(descent, classes, names)
        watching.descend(self, descent, settings["max_iter"], keeper, settings["bar"])
        self._check_divergence(descent)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Take one gradient step on the rows given, from the parameters as they are.

        The first call on an estimator that is not fitted starts a model as fit does; later calls, and calls after fit,
        go on. `loss_curve_` grows by one entry, the loss on these rows before the step, and `n_iter_` by one. max_iter,
        tol, verbose, progress and callback concern fit alone.

        Parameters
        ----------
        X : array (N, D)
            Finite numbers. The first call sets the model's dtype as fit does; later rows are converted to it.
        y : array (N,)
            Class labels, all of them among `classes`; not every class need be there.
        classes : array (K,), optional
            Every label that will come. Needed in the first call; the same ones or None later.
        sample_weight : array (N,), optional
            Weight of each row in this step's loss: finite, at least 0, not all 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As of fit; classes is missing in the first call or differs later; y holds another label; class_weight is
            "balanced", which rows that are still to come would have a part in.
        FloatingPointError
            The loss, or a parameter after the step, is NaN or infinite: the model keeps its parameters before the step.
        KeyboardInterrupt
            Within half a second of Ctrl-C. The model keeps its parameters before the step.
        """
        settings = self._checked_settings()
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            raise ValueError(
                "class_weight is 'balanced', expected a dict or None for partial_fit: it sees some rows only"
            )
        continues = self.__sklearn_is_fitted__()
        if classes is None and not continues:
            raise ValueError("classes is None, but classes must be passed on the first call to partial_fit")
        known = self.classes_ if classes is None else sorted_classes(classes)
        if continues:
            if not np.array_equal(known, self.classes_):
                raise ValueError(f"classes is {classes!r}, but the model was started with {self.classes_.tolist()}")
            self._check_column_names(X, stacklevel=3)
        names = column_names(X)
        descent, _ = self._checked_descent(
            settings,
            X,
            y,
            sample_weight,
            classes=known,
            dtype=self.coefs_[0].dtype if continues else None,
            continues=continues,
            steps=1,
        )
        if not continues:
            self._begin(descent, known, names)
        before = self.n_iter_
        try:
            descent.run(1)
        finally:
            self._take_over(descent, before)
        self._check_divergence(descent, before)
        return self

    def _checked_descent(
        self,
        settings: dict[str, Any],
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        classes: np.ndarray | None = None,
        dtype: Any = None,
        continues: bool,
        steps: int,
    ) -> tuple[Descent, np.ndarray]:
        """Everything that training is given, checked: the descent about to start, and the classes.

        classes: None for those in y. dtype: None for that of X. continues: from the fitted parameters.
        """
        owner, n_features = type(self).__name__, self.n_features_in_ if continues else None
        matrix = feature_matrix(X, n_features=n_features, owner=owner, dtype=dtype)
        classes, labels = class_labels(y, matrix.shape[0], classes)
        weights = training_weights(sample_weight, self.class_weight, classes, labels, matrix.dtype)
        params = self._starting_parameters(matrix.shape[1], matrix.dtype, classes, continues)
        descent = Descent(
            matrix,
            labels,
            params,
            sample_weight=weights,
            step_size=settings["step_size"],
            reg=settings["reg"],
            tol=settings["tol"],
            n_threads=settings["n_threads"],
            backend=self.backend,
            steps=steps,
        )
        return descent, classes

    def _begin(self, descent: Descent, classes: np.ndarray, names: np.ndarray | None) -> None:
        """Fitted attributes of a model whose descent is about to start."""
        self.classes_, self.n_features_in_ = classes, descent.model.D
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.loss_curve_: list[float] = []
        self.n_iter_ = 0

    def _check_divergence(self, descent: Descent, before: int = 0) -> None:
        """FloatingPointError when a descent that began after some steps diverged."""
        if descent.status == DIVERGED:
            raise FloatingPointError(
                f"the loss or a parameter was no longer finite at step {before + descent.diverged_at}, with "
                f"step_size={self.step_size!r}: the model keeps its parameters after {before + descent.n_steps} steps. "
                "Try a smaller step_size, or scale X"
            )

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
        return {
            "step_size": finite_number("step_size", self.step_size),
            "reg": finite_number("reg", self.reg, minimum=0.0),
            "max_iter": whole_number("max_iter", self.max_iter, 1),
            "n_threads": thread_count(self.n_threads),
            "tol": None if self.tol is None else finite_number("tol", self.tol, minimum=0.0),
            "verbose": verbose,
            "bar": watching.progress_bar() if self.progress else None,
        }

    def _run_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The constructor arguments that change the result of a fit, beside its data and start."""
        names = ("hidden_size", "step_size", "reg", "tol")
        chosen = {name: settings[name] for name in names if name in settings}
        return {"model": type(self).__name__, "backend": self.backend, **chosen}

    def _run_data(self, descent: Descent) -> dict[str, Sequence[np.ndarray]]:
        """The arrays that change the result, by the names that an error calls them."""
        data: dict[str, Sequence[np.ndarray]] = {"X": [descent.X], "y": [label_bytes(descent.y, descent.model.K)]}
        if descent.sample_weight is not None:
            data["sample_weight or class_weight"] = [descent.sample_weight]
        if self._has_fixed_start():
            data["the start"] = descent.params
        return data

    def _has_fixed_start(self) -> bool:
        """Whether another process would draw the same starting parameters: from an int, or none at all."""
        continues = self.warm_start and self.__sklearn_is_fitted__()
        return continues or self.init is not None or isinstance(self.random_state, numbers.Integral)

    def _check_backend(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(f"backend is {self.backend!r}, expected one of {', '.join(map(repr, BACKENDS))}")

    def _starting_parameters(self, D: int, dtype: Any, classes: np.ndarray, continues: bool) -> tuple[np.ndarray, ...]:
        """Fitted ones, explicit ones (init), or random weights and zero biases."""
        model = self._model(D, len(classes))
        check_training_memory(model)
        if continues:
            if not np.array_equal(self.classes_, classes):
                raise ValueError(f"y holds classes {classes!r}, but warm_start continues from {self.classes_!r}")
            fitted = [a for pair in zip(self.coefs_, self.intercepts_, strict=True) for a in pair]
            return checked_parameters("the fitted model", fitted, model, dtype)
        if self.init is not None:
            return checked_parameters("init", self.init, model, dtype)
        drawn = model.initial(random_numbers(self.random_state).randn, self.init_scale)
        return tuple(p.astype(dtype) for p in drawn)

    def _model(self, D: int, K: int) -> Model:
        raise NotImplementedError

    def _take_over(self, descent: Descent, before: int = 0) -> None:
        """The state of a descent, which began after some steps, as fitted attributes."""
        params = descent.params
        self.coefs_ = list(params[0::2])
        self.intercepts_ = list(params[1::2])
        self._take_over_losses(descent, before)
        self.converged_ = descent.status == CONVERGED

    def _take_over_losses(self, descent: Descent, before: int = 0) -> None:
        """Only what is new: a list of 10^7 numbers takes longer to make than Ctrl-C may wait."""
        self.loss_curve_[before + descent.n_steps :] = descent.losses[len(self.loss_curve_) - before :].tolist()
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else math.nan
        self.n_iter_ = before + descent.n_steps

    # ---------------------------------------------------------------------------------------------- predict

    def _params(self) -> list[np.ndarray]:
        if not hasattr(self, "coefs_"):
            raise not_fitted(self)
        return [a for pair in zip(self.coefs_, self.intercepts_, strict=True) for a in pair]

    def _checked_features(self, X: Any, finite: bool = True) -> tuple[np.ndarray, list[np.ndarray]]:
        """X as a matrix, checked to be finite or left to the caller to check, and the parameters, all of one dtype."""
        params = self._params()
        self._check_column_names(X)
        matrix = feature_matrix(X, n_features=self.n_features_in_, owner=type(self).__name__, finite=finite)
        # computed in the model's own dtype, so that a float64 model does not lose digits to float32 rows
        if matrix.dtype != params[0].dtype:
            matrix = matrix.astype(np.result_type(params[0], matrix), copy=False)
        return matrix, [kernel_array(p, matrix.dtype) for p in params]

    def _scores(self, matrix: np.ndarray, params: list[np.ndarray], first_row: int = 0) -> np.ndarray:
        """Scores of all rows; FloatingPointError when one is not finite. first_row: the number of matrix[0]."""
        self._check_backend()
        model = Model.of(params)
        scores = np.empty((matrix.shape[0], len(self.classes_)), matrix.dtype)
        if self.backend == "fused" and fused.any_scores(matrix, params, scores, n_threads=thread_count(self.n_threads)):
            return scores
        # with NumPy, who was asked for it, or has a closer look at numbers that may have overflowed on the way
        for start in range(0, len(matrix), PREDICT_ROWS):
            rows = slice(start, start + PREDICT_ROWS)
            with np.errstate(over="ignore", invalid="ignore"):
                finite = model.reference.finite_scores(matrix[rows], *params, scores[rows])
            if not finite.all():
                raise FloatingPointError(
                    f"scores of row {first_row + start + int(finite.argmin())} are not finite: its values times the "
                    f"fitted weights are beyond {matrix.dtype}. Scale X as in fit"
                )
        return scores

    def decision_function(self, X: Any) -> np.ndarray:
        """Class scores (N, K), before softmax, in the order of `classes_`. FloatingPointError when they overflow.

        Two classes: as everywhere in scikit-learn, the score of the second less that of the first, (N,).
        """
        scores = self._scores(*self._checked_features(X))
        with np.errstate(over="ignore"):  # infinite where no number is as large, with the right sign
            return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """The class of the largest score of each row, from `classes_`; shape (N,). FloatingPointError: see there."""
        self._check_backend()
        return self._best_classes(*self._checked_features(X, finite=self.backend != "fused"))

    def _best_classes(self, matrix: np.ndarray, params: list[np.ndarray]) -> np.ndarray:
        """As of predict. The fused kernel finds out on its way whether the rows are finite."""
        best = np.empty(len(matrix), np.intp)
        if self.backend == "fused":
            if fused.predict(matrix, params, best, n_threads=thread_count(self.n_threads)):
                return self.classes_[best]
            check_finite("X", matrix)  # X or the scores: if these, the following says which, or has a way around it
        for start in range(0, len(best), PREDICT_ROWS):  # scores of all rows at once would need N x K numbers
            rows = slice(start, start + PREDICT_ROWS)
            best[rows] = self._scores(matrix[rows], params, start).argmax(axis=1)
        return self.classes_[best]

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the class probabilities (N, K), without underflow. FloatingPointError when scores overflow."""
        return self._log_probabilities(*self._checked_features(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (N, K): softmax of the scores. FloatingPointError when these overflow."""
        return np.exp(self._log_probabilities(*self._checked_features(X)))

    def _log_probabilities(self, matrix: np.ndarray, params: list[np.ndarray]) -> np.ndarray:
        scores = self._scores(matrix, params)
        with np.errstate(over="ignore"):  # what is too small for a number is -infinity, the logarithm of 0
            scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return scores

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of rows, or of the rows' weights (N,), whose class is predicted right."""
        self._check_backend()
        matrix, params = self._checked_features(X, finite=self.backend != "fused")
        labels = label_column(y, matrix.shape[0])
        weights = sample_weights(sample_weight, matrix.shape[0], np.float64)
        return float(np.average(self._best_classes(matrix, params) == labels, weights=weights))

    def save(self, path: Any) -> None:
        """Write the fitted model to a file that `spiralnn.load` reads; see `spiralnn.model_file`."""
        from .model_file import save

        self._params()
        save(self, path)


class SoftmaxClassifier(_Classifier):
    """Linear classifier with softmax cross-entropy loss, trained by full-batch gradient descent.

    Minimises 1/N sum_i -log softmax(x_i W + b)[y_i] + reg/2 |W|^2, as the case study does.

    Parameters
    ----------
    step_size : float, default 1.0
        Length of a step along the negative gradient.
    reg : float, default 1e-3
        L2 strength on W, at least 0. scikit-learn's LogisticRegression has C = 1 / (reg N).
    max_iter : int, default 200
        Number of steps, at least 1.
    random_state : int, RandomState or None
        Where starting weights are drawn from: W with randn.
    init_scale : float, default 0.01
        Factor on the drawn weights; biases start at 0.
    init : (W, b) or None
        Explicit starting parameters of shapes (D, K), (K,), instead of drawn ones.
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
    coefs_ : list of one array (D, K)
    intercepts_ : list of one array (K,)
    loss_curve_ : list of float
        Loss before each step.
    loss_ : float
        The last of them.
    n_iter_ : int
        Steps done.
    converged_ : bool
        Whether tol ended the fit.
    """

    def __init__(
        self,
        *,
        step_size: float = 1.0,
        reg: float = 1e-3,
        max_iter: int = 200,
        random_state: Any = None,
        init_scale: float = 0.01,
        init: Sequence[Any] | None = None,
        class_weight: Any = None,
        n_threads: int | None = None,
        verbose: int = 0,
        warm_start: bool = False,
        tol: float | None = None,
        callback: Callable[[int, float, Any], Any] | None = None,
        progress: bool = False,
        backend: str = "fused",
    ) -> None:
        self.step_size = step_size
        self.reg = reg
        self.max_iter = max_iter
        self.random_state = random_state
        self.init_scale = init_scale
        self.init = init
        self.class_weight = class_weight
        self.n_threads = n_threads
        self.verbose = verbose
        self.warm_start = warm_start
        self.tol = tol
        self.callback = callback
        self.progress = progress
        self.backend = backend

    def _model(self, D: int, K: int) -> Model:
        return Model(D, 0, K)


class TwoLayerNet(_Classifier):
    """Network with one hidden ReLU layer and softmax cross-entropy loss, trained by full-batch gradient descent.

    Minimises 1/N sum_i -log softmax(max(0, x_i W + b) W2 + b2)[y_i] + reg/2 (|W|^2 + |W2|^2), as the case study does.

    Parameters
    ----------
    hidden_size : int, default 100
        Hidden units H, at least 1.
    step_size : float, default 1.0
        Length of a step along the negative gradient.
    reg : float, default 1e-3
        L2 strength on W and W2, at least 0. scikit-learn's MLPClassifier has alpha = reg N.
    max_iter : int, default 10000
        Number of steps, at least 1.
    random_state : int, RandomState or None
        Where starting weights are drawn from: W, then W2, with randn.
    init_scale : float, default 0.01
        Factor on the drawn weights; biases start at 0.
    init : (W, b, W2, b2) or None
        Explicit starting parameters of shapes (D, H), (H,), (H, K), (K,), instead of drawn ones.
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
    coefs_ : list of arrays (D, H), (H, K)
    intercepts_ : list of arrays (H,), (K,)
    loss_curve_ : list of float
        Loss before each step.
    loss_ : float
        The last of them.
    n_iter_ : int
        Steps done.
    converged_ : bool
        Whether tol ended the fit.
    """

    def __init__(
        self,
        *,
        hidden_size: int = 100,
        step_size: float = 1.0,
        reg: float = 1e-3,
        max_iter: int = 10_000,
        random_state: Any = None,
        init_scale: float = 0.01,
        init: Sequence[Any] | None = None,
        class_weight: Any = None,
        n_threads: int | None = None,
        verbose: int = 0,
        warm_start: bool = False,
        tol: float | None = None,
        callback: Callable[[int, float, Any], Any] | None = None,
        progress: bool = False,
        backend: str = "fused",
    ) -> None:
        self.hidden_size = hidden_size
        self.step_size = step_size
        self.reg = reg
        self.max_iter = max_iter
        self.random_state = random_state
        self.init_scale = init_scale
        self.init = init
        self.class_weight = class_weight
        self.n_threads = n_threads
        self.verbose = verbose
        self.warm_start = warm_start
        self.tol = tol
        self.callback = callback
        self.progress = progress
        self.backend = backend

    def _checked_settings(self) -> dict[str, Any]:
        return {**super()._checked_settings(), "hidden_size": whole_number("hidden_size", self.hidden_size, 1)}

    def _model(self, D: int, K: int) -> Model:
        return Model(D, int(self.hidden_size), K)
