"""Everybody who trains a classifier to a result, each as its own users write it, on one thread.

A trainer has a name, the dtype it computes in, the columns it is given ("standardised" or "raw"), and
- why_not(task): why it does not take part in a task, None if it does;
- prepare(task): everything that is paid once for shapes and dtypes; returns the seconds of compilation, or None;
- fit(task, clock): one training by the clock, which is told of the model after each epoch or iteration.
Rows are in the trainer's own format before the clock goes.
"""

import contextlib
import functools
import time
import warnings
from typing import NamedTuple

import numpy as np
from peers import _import_error as import_error
from peers import _jax_dtype as jax_dtype
from peers import _on_cpu as on_cpu
from peers import _torch_compile as torch_compile
from peers import _torch_compile_error as torch_compile_error

from spiralnn.solvers import choice

RATE, BATCH = 1e-3, 200  # of Adam, where a library leaves them to its user: those of MLPClassifier
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
MANY = 100_000  # epochs or iterations, where only the clock ends a training
SGD_EPOCHS = 20
NEWTON_PARAMETERS = 3_000  # at most


class Task(NamedTuple):
    """What is to be trained.

    goal: "accuracy", each with its own defaults; "objective", all the same objective, for as long as the clock lets
    them; "defaults", a whole fit with nothing said but the seed.
    """

    goal: str
    X: np.ndarray
    y: np.ndarray
    n_classes: int
    seed: int
    hidden: int | None = None  # None: the linear model
    reg: float | None = None  # None: the trainer's own
    max_epochs: int | None = None  # of MLPClassifier, where its 200 would take too long


class Trainer:
    name, dtype, columns = "", "float64", "standardised"

    def why_not(self, task):
        return None

    def prepare(self, task):
        return None

    def fit(self, task, clock):
        raise NotImplementedError

    def _rows(self, task):
        return np.ascontiguousarray(task.X, self.dtype)


# --------------------------------------------------------------------------------------------------- scikit-learn


class ScikitLearn(Trainer):
    def why_not(self, task):
        return import_error("sklearn")

    def prepare(self, task):
        """Imports, on a few rows."""
        import sklearn.ensemble
        import sklearn.linear_model
        import sklearn.neural_network  # noqa: F401


class MLPAdam(ScikitLearn):
    """MLPClassifier as it is by default. It calls the method that is watched here after every epoch."""

    name = "MLPClassifier"

    def fit(self, task, clock):
        from sklearn.neural_network import MLPClassifier

        class Watched(MLPClassifier):
            def _update_no_improvement_count(self, *arguments):
                super()._update_no_improvement_count(*arguments)
                if clock.lap(_with_two_outputs((*zip(self.coefs_, self.intercepts_, strict=True),))):
                    self._no_improvement_count = MANY * MANY  # it stops where its training loss no longer falls

        options = {"max_iter": task.max_epochs} if task.max_epochs else {}
        if task.goal == "objective":
            options = {"alpha": task.reg * min(BATCH, len(task.y)), "max_iter": MANY, "n_iter_no_change": MANY}
        _fit(Watched((task.hidden,), random_state=task.seed, **options), self._rows(task), task.y, clock)

    def why_not(self, task):
        return super().why_not(task) or _one_output(task)


class MLPLbfgs(ScikitLearn):
    name = "MLPClassifier, lbfgs"

    def why_not(self, task):
        return super().why_not(task) or _one_output(task)

    def fit(self, task, clock):
        from sklearn.neural_network import MLPClassifier

        D, H, K = task.X.shape[1], task.hidden, task.n_classes
        outputs = K if K > 2 else 1

        def iteration(theta):
            W, W2, b, b2 = np.split(theta, np.cumsum([D * H, H * outputs, H]))
            return clock.lap(_with_two_outputs(((W.reshape(D, H), b), (W2.reshape(H, outputs), b2))))

        options = {}
        if task.goal == "objective":
            options = {"alpha": task.reg * len(task.y), "max_iter": MANY, "max_fun": MANY, "tol": 0}
        with _scipy_calls(iteration):
            model = MLPClassifier((H,), solver="lbfgs", random_state=task.seed, **options)
            _fit(model, self._rows(task), task.y, clock)


class LogisticLbfgs(ScikitLearn):
    """LogisticRegression as it is by default, but that it may take more iterations."""

    name = "LogisticRegression"

    def fit(self, task, clock):
        from sklearn.linear_model import LogisticRegression

        if task.goal == "defaults":
            model = LogisticRegression()
            _fit(model, self._rows(task), task.y, clock)
            clock.n_laps = int(model.n_iter_[0])
            clock.note(clock.seconds, model.predict)
            return
        with _scipy_calls(lambda theta: clock.lap(_logistic_params(task, theta))):
            _fit(LogisticRegression(C=_strength(task), max_iter=1_000, tol=1e-8), self._rows(task), task.y, clock)


class LogisticNewton(ScikitLearn):
    """Its solver asks after every iteration whether it has converged."""

    name = "LogisticRegression, newton-cholesky"

    def why_not(self, task):
        n_params = (task.X.shape[1] + 1) * task.n_classes
        too_many = f"{n_params} parameters, a matrix of their square" if n_params > NEWTON_PARAMETERS else None
        return super().why_not(task) or too_many

    def fit(self, task, clock):
        import sklearn.linear_model._logistic as logistic

        class Watched(logistic.NewtonCholeskySolver):
            def check_convergence(self, *arguments, **options):
                super().check_convergence(*arguments, **options)
                self.converged |= clock.lap(_logistic_params(task, self.coef))

        model = logistic.LogisticRegression(C=_strength(task), solver="newton-cholesky", max_iter=1_000, tol=1e-8)
        with _replaced(logistic, "NewtonCholeskySolver", Watched):
            _fit(model, self._rows(task), task.y, clock)


class SGD(ScikitLearn):
    """SGDClassifier with the logistic loss, epoch by epoch. Of several classes each is against the rest."""

    name = "SGDClassifier"

    def fit(self, task, clock):
        from sklearn.linear_model import SGDClassifier

        model = SGDClassifier(loss="log_loss", random_state=task.seed)
        X, classes = self._rows(task), np.arange(task.n_classes)
        clock.go()
        for _ in range(SGD_EPOCHS):
            model.partial_fit(X, task.y, classes=classes)
            if clock.lap(model.predict):
                break
        clock.stop()


class Boosting(ScikitLearn):
    """HistGradientBoostingClassifier as it is by default: trees, a tree a class in an iteration.

    The clock sees when a tree is grown; what the trees so far predict is asked afterwards.
    """

    name = "HistGradientBoosting"

    def fit(self, task, clock):
        import sklearn.ensemble._hist_gradient_boosting.gradient_boosting as boosting

        grown, trees = [], task.n_classes if task.n_classes > 2 else 1  # of an iteration

        class Watched(boosting.TreeGrower):
            def grow(self):
                if clock.running() >= clock.cap and len(grown) >= trees:
                    raise _Enough
                super().grow()
                grown.append(clock.running())

        model, X = boosting.HistGradientBoostingClassifier(random_state=task.seed), self._rows(task)
        try:
            with _replaced(boosting, "TreeGrower", Watched):
                _fit(model, X, task.y, clock)
        except _Enough:
            clock.stop()
            clock.capped = True
        for seconds, classes in zip(grown[trees - 1 :: trees], model.staged_predict(clock.judge.X_test), strict=False):
            clock.note(seconds, lambda X, classes=classes: classes)
        clock.n_laps = len(clock.laps)


class _Enough(Exception):
    """Out of a fit that has no other way to end."""


def _fit(model, X, y, clock):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # iterations are meant to run out
        clock.go()
        model.fit(X, y)
        clock.stop()


def _logistic_params(task, theta):
    """W and b of the flat parameters that LogisticRegression's solvers have."""
    coefs = theta[None] if task.n_classes == 2 else theta.reshape((task.n_classes, -1), order="F")
    return _with_two_outputs(((coefs[:, :-1].T, coefs[:, -1]),))


def _strength(task):
    """LogisticRegression's C for the task's objective; two classes have one column there, of twice the length."""
    return (2 if task.n_classes == 2 else 1) / (task.reg * len(task.y))


def _one_output(task):
    same = task.goal != "objective" or task.n_classes > 2
    return None if same else "two classes are one logistic output there: another objective"


def _with_two_outputs(layers):
    """Parameters with a column a class, where scikit-learn has one for two classes: half of it, and half against it."""
    *hidden, (W, b) = layers
    if W.shape[1] == 1:
        W, b = np.hstack([-W / 2, W / 2]), np.concatenate([-b / 2, b / 2])
    return tuple(array for layer in (*hidden, (W, b)) for array in layer)


@contextlib.contextmanager
def _replaced(module, name, value):
    """While it is entered, the module has this value under the name."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


def _scipy_calls(iteration):
    """While it is entered, scipy.optimize.minimize calls iteration(theta), and ends when that is True."""
    import scipy.optimize

    original = scipy.optimize.minimize

    def callback(theta):
        if iteration(theta):
            raise StopIteration

    @functools.wraps(original)
    def watched(*arguments, **options):
        return original(*arguments, **{**options, "callback": callback})

    return _replaced(scipy.optimize, "minimize", watched)


# -------------------------------------------------------------------------------------------------------- PyTorch


class PyTorch(Trainer):
    """Modules, autograd and the fused torch.optim.Adam; batches by an index, without a DataLoader."""

    name = "PyTorch"

    def __init__(self, dtype):
        self.dtype = dtype

    def why_not(self, task):
        return import_error("torch")

    def fit(self, task, clock):
        import torch

        X, y = torch.tensor(self._rows(task)), torch.tensor(task.y)
        model = _torch_model(task, X.dtype)
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE, weight_decay=task.reg or 0.0, fused=True)
        criterion = torch.nn.CrossEntropyLoss()
        clock.go()
        for _ in range(MANY):
            for rows in torch.randperm(len(y)).split(BATCH):
                optimizer.zero_grad()
                criterion(model(X[rows]), y[rows]).backward()
                optimizer.step()
            if clock.lap(tuple(p.detach().numpy().T for p in model.parameters())):
                break
        clock.stop()


class CompiledPyTorch(PyTorch):
    """A batch, from picking its rows to Adam, as one function that torch.compile turns into one call.

    The last rows of an epoch that fill no batch are left out: their shape would be compiled on its own.
    """

    name = "PyTorch compiled"

    def __init__(self, dtype):
        super().__init__(dtype)
        self._compiled = {}

    def why_not(self, task):
        return super().why_not(task) or torch_compile_error()

    def prepare(self, task):
        """Compile, once a shape, taking nothing from an earlier process; calls after the first have other input."""
        key = self._key(task)
        if key in self._compiled:
            return None
        import torch
        import torch._inductor.config

        torch._inductor.config.force_disable_caches = True
        step = self._compiled[key] = torch_compile(_torch_batch(task.reg))
        X, y, state = self._start(task)
        start = time.perf_counter()
        for rows in torch.randperm(len(y))[: 3 * BATCH].split(BATCH):
            state = step(X, y, rows, *state)
        return time.perf_counter() - start

    def fit(self, task, clock):
        import torch

        step = self._compiled[self._key(task)]
        X, y, (params, m, v, t) = self._start(task)
        clock.go()
        for _ in range(MANY):
            for rows in torch.randperm(len(y))[: len(y) // BATCH * BATCH].split(BATCH):
                params, m, v, t = step(X, y, rows, params, m, v, t)
            if clock.lap(tuple(p.numpy() for p in params)):
                break
        clock.stop()

    def _key(self, task):
        return task.X.shape, task.n_classes, task.hidden, task.reg

    def _start(self, task):
        import torch

        X, y = torch.tensor(self._rows(task)), torch.tensor(task.y)
        # copies that share no memory: what is shared in the first call alone is compiled for it
        params = tuple(torch.tensor(p.detach().numpy().T.copy()) for p in _torch_model(task, X.dtype).parameters())
        m, v = (tuple(torch.zeros_like(p) for p in params) for _ in range(2))
        return X, y, (params, m, v, torch.zeros((), dtype=X.dtype))


def _torch_model(task, dtype):
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(task.seed)
    D, H, K = task.X.shape[1], task.hidden, task.n_classes
    return torch.nn.Sequential(torch.nn.Linear(D, H), torch.nn.ReLU(), torch.nn.Linear(H, K)).to(dtype)


def _torch_batch(reg):
    import torch

    def objective(params, X, y):
        W, b, W2, b2 = params
        loss = torch.nn.functional.cross_entropy(torch.relu(X @ W + b) @ W2 + b2, y)
        return loss + 0.5 * reg * ((W * W).sum() + (W2 * W2).sum()) if reg else loss

    def step(X, y, rows, params, m, v, t):
        gradients = torch.func.grad(objective)(params, X[rows], y[rows])
        t = t + 1
        m = tuple(BETA1 * a + (1 - BETA1) * g for a, g in zip(m, gradients, strict=True))
        v = tuple(BETA2 * a + (1 - BETA2) * g * g for a, g in zip(v, gradients, strict=True))
        rate = RATE * torch.sqrt(1 - BETA2**t) / (1 - BETA1**t)
        params = tuple(p - rate * a / (torch.sqrt(b) + EPSILON) for p, a, b in zip(params, m, v, strict=True))
        return params, m, v, t

    return step


# ------------------------------------------------------------------------------------------------------------ JAX


def our_settings(n_rows):
    """What TwoLayerNet chooses for so many rows with Adam: batch, first rate, epochs over which it falls to 0, reg."""
    batch = choice.batch_size_for(n_rows)
    return batch, 1e-2, choice.epochs_for(n_rows, batch), 1e-4


class Jax(Trainer):
    """A whole epoch as one compiled loop over batches; the rows that fill no batch are left out of an epoch.

    settings: a function of the number of rows like `our_settings`, instead of a constant rate: tells the kernels apart
    from what they are told to do.
    """

    name = "JAX"

    def __init__(self, dtype, settings=None):
        self.dtype, self.settings = dtype, settings
        if settings is not None:
            self.name = "JAX, our settings"
        self._compiled = {}

    def why_not(self, task):
        return import_error("jax")

    def prepare(self, task):
        key = self._key(task)
        if key in self._compiled:
            return None
        import jax

        batch, _, _, reg = self._settings(task)
        with jax_dtype(self.dtype):
            X, Y, state = self._start(task)
            order, rates = self._order(task, batch, 0), self._rates(task, 0)
            start = time.perf_counter()
            self._compiled[key] = jax.jit(jax_epoch(reg)).lower(X, Y, order, rates, *state).compile()
            return time.perf_counter() - start

    def fit(self, task, clock):
        import jax

        epoch = self._compiled[self._key(task)]
        batch, _, epochs, _ = self._settings(task)
        with jax_dtype(self.dtype):
            X, Y, state = self._start(task)
            clock.go()
            for number in range(epochs):
                state = epoch(X, Y, self._order(task, batch, number), self._rates(task, number), *state)
                jax.block_until_ready(state)
                if clock.lap(tuple(np.asarray(p) for p in state[0])):
                    break
            clock.stop()

    def _key(self, task):
        return task.X.shape, task.n_classes, task.hidden, task.reg

    def _settings(self, task):
        """Batch, rate, epochs, reg."""
        if self.settings is not None:
            return self.settings(len(task.y))
        return BATCH, RATE, MANY, task.reg or 0.0

    def _order(self, task, batch, number):
        order = np.random.RandomState([task.seed, number]).permutation(len(task.y))
        return order[: len(order) // batch * batch].reshape(-1, batch).astype(np.int32)

    def _rates(self, task, number):
        batch, rate, epochs, _ = self._settings(task)
        n = len(task.y) // batch
        left = 1 - (np.arange(n) + number * n) / (epochs * n) if self.settings else np.ones(n)
        return (rate * left).astype(self.dtype)

    def _start(self, task):
        return jax_start(self._rows(task), task.y, task.hidden, task.n_classes, task.seed)


def jax_start(X, y, H, K, seed):
    """Rows, one-hot labels, and parameters with Adam's state as they start: Glorot's uniform weights."""
    random = np.random.RandomState(seed)
    params = []
    for shape in ((X.shape[1], H), (H, K)):
        bound = np.sqrt(6 / sum(shape))
        params += [random.uniform(-bound, bound, shape).astype(X.dtype), np.zeros(shape[1], X.dtype)]
    X, Y, *params = on_cpu(X, np.eye(K, dtype=X.dtype)[y], *params)
    zeros = on_cpu(*(np.zeros_like(p) for p in params))
    return X, Y, (tuple(params), tuple(zeros), tuple(zeros), *on_cpu(np.zeros((), X.dtype)))


def jax_epoch(reg):
    """The function of an epoch: Adam over batches of the rows in `order` (batches, rows of a batch)."""
    import jax
    import jax.numpy as jnp

    def objective(params, X, Y):
        W, b, W2, b2 = params
        f = jax.nn.relu(X @ W + b) @ W2 + b2
        loss = -jnp.mean(jnp.sum(Y * jax.nn.log_softmax(f), axis=1))
        return loss + 0.5 * reg * (jnp.sum(W * W) + jnp.sum(W2 * W2)) if reg else loss

    def epoch(X, Y, order, rates, params, m, v, t):
        def step(state, batch):
            (params, m, v, t), (rows, rate) = state, batch
            gradients = jax.grad(objective)(params, X[rows], Y[rows])
            t = t + 1
            m = jax.tree.map(lambda a, g: BETA1 * a + (1 - BETA1) * g, m, gradients)
            v = jax.tree.map(lambda a, g: BETA2 * a + (1 - BETA2) * g * g, v, gradients)
            rate = rate * jnp.sqrt(1 - BETA2**t) / (1 - BETA1**t)
            params = jax.tree.map(lambda p, a, b: p - rate * a / (jnp.sqrt(b) + EPSILON), params, m, v)
            return (params, m, v, t), None

        return jax.lax.scan(step, (params, m, v, t), (order, rates))[0]

    return epoch


# ------------------------------------------------------------------------------------------------------- spiralnn


class Own(Trainer):
    """TwoLayerNet or, where nothing is hidden, SoftmaxClassifier."""

    def __init__(self, solver, dtype="float64", columns="standardised"):
        self.solver, self.dtype, self.columns = solver, dtype, columns
        self.name = f"spiralnn, {solver}"

    def why_not(self, task):
        if self.solver != "newton-cholesky":
            return None
        from spiralnn.solvers.newton import MAX_UNKNOWNS

        unknowns = (task.X.shape[1] + 1) * (task.n_classes - 1)
        return f"{unknowns} unknowns, more than {MAX_UNKNOWNS}" if unknowns > MAX_UNKNOWNS else None

    def prepare(self, task):
        """One epoch or iteration, so that kernels are compiled or read from disk."""
        self._model(task, max_iter=1, callback=lambda *_: False).fit(self._rows(task), task.y)

    def fit(self, task, clock):
        def callback(step, loss, model):
            return clock.lap(_own_params(model))

        options = {}
        if task.goal == "linear":
            options = {"max_iter": 1_000, "tol": 1e-8}
        elif task.goal == "objective" and self.solver == "lbfgs":
            options = {"max_iter": MANY, "tol": 0.0}
        model = self._model(task, callback=callback, **options)
        X = self._rows(task)
        clock.go()
        model.fit(X, task.y)
        clock.stop()
        clock.note(clock.seconds, _own_params(model))

    def _model(self, task, **options):
        import spiralnn

        options |= {"solver": self.solver, "random_state": task.seed, "n_threads": 1}
        if task.reg is not None:
            options["reg"] = task.reg
        if task.hidden is None:
            return spiralnn.SoftmaxClassifier(**options)
        return spiralnn.TwoLayerNet(hidden_size=task.hidden, **options)


class OwnDefaults(Own):
    """A whole fit with nothing said but the seed and the one thread."""

    def __init__(self, dtype="float64", columns="standardised"):
        super().__init__("auto", dtype, columns)
        self.name = "spiralnn"

    def prepare(self, task):
        self._model(task).fit(self._rows(task), task.y)

    def fit(self, task, clock):
        model, X = self._model(task), self._rows(task)
        clock.go()
        model.fit(X, task.y)
        clock.stop()
        clock.n_laps = model.n_iter_
        clock.note(clock.seconds, model.predict)


def _own_params(model):
    return tuple(array for layer in zip(model.coefs_, model.intercepts_, strict=True) for array in layer)
