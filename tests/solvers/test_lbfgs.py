"""L-BFGS over data: as SciPy's, and what its kernel promises, seen from outside."""

import warnings

import numpy as np
import pytest
from problems import JIT, problem
from solver_problems import data, digest, make, objective, params_of

from spiralnn import NoDescentWarning, Objective, SoftmaxClassifier, TwoLayerNet
from spiralnn.engine.evaluation import Evaluation
from spiralnn.engine.run import AT_ROUNDING, CONVERGED, DIVERGED, NO_DESCENT, RUNNING
from spiralnn.kernels import lbfgs
from spiralnn.kernels.models import Model
from spiralnn.solvers.problem import Problem
from spiralnn.solvers.quasi_newton import Lbfgs

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
models = pytest.mark.parametrize("H", [0, 7])
backends = pytest.mark.parametrize("backend", ["fused", "reference"])
REG = 0.01


def raw(p):
    """The problem in columns that are shifted and scaled."""
    random = np.random.default_rng(p.X.shape)
    D = p.X.shape[1]
    X = p.X * 10.0 ** random.uniform(-1, 1, D) + random.uniform(-1, 1, D)
    return p._replace(X=X.astype(p.X.dtype))


def start(p, *, weights=None, reg=REG, tol=1e-6, steps=1000, n_threads=1, backend="fused"):
    return Lbfgs(Problem(p.X, p.y, p.params, weights, reg, n_threads, backend), tol=tol, steps=steps)


class InColumns:
    """The objective and its gradient in the variables of centred and scaled columns, from NumPy alone."""

    def __init__(self, p, reg):
        self.X, self.y, self.reg = p.X.astype(np.float64), p.y, reg
        self.mean, variance = self.X.mean(axis=0), self.X.var(axis=0)
        self.scale = 1 / np.sqrt(variance + reg / 0.01)
        self.model = Model.of(p.params)

    def enter(self, params):
        W, b, *rest = params
        return np.concatenate([a.reshape(-1) for a in (W / self.scale[:, np.newaxis], b + self.mean @ W, *rest)])

    def __call__(self, x):
        W, b, *rest = self.model.split(x)
        params = [W * self.scale[:, np.newaxis], b, *rest]
        params[1] = b - self.mean @ params[0]
        gradients = [np.empty_like(a) for a in params]
        loss = self.model.reference.loss_gradients(self.X, self.y, *params, self.reg, *gradients)
        gradients[0] = (gradients[0] - self.mean[:, np.newaxis] * gradients[1]) * self.scale[:, np.newaxis]
        return loss, np.concatenate([a.reshape(-1) for a in gradients])


@pytest.mark.kernels
@models
@backends
def test_strong_wolfe_conditions_hold_of_every_step(H, backend):
    p = raw(problem(200 if JIT else 40, 5, H, 3))
    f, run = InColumns(p, REG), start(p, backend=backend)
    x = f.enter(p.params)
    loss, g = f(x)
    for step in range(40 if JIT else 8):
        if not run.run(1):
            break
        x_then = f.enter(run._params(np.float64))
        loss_then, g_then = f(x_then)
        assert run.loss == pytest.approx(loss_then, rel=1e-11)
        s = x_then - x
        assert g @ s < 0.0
        assert loss_then <= loss + lbfgs.C1 * (g @ s) + 1e-14
        assert abs(g_then @ s) <= lbfgs.C2 * abs(g @ s) + 1e-14
        if step == 0:  # along the gradient
            assert g @ s == pytest.approx(-np.linalg.norm(g) * np.linalg.norm(s), rel=1e-9)
        x, loss, g = x_then, loss_then, g_then
    assert run.n_steps > 5
    assert run.status in (CONVERGED, RUNNING)


@pytest.mark.kernels
@models
@dtypes
@backends
def test_losses_fall_and_passes_are_counted(H, dtype, backend):
    p = raw(problem(200 if JIT else 40, 5, H, 3, dtype))
    calls = []
    run = start(p, backend=backend)
    count = Problem.reference_loss_gradients

    def counted(problem_, params):
        calls.append(1)
        return count(problem_, params)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Problem, "reference_loss_gradients", counted)
        run.run(30 if JIT else 8)
    assert (np.diff(run.losses) < 0.0).all()
    assert run.n_passes >= 2 + run.n_steps
    if backend == "reference":
        assert run.n_passes == 1 + len(calls)
    f = InColumns(p.astype(np.float64), REG)
    at = f(f.enter(run._params(np.float64)))[0]
    assert run.losses[-1] == pytest.approx(at, rel=1e-11 if dtype == np.float64 else 1e-4)


# -------------------------------------------------------------------------------- the loop and its twin in Python


def by_hand(p, steps, n_threads, weights=None):
    """(losses, parameters): `advance` driven from here, pass after pass of an Evaluation."""
    model = Model.of(p.params)
    twin = start(p, weights=weights)  # its vectors and numbers, and nothing else of it
    evaluation = Evaluation(model, p.X, p.y, weights, REG, n_threads=n_threads)
    memory, places, losses = twin._memory, model.places(), np.empty(1000)
    numbers = memory.numbers[0]
    numbers[lbfgs.GOAL] = steps
    theta, slope = np.zeros((1, model.padded_size)), np.empty(model.size)
    theta[0] = memory.theta[0]
    outcome = lbfgs.GOES_ON
    while outcome == lbfgs.GOES_ON:
        loss = evaluation(theta[0, places], slope)
        theta[:] = 0.0
        theta[0, places] = slope
        outcome = lbfgs.advance(
            theta, 0, memory.state, memory.numbers, loss, twin._affine, twin._layer, p.X, losses
        )  # fmt: skip
    lbfgs.point(theta, 0, memory.state, twin._affine, twin._layer, p.X)
    return losses[: int(numbers[lbfgs.ITERATION])], model.unflatten(theta[0], p.X.dtype)


@pytest.mark.kernels
@pytest.mark.parametrize("n_threads", [1, 2])
@dtypes
@pytest.mark.parametrize("N,D,H,K", [(600, 5, 0, 4), (600, 5, 7, 3), (300, 2, 9, 3)] if JIT else [(40, 5, 4, 3)])
def test_driven_from_python_it_has_the_bits_of_the_compiled_loop(N, D, H, K, dtype, n_threads, all_threads):
    p = raw(problem(N, D, H, K, dtype))
    weights = np.random.default_rng(N).uniform(0.1, 3, N).astype(dtype)
    steps = 25 if JIT else 3
    run = start(p, weights=weights, n_threads=n_threads, steps=steps)
    assert run.n_threads == n_threads
    run.run(steps)
    losses, params = by_hand(p, steps, n_threads, weights)
    assert len(losses) == run.n_steps
    np.testing.assert_array_equal(losses, run.losses)
    for a, b in zip(params, run.params, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.kernels
@models
@backends
def test_slices_do_not_matter(H, backend):
    p, steps = raw(problem(60, 5, H, 3)), 20 if JIT else 4
    whole, single, uneven = (start(p, backend=backend) for _ in range(3))
    whole.run(steps)
    for _ in range(steps):
        assert single.run(1) == 1
    uneven.run(steps, slice_steps=3)
    for run in (single, uneven):
        assert run.n_steps == steps and run.n_passes == whole.n_passes
        np.testing.assert_array_equal(run.losses, whole.losses)
        for a, b in zip(run.params, whole.params, strict=True):
            np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------------------------------------- the optimum


@pytest.mark.parametrize(("reg", "weighted"), [(1e-4, False), (1e-2, True)])
def test_the_optimum_is_scipys(reg, weighted):
    optimize = pytest.importorskip("scipy.optimize")
    X, y, weights = data(300, 6, 4, scales=[1, 0.1, 10, 1, 3, 1], shifts=[0, 1, -5, 0, 0, 2])
    w = weights if weighted else None
    model = SoftmaxClassifier(solver="lbfgs", reg=reg, tol=1e-9).fit(X, y, sample_weight=w)
    assert model.converged_ and model.n_iter_ < 500
    f = Objective(X, y, reg=reg, sample_weight=w)
    options = {"maxiter": 20_000, "maxfun": 100_000, "ftol": 0, "gtol": 1e-10, "maxcor": 50}
    best = optimize.minimize(f, f.pack(params_of(model)), jac=True, method="L-BFGS-B", options=options)
    assert model.loss_ == pytest.approx(best.fun, rel=1e-9)
    far = optimize.minimize(f, np.zeros(f.size), jac=True, method="L-BFGS-B", options=options)
    assert model.loss_ <= far.fun * (1 + 1e-9)
    assert model.loss_ == pytest.approx(far.fun, rel=1e-6)
    loss, gradients = objective(model, X, y, reg, sample_weight=w)
    assert max(np.abs(g).max() for g in gradients) < 1e-6


def test_the_optimum_is_that_of_logistic_regression():
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y, _ = data(300, 6, 4)
    for reg in (1e-3, 1e-1):
        model = SoftmaxClassifier(solver="lbfgs", reg=reg, tol=1e-9).fit(X, y)
        other = linear_model.LogisticRegression(C=1 / (reg * len(X)), tol=1e-10, max_iter=10_000).fit(X, y)
        np.testing.assert_allclose(model.coefs_[0], other.coef_.T, atol=1e-5)  # how far off scikit-learn's is
        np.testing.assert_allclose(model.predict_proba(X), other.predict_proba(X), atol=1e-6)


def test_float32_comes_as_close_as_its_digits_allow():
    X, y, _ = data(300, 6, 4, np.float32)
    model = SoftmaxClassifier(solver="lbfgs", reg=1e-3, tol=0).fit(X, y)
    exact = SoftmaxClassifier(solver="lbfgs", reg=1e-3, tol=1e-9).fit(X.astype(np.float64), y)
    assert model.converged_ and model.coefs_[0].dtype == np.float32
    assert model.loss_ == pytest.approx(exact.loss_, rel=1e-6)


@dtypes
@pytest.mark.parametrize("seed", range(4))
def test_without_tolerance_it_ends_at_rounding(seed, dtype):
    p = raw(problem(200, 5, 0, 3, dtype, seed=[seed]))
    run = start(p, tol=0.0, steps=5000)
    run.run(5000)
    assert run.status == AT_ROUNDING and run.is_converged()
    assert run.n_steps < 500
    f = InColumns(p.astype(np.float64), REG)
    assert np.abs(f(f.enter(run._params(np.float64)))[1]).max() < (1e-6 if dtype == np.float64 else 1e-3)


def evaluations_to(f, x, goal, optimize, maxcor):
    """Of SciPy's: how many until the first at which the loss is below a goal."""
    losses = []

    def counted(x):
        loss, gradient = f(x)
        losses.append(loss)
        return loss, gradient

    options = {"maxiter": 1000, "maxfun": 2000, "ftol": 0, "gtol": 0, "maxcor": maxcor}
    optimize.minimize(counted, x, jac=True, method="L-BFGS-B", options=options)
    return losses, next((i + 1 for i, loss in enumerate(losses) if loss <= goal), len(losses) + 1)


@pytest.mark.parametrize(
    ("kind", "seeds", "further"), [("linear", 1, 300), pytest.param("network", 5, 600, marks=pytest.mark.long)]
)
def test_evaluations_are_as_few_as_scipys(kind, seeds, further):
    """To 1.01 times the best that either finds, on digits: medians over starts, at most a tenth more."""
    optimize, datasets = pytest.importorskip("scipy.optimize"), pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_digits(return_X_y=True)
    X = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1)
    reg, ours, theirs = 1e-3, [], []
    settings = {"solver": "lbfgs", "reg": reg, "tol": 0.0, "max_iter": further}
    for seed in range(seeds):
        build = TwoLayerNet if kind == "network" else SoftmaxClassifier
        passes, losses = [], []

        def note(step, loss, model, passes=passes, losses=losses):
            passes.append(model.n_passes_ - 1)
            losses.append(loss)

        build(**settings, random_state=seed, callback=note).fit(X, y)
        f = Objective(X, y, hidden_size=100 if kind == "network" else None, reg=reg)
        random = np.random.RandomState(seed)
        start_ = Model(64, 100 if kind == "network" else 0, 10).glorot(random.uniform)
        x = np.concatenate([a.reshape(-1) for a in start_])
        found, _ = evaluations_to(f, x, -np.inf, optimize, lbfgs.PAIRS)
        goal = 1.01 * min(min(found), losses[-1])
        theirs.append(next(i + 1 for i, loss in enumerate(found) if loss <= goal))
        ours.append(next(n for n, loss in zip(passes, losses, strict=True) if loss <= goal))
    assert np.median(ours) <= 1.1 * np.median(theirs), (ours, theirs)


# -------------------------------------------------------------------------------------------------- what fails


def spoiled(change):
    """The reference's sums, changed by a function of (number of the call, loss, gradients)."""
    plain, calls = Problem.reference_loss_gradients, []

    def of(problem_, params):
        calls.append(1)
        return change(len(calls), *plain(problem_, params))

    return of


@pytest.mark.parametrize("value", [np.inf, np.nan])
@models
def test_a_loss_that_is_no_number_is_backed_off_from(H, value, monkeypatch):
    p = raw(problem(100, 5, H, 3))
    whole = start(p, backend="reference", tol=1e-4)
    whole.run(300)

    def change(i, loss, gradients):
        return (value, gradients) if i in (2, 7, 8, 9) else (loss, gradients)

    monkeypatch.setattr(Problem, "reference_loss_gradients", spoiled(change))
    run = start(p, backend="reference", tol=1e-4)
    run.run(300)
    assert np.isfinite(run.losses).all() and (np.diff(run.losses) < 0).all()
    if not H:
        assert run.status == CONVERGED and run.loss == pytest.approx(whole.loss, rel=1e-4)


def test_a_start_that_is_no_number_says_so():
    X, y, _ = data()
    model = make("network", "lbfgs", init=[np.full((5, 7), 1e200), np.zeros(7), np.full((7, 3), 1e200), np.zeros(3)])
    with pytest.raises(FloatingPointError, match="no longer finite at the start.*after 0 iterations"):
        model.fit(X, y)
    assert model.n_iter_ == 0 and (model.coefs_[0] == 1e200).all()


def test_a_start_whose_gradient_is_no_number_says_so():
    X, y, _ = data()
    with pytest.raises(FloatingPointError, match="no longer finite at the start"):
        make("linear", "lbfgs").fit((X * 1e38).clip(-3e38, 3e38).astype(np.float32), y)


def test_no_descent_is_a_warning_and_the_best_parameters_are_kept(monkeypatch):
    X, y, _ = data()
    before = make("linear", "lbfgs", backend="reference", max_iter=3).fit(X, y)

    def change(i, loss, gradients):  # three iterations; then the gradient points the wrong way
        return loss, gradients if i <= before.n_passes_ - 1 else tuple(-g for g in gradients)

    monkeypatch.setattr(Problem, "reference_loss_gradients", spoiled(change))
    model = make("linear", "lbfgs", backend="reference", max_iter=100)
    with pytest.warns(NoDescentWarning, match=r"no step from iteration \d+ lowers the loss") as caught:
        model.fit(X, y)
    assert caught[0].filename == __file__
    assert not model.converged_ and 3 <= model.n_iter_ < 100
    assert model.loss_ <= before.loss_
    assert model.loss_ == pytest.approx(objective(model, X, y, 1e-4)[0], rel=1e-9)


def test_a_network_that_ends_at_a_kink_is_not_converged():
    # of a few units and rows: what is left of the gradient is that of units that a row is at the edge of
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_iris(return_X_y=True)
    at_a_kink = 0
    for seed in range(8):  # which of them depends on the last bits
        model = TwoLayerNet(solver="lbfgs", hidden_size=5, random_state=seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X, y)
        if any(warning.category is NoDescentWarning for warning in caught):
            assert not model.converged_ and model.n_iter_ < 200
            at_a_kink += 1
        else:
            assert model.converged_ or model.n_iter_ == 200
    assert at_a_kink


@models
def test_a_noisy_loss_is_never_followed_upwards(H, monkeypatch):
    p, random = raw(problem(100, 5, H, 3)), np.random.default_rng(0)

    def change(i, loss, gradients):
        return loss + 1e-3 * random.standard_normal(), gradients

    first = start(p, backend="reference").loss
    monkeypatch.setattr(Problem, "reference_loss_gradients", spoiled(change))
    run = start(p, backend="reference", tol=0.0)
    run.run(1000)
    assert run.status in (NO_DESCENT, AT_ROUNDING) and run.status != DIVERGED
    assert (np.diff(run.losses) <= 0).all() and not run.losses[-1] > first


# ----------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("kind", ["linear", "network"])
def test_a_weight_is_a_repetition(kind):
    X, y, _ = data(80)
    times = np.arange(80) % 4
    rows = np.repeat(np.arange(80), times)
    settings = {"max_iter": 15, "reg": 0.01}
    weighted = make(kind, "lbfgs", **settings).fit(X, y, sample_weight=times)
    repeated = make(kind, "lbfgs", **settings).fit(X[rows], y[rows])
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-8)
    for a, b in zip(params_of(weighted), params_of(repeated), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-8 * np.abs(b).max())


def test_it_does_not_depend_on_random_numbers_where_it_begins_at_zero():
    X, y, _ = data()
    assert len({digest(make("linear", "lbfgs", random_state=seed).fit(X, y)) for seed in (0, 1, None)}) == 1
