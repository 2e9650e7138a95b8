"""What a user could pick instead, each written as its own community would write full-batch gradient descent.

All compute the same: mean softmax cross-entropy plus reg/2 (|W|^2 + |W2|^2), minimised with a constant step size
and no momentum, on the CPU, with the loss kept before every step. An adapter, like those of implementations.py,
has a name, its number of threads, whether its first call compiles, the relative error its losses are allowed, and
- serves(problem): False where this peer has no such model;
- step(problem, steps): a call that goes on by so many steps from the problem's parameters or the last call;
- losses(result): all losses so far of what that call returned, as floats; apart, so that nobody pays on the clock;
- predict(problem): a call that returns the predicted class of every row (N,), in the peer's own kind of array.
Data and parameters are in the peer's own format before a call starts, and a call returns when its work is done.
Packages are imported when `peers` or `missing` is called, not before.
"""

import functools
import importlib
import warnings

import c_step
import numpy as np

from spiralnn import resources

# of a loss; the largest errors seen, up to 10^6 rows and 784 inputs: 3e-15 and 2e-6
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}


class ScikitLearn:
    """MLPClassifier with the whole data as its batch.

    A call is one `fit`, which checks X and y and encodes the labels before its first step, as its user pays for.
    """

    name = "scikit-learn"
    compiles = False
    tolerance = TOLERANCE

    def __init__(self):
        self.threads = resources.available_threads()  # those of NumPy's BLAS

    def why_not(self):
        return _import_error("sklearn.neural_network")

    def serves(self, problem):
        """Two classes it trains with one logistic output, whose weights move half as fast: another descent.

        A warm start wants every class among the labels.
        """
        K = problem.shape[-1]
        return K > 2 and len(np.unique(problem.y)) == K

    def step(self, problem, steps):
        from sklearn.exceptions import ConvergenceWarning

        estimator = self._estimator(problem).set_params(warm_start=True, max_iter=steps)
        estimator.loss_curve_ = []

        def call():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # steps are meant to run out
                return estimator.fit(problem.X, problem.y)

        return call

    def losses(self, result):
        return tuple(float(loss) for loss in result.loss_curve_)

    def predict(self, problem):
        estimator = self._estimator(problem)
        return lambda: estimator.predict(problem.X)

    def _estimator(self, problem):
        """An estimator that holds the problem's parameters: a step on one row creates all that fit creates."""
        from sklearn.neural_network import MLPClassifier

        N, _, H, K = problem.shape
        estimator = MLPClassifier(
            hidden_layer_sizes=() if H is None else (H,), activation="relu", solver="sgd", batch_size=N,
            shuffle=False, learning_rate="constant", learning_rate_init=problem.step_size, momentum=0,
            nesterovs_momentum=False, alpha=problem.reg * N, tol=0, n_iter_no_change=np.inf,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the batch is larger than one row
            estimator.partial_fit(problem.X[:1], problem.y[:1], classes=np.arange(K))
        estimator.coefs_ = [p.copy() for p in problem.params[::2]]
        estimator.intercepts_ = [p.copy() for p in problem.params[1::2]]
        return estimator


class PyTorch:
    """Modules, autograd and torch.optim, one operation after the other."""

    name = "PyTorch"
    compiles = False
    tolerance = TOLERANCE

    def __init__(self):
        self.threads = resources.available_threads()

    def why_not(self):
        return _import_error("torch")

    def serves(self, problem):
        return True

    def step(self, problem, steps):
        import torch

        X, y = torch.tensor(problem.X), torch.tensor(problem.y)
        model = self._model(problem)
        criterion = torch.nn.CrossEntropyLoss()
        weights = [p for p in model.parameters() if p.ndim == 2]
        biases = [p for p in model.parameters() if p.ndim == 1]
        # weight_decay adds reg W to the gradient, for less than a penalty inside autograd
        groups = [{"params": weights, "weight_decay": problem.reg}, {"params": biases}]
        optimizer = torch.optim.SGD(groups, lr=problem.step_size)
        flat = [w.detach().view(-1) for w in weights]  # the optimiser works in place, so these stay up to date
        losses = []

        def call():
            for _ in range(steps):
                optimizer.zero_grad()
                loss = criterion(model(X), y)
                loss.backward()
                losses.append(loss.detach() + 0.5 * problem.reg * sum(torch.dot(w, w) for w in flat))
                optimizer.step()
            return losses

        return _with_torch_threads(call, self.threads)

    def losses(self, result):
        return tuple(loss.item() for loss in result)

    def predict(self, problem):
        import torch

        X, model = torch.tensor(problem.X), self._model(problem)

        def call():
            with torch.inference_mode():
                return model(X).argmax(dim=1)

        return _with_torch_threads(call, self.threads)

    def _model(self, problem):
        import torch

        W, *_ = problem.params
        layers = [torch.nn.Linear(*W.shape)]
        if problem.model == "two_layer":
            layers += [torch.nn.ReLU(), torch.nn.Linear(*problem.params[2].shape)]
        model = torch.nn.Sequential(*layers).to(torch.tensor(W).dtype)
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), problem.params, strict=True):
                parameter.copy_(torch.tensor(value.T))  # a layer keeps its weights as (out, in)
        return model


class CompiledPyTorch(PyTorch):
    """The whole step, gradients and update too, as one function that torch.compile turns into one C++ kernel call."""

    name = "PyTorch compiled"
    compiles = True

    def why_not(self):
        return _import_error("torch") or _torch_compile_error()

    def step(self, problem, steps):
        import torch

        X, y = torch.tensor(problem.X), torch.tensor(problem.y)
        params = tuple(torch.tensor(p) for p in problem.params)
        losses = []

        def objective(params):
            penalty = sum((W * W).sum() for W in params[::2])
            return torch.nn.functional.cross_entropy(_torch_scores(X, params), y) + 0.5 * problem.reg * penalty

        @_torch_compile
        def descend(params):
            gradients, loss = torch.func.grad_and_value(objective)(params)
            return tuple(p - problem.step_size * g for p, g in zip(params, gradients, strict=True)), loss

        def call():
            nonlocal params
            for _ in range(steps):
                params, loss = descend(params)
                losses.append(loss)
            return losses

        return _with_torch_threads(call, self.threads)

    def predict(self, problem):
        import torch

        X = torch.tensor(problem.X)
        params = tuple(torch.tensor(p) for p in problem.params)
        classes = _torch_compile(lambda X, params: _torch_scores(X, params).argmax(dim=1))

        def call():
            with torch.inference_mode():
                return classes(X, params)

        return _with_torch_threads(call, self.threads)


def _torch_scores(X, params):
    import torch

    *hidden, W, b = params
    if hidden:
        X = torch.relu(X @ hidden[0] + hidden[1])
    return X @ W + b


def _torch_compile(function):
    """Compiled for one shape. Isolated, or the ninth shape of a process would run uncompiled."""
    import torch

    return torch.compile(function, fullgraph=True, dynamic=False, isolate_recompiles=True)


def _with_torch_threads(call, threads):
    """call itself where PyTorch already has so many threads, else call with them, and the old number restored."""
    import torch

    if torch.get_num_threads() == threads:
        return call

    def limited():
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return call()
        finally:
            torch.set_num_threads(before)

    return limited


@functools.cache
def _torch_compile_error():
    """Why torch.compile does not work here: it needs a C++ compiler and more. None where it does."""
    import torch

    try:
        _torch_compile(lambda x: x + 1)(torch.ones(2))
    except Exception as error:  # whatever its compiler and its own code may raise
        return f"torch.compile failed with {type(error).__name__}"
    return None


class Jax:
    """All steps of a call in one compiled loop, `lax.scan`, which keeps the losses."""

    name = "JAX"
    compiles = True
    tolerance = TOLERANCE

    def __init__(self):
        self.threads = resources.available_threads()  # XLA follows the CPU affinity, too

    def why_not(self):
        return _import_error("jax")

    def serves(self, problem):
        return True

    def step(self, problem, steps):
        import jax
        import jax.numpy as jnp

        with _jax_dtype(problem.dtype):
            X, *params = _on_cpu(problem.X, *problem.params)
            # one-hot labels: the gradient of picking a column by index would be a scatter
            (targets,) = _on_cpu(np.eye(problem.shape[-1], dtype=problem.dtype)[problem.y])
        losses = []

        def objective(params, X, targets):
            log_probabilities = jax.nn.log_softmax(_jax_scores(X, params))
            penalty = sum(jnp.sum(W * W) for W in params[::2])
            return -jnp.mean(jnp.sum(targets * log_probabilities, axis=1)) + 0.5 * problem.reg * penalty

        @jax.jit
        def descend(params, X, targets):
            def step(params, _):
                loss, gradients = jax.value_and_grad(objective)(params, X, targets)
                return jax.tree.map(lambda p, g: p - problem.step_size * g, params, gradients), loss

            return jax.lax.scan(step, params, length=steps)

        def call():
            nonlocal params
            with _jax_dtype(problem.dtype):
                params, curve = jax.block_until_ready(descend(params, X, targets))
            losses.append(curve)
            return losses

        return call

    def losses(self, result):
        return tuple(np.concatenate(result).tolist())

    def predict(self, problem):
        import jax
        import jax.numpy as jnp

        with _jax_dtype(problem.dtype):
            X, *params = _on_cpu(problem.X, *problem.params)
        classes = jax.jit(lambda X, params: jnp.argmax(_jax_scores(X, params), axis=1))

        def call():
            with _jax_dtype(problem.dtype):
                return classes(X, params).block_until_ready()

        return call


def _jax_scores(X, params):
    import jax

    *hidden, W, b = params
    if hidden:
        X = jax.nn.relu(X @ hidden[0] + hidden[1])
    return X @ W + b


def _jax_dtype(dtype):
    """While it is entered, JAX computes in this dtype; a microsecond a call."""
    import jax

    return jax.enable_x64(dtype == "float64")


def _on_cpu(*arrays):
    import jax

    return jax.device_put(arrays, jax.devices("cpu")[0])


class C:
    """c_step.c on one thread, or on all."""

    compiles = True
    tolerance = TOLERANCE
    LARGEST = 16  # inputs and classes together that its registers have room for; beyond, it would be no line to beat

    def __init__(self, threads):
        self.threads = threads or resources.available_threads()
        self.name = "C, all threads" if threads is None else "C, 1 thread"

    def why_not(self):
        try:
            threaded = c_step.threaded()
        except c_step.CannotCompile as error:
            return str(error)
        return None if threaded or self.name == "C, 1 thread" else "the C compiler has no OpenMP"

    def serves(self, problem):
        _, D, _, K = problem.shape
        return problem.model == "two_layer" and K > 1 and D + K <= self.LARGEST

    def step(self, problem, steps):
        run = c_step.descent(problem.X, problem.y, problem.params, problem.step_size, problem.reg, self.threads)
        losses = []

        def call():
            losses.append(run(steps))
            return losses

        return call

    def losses(self, result):
        return tuple(np.concatenate(result).tolist())

    def predict(self, problem):
        return c_step.prediction(problem.X, problem.params, self.threads)


@functools.cache
def _import_error(module):
    """Why the module cannot be imported, None when it can."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return "not installed"
    except Exception as error:  # a broken installation may raise anything
        return f"import failed with {type(error).__name__}"
    return None


ALL = [ScikitLearn(), PyTorch(), CompiledPyTorch(), Jax(), C(1), C(None)]


def peers():
    """Adapters of everybody who can run here."""
    return [peer for peer in ALL if peer.why_not() is None]


def missing():
    """The others, each as its name and why it cannot run."""
    return [f"{peer.name}: {peer.why_not()}" for peer in ALL if peer.why_not() is not None]
