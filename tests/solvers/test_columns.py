"""Columns: raw ones train as standardised ones do, and the objective stays what it says."""

import numpy as np
import pytest
from problems import JIT, problem
from solver_problems import BATCHED, CHANGED, PAIRS, data, digest, make, objective, params_of

from spiralnn import SoftmaxClassifier, TwoLayerNet
from spiralnn.engine.statistics import column_statistics
from spiralnn.kernels import reference
from spiralnn.kernels.columns import add_columns
from spiralnn.solvers.columns import Columns
from spiralnn.solvers.problem import Problem

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
solvers = pytest.mark.parametrize(("kind", "solver"), CHANGED)


def exact(X, weights):
    """Means and variances, two passes in the longest floats there are."""
    X = X.astype(np.longdouble)
    weights = np.ones(len(X), np.longdouble) if weights is None else weights.astype(np.longdouble)
    total = weights.sum()
    mean = (weights[:, np.newaxis] * X).sum(axis=0) / total
    variance = (weights[:, np.newaxis] * (X - mean) ** 2).sum(axis=0) / total
    return mean.astype(np.float64), variance.astype(np.float64)


# ------------------------------------------------------------------------------------------ means and variances


@dtypes
@pytest.mark.kernels
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "N,D", [(1, 1), (2, 3), (17, 5), (300, 784), (10_007, 3), (40_001, 7)] if JIT else [(1, 1), (2, 3), (17, 5)]
)
def test_means_and_variances(N, D, weighted, dtype):
    random = np.random.default_rng([N, D])
    # spreads of all sizes, and means that are up to ten thousand of them away
    X = random.standard_normal((N, D)) * 10.0 ** random.uniform(-3, 4, D) + 10.0 ** random.uniform(-3, 4, D)
    X = X.astype(dtype)
    weights = random.uniform(0, 3, N).astype(dtype) if weighted else None
    mean, variance = column_statistics(X, weights)
    expected = exact(X, weights)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-14, atol=1e-14 * np.sqrt(expected[1]).max())
    np.testing.assert_allclose(variance, expected[1], rtol=1e-11, atol=1e-26 * (expected[0] ** 2).max())


@pytest.mark.kernels
def test_a_constant_column_has_a_variance_of_rounding():
    for value in (0.0, 1.0, 0.1, 1e9 / 3, -1e150, 5e-324):
        mean, variance = column_statistics(np.full((1000, 2), value), None)
        np.testing.assert_allclose(mean, value, rtol=1e-15)
        assert (variance <= (1e-15 * value) ** 2).all()


@pytest.mark.kernels
def test_rows_without_weight_are_not_there():
    X, _, weights = data(300, 4)
    weights[::3] = 0
    X[::3] = 1e9
    mean, variance = column_statistics(X, weights)
    rest = np.flatnonzero(weights)
    np.testing.assert_allclose((mean, variance), exact(X[rest], weights[rest]), rtol=1e-7)


@dtypes
@pytest.mark.parametrize("weighted", [False, True])
def test_threads_change_no_bit_of_means_and_variances(weighted, dtype, all_threads):
    X, _, weights = data(5003, 11, dtype=dtype, scales=1e3, shifts=-7.0)
    weights = weights if weighted else None
    expected = column_statistics(X, weights, 1)
    for n_threads in range(2, 9):
        np.testing.assert_array_equal(column_statistics(X, weights, n_threads), expected)


@pytest.mark.kernels
def test_sums_of_columns_are_added_to_what_is_there():
    X = np.array([[1.0, 2.0], [3.0, 5.0], [7.0, 11.0]])
    sums = np.ones((2, 5))
    add_columns(X, np.empty(0), 1, 3, np.array([1.0, 2.0]), sums, 1)
    assert sums.tolist() == [[1, 1, 1, 1, 1], [1 + 8, 1 + 12, 1 + 40, 1 + 90, 1 + 2]]
    add_columns(X, np.array([2.0, 0.0, 0.0]), 0, 3, np.zeros(2), sums, 0)
    assert sums[0].tolist() == [1 + 2, 1 + 4, 1 + 2, 1 + 8, 1 + 2]


# --------------------------------------------------------------------------------------- the change of variables


@pytest.mark.kernels
@pytest.mark.parametrize("H", [0, 6])
def test_there_and_back_again(H):
    p = problem(60, 5, H, 3)
    p = p._replace(X=p.X * [1e-3, 1, 1e4, 1, 1] + [0, 5, -1e4, 0, 3])
    columns = Columns(Problem(p.X, p.y, p.params, reg=0.1))
    mean, scale = columns.affine
    inside = columns.enter(p.params)
    for a, b in zip(columns.leave(inside), p.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    # the same scores, of the columns that belong to them
    scores = [np.empty((60, 3)) for _ in range(2)]
    of = reference.two_layer_scores if H else reference.linear_scores
    of(p.X, *p.params, scores[0])
    of((p.X - mean) * scale, *inside, scores[1])
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-10, atol=1e-10)


@pytest.mark.kernels
def test_scale_is_one_over_the_root_of_variance_and_strength_and_1_where_nothing_varies():
    X, y, weights = data(200, 3, scales=[1e-3, 1.0, 50.0])
    X = np.c_[X, np.full(200, 1e6 / 3)]
    params = np.zeros((4, 3)), np.zeros(3)
    for w in (None, weights):
        mean, variance = exact(X, w)
        for reg in (0.0, 1e-4, 0.1):
            columns = Columns(Problem(X, y, params, w, reg))
            np.testing.assert_allclose(columns.affine[0], mean, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(columns.scale[:3], 1 / np.sqrt(variance[:3] + reg / 0.01), rtol=1e-10)
            assert columns.scale[3] == 1.0


@pytest.mark.kernels
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_held_out_have_no_part_in_it(weighted):
    X, y, weights = data(200, 3)
    held = np.arange(0, 200, 7)
    w = weights if weighted else None
    X[held] = 1e6
    columns = Columns(Problem(X, y, (np.zeros((3, 3)), np.zeros(3)), w, 0.0, held=held))
    rest = np.setdiff1d(np.arange(200), held)
    mean, variance = exact(X[rest], None if w is None else w[rest])
    np.testing.assert_allclose(columns.affine[0], mean, rtol=1e-9)
    np.testing.assert_allclose(columns.scale, 1 / np.sqrt(variance), rtol=1e-9)
    np.testing.assert_array_equal(weights, data(200, 3).weights)  # the caller's own are left alone


# ------------------------------------------------------------------------------------------------ the objective


@solvers
@pytest.mark.parametrize("weighted", [False, True])
def test_the_objective_is_that_of_raw_columns(kind, solver, weighted):
    X, y, weights = data(scales=[1e-3, 1, 1e4, 1, 30], shifts=[0, 5, -1e4, 0, 1e3])
    w = weights if weighted else None
    model = make(kind, solver, reg=0.01).fit(X, y, sample_weight=w)
    if (kind, solver) in BATCHED:  # the mean on the way: within a few per cent, at the end of a falling step size
        model.set_params(max_iter=60).fit(X, y, sample_weight=w)
        assert model.loss_ == pytest.approx(objective(model, X, y, 0.01, sample_weight=w)[0], rel=0.1)
    else:
        assert model.loss_ == pytest.approx(objective(model, X, y, 0.01, sample_weight=w)[0], rel=1e-9)
    assert model.loss_ < model.loss_curve_[0]


@pytest.mark.parametrize(("kind", "solver"), BATCHED)
def test_the_loss_of_an_epoch_is_the_mean_over_batches_on_the_way(kind, solver):
    # a step size of hardly anything: what is on the way is where it began
    X, y, weights = data(scales=[1e-3, 1, 1e4, 1, 30], shifts=[0, 5, -1e4, 0, 1e3])
    model = make(kind, solver, reg=0.01, step_size=1e-15, max_iter=2).fit(X, y, sample_weight=weights)
    expected = objective(model, X, y, 0.01, sample_weight=weights)[0]
    assert model.loss_curve_ == pytest.approx([expected] * 2, rel=1e-9)


def test_gradient_descent_knows_nothing_of_it():
    X, y, _ = data(scales=[1, 1, 3, 1, 2], shifts=[0, 5, -1, 0, 1])
    model = make("network", "gd", max_iter=1, step_size=0.5, reg=0.01).fit(X, y)
    start = make("network", "gd", max_iter=1, step_size=0.0, reg=0.01).fit(X, y)
    loss, gradients = objective(start, X, y, 0.01)
    assert model.loss_ == loss
    for a, b, g in zip(params_of(model), params_of(start), gradients, strict=True):
        np.testing.assert_allclose(a, b - 0.5 * g, rtol=1e-12)


@pytest.mark.parametrize(("kind", "solver"), PAIRS)
def test_init_is_of_raw_columns_whatever_the_solver(kind, solver):
    X, y, _ = data(scales=[1e-2, 1, 10, 1, 3], shifts=[0, 5, -10, 0, 1])
    random = np.random.default_rng(0)
    shapes = [(5, 7), (7,), (7, 3), (3,)] if kind == "network" else [(5, 3), (3,)]
    init = [0.1 * random.standard_normal(shape) for shape in shapes]
    model = make(kind, solver, init=init, max_iter=1, reg=0.0)
    if solver in ("lbfgs", "newton-cholesky"):
        model.set_params(tol=1e9).fit(X, y)
        assert model.n_iter_ == 0 and model.converged_
    else:
        model.set_params(step_size=0.0 if solver == "gd" else 1e-300).fit(X, y)
    for a, b in zip(params_of(model), init, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


# ----------------------------------------------------------------------------------------- as standardised ones


def standardised(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


SCALES, SHIFTS = [1e-3, 1, 1e4, 0.1, 30, 1e-2, 7, 1e3], [1e-2, 5, -3e4, 0, 1e3, 0, -70, 1e4]


def iterations(X, y, **settings):
    """Of L-BFGS on the linear model."""
    model = SoftmaxClassifier(solver="lbfgs", max_iter=2000, **settings).fit(X, y)
    assert model.converged_
    return model.n_iter_


def test_raw_columns_take_as_many_iterations_as_standardised_ones():
    counts = []
    for seed in range(3):
        X, y, _ = data(400, 8, 4, seed=seed, spread=1.0)
        counts += [iterations(features, y, reg=0.0, tol=1e-3) for features in (standardised(X), X * SCALES + SHIFTS)]
    assert np.median(counts[1::2]) <= 1.2 * np.median(counts[0::2])


def test_raw_columns_of_a_network_go_down_as_standardised_ones_do():
    X, y, _ = data(400, 8, 4, spread=1.0)
    settings = {"solver": "lbfgs", "hidden_size": 10, "reg": 0.0, "max_iter": 60, "random_state": 0}
    models = [TwoLayerNet(**settings).fit(features, y) for features in (standardised(X), X * SCALES + SHIFTS)]
    plain, changed = (np.array(model.loss_curve_) for model in models)
    np.testing.assert_allclose(changed[:20], plain[:20], rtol=1e-6)
    assert np.flatnonzero(changed <= 1.01 * plain[39])[0] <= 1.2 * 40


def letter_like(N=2000, seed=0):
    """Whole numbers from 0 to 15 in 16 columns, 26 classes: as the table of letters has them."""
    random = np.random.default_rng(seed)
    y = np.arange(N) % 26
    centres = random.uniform(2, 10, (26, 16))
    return np.clip(np.round(centres[y] + 2 * random.standard_normal((N, 16))), 0, 15), y


@pytest.mark.parametrize("reg", [1e-4, 1e-3])
def test_letters(reg):
    # the strength is of the weights of columns as they are: those that it is compared with are as wide, on the average
    X, y = letter_like()
    plain = iterations(standardised(X) * X.std(), y, reg=reg, tol=1e-4)
    assert iterations(X, y, reg=reg, tol=1e-4) <= 1.2 * plain


@solvers
@dtypes
def test_the_fit_does_not_depend_on_scales_and_shifts(kind, solver, dtype):
    # without L2 term: predictions are the same functions of columns however they are measured
    X, y, _ = data(300, 8, 3, spread=1.0)
    raw = (X * SCALES + np.array(SHIFTS) / 100).astype(dtype)
    models = [make(kind, solver, reg=0.0, max_iter=5).fit(features, y) for features in (X.astype(dtype), raw)]
    probabilities = [m.predict_proba(features) for m, features in zip(models, (X.astype(dtype), raw), strict=True)]
    # X is rounded anew, and L-BFGS in float32 knows its gradient to as many digits as cancel in x W + b
    np.testing.assert_allclose(*probabilities, atol=1e-6 if dtype == np.float64 else 1e-2)
    np.testing.assert_allclose(*(m.loss_curve_ for m in models), rtol=1e-7 if dtype == np.float64 else 1e-3)


@solvers
def test_a_constant_column_is_as_good_as_none(kind, solver):
    X, y, _ = data()
    with_one = np.c_[X, np.full(len(X), 1e5 / 3)]
    model = make(kind, solver, reg=0.01).fit(with_one, y)
    assert np.isfinite(model.loss_curve_).all()
    if kind == "linear":  # the network draws other numbers
        other = make(kind, solver, reg=0.01).fit(X, y)
        np.testing.assert_allclose(model.loss_curve_, other.loss_curve_, rtol=1e-6)
        np.testing.assert_allclose(model.predict_proba(with_one), other.predict_proba(X), atol=1e-5)


@solvers
def test_a_column_that_hardly_varies_is_not_blown_up(kind, solver):
    X, y, _ = data()
    random = np.random.default_rng(0)
    X = np.c_[X, 1e3 + 1e-5 * random.standard_normal(len(X))]
    model = make(kind, solver, max_iter=30).fit(X, y)
    # what the last column could say is not worth the weight that it would take
    assert np.abs(model.coefs_[0][-1] * 1e-5).max() < 1e-3
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.kernels
def test_weights_and_repetitions_have_the_same_columns():
    X, y, _ = data(60)
    times = np.arange(60) % 3
    rows = np.repeat(np.arange(60), times)
    params = np.zeros((5, 3)), np.zeros(3)
    weighted = Columns(Problem(X, y, params, times.astype(float), 0.1))
    repeated = Columns(Problem(X[rows], y[rows], params, None, 0.1))
    np.testing.assert_allclose(weighted.affine, repeated.affine, rtol=1e-10)


def test_threads_change_no_bit_of_a_fit_of_raw_columns(all_threads):
    X, y, weights = data(3000, scales=[1e-3, 1, 1e4, 1, 30], shifts=[0, 5, -1e4, 0, 1e3])
    digests = {digest(make("linear", "lbfgs", n_threads=n).fit(X, y, sample_weight=weights)) for n in (1, 2, 3)}
    assert len(digests) == 1
