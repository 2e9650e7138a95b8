"""Training: fit and partial_fit. Check, allocate, call."""

import functools
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checks.labels import sorted_classes
from ..checks.parameters import check_training_memory, checked_parameters
from ..checks.scalars import random_numbers
from ..engine import display
from ..engine.checkpoint import Keeper, checked_place
from ..engine.monitor import BarOfSteps, LogLines, Observer, watch
from ..engine.run import Run
from ..files.array_file import digest_of
from ..kernels.models import Model
from ..solvers.choice import ADAM, AUTO, GAIN, GD, LBFGS, NEWTON, Choice, choose
from ..solvers.problem import Problem
from ..solvers.start import start
from ..solvers.validation import Validation
from .ending import check_end, check_usefulness
from .following import Caller, Follower
from .material import Judged, Material, gather, joined, judged_by
from .prediction import Predictor
from .protocol import available_if, column_names

SEEDS = 1 << 31  # of the order of batches


class Job(NamedTuple):
    """A run that is about to start, with what it was made of. carried: what the fit before has left. seed: of the order
    of rows in batches."""

    run: Run
    choice: Choice
    params: Sequence[np.ndarray]
    material: Material
    judged: Judged | None
    carried: dict[str, np.ndarray] | None
    seed: int


class Trainer(Predictor):
    """A classifier that learns. A subclass says which model it has."""

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        validation: Any = None,
        checkpoint: Any = None,
        checkpoint_every: float = 60.0,
        resume: bool = False,
        communicator: Any = None,
    ) -> Any:
        """Train with the solver that was chosen.

        Ctrl-C ends it within half a second, plus what writing a checkpoint takes: fit returns with a
        FitInterruptedWarning, and the fitted attributes hold the state after the last whole step, or the best one where
        the solver looks for it ("lbfgs", or with early_stopping).

        Parameters
        ----------
        X : array (N, D), rows of `spiralnn.open_rows`, or Dask array
            Finite numbers. float32 is computed in float32 and stays float32, every other real dtype in float64. Rows
            that are not an array in memory are read in every pass, in pieces, by solvers that take all rows at once
            ("auto" is "lbfgs"); the result has the same bits.
        y : array (N,)
            Class labels of any one sortable kind, at least two different ones. None where rows hold them.
        sample_weight : array (N,), optional
            Weight of each row in the loss: finite, at least 0, not all 0. A weight of 2 is the row twice, but to the
            drawing of batches.
        validation : (X, y) or rows that hold labels, optional
            Rows to look at after each step, and with early_stopping to stop by: columns as those of X, classes among
            those of y. Their loss and accuracy go into the log and the fitted attributes.
        checkpoint : path or None
            A file that keeps the state of the run: written after the first moments, every `checkpoint_every` seconds
            and at the end, whole at any moment. Where it cannot be written, a CheckpointWarning says so once, and the
            run goes on.
        checkpoint_every : float, default 60.0
            Seconds between two checkpoints, at least 0.
        resume : bool, default False
            Go on from the checkpoint, to the very bits the run would have had, or from the beginning where there is
            none. The data and all that changes the result must be what they were; `max_iter`, which counts the steps
            before, may be larger unless the step size falls with it, and `n_threads`, `verbose`, `progress` and
            `callback` may be others. The callback is asked about the last step of the checkpoint first. Starting
            weights and orders of rows that are not fixed by `init`, `warm_start` or an int as `random_state` are those
            of the checkpoint.

        communicator : mpi4py communicator, optional
            All of its ranks call fit with the same rows and settings, or each with its part of the rows (see
            `spiralnn.open_rows`), and come to the same model. Rank 0 alone prints and keeps checkpoints.

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
            The loss or a parameter became NaN or infinite; the message names the step, or epoch and batch. The fitted
            attributes then hold the last finite parameters with a finite loss.
        KeyboardInterrupt
            Ctrl-C came before the first step was done, or within a second after it ended another fit.

        Warns
        -----
        UselessModelWarning
            The run has ended by itself, with a loss no better than that of the best constant answer (the entropy of the
            classes) or with one class predicted for every row. The model is complete.
        OtherBitsWarning
            Once in a process: the processor has no fused multiply-add, and the last bits are its own.
        """
        settings = self._checked_settings()
        path, every = checked_place(checkpoint, checkpoint_every, resume)
        if communicator is not None:
            given = {"validation": validation, "checkpoint": checkpoint, "resume": resume or None}
            communicator = joined(communicator, self, given)
        names = column_names(X)
        continues = self.warm_start and self.__sklearn_is_fitted__()
        job = self._job(
            settings, X, y, sample_weight, validation=validation, continues=continues, communicator=communicator
        )
        run, max_iter, collector = job.run, job.choice.max_iter, job.material.collector
        keeper = None
        if path is not None:
            keeper = Keeper(path, every, self._run_settings(settings, job), self._digests(job))
            if resume:
                keeper.restore(run, max_iter, collector.once)
        self._begin(job, names)
        observers = self._observers(settings, job)
        if keeper is not None and collector.is_first:
            observers.append(keeper)
        one_by_one = None if self.callback is None else 1
        may_stop = collector.any(self.callback is not None)  # else nobody need be asked after every step
        watch(run, max_iter, observers, one_by_one, collector.any if may_stop else bool)
        check_end(run, job.choice)
        check_usefulness(run, job.choice, job.material, self._params(), self.backend)
        return self

    @available_if(lambda self: self.solver not in (LBFGS, NEWTON))
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Go over the rows given once, from the parameters as they are, with what the solver remembers.

        "auto" is "adam" here, which takes an update a batch, as "sgd" does; "gd" takes one gradient step. There is no
        partial_fit for other solvers. The first call on an estimator that is not fitted starts a model as fit does,
        and columns are centred and scaled by its rows from then on; later calls, and calls after fit, go on.
        `loss_curve_` grows by one entry, the loss on these rows, and `n_iter_` by one. max_iter, tol, verbose, progress
        and callback concern fit alone.

        Parameters
        ----------
        X : array (N, D)
            Finite numbers. The first call sets the model's dtype as fit does; later rows are converted to it.
        y : array (N,)
            Class labels, all of them among `classes`; not every class need be there.
        classes : array (K,), optional
            Every label that will come. Needed in the first call; the same ones or None later.
        sample_weight : array (N,), optional
            Weight of each row in the loss of this call: finite, at least 0, not all 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As of fit; classes is missing in the first call or differs later; y holds another label; class_weight is
            "balanced", which rows that are still to come would have a part in; early_stopping is True.
        FloatingPointError
            The loss, or a parameter, is NaN or infinite: the model keeps its parameters before the call.
        KeyboardInterrupt
            Within half a second of Ctrl-C. The model keeps its parameters before the call.
        """
        settings = self._checked_settings()
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            raise ValueError(
                "class_weight is 'balanced', expected a dict or None for partial_fit: it sees some rows only"
            )
        if settings["early_stopping"]:
            raise ValueError("early_stopping is True, expected False for partial_fit: it sees some rows only")
        continues = self.__sklearn_is_fitted__()
        if classes is None and not continues:
            raise ValueError("classes is None, but classes must be passed on the first call to partial_fit")
        known = self.classes_ if classes is None else sorted_classes(classes)
        if continues:
            if not np.array_equal(known, self.classes_):
                raise ValueError(f"classes is {classes!r}, but the model was started with {self.classes_.tolist()}")
            self._check_column_names(X, stacklevel=3)
        names = column_names(X)
        dtype = self.coefs_[0].dtype if continues else None
        job = self._job(
            settings, X, y, sample_weight, classes=known, dtype=dtype, continues=continues, partial=True
        )  # fmt: skip
        if not continues:
            self._begin(job, names)
        before, passes = self.n_iter_, self.n_passes_
        done = False
        try:
            job.run.run(1)
            done = bool(job.run.n_steps)
        finally:
            if done or not continues:
                self._take_over(job.run, before)
                self.n_passes_ += passes
                self._remember(job.run, job.choice.solver)
        check_end(job.run, job.choice, before)
        return self

    def _job(
        self,
        settings: dict[str, Any],
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        validation: Any = None,
        classes: np.ndarray | None = None,
        dtype: Any = None,
        continues: bool,
        partial: bool = False,
        communicator: Any = None,
    ) -> Job:
        """Everything that training is given, checked, and the run that is about to start.

        classes: None for those in y. dtype: None for that of X. continues: from the fitted parameters.
        """
        owner, n_threads = type(self).__name__, settings["n_threads"]
        material = gather(
            X, y, sample_weight, self.class_weight, n_features=self.n_features_in_ if continues else None, owner=owner,
            dtype=dtype, classes=classes, n_threads=n_threads, communicator=communicator,
        )  # fmt: skip
        classes, kind, (N, D) = material.classes, material.dtype, material.X.shape
        if material.is_stream and self.backend == "reference":
            raise ValueError("backend is 'reference', which needs rows in memory, expected 'fused'")
        seen = None if validation is None else judged_by(validation, material, owner, n_threads, communicator)
        counts = None
        if settings["early_stopping"] and seen is None:
            counts = material.held_out(settings["validation_fraction"])
        model = self._model(D, len(classes))
        n_held = 0 if counts is None else int(counts.sum())
        choice = choose(settings, model, N - n_held, partial=partial, streamed=material.is_stream)
        check_training_memory(model)
        random = random_numbers(self.random_state)
        params, is_drawn = material.collector.once(
            lambda: self._starting_parameters(model, kind, classes, continues, choice, random)
        )
        seed = int(random.randint(SEEDS)) if choice.is_batched else 0
        held, trained = None, material
        if counts is not None:
            held, rows = material.drawn(counts, random)
            seen = Judged(*rows)
            if not choice.is_batched:  # rows without weight are passed over, but count for nothing
                trained = material.without(held)
        judge = None
        if seen is not None:
            judge = Validation(
                *seen, stops=settings["early_stopping"], tol=GAIN if settings["tol"] is None else settings["tol"],
                patience=settings["n_iter_no_change"], n_threads=settings["n_threads"], backend=self.backend,
            )  # fmt: skip
        problem = Problem(
            trained.X, trained.y, params, trained.weights, choice.reg, settings["n_threads"], self.backend, held,
            is_drawn, self._carried_on(choice, kind) if continues else None,
        )  # fmt: skip
        one_by_one = partial or judge is not None or (self.callback is not None and choice.solver == GD)
        steps = 1 if one_by_one else choice.max_iter
        run = start(problem, choice, settings, steps=steps, seed=seed, judge=judge)
        return Job(run, choice, params, material, seen, problem.carried, seed)

    def _begin(self, job: Job, names: np.ndarray | None) -> None:
        """Fitted attributes of a model whose run is about to start."""
        self.classes_, self.n_features_in_ = job.material.classes, job.run.model.D
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.solver_ = job.choice.solver
        self.loss_curve_: list[float] = []
        self.n_iter_, self.n_passes_ = 0, 0.0
        self._carried: tuple[tuple[str, Any], dict[str, np.ndarray]] | None = None

    def _observers(self, settings: dict[str, Any], job: Job) -> list[Observer]:
        """Who is told of a fit that begins, or goes on: the model itself first."""
        bar, first, is_first = None, job.run.n_steps, job.material.collector.is_first
        if self.progress and is_first:  # beside log lines, which tell how it went, it goes when it is done
            leave = not settings["verbose"]
            bar = display.Bar(job.choice.max_iter, done=first, unit=f" {job.run.unit}s", leave=leave)
        observers: list[Observer] = [Follower(self, job.choice.solver)]
        if settings["verbose"] and is_first:
            write = functools.partial(print, flush=True) if bar is None else bar.print
            if self.solver == AUTO:
                write(f"solver: {job.choice.solver}")
            observers.append(LogLines(settings["verbose"], first, write))
        if bar is not None:
            observers.append(BarOfSteps(bar, job.run))
        if self.callback is not None:
            observers.append(Caller(self, self.callback))
        return observers

    def _run_settings(self, settings: dict[str, Any], job: Job) -> dict[str, Any]:
        """All that changes the result of a fit, beside its data and start."""
        choice = job.choice
        chosen = choice._asdict()
        if choice.learning_rate != "linear":
            del chosen["max_iter"]
        names = ["hidden_size"]
        if choice.is_batched:
            names += ["momentum", "nesterovs_momentum"] if choice.solver != ADAM else ["beta_1", "beta_2", "epsilon"]
            names += ["shuffle"]
        names += ["n_iter_no_change", "early_stopping"]
        own = {name: settings[name] for name in names if name in settings}
        if choice.is_batched and isinstance(self.random_state, numbers.Integral):
            own["the order of rows"] = job.seed
        return {"model": type(self).__name__, "backend": self.backend, **chosen, **own}

    def _digests(self, job: Job) -> dict[str, str]:
        """Of all data that change the result of a fit, by the names that an error calls them."""
        found = job.material.digests()
        if job.judged is not None:
            found["the validation rows"] = job.judged.digest()
        if job.carried is not None:
            found["what the fit before has left"] = digest_of(*job.carried.values())
        if self._has_fixed_start():
            found["the start"] = digest_of(*job.params)
        return found

    def _has_fixed_start(self) -> bool:
        """Whether another process would draw the same starting parameters: from an int, or none at all."""
        continues = self.warm_start and self.__sklearn_is_fitted__()
        return continues or self.init is not None or isinstance(self.random_state, numbers.Integral)

    def _starting_parameters(
        self, model: Model, dtype: Any, classes: np.ndarray, continues: bool, choice: Choice, random: Any
    ) -> tuple[tuple[np.ndarray, ...], bool]:
        """Fitted ones, explicit ones (init), or drawn ones; whether the latter are those of scaled columns."""
        if continues:
            if not np.array_equal(self.classes_, classes):
                raise ValueError(f"y holds classes {classes!r}, but warm_start continues from {self.classes_!r}")
            return checked_parameters("the fitted model", self._params(), model, dtype), False
        if self.init is not None:
            return checked_parameters("init", self.init, model, dtype), False
        if choice.init_scale is not None:
            drawn = model.initial(random.randn, choice.init_scale)
        else:
            drawn = model.glorot(random.uniform)
        return tuple(p.astype(dtype) for p in drawn), choice.solver != GD

    def _carried_on(self, choice: Choice, dtype: Any) -> dict[str, np.ndarray] | None:
        """What the last run has left, where that is of use for the next."""
        last, carried = getattr(self, "_carried", None) or (None, None)
        return carried if last == (choice.solver, dtype) else None

    def _remember(self, run: Run, solver: str) -> None:
        carried = run.carried()
        self._carried = None if carried is None else ((solver, run.dtype), carried)

    def _model(self, D: int, K: int) -> Model:
        raise NotImplementedError

    def _take_over(self, run: Run, before: int = 0) -> None:
        """What a run, which began after some steps, has come to, as fitted attributes."""
        params = run.params
        self.coefs_ = list(params[0::2])
        self.intercepts_ = list(params[1::2])
        self._take_over_losses(run, before)
        self.converged_ = run.is_converged()

    def _take_over_losses(self, run: Run, before: int = 0) -> None:
        """Only what is new: a list of 10^7 numbers takes longer to make than Ctrl-C may wait."""
        self.loss_curve_[before + run.n_steps :] = run.losses[len(self.loss_curve_) - before :].tolist()
        self.loss_ = run.loss if run.n_steps or not self.loss_curve_ else self.loss_curve_[-1]
        self.n_iter_, self.n_passes_ = before + run.n_steps, float(run.n_passes)
        judge: Any = run.judge
        self.validation_loss_curve_ = None if judge is None else list(judge.losses)
        self.validation_scores_ = None if judge is None else list(judge.scores)
        self.best_validation_score_ = None if judge is None else judge.best_score
