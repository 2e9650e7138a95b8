"""Training: fit and partial_fit. Check, allocate, call."""

import functools
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..checks.arrays import feature_matrix
from ..checks.labels import class_labels, label_bytes, sorted_classes
from ..checks.parameters import check_training_memory, checked_parameters
from ..checks.scalars import random_numbers
from ..checks.weights import training_weights
from ..engine import display
from ..engine.checkpoint import Keeper, checked_place
from ..engine.descent import CONVERGED, DIVERGED, Descent
from ..engine.monitor import BarOfSteps, LogLines, Observer, Progress, watch
from ..kernels.models import Model
from .prediction import Predictor
from .protocol import column_names


class Trainer(Predictor):
    """A classifier that learns. A subclass says which model it has."""

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
        observers = self._observers(settings, descent.n_steps)
        one_by_one = None if self.callback is None else 1
        watch(descent, settings["max_iter"], [*observers, *filter(None, [keeper])], one_by_one)
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

    def _observers(self, settings: dict[str, Any], first: int) -> list[Observer]:
        """Who is told of a fit that begins, or goes on, at a step: the model itself first."""
        bar = None
        if self.progress:  # beside log lines, which tell how it went, it goes when it is done
            total, leave = settings["max_iter"], not settings["verbose"]
            bar = display.Bar(total, done=first, unit=" steps", leave=leave)
        observers: list[Observer] = [_Follower(self)]
        if settings["verbose"]:
            write = functools.partial(print, flush=True) if bar is None else bar.print
            observers.append(LogLines(settings["verbose"], first, write))
        if bar is not None:
            observers.append(BarOfSteps(bar))
        if self.callback is not None:
            observers.append(_Caller(self, self.callback))
        return observers

    def _check_divergence(self, descent: Descent, before: int = 0) -> None:
        """FloatingPointError when a descent that began after some steps diverged."""
        if descent.status == DIVERGED:
            raise FloatingPointError(
                f"the loss or a parameter was no longer finite at step {before + descent.diverged_at}, with "
                f"step_size={self.step_size!r}: the model keeps its parameters after {before + descent.n_steps} steps. "
                "Try a smaller step_size, or scale X"
            )

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

    def _starting_parameters(self, D: int, dtype: Any, classes: np.ndarray, continues: bool) -> tuple[np.ndarray, ...]:
        """Fitted ones, explicit ones (init), or random weights and zero biases."""
        model = self._model(D, len(classes))
        check_training_memory(model)
        if continues:
            if not np.array_equal(self.classes_, classes):
                raise ValueError(f"y holds classes {classes!r}, but warm_start continues from {self.classes_!r}")
            return checked_parameters("the fitted model", self._params(), model, dtype)
        if self.init is not None:
            return checked_parameters("init", self.init, model, dtype)
        drawn = model.initial(random_numbers(self.random_state).randn, self.init_scale)
        return tuple(p.astype(dtype) for p in drawn)

    def _model(self, D: int, K: int) -> Model:
        raise NotImplementedError

    def _take_over(self, run: Descent | Progress, before: int = 0) -> None:
        """What a run, which began after some steps, has come to, as fitted attributes."""
        params = run.params
        self.coefs_ = list(params[0::2])
        self.intercepts_ = list(params[1::2])
        self._take_over_losses(run, before)
        self.converged_ = run.status == CONVERGED

    def _take_over_losses(self, run: Descent | Progress, before: int = 0) -> None:
        """Only what is new: a list of 10^7 numbers takes longer to make than Ctrl-C may wait."""
        self.loss_curve_[before + run.n_steps :] = run.losses[len(self.loss_curve_) - before :].tolist()
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else math.nan
        self.n_iter_ = before + run.n_steps


class _Follower(Observer):
    """The fitted attributes follow the run: losses after every slice, parameters at its end."""

    def __init__(self, model: Trainer) -> None:
        self._model = model

    def __call__(self, progress: Progress) -> None:
        self._model._take_over_losses(progress)

    def close(self, progress: Progress) -> None:
        self._model._take_over(progress)


class _Caller(Observer):
    """The user's callback, which sees the model after the last step."""

    def __init__(self, model: Trainer, callback: Callable[[int, float, Any], Any]) -> None:
        self._model, self._callback = model, callback

    def __call__(self, progress: Progress) -> Any:
        """What it says to the last step; a step that diverged was taken back, and the one before it told."""
        if progress.status == DIVERGED:
            return None
        self._model._take_over(progress)
        return self._callback(progress.n_steps - 1, self._model.loss_, self._model)
