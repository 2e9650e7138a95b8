"""Newton's method: the optimum of L-BFGS in a dozen iterations, whatever columns, threads, slices, interruptions."""

import numpy as np
import pytest
from problems import JIT, problem

from spiralnn.engine.run import AT_ROUNDING, CONVERGED, DIVERGED, RUNNING
from spiralnn.kernels import reference
from spiralnn.kernels.models import Model
from spiralnn.solvers import newton
from spiralnn.solvers.newton import Newton, unknowns, wins
from spiralnn.solvers.problem import Problem
from spiralnn.solvers.quasi_newton import Lbfgs

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
backends = pytest.mark.parametrize("backend", ["fused", "reference"])
kernels = pytest.mark.kernels
TOL = {np.float64: 1e-10, np.float32: 1e-5}


def blobs(N, D, K, dtype=np.float64, seed=0, scale=0.0):
    """Gaussian classes that overlap, and a start: zeros, or normal numbers times scale."""
    random = np.random.default_rng([N, D, K, seed])
    centres = random.standard_normal((K, D)) * 2 / np.sqrt(D)
    y = random.integers(0, K, N)
    X = (centres[y] + random.standard_normal((N, D))).astype(dtype)
    return X, y, (scale * random.standard_normal((D, K)), scale * random.standard_normal(K))


def minimise(X, y, params, *, solver=Newton, reg=1e-3, tol=None, steps=300, weights=None, **options):
    tol = TOL[X.dtype.type] if tol is None else tol
    run = solver(Problem(X, y, params, weights, reg, options.get("n_threads", 1), options.get("backend", "fused")),
                 tol=tol, steps=steps)  # fmt: skip
    run.run(steps)
    return run


def gradient_at(run, X, y, reg, weights=None):
    """(loss, gradients) of the raw problem in float64, by NumPy, at what a run came to."""
    params = [p.astype(np.float64) for p in run.params]
    gradients = [np.empty_like(p) for p in params]
    return reference.linear_loss_gradients(X.astype(np.float64), y, *params, reg, *gradients, weights), gradients


def assert_same(a, b):
    """To the last bit."""
    assert (a.n_steps, a.n_passes, a.status) == (b.n_steps, b.n_passes, b.status)
    for one, other in zip((a.losses, *a.params), (b.losses, *b.params), strict=True):
        np.testing.assert_array_equal(one, other)


def assert_never_up(run, rounding=1e-14):
    losses = np.append(run.losses, run.loss)
    assert (np.diff(losses) <= rounding * losses[:-1]).all()


# ------------------------------------------------------------------------------------------------- the optimum


SHAPES = [(50, 1, 2), (60, 2, 3), (99, 7, 2), (99, 8, 2), (101, 9, 3), (300, 16, 5), (500, 31, 2), (400, 37, 3)]


@pytest.mark.parametrize("N,D,K", SHAPES)
@pytest.mark.parametrize("reg", [1e-3, 0.1])
def test_the_optimum_is_that_of_lbfgs(N, D, K, reg):
    X, y, start = blobs(N, D, K)
    run, other = minimise(X, y, start, reg=reg), minimise(X, y, start, reg=reg, solver=Lbfgs, steps=3000)
    assert run.status == CONVERGED and run.is_converged()
    assert run.n_steps <= 12 and run.n_steps < other.n_steps
    assert run.n_passes <= run.n_steps + 4  # means, the start, and hardly a step that is too long
    assert run.loss == pytest.approx(other.loss, rel=1e-9)
    assert run.loss <= other.loss * (1 + 1e-14)
    for a, b in zip(run.params, other.params, strict=True):
        # L-BFGS may stop where the loss tells no more: then it knows parameters to half the digits
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * max(1.0, np.abs(b).max()))
    assert_never_up(run)


@pytest.mark.parametrize("N,D,K", SHAPES)
def test_the_gradient_is_zero_there(N, D, K):
    X, y, start = blobs(N, D, K)
    run = minimise(X, y, start, reg=0.01)
    loss, gradients = gradient_at(run, X, y, 0.01)
    assert run.loss == pytest.approx(loss, rel=1e-12)
    assert max(np.abs(g).max() for g in gradients) <= 1e-9  # those of raw columns are a few times as large


@kernels
@dtypes
@pytest.mark.parametrize("N,D,K", [(1, 1, 2), (2, 3, 2), (3, 2, 4)])
def test_hardly_any_rows(N, D, K, dtype):
    X, y, start = blobs(N, D, K, dtype)
    run = minimise(X, y, start, reg=0.1)
    assert run.status == CONVERGED
    assert run.loss < np.log(K)
    assert_never_up(run)


@dtypes
@pytest.mark.parametrize("N,D,K", [(500, 31, 2), (1000, 10, 4)])
def test_float32_comes_as_close_as_it_can(N, D, K, dtype):
    X, y, start = blobs(N, D, K, dtype)
    run = minimise(X, y, start)
    truth = minimise(X.astype(np.float64), y, start)
    assert run.is_converged() and run.n_steps <= 12
    assert all(p.dtype == dtype for p in run.params)
    assert run.loss == pytest.approx(truth.loss, rel={np.float64: 1e-12, np.float32: 1e-6}[dtype])


def test_weights_are_rows_so_many_times():
    X, y, start = blobs(200, 5, 3)
    times = np.random.default_rng(0).integers(0, 4, 200)
    rows = np.repeat(np.arange(200), times)
    run, other = minimise(X, y, start, weights=times * 0.25), minimise(X[rows], y[rows], start)
    assert run.n_steps == other.n_steps
    assert run.loss == pytest.approx(other.loss, rel=1e-12)
    for a, b in zip(run.params, other.params, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("weights", [1e-300, 1e300])
def test_the_size_of_weights_does_not_matter(weights):
    X, y, start = blobs(100, 3, 3)
    run, other = (minimise(X, y, start, weights=np.full(100, w)) for w in (weights, 1.0))
    assert run.loss == pytest.approx(other.loss, rel=1e-12)


@kernels
@pytest.mark.parametrize("scale", [0.0, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_reference_takes_the_same_steps(scale, weighted):
    X, y, start = blobs(120 if JIT else 30, 4, 3, scale=scale)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(X)) if weighted else None
    run, other = (minimise(X, y, start, weights=weights, backend=backend) for backend in ("fused", "reference"))
    assert (run.n_passes, run.status) == (other.n_passes, other.status)
    np.testing.assert_allclose(run.losses, other.losses, rtol=1e-12)
    for a, b in zip(run.params, other.params, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


# --------------------------------------------------------------------------------------------- what classes share


@pytest.mark.parametrize("K", [2, 4])
def test_what_all_classes_share_goes_at_once_where_it_is_penalised(K):
    X, y, start = blobs(200, 3, K, scale=0.3)
    shared = (start[0] + [[5.0], [-3.0], [1.0]], start[1] + 7.0)
    run, other = minimise(X, y, shared), minimise(X, y, start)
    np.testing.assert_allclose(run.params[0].sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(run.params[0], other.params[0], atol=1e-8)
    assert run.n_steps <= 12
    # the loss does not see it, and biases are not penalised: they keep what they share, but for means times weights
    mean = X.mean(axis=0)
    np.testing.assert_allclose((run.params[1] + mean @ run.params[0]).mean(), (shared[1] + mean @ shared[0]).mean())


def test_what_all_classes_share_stays_where_it_is_not():
    X, y, start = blobs(200, 3, 3, scale=0.3)
    run = minimise(X, y, start, reg=0.0)
    assert run.status == CONVERGED
    for a, b in zip(run.params, start, strict=True):
        np.testing.assert_allclose(a.sum(axis=-1), b.sum(axis=-1), atol=1e-12)


# ------------------------------------------------------------------------------------------------- columns


def test_columns_far_away_and_of_any_size_take_the_same_steps():
    X, y, start = blobs(300, 4, 3)
    raw = X * [1e-6, 1.0, 1e5, 3.0] + [1.0, 1e4, -1e8, 0.0]
    run, other = (minimise(columns, y, start, reg=0.0, tol=1e-8) for columns in (X, raw))
    assert run.n_steps == other.n_steps
    np.testing.assert_allclose(run.losses, other.losses, rtol=1e-8)


def test_float32_of_columns_far_away():
    X, y, start = blobs(300, 2, 2, np.float32)
    far = X + np.float32(4096.0)
    run, truth = minimise(far, y, start), minimise(far.astype(np.float64), y, start)
    assert run.is_converged()
    assert run.loss == pytest.approx(truth.loss, rel=1e-6)


@dtypes
@pytest.mark.parametrize("reg", [0.0, 1e-4])
@pytest.mark.parametrize("K", [2, 3])
def test_columns_that_depend_on_each_other(K, reg, dtype):
    random = np.random.default_rng(0)
    kind, number = random.integers(0, 5, 600), random.standard_normal(600)
    constant, nothing = np.full(600, 7.0), np.zeros(600)
    X = np.column_stack([np.eye(5)[kind], number, 2 * number + 1, constant, nothing]).astype(dtype)
    y = (random.random(600) < 1 / (1 + np.exp(2 - kind - number))).astype(int) + random.integers(0, K - 1, 600)
    run = minimise(X, y, (np.zeros((9, K)), np.zeros(K)), reg=reg)
    other = minimise(np.ascontiguousarray(X[:, 1:6]), y, (np.zeros((5, K)), np.zeros(K)), reg=0.0)
    assert run.is_converged() and run.n_steps <= 12
    assert_never_up(run, {np.float64: 1e-14, np.float32: 1e-6}[dtype])
    assert all(np.isfinite(p).all() and np.abs(p).max() < 20 for p in run.params)
    if not reg:
        assert run.loss == pytest.approx(other.loss, rel={np.float64: 1e-9, np.float32: 1e-6}[dtype])


def test_more_inputs_than_rows():
    X, y, start = blobs(20, 60, 3)
    run = minimise(X, y, start, reg=1e-3)
    _, gradients = gradient_at(run, X, y, 1e-3)
    assert run.status == CONVERGED and max(np.abs(g).max() for g in gradients) <= 1e-9


# ------------------------------------------------------------------------------------------------- what ends it


@dtypes
def test_classes_that_can_be_told_apart(dtype):
    X, _, start = blobs(200, 2, 2, dtype)
    run = minimise(X, (X[:, 0] > 0).astype(int), start, reg=0.0)
    assert run.status == CONVERGED and run.loss < 1e-3
    assert_never_up(run, 0.0)
    assert minimise(X, (X[:, 0] > 0).astype(int), start, reg=0.0, tol=0.0).is_converged()


def test_a_class_without_rows():
    X, y, start = blobs(200, 2, 2)
    run = minimise(X, y, (np.zeros((2, 4)), np.zeros(4)), tol=1e-6)
    assert run.status == CONVERGED
    assert run.loss == pytest.approx(minimise(X, y, start).loss, abs=1e-5)


@dtypes
def test_without_tolerance_it_ends_at_rounding(dtype):
    X, y, start = blobs(300, 5, 3, dtype)
    run, other = minimise(X, y, start, tol=0.0), minimise(X, y, start)
    assert run.status == AT_ROUNDING and run.n_steps <= 15
    assert run.loss <= other.loss * (1 + {np.float64: 1e-15, np.float32: 1e-8}[dtype])


@kernels
@backends
def test_a_start_whose_loss_is_not_finite(backend):
    X, y, start = blobs(30, 2, 2)
    params = (start[0] + [[1e308, -1e308]], start[1])
    run = minimise(X, y, params, reg=0.0, backend=backend)
    assert (run.status, run.diverged_at, run.n_steps, len(run.losses)) == (DIVERGED, "the start", 0, 0)
    for a, b in zip(run.params, params, strict=True):
        np.testing.assert_allclose(a, b)


@dtypes
@pytest.mark.parametrize("reg", [0.0, 1e-4])
@pytest.mark.parametrize("scale", [10.0, 100.0, 1e4])
def test_a_start_where_all_rows_are_saturated(scale, reg, dtype):
    X, y, start = blobs(300, 3, 3, dtype, scale=scale)
    first = minimise(X, y, start, reg=reg, steps=1, tol=0.0)
    run, truth = minimise(X, y, start, reg=reg), minimise(X, y, (start[0] * 0, start[1] * 0), reg=reg)
    assert_never_up(run, {np.float64: 1e-14, np.float32: 1e-6}[dtype])
    assert run.loss < first.loss
    if dtype == np.float64 or scale < 1e4:
        assert run.loss == pytest.approx(truth.loss, rel=1e-4)


def test_it_has_converged_before_it_begins():
    X, y, start = blobs(100, 3, 2)
    there = minimise(X, y, start).params
    again = minimise(X, y, there, tol=1e-8)
    assert (again.status, again.n_steps, again.n_passes) == (CONVERGED, 0, 2)
    for a, b in zip(again.params, there, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


# ------------------------------------------------------------------------------------------------- going on


@dtypes
@pytest.mark.parametrize("N,D,K", [(3000, 6, 3), (2500, 40, 2)])
def test_threads_do_not_matter(N, D, K, dtype, all_threads):
    X, y, start = blobs(N, D, K, dtype)
    one, two = (minimise(X, y, start, n_threads=n) for n in (1, 2))
    assert (one.n_threads, two.n_threads) == (1, 2)
    assert_same(two, one)


def new(p, backend="fused", tol=1e-10):
    X, y, start = p
    return Newton(Problem(X, y, start, None, 1e-4, 1, backend), tol=tol, steps=50)


@dtypes
@backends
def test_slices_do_not_matter(dtype, backend):
    p = blobs(200, 4, 3, dtype, scale=10.0)
    whole, single = new(p, backend), new(p, backend)
    whole.run(50)
    while single.status == RUNNING:
        assert single.run(1) <= 1
    assert_same(single, whole)


@dtypes
@backends
@pytest.mark.parametrize("scale", [0.0, 10.0])  # without trials that fail, and with many
def test_a_state_goes_on_to_the_same_bits(dtype, backend, scale, monkeypatch):
    monkeypatch.setattr(newton, "SLICE_SECONDS", 0.0)  # every slice is one evaluation, also within a search
    p = blobs(200, 4, 3, dtype, scale=scale)
    whole, states = new(p, backend), []
    whole.run(50, lambda run: states.append(run.state()))
    assert whole.is_converged() and len(states) == whole.n_passes - 1
    for state in states:
        resumed = new(p, backend)
        resumed.restore(state)
        resumed.run(50)
        assert_same(resumed, whole)
    assert resumed.status == CONVERGED or whole.status == AT_ROUNDING


def test_a_state_of_something_else_is_refused():
    p = blobs(50, 2, 2)
    run = new(p)
    run.run(2)
    for change in ({"point": np.full((3, 2), np.nan)}, {"hessian": np.zeros((4, 4))}, {"losses": np.zeros(5)}):
        with pytest.raises(ValueError):
            new(p).restore({**run.state(), **change})


def test_an_interruption_leaves_the_last_iterate(monkeypatch):
    p = blobs(200, 4, 3, scale=10.0)
    whole, run = new(p), new(p)
    whole.run(50)
    for calls in (1, 2, 3, 5):
        measure, left = run._curvature, iter(range(calls))

        def interrupted(*arguments, measure=measure, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return measure(*arguments)

        run._curvature = interrupted
        with pytest.raises(KeyboardInterrupt):
            run.run(50)
        run._curvature = measure
        assert len(run.losses) == run.n_steps
        np.testing.assert_array_equal(run.losses, whole.losses[: run.n_steps])
    run.run(50)
    assert_same(run, whole)


# ------------------------------------------------------------------------------------------------- when it serves


def test_where_it_is_worth_it():
    assert unknowns(Model(10, 0, 2)) == 11 and unknowns(Model(16, 0, 26)) == 425
    assert wins(Model(10, 0, 2), 15_000) and wins(Model(20, 0, 3), 10_000)
    assert not wins(Model(10, 0, 2), 1000)
    assert not wins(Model(64, 0, 10), 1_000_000)
    assert newton.FEW_UNKNOWNS <= newton.MAX_UNKNOWNS


def test_labels_of_any_width_and_classes_by_the_hundred():
    p = problem(400, 1, 0, 140)
    run = minimise(p.X, p.y, p.params, reg=1e-2)
    _, gradients = gradient_at(run, p.X, p.y, 1e-2)
    assert run.is_converged() and max(np.abs(g).max() for g in gradients) <= 1e-9
