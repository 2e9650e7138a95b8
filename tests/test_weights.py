"""Weights of rows and of classes: equal to repetition, the same from both backends, and refused when they are none."""

import numpy as np
import pytest
from classifiers import descents
from problems import TOLERANCES, problem, relative_error

from spiralnn import SoftmaxClassifier, loss_and_gradients

linear, network = descents(hidden_size=9, max_iter=30, step_size=0.5)
MODELS = [linear(step_size=1.0), network()]
by_default = {"max_iter": 10, "step_size": None}
OTHERS = [linear.by("auto", **by_default)(), network.by("auto", **by_default)(), network.by("adam", **by_default)()]


def over_models(*models):
    return pytest.mark.parametrize("model", models, ids=lambda m: f"{type(m).__name__} {m.solver}")


models = over_models(*MODELS)
by_any_solver = over_models(*MODELS, *OTHERS)
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def fresh(model, **params):
    return type(model)(**{**model.get_params(), **params})


def data(dtype=np.float64, N=151, D=5, K=4):
    p = problem(N, D, 0, K, dtype)
    return p.X, p.y, np.arange(N) % 4


def assert_same_fit(a, b, tolerance):
    assert a.n_iter_ == b.n_iter_
    for p, q in zip(
        [*a.coefs_, *a.intercepts_, a.loss_curve_], [*b.coefs_, *b.intercepts_, b.loss_curve_], strict=True
    ):
        assert relative_error(p, q) <= tolerance


@models
@dtypes
@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_a_weight_is_a_repetition(model, dtype, backend):
    X, y, times = data(dtype)
    weighted = fresh(model, backend=backend).fit(X, y, sample_weight=times)
    repeated = fresh(model).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert_same_fit(weighted, repeated, 30 * TOLERANCES[dtype])  # 30 steps, each with an error of its own


@models
@dtypes
def test_weights_of_one_are_no_weights(model, dtype):
    X, y, _ = data(dtype)
    assert_same_fit(fresh(model).fit(X, y, np.ones(len(y))), fresh(model).fit(X, y), 30 * TOLERANCES[dtype])


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cholesky"])
def test_a_weight_is_a_repetition_to_whoever_looks_for_the_minimum(solver):
    X, y, times = data()
    to_the_end = {"solver": solver, "max_iter": 1000, "reg": 0.01, "tol": 1e-9}
    weighted = SoftmaxClassifier(**to_the_end).fit(X, y, sample_weight=times)
    repeated = SoftmaxClassifier(**to_the_end).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert weighted.converged_ and repeated.converged_
    assert relative_error(weighted.loss_, repeated.loss_) <= 1e-12
    for p, q in zip(weighted.coefs_ + weighted.intercepts_, repeated.coefs_ + repeated.intercepts_, strict=True):
        assert relative_error(p, q) <= 1e-6


@by_any_solver
@dtypes
@pytest.mark.parametrize("factor", [2.0**-300, 2.0**-100, 0.5, 2.0**100, 2.0**1000])
def test_only_ratios_of_weights_count(model, dtype, factor):
    X, y, times = data(dtype)
    expected = fresh(model).fit(X, y, times)
    scaled = fresh(model).fit(X, y, times * factor)
    assert_same_fit(scaled, expected, TOLERANCES[dtype])


@by_any_solver
def test_a_row_without_weight_does_not_count(model):
    X, y, times = data()
    changed = X.copy()
    changed[times == 0] = 1e3 * np.random.default_rng(0).standard_normal(X.shape)[times == 0]
    labels = np.where(times == 0, 3 - y, y)
    one, other = fresh(model).fit(X, y, times), fresh(model).fit(changed, labels, times)
    assert_same_fit(one, other, 0.0)


@by_any_solver
@pytest.mark.parametrize("n_threads", [2, 4])
def test_same_bits_from_any_number_of_threads(model, n_threads, all_threads):
    X, y, _ = data(N=3001)
    weights = np.random.default_rng(1).uniform(0, 2, len(y))
    one, many = (fresh(model, n_threads=n).fit(X, y, weights) for n in (1, n_threads))
    assert_same_fit(one, many, 0.0)


@by_any_solver
@pytest.mark.parametrize(
    "labels", [np.array([0, 1, 2, 3]), np.array(["ant", "bee", "cat", "dog"]), np.array([-2, 0, 7, 300])]
)
def test_class_weights_are_sample_weights(model, labels):
    X, y, times = data()
    factors = [1.0, 0.25, 3.0, 1.0]
    named = dict(zip(labels.tolist()[1:3], factors[1:3], strict=True))
    by_class = fresh(model, class_weight=named).fit(X, labels[y], times)
    assert_same_fit(by_class, fresh(model).fit(X, labels[y], times * np.array(factors)[y]), 0.0)
    assert_same_fit(
        fresh(model, class_weight=named).fit(X, labels[y]), fresh(model).fit(X, y, np.array(factors)[y]), 0.0
    )


@models
def test_balanced_classes_weigh_the_same(model):
    X, y, times = data()
    y[y == 3] = np.where(np.arange((y == 3).sum()) % 3, 0, 3)  # some classes are rarer than others
    for weights in (None, times):
        totals = np.bincount(y, weights)
        expected = fresh(model).fit(X, y, (1 / totals)[y] * (1 if weights is None else weights))
        assert_same_fit(fresh(model, class_weight="balanced").fit(X, y, weights), expected, 1e-11)


@by_any_solver
def test_balanced_copes_with_a_class_that_has_no_weight(model):
    X, y, _ = data()
    fitted = fresh(model, class_weight="balanced").fit(X, y, (y != 2).astype(float))
    assert np.isfinite(fitted.loss_) and 2 not in fitted.predict(X)


@by_any_solver
def test_score_weighs_rows(model):
    X, y, times = data()
    fitted = fresh(model).fit(X, y)
    repeated = fitted.score(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert fitted.score(X, y, sample_weight=times) == pytest.approx(repeated, rel=1e-12)
    assert repeated != fitted.score(X, y)


@dtypes
@pytest.mark.parametrize("H", [0, 6])
def test_objective_takes_weights(H, dtype):
    p = problem(97, 5, H, 3, dtype)
    times = np.arange(97) % 3
    loss, gradients = loss_and_gradients(p.X, p.y, p.params, reg=0.1, sample_weight=times)
    rows = np.repeat(np.arange(97), times)
    expected = loss_and_gradients(p.X[rows], p.y[rows], p.params, reg=0.1)
    assert relative_error(loss, expected[0]) <= TOLERANCES[dtype]
    for gradient, truth in zip(gradients, expected[1], strict=True):
        assert relative_error(gradient, truth) <= TOLERANCES[dtype]


FORMS = {
    "list": lambda w: w.tolist(),
    "integers": lambda w: w.astype(int),
    "objects": lambda w: w.astype(object),
    "float32": lambda w: w.astype(np.float32),
    "reversed": lambda w: w[::-1].copy()[::-1],
    "strided": lambda w: np.repeat(w, 3)[::3],
    "big-endian": lambda w: w.astype(">f8"),
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_in_any_form(form):
    p = problem(97, 5, 6, 3)
    weights = (np.arange(97) % 3).astype(float)
    given = FORMS[form](weights)
    before = np.array(given)
    loss, gradients = loss_and_gradients(p.X, p.y, p.params, sample_weight=given)
    np.testing.assert_array_equal(np.array(given), before)
    expected = loss_and_gradients(p.X, p.y, p.params, sample_weight=weights)
    assert loss == expected[0]
    for gradient, truth in zip(gradients, expected[1], strict=True):
        np.testing.assert_array_equal(gradient, truth)


def test_read_only_weights_are_used_in_place():
    p = problem(97, 5, 6, 3)
    weights = np.arange(97) % 3 * 1.0
    weights.flags.writeable = False
    loss, _ = loss_and_gradients(p.X, p.y, p.params, sample_weight=weights)
    assert loss == loss_and_gradients(p.X, p.y, p.params, sample_weight=weights.copy())[0]


BAD_WEIGHTS = [
    (ValueError, r"sample_weight has shape \(150,\), expected \(151,\)", np.ones(150)),
    (ValueError, r"sample_weight has shape \(151, 1\)", np.ones((151, 1))),
    (ValueError, r"sample_weight has shape \(\)", 1.0),
    (ValueError, r"Negative values .*sample_weight.* -0.5 at \[7\]", np.where(np.arange(151) == 7, -0.5, 1)),
    (ValueError, r"sample_weight holds NaN at \[150\]", np.where(np.arange(151) == 150, np.nan, 1)),
    (ValueError, r"sample_weight holds infinity at \[0\]", np.where(np.arange(151) == 0, np.inf, 1)),
    (ValueError, "sample_weight is zero in every row", np.zeros(151)),
    (TypeError, "sample_weight has dtype complex128", np.ones(151, complex)),
    (ValueError, "sample_weight has dtype object, expected real numbers", np.array(["heavy"] * 151, object)),
    (TypeError, "sample_weight has dtype <U5", np.array(["heavy"] * 151)),
]


@by_any_solver
@pytest.mark.parametrize("error,message,weights", BAD_WEIGHTS)
def test_bad_weights_are_refused_before_anything_changes(model, error, message, weights):
    X, y, _ = data()
    fitted = fresh(model).fit(X, y)
    before = {name: value for name, value in vars(fitted).items() if name.endswith("_")}
    with pytest.raises(error, match=message):
        fitted.fit(X, y, sample_weight=weights)
    with pytest.raises(error, match=message):
        loss_and_gradients(X, y, (np.zeros((5, 4)), np.zeros(4)), sample_weight=weights)
    assert {name: value for name, value in vars(fitted).items() if name.endswith("_")} == before


@by_any_solver
@pytest.mark.parametrize(
    "error,message,class_weight",
    [
        (ValueError, "class_weight is 'even', expected a dict, 'balanced' or None", "even"),
        (ValueError, r"class_weight is \[1, 2, 3, 4\]", [1, 2, 3, 4]),
        (ValueError, r"class_weight\[1\] is -1, expected a finite number of at least 0", {1: -1}),
        (ValueError, r"class_weight\[1\] is nan", {1: np.nan}),
        (TypeError, r"class_weight\[1\] is 'heavy'", {1: "heavy"}),
        (ValueError, r"The classes, \[0, 1, 3\], are not in class_weight, which has \[2, 9\]", {2: 1.0, 9: 2.0}),
        (ValueError, "leave every row a weight of 0", {0: 0, 1: 0, 2: 0, 3: 0}),
    ],
)
def test_bad_class_weights_are_refused(model, error, message, class_weight):
    X, y, _ = data()
    refused = fresh(model, class_weight=class_weight)
    with pytest.raises(error, match=message):
        refused.fit(X, y)
    assert not any(name.endswith("_") for name in vars(refused))


def test_more_class_weights_than_classes_are_fine():
    X, y, _ = data()
    known = dict.fromkeys(range(9), 2.0)
    for solver in ("gd", "auto"):
        weighted = SoftmaxClassifier(solver=solver, class_weight=known, random_state=0).fit(X, y)
        assert_same_fit(weighted, SoftmaxClassifier(solver=solver, random_state=0).fit(X, y), 1e-11)
