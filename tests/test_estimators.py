"""The two classifiers: what they learn, remember, print and refuse."""

import copy
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from classifiers import descents, over, over_solvers
from places import ROOT

from spiralnn import SoftmaxClassifier, TwoLayerNet, loss_and_gradients, make_spiral
from spiralnn.estimators.protocol import NotFittedError

X, Y = make_spiral(20, 3, random_state=0)
N = len(X)


linear, network = descents(max_iter=20)
both = over(linear, network)
by_any_solver = over_solvers(linear, network)
both_backends = pytest.mark.parametrize("backend", ["fused", "reference"])


def parameters(model):
    return [*model.coefs_, *model.intercepts_]


def in_order(model):
    """Parameters as loss_and_gradients takes them."""
    return [a for pair in zip(model.coefs_, model.intercepts_, strict=True) for a in pair]


def assert_same_bits(a, b):
    for p, q in zip(parameters(a), parameters(b), strict=True):
        assert p.dtype == q.dtype
        np.testing.assert_array_equal(p, q)


def state_of(model):
    return copy.deepcopy({name: value for name, value in vars(model).items() if name.endswith("_")})


def assert_same_state(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_equal(a[name], b[name])


# ------------------------------------------------------------------------------------- fitted attributes


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@both_backends
@by_any_solver
def test_fitted_attributes(make, backend, dtype):
    model = make(backend=backend)
    assert model.fit(X.astype(dtype), Y) is model
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    assert model.n_features_in_ == 2
    assert not hasattr(model, "feature_names_in_")
    sizes = [2, 5, 3] if make.is_network else [2, 3]
    assert [W.shape for W in model.coefs_] == list(zip(sizes, sizes[1:], strict=False))
    assert [b.shape for b in model.intercepts_] == [(n,) for n in sizes[1:]]
    assert isinstance(model.coefs_, list) and isinstance(model.intercepts_, list)
    assert all(p.dtype == dtype and p.flags.c_contiguous for p in parameters(model))
    assert 2 <= len(model.loss_curve_) == model.n_iter_ <= 20
    assert all(type(loss) is float for loss in model.loss_curve_)
    assert model.loss_ == model.loss_curve_[-1] < model.loss_curve_[0]
    assert type(model.converged_) is bool and (model.converged_ or model.n_iter_ == 20)
    assert not model.converged_ or make.solver in ("auto", "newton-cholesky")
    assert type(model.n_passes_) is float and model.n_passes_ >= model.n_iter_
    assert model.solver_ == ("lbfgs" if make.solver == "auto" else make.solver)
    assert model.validation_scores_ is model.validation_loss_curve_ is model.best_validation_score_ is None


@both
def test_losses_and_steps_are_those_of_the_objective(make):
    model = make(step_size=0.3, reg=0.01).fit(X, Y)
    params = in_order(make(step_size=0.0, max_iter=1).fit(X, Y))
    losses = []
    for _ in range(20):
        loss, gradients = loss_and_gradients(X, Y, params, reg=0.01)
        losses.append(loss)
        params = [p - 0.3 * dp for p, dp in zip(params, gradients, strict=True)]
    np.testing.assert_allclose(model.loss_curve_, losses, rtol=1e-13)
    for p, q in zip(in_order(model), params, strict=True):
        np.testing.assert_allclose(p, q, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["red", "blue", "green"]),
        np.array(["red", "blue", "green"], object),
        np.array([7, -3, 10**12]),
        np.array([1, 2, 3], np.uint8),
        np.array([2, 0, 5]),
        np.array([2.0, -1.0, 5.0]),
        np.array([False, True]),
    ],
    ids=["strings", "objects", "integers", "from one", "with gaps", "whole floats", "bools"],
)
@by_any_solver
def test_any_labels_are_classes(make, names):
    # the names are not sorted: class k of the model is the k-th of the sorted ones
    y = names[Y % len(names)]
    rank = np.argsort(np.argsort(names))
    model = make().fit(X, y)
    np.testing.assert_array_equal(model.classes_, np.sort(names))
    assert model.classes_.dtype == names.dtype
    numbered = make().fit(X, rank[Y % len(names)])
    assert_same_bits(model, numbered)
    predicted = model.predict(X)
    assert predicted.dtype == names.dtype
    np.testing.assert_array_equal(predicted, model.classes_[numbered.predict(X)])
    assert model.score(X, y) == numbered.score(X, rank[Y % len(names)]) == np.mean(predicted == y)


def test_more_classes_than_a_byte_can_name():
    y = np.array([f"class {i % 300:03}" for i in range(700)])
    features = np.random.RandomState(0).randn(700, 2)
    model = linear(max_iter=3).fit(features, y)
    assert len(model.classes_) == 300
    assert_same_bits(model, linear(max_iter=3).fit(features, np.arange(700) % 300))
    np.testing.assert_allclose(model.loss_curve_, linear(max_iter=3, backend="reference").fit(features, y).loss_curve_,
                               rtol=1e-12)  # fmt: skip


@by_any_solver
def test_lists_and_columns_are_read_as_arrays(make):
    expected = make().fit(X, Y)
    assert_same_bits(make().fit(X.tolist(), Y.tolist()), expected)
    with pytest.warns(UserWarning, match="A column-vector y was passed") as caught:
        model = make().fit(X, Y[:, None])
    assert caught[0].filename == __file__
    assert_same_bits(model, expected)


@by_any_solver
def test_data_may_be_read_only_and_is_not_modified(make):
    features, labels = X.copy(), Y.copy()
    features.flags.writeable = labels.flags.writeable = False
    assert_same_bits(make().fit(features, labels), make().fit(X, Y))
    np.testing.assert_array_equal(features, X)
    np.testing.assert_array_equal(labels, Y)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@by_any_solver
def test_threads_do_not_change_a_bit(make, dtype):
    features, labels = make_spiral(7001, 3, random_state=1)
    larger = {"hidden_size": 16} if make.is_network else {}
    models = [make(max_iter=4, n_threads=n, **larger) for n in (1, 2, 3, None)]
    first, *others = (model.fit(features.astype(dtype), labels) for model in models)
    for other in others:
        assert_same_bits(first, other)
        assert first.loss_curve_ == other.loss_curve_
        np.testing.assert_array_equal(first.decision_function(features), other.decision_function(features))


# ----------------------------------------------------------------------------------------------- predict


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@both_backends
@by_any_solver
def test_predictions_agree_with_each_other(make, backend, dtype):
    features = X.astype(dtype)
    model = make(backend=backend, max_iter=200 if make.solver == "gd" else 20).fit(features, Y)
    scores = model.decision_function(features)
    assert scores.shape == (N, 3)
    hidden = features
    for W, b in list(zip(model.coefs_, model.intercepts_, strict=True))[:-1]:
        hidden = np.maximum(0, hidden @ W + b)
    tolerance = 1e-13 if dtype == np.float64 else 1e-5  # rounding of sums of five terms of order 10
    np.testing.assert_allclose(scores, hidden @ model.coefs_[-1] + model.intercepts_[-1], rtol=0, atol=10 * tolerance)
    probabilities = model.predict_proba(features)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=tolerance)
    exps = np.exp(scores.astype(np.float64))
    np.testing.assert_allclose(probabilities, exps / exps.sum(axis=1, keepdims=True), rtol=10 * tolerance)
    np.testing.assert_allclose(model.predict_log_proba(features), np.log(probabilities), rtol=0, atol=10 * tolerance)
    predicted = model.predict(features)
    np.testing.assert_array_equal(predicted, scores.argmax(axis=1))
    assert model.score(features, Y) == np.mean(predicted == Y) > 0.4
    assert scores.dtype == probabilities.dtype == model.predict_log_proba(features).dtype == dtype


@both
def test_a_row_is_predicted_the_same_alone_and_among_others(make):
    model = make().fit(X, Y)
    scores = model.decision_function(X)
    for rows in (slice(0, 1), slice(17, 18), slice(3, 40), slice(None, None, -1)):
        np.testing.assert_allclose(model.decision_function(X[rows]), scores[rows], rtol=0, atol=1e-14)


@both
def test_many_rows_are_predicted_in_parts(make, monkeypatch):
    model = make().fit(X, Y)
    expected = model.decision_function(X).argmax(axis=1)
    monkeypatch.setattr("spiralnn.estimators.prediction.PREDICT_ROWS", 1)  # parts of 8 rows and a rest of 4
    np.testing.assert_array_equal(model.predict(X), expected)


@both_backends
@by_any_solver
def test_two_classes_have_one_score(make, backend):
    """Of the second against the first, as everywhere in scikit-learn."""
    y = np.array(["no", "yes"])[Y % 2]
    model = make(backend=backend).fit(X, y)
    scores = model.decision_function(X)
    assert scores.shape == (N,)
    np.testing.assert_array_equal(model.classes_[(scores > 0).astype(int)], model.predict(X))
    odds = model.predict_log_proba(X)
    tolerance = 1e-14 if make.solver == "gd" else 1e-14 * np.abs(odds).max()  # others come further
    np.testing.assert_allclose(scores, odds[:, 1] - odds[:, 0], rtol=0, atol=tolerance)


def test_far_scores_do_not_overflow():
    model = linear(init=([[1e4, -1e4]], [0.0, 0.0]), step_size=0.0, max_iter=1).fit([[1.0], [-1.0]], [0, 1])
    np.testing.assert_array_equal(model.predict_proba([[1.0], [-1.0]]), [[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(model.predict_log_proba([[1.0], [-1.0]]), [[0.0, -2e4], [-2e4, 0.0]])


@by_any_solver
def test_the_wider_dtype_of_model_and_rows_computes(make):
    double, single = make().fit(X, Y), make().fit(X.astype(np.float32), Y)
    rows = X.astype(np.float32)
    np.testing.assert_array_equal(double.decision_function(rows), double.decision_function(rows.astype(np.float64)))
    assert single.decision_function(X).dtype == np.float64
    assert single.decision_function(rows).dtype == np.float32


METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function"]


@pytest.mark.parametrize("method", METHODS)
@both
def test_bad_rows_to_predict(make, method):
    model = make().fit(X, Y)
    predict = getattr(model, method)
    owner = type(model).__name__
    with pytest.raises(ValueError, match=f"X has 3 features, but {owner} is expecting 2 features as input"):
        predict(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"X holds NaN at \[1, 0\], expected finite numbers"):
        predict([[0.0, 1.0], [np.nan, 1.0]])
    with pytest.raises(ValueError, match="X has 1 dimension, expected 2"):
        predict(X[0])
    with pytest.raises(ValueError, match="backend is 'cuda', expected one of 'fused', 'reference'"):
        getattr(make().fit(X, Y).set_params(backend="cuda"), method)(X)
    if method == "predict":
        with pytest.raises(TypeError, match="n_threads is '2', expected an integer of at least 1"):
            getattr(make().fit(X, Y).set_params(n_threads="2"), method)(X)


@pytest.mark.parametrize("method", METHODS)
@both_backends
@both
def test_scores_that_overflow_are_refused_with_their_row(make, backend, method, monkeypatch):
    model = make(backend=backend).fit(X, Y)
    model.coefs_[-1] = model.coefs_[-1] * 1e300
    rows = X[:40].copy()
    getattr(model, method)(rows)
    monkeypatch.setattr("spiralnn.estimators.prediction.PREDICT_ROWS", 16)  # several parts
    for row in (1, 17, 39):  # the very first one lies at the origin
        bad = rows.copy()
        bad[row] *= 1e30
        with pytest.raises(FloatingPointError, match=f"scores of row {row} are not finite: .* beyond float64"):
            getattr(model, method)(bad)


def test_scores_may_be_as_far_apart_as_floats_go():
    # their difference overflows, and they do not: what the kernels for few inputs compute with is the difference
    for backend in ("fused", "reference"):
        model = network(hidden_size=2, backend=backend).fit(X, Y)
        model.coefs_ = [np.ones((2, 2)), np.array([[1.7e308, 0.0, -1.7e308], [0.0, 0.0, 0.0]])]
        model.intercepts_ = [np.zeros(2), np.zeros(3)]
        rows = [[1.0, 0.0], [0.0, 0.0], [0.5, 0.0]]
        assert model.predict(rows).tolist() == [0, 0, 0]
        rounding = 0 if backend == "fused" else 2.0**-52  # NumPy's exp and log depend on its version
        expected = [[1, 0, 0], [1 / 3] * 3, [1, 0, 0]]
        np.testing.assert_allclose(model.predict_proba(rows), expected, rtol=rounding, atol=0)
        np.testing.assert_array_equal(model.predict_log_proba(rows[:1]), [[0, -1.7e308, -np.inf]])


@by_any_solver
def test_labels_to_score_are_one_a_row(make):
    model = make().fit(X, Y)
    for labels in (Y[:1], Y[:-1], np.append(Y, 0)):
        with pytest.raises(ValueError, match=f"y has {len(labels)} labels, but X has 60 rows"):
            model.score(X, labels)
    with pytest.raises(ValueError, match="y is None"):
        model.score(X, None)
    with pytest.warns(UserWarning, match="A column-vector y was passed"):
        assert model.score(X, Y[:, None]) == model.score(X, Y)


@pytest.mark.parametrize("method", METHODS)
@by_any_solver
def test_not_fitted(make, method):
    for call in (lambda: getattr(make(), method)(X), lambda: make().score(X, Y)):
        with pytest.raises(ValueError, match="instance is not fitted yet. Call 'fit' first") as raised:
            call()
        assert isinstance(raised.value, AttributeError)  # of scikit-learn's kind where it is loaded
    assert issubclass(NotFittedError, ValueError) and issubclass(NotFittedError, AttributeError)
    assert not make().__sklearn_is_fitted__()
    assert make().fit(X, Y).__sklearn_is_fitted__()


# ------------------------------------------------------------------------------------ starting parameters


def starting(model):
    """A model that stays where it starts."""
    return model.set_params(step_size=0.0, max_iter=1).fit(X, Y)


def test_weights_are_drawn_in_the_order_of_the_case_study():
    draw = np.random.RandomState(3)
    model = starting(linear(random_state=3, init_scale=0.5))
    np.testing.assert_array_equal(model.coefs_[0], 0.5 * draw.randn(2, 3))
    np.testing.assert_array_equal(model.intercepts_[0], np.zeros(3))

    draw = np.random.RandomState(3)
    model = starting(network(random_state=3))
    np.testing.assert_array_equal(model.coefs_[0], 0.01 * draw.randn(2, 5))
    np.testing.assert_array_equal(model.coefs_[1], 0.01 * draw.randn(5, 3))
    assert not np.concatenate(model.intercepts_).any()


@by_any_solver
def test_an_integer_seeds_every_fit_anew(make):
    model = make(random_state=5)
    first = model.fit(X, Y).coefs_[0]
    np.testing.assert_array_equal(model.fit(X, Y).coefs_[0], first)
    np.testing.assert_array_equal(make(random_state=np.int64(5)).fit(X, Y).coefs_[0], first)
    is_drawn = make.is_network or make.solver == "gd"  # other solvers of the linear model begin with zeros
    assert np.array_equal(make(random_state=6).fit(X, Y).coefs_[0], first) == (not is_drawn)


@both
def test_a_generator_is_drawn_from_and_moves_on(make):
    draw = np.random.RandomState(5)
    model = make(random_state=draw)
    first, second = starting(model).coefs_, starting(model).coefs_
    again = np.random.RandomState(5)
    for weights in (*first, *second):
        np.testing.assert_array_equal(weights, 0.01 * again.randn(*weights.shape))
    assert draw.randn() == again.randn()


@by_any_solver
def test_none_draws_from_the_global_generator(make):
    state = np.random.get_state()
    try:
        np.random.seed(5)
        model = make(random_state=None).fit(X, Y)
    finally:
        np.random.set_state(state)
    assert_same_bits(model, make(random_state=5).fit(X, Y))


@by_any_solver
def test_fitting_with_a_seed_leaves_the_global_generator_alone(make):
    before = np.random.get_state()[1].copy()
    make().fit(X, Y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@both
def test_init_is_where_the_descent_starts(make):
    long = make(max_iter=30).fit(X, Y)
    half = make(max_iter=15).fit(X, Y)
    init = [np.asfortranarray(p) for p in in_order(half)]
    copies = [p.copy() for p in init]
    rest = make(max_iter=15, init=init, random_state=None).fit(X, Y)
    assert_same_bits(rest, long)
    assert rest.loss_curve_ == long.loss_curve_[15:]
    for p, kept in zip(init, copies, strict=True):
        np.testing.assert_array_equal(p, kept)
    rows = [p.reshape(1, -1) if p.ndim == 1 else p.tolist() for p in init]
    assert_same_bits(make(max_iter=15, init=rows).fit(X, Y), long)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@both_backends
@both
def test_warm_start_continues_exactly(make, backend, dtype):
    features = X.astype(dtype)
    long = make(max_iter=20, backend=backend).fit(features, Y)
    model = make(max_iter=10, backend=backend, warm_start=True).fit(features, Y)
    first = model.loss_curve_
    model.fit(features, Y)
    assert_same_bits(model, long)
    assert first + model.loss_curve_ == long.loss_curve_
    assert model.n_iter_ == 10
    # without it every fit starts anew
    assert_same_bits(model.set_params(warm_start=False, max_iter=20).fit(features, Y), long)


@by_any_solver
def test_warm_start_refuses_another_problem(make):
    model = make(warm_start=True).fit(X, Y)
    state = state_of(model)
    with pytest.raises(ValueError, match=r"y holds classes .*, but warm_start continues from array\(\[0, 1, 2\]\)"):
        model.fit(X, Y + 1)
    with pytest.raises(ValueError, match="X has 3 features, but [A-Za-z]+ is expecting 2 features as input"):
        model.fit(np.ones((N, 3)), Y)
    if make.is_network:
        with pytest.raises(ValueError, match=r"the fitted model: W has shape \(2, 5\), expected \(2, 6\)"):
            model.set_params(hidden_size=6).fit(X, Y)
    assert_same_state(state_of(model), state)


# --------------------------------------------------------------------------- what happens during a descent


@pytest.mark.parametrize("every", [1, 7, 20, 100, True])
@both_backends
@both
def test_verbose_prints_in_the_published_wording(make, backend, every, capsys):
    model = make(verbose=every, max_iter=21, backend=backend).fit(X, Y)
    out, err = capsys.readouterr()
    expected = [f"iteration {step}: loss {model.loss_curve_[step]:f}" for step in range(0, 21, int(every))]
    assert out.splitlines() == expected
    assert out.endswith("\n")
    assert err == ""


def test_verbose_prints_the_published_first_line(capsys):
    linear(init=(np.zeros((2, 3)), np.zeros(3)), verbose=10, max_iter=1).fit(X, Y)
    assert capsys.readouterr().out == "iteration 0: loss 1.098612\n"


@by_any_solver
def test_verbose_says_which_solver_was_chosen_and_what_it_counts(make, capsys):
    model = make(verbose=3).fit(X, Y)
    word = "epoch" if make.solver == "adam" else "iteration"
    expected = [f"{word} {i}: loss {model.loss_curve_[i]:f}" for i in range(0, model.n_iter_, 3)]
    if make.solver == "auto":
        expected.insert(0, f"solver: {model.solver_}")
    assert capsys.readouterr().out.splitlines() == expected


@by_any_solver
def test_nothing_is_printed_unasked(make, capsys):
    make().fit(X, Y)
    assert capsys.readouterr() == ("", "")


@both_backends
@by_any_solver
def test_callback_is_called_after_every_step(make, backend, capsys):
    calls = []

    def callback(step, loss, model):
        assert model.n_iter_ == len(model.loss_curve_) == step + 1
        assert model.loss_ == model.loss_curve_[-1] == loss
        calls.append((step, loss, model, model.coefs_[0].copy(), model.predict(X)))

    make = make.by(make.solver, backend=backend)
    if make.solver == "adam":
        make = make.by("adam", learning_rate="constant")  # which does not depend on how many epochs there will be
    plain = make().fit(X, Y)
    model = make(callback=callback, verbose=5).fit(X, Y)
    assert [call[0] for call in calls] == list(range(plain.n_iter_))
    assert [call[1] for call in calls] == model.loss_curve_ == plain.loss_curve_
    assert all(call[2] is model for call in calls)
    assert_same_bits(model, plain)
    half = make(max_iter=3).fit(X, Y)
    np.testing.assert_array_equal(calls[2][3], half.coefs_[0])
    np.testing.assert_array_equal(calls[2][4], half.predict(X))
    assert len(capsys.readouterr().out.splitlines()) == -(-plain.n_iter_ // 5) + (make.solver == "auto")


@both_backends
@by_any_solver
def test_callback_stops_the_run(make, backend):
    make = make.by(make.solver, backend=backend)
    if make.solver == "adam":
        make = make.by("adam", learning_rate="constant")
    model = make(callback=lambda step, loss, model: step == 2).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert model.converged_ is False
    assert_same_bits(model, make(max_iter=3).fit(X, Y))


@by_any_solver
def test_a_callback_that_raises_leaves_the_last_whole_step(make):
    def callback(step, loss, model):
        if step == 2:
            raise RuntimeError("enough")

    if make.solver == "adam":
        make = make.by("adam", learning_rate="constant")
    model = make(callback=callback)
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert_same_bits(model, make(max_iter=3).fit(X, Y))


@both_backends
@both
def test_tol_stops_after_ten_steps_without_gain(make, backend):
    model = make(backend=backend, step_size=0.0, tol=0.0, max_iter=100).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 11
    assert model.converged_ is True
    assert make(backend=backend, step_size=0.0, tol=None, max_iter=100).fit(X, Y).n_iter_ == 100

    # steps that each gain less than tol do not count as gains
    model = make(backend=backend, tol=1e-2, max_iter=5000, step_size=0.5).fit(X, Y)
    assert model.converged_ is True
    assert 11 <= model.n_iter_ < 5000
    best, idle, curve = np.inf, 0, make(backend=backend, max_iter=model.n_iter_, step_size=0.5).fit(X, Y).loss_curve_
    for step, loss in enumerate(curve):
        idle = 0 if loss < best - 1e-2 else idle + 1
        best = min(loss, best)
        assert (idle >= 10) == (step == model.n_iter_ - 1)
    assert curve == model.loss_curve_
    assert make(backend=backend, tol=0.0, max_iter=30, step_size=0.1).fit(X, Y).converged_ is False


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@both_backends
@both
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own, from the reference
def test_divergence_names_the_step_and_keeps_the_last_finite_parameters(make, backend, dtype):
    features, calls = X.astype(dtype), []
    arguments = {"backend": backend, "step_size": 1e9, "reg": 1.0}
    model = make(max_iter=500, callback=lambda step, loss, _: calls.append(step), **arguments)
    with pytest.raises(FloatingPointError) as raised:
        model.fit(features, Y)
    message = str(raised.value)
    step = int(re.search(r"no longer finite at step (\d+), with step_size=1000000000.0", message)[1])
    assert f"the model keeps its parameters after {model.n_iter_} steps" in message
    assert 1 <= model.n_iter_ <= step
    assert calls == list(range(len(calls)))  # each step once, the last of them perhaps taken back
    assert len(model.loss_curve_) == model.n_iter_
    assert np.isfinite(model.loss_curve_).all()
    assert all(np.isfinite(p).all() for p in parameters(model))
    assert np.isfinite(loss_and_gradients(features, Y, in_order(model), reg=1.0)[0])
    assert np.isfinite(model.decision_function(features)).all()
    assert_same_bits(model, make(max_iter=model.n_iter_, **arguments).fit(features, Y))
    # the same without a callback, whose slices are longer
    whole = make(max_iter=500, **arguments)
    with pytest.raises(FloatingPointError, match=f"at step {step},"):
        whole.fit(features, Y)
    assert_same_bits(whole, model)
    assert whole.loss_curve_ == model.loss_curve_


def test_divergence_at_the_first_step_keeps_the_start():
    init = (np.full((2, 3), 1e300), np.zeros(3))
    model = linear(init=init)
    with pytest.raises(FloatingPointError, match="no longer finite at step 0, .* keeps its parameters after 0 steps"):
        model.fit(X, Y)
    assert (model.n_iter_, model.loss_curve_) == (0, [])
    assert np.isnan(model.loss_)
    np.testing.assert_array_equal(model.coefs_[0], init[0])


@pytest.mark.parametrize(("dtype", "step_size"), [(np.float64, 1e308), (np.float32, 1e40)])
def test_a_last_step_that_overflows_is_not_kept(dtype, step_size):
    model = linear(step_size=step_size, max_iter=1)
    with pytest.raises(FloatingPointError, match="at step 1,"):
        model.fit((1e3 * X).astype(dtype), Y)
    assert all(np.isfinite(p).all() for p in parameters(model))
    assert len(model.loss_curve_) == model.n_iter_


# ------------------------------------------------------------------------- parameters of the constructor


@both
def test_parameters_can_be_read_and_set(make):
    model = make()
    params = model.get_params()
    common = "step_size reg max_iter random_state init_scale init class_weight n_threads verbose warm_start tol"
    others = {"callback", "progress", "backend", "solver", "n_iter_no_change"}
    batches = "batch_size learning_rate momentum nesterovs_momentum beta_1 beta_2 epsilon shuffle"
    others |= {*batches.split(), "early_stopping", "validation_fraction"}
    assert set(params) == {*common.split(), *others, *(["hidden_size"] if make.is_network else [])}
    assert params == model.get_params(deep=False)
    assert model.set_params(reg=0.5, max_iter=3) is model
    assert (model.reg, model.max_iter) == (0.5, 3)
    assert model.get_params() == {**params, "reg": 0.5, "max_iter": 3}
    with pytest.raises(ValueError, match=r"Invalid parameter 'alpha' for estimator \w+. Valid parameters are: \["):
        model.set_params(alpha=1)


def test_published_defaults():
    common = {
        "solver": "auto", "step_size": None, "reg": None, "max_iter": None, "batch_size": None, "learning_rate": None,
        "momentum": 0.9, "nesterovs_momentum": True, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "shuffle": True,
        "early_stopping": False, "validation_fraction": 0.1, "n_iter_no_change": 10, "random_state": None,
        "init_scale": None, "init": None, "class_weight": None, "n_threads": None, "verbose": 0, "warm_start": False,
        "tol": None, "callback": None, "progress": False, "backend": "fused",
    }  # fmt: skip
    assert SoftmaxClassifier().get_params() == common
    assert TwoLayerNet().get_params() == {**common, "hidden_size": 100}


@both
def test_gradient_descent_is_that_of_the_case_study_unless_told_otherwise(make):
    stated = {"step_size": 1.0, "reg": 1e-3, "init_scale": 0.01}
    model = make().fit(X, Y)
    assert_same_bits(model, make(**stated).fit(X, Y))
    assert make(max_iter=None).fit(X, Y).n_iter_ == (10_000 if make.is_network else 200)


@by_any_solver
def test_a_model_made_of_the_parameters_of_another_is_the_same(make):
    draw, init = np.random.RandomState(0), [np.zeros(3)]
    model = make(random_state=draw, init=init, callback=print, max_iter="kept as it is")
    same = type(model)(**model.get_params())
    for name, value in same.get_params().items():
        assert value is getattr(model, name)
    assert not hasattr(same, "coefs_")


def test_repr_shows_what_was_changed():
    assert repr(SoftmaxClassifier()) == "SoftmaxClassifier()"
    assert repr(TwoLayerNet(hidden_size=7, tol=None, reg=None, momentum=0.9)) == "TwoLayerNet(hidden_size=7)"
    assert repr(TwoLayerNet(step_size=0.5, backend="reference")) == "TwoLayerNet(backend='reference', step_size=0.5)"
    assert "init=(array([0., 0.])," in repr(SoftmaxClassifier(init=(np.zeros(2), 0)))


BAD_SETTINGS = [
    ({"max_iter": 0}, ValueError, "max_iter is 0, expected an integer of at least 1"),
    ({"max_iter": -5}, ValueError, "max_iter is -5, expected an integer of at least 1"),
    ({"max_iter": 2.0}, TypeError, "max_iter is 2.0, expected an integer of at least 1"),
    ({"max_iter": True}, TypeError, "max_iter is True, expected an integer of at least 1"),
    ({"max_iter": "all"}, TypeError, "max_iter is 'all', expected an integer of at least 1"),
    ({"reg": -1}, ValueError, "reg is -1, expected a finite number of at least 0"),
    ({"reg": np.nan}, ValueError, "reg is nan, expected a finite number of at least 0"),
    ({"reg": "0.1"}, TypeError, "reg is '0.1', expected a finite number of at least 0"),
    ({"reg": 1j}, TypeError, "reg is 1j, expected a finite number of at least 0"),
    ({"step_size": np.inf}, ValueError, "step_size is inf, expected a finite number"),
    ({"step_size": np.nan}, ValueError, "step_size is nan, expected a finite number"),
    ({"step_size": 10**400}, ValueError, "expected a finite number"),
    ({"step_size": "1"}, TypeError, "step_size is '1', expected a finite number"),
    ({"step_size": True}, TypeError, "step_size is True, expected a finite number"),
    ({"init_scale": -0.1}, ValueError, "init_scale is -0.1, expected a finite number of at least 0"),
    ({"init_scale": np.inf}, ValueError, "init_scale is inf, expected a finite number of at least 0"),
    ({"solver": "cg"}, ValueError, "solver is 'cg', expected one of 'auto', 'gd', 'sgd', 'adam', 'lbfgs', 'newton"),
    ({"solver": None}, ValueError, "solver is None, expected one of 'auto', 'gd', 'sgd', 'adam', 'lbfgs', 'newton"),
    ({"batch_size": 0}, ValueError, "batch_size is 0, expected an integer of at least 1"),
    ({"batch_size": 32.0}, TypeError, "batch_size is 32.0, expected an integer of at least 1"),
    ({"learning_rate": "fast"}, ValueError, "learning_rate is 'fast', expected one of 'constant', 'invscaling', 'ada"),
    ({"momentum": 1.0}, ValueError, "momentum is 1.0, expected a number from 0 to less than 1"),
    ({"momentum": "0.9"}, TypeError, "momentum is '0.9', expected a finite number"),
    ({"beta_1": -0.1}, ValueError, "beta_1 is -0.1, expected a number from 0 to less than 1"),
    ({"beta_2": 1}, ValueError, "beta_2 is 1, expected a number from 0 to less than 1"),
    ({"epsilon": 0.0}, ValueError, "epsilon is 0.0, expected a number above 0"),
    ({"nesterovs_momentum": 1}, TypeError, "nesterovs_momentum is 1, expected True or False"),
    ({"shuffle": "no"}, TypeError, "shuffle is 'no', expected True or False"),
    ({"early_stopping": 1}, TypeError, "early_stopping is 1, expected True or False"),
    ({"warm_start": "no"}, TypeError, "warm_start is 'no', expected True or False"),
    ({"validation_fraction": 1.0}, ValueError, "validation_fraction is 1.0, expected a number above 0 to less than 1"),
    ({"validation_fraction": 0}, ValueError, "validation_fraction is 0, expected a number above 0 to less than 1"),
    ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change is 0, expected an integer of at least 1"),
    ({"backend": "cuda"}, ValueError, "backend is 'cuda', expected one of 'fused', 'reference'"),
    ({"backend": None}, ValueError, "backend is None, expected one of 'fused', 'reference'"),
    ({"tol": -1}, ValueError, "tol is -1, expected a finite number of at least 0"),
    ({"tol": np.nan}, ValueError, "tol is nan, expected a finite number of at least 0"),
    ({"n_threads": 0}, ValueError, "n_threads is 0, expected an integer of at least 1"),
    ({"n_threads": -1}, ValueError, "n_threads is -1, expected an integer of at least 1"),
    ({"n_threads": 1.5}, TypeError, "n_threads is 1.5, expected an integer of at least 1"),
    ({"verbose": -1}, ValueError, "verbose is -1, expected an integer of at least 0"),
    ({"verbose": "yes"}, TypeError, "verbose is 'yes', expected an integer of at least 0"),
    ({"callback": 5}, TypeError, "callback is 5, expected a function of (step, loss, model) or None"),
    ({"progress": "yes"}, TypeError, "progress is 'yes', expected True or False"),
    ({"random_state": -1}, ValueError, "random_state is -1, expected an integer from 0 to 2**32 - 1"),
    ({"random_state": 2**32}, ValueError, "random_state is 4294967296, expected an integer from 0 to 2**32 - 1"),
    ({"random_state": "0"}, TypeError, "random_state is '0', expected None, an int or a numpy RandomState"),
    ({"random_state": 0.0}, TypeError, "random_state is 0.0, expected None, an int or a numpy RandomState"),
    ({"init": ()}, ValueError, "init holds 0 arrays, expected"),
    ({"init": [np.ones((2, 3))]}, ValueError, "init holds 1 arrays, expected"),
    ({"init": np.ones((2, 3))}, ValueError, "init holds ndarray, expected (W, b) or (W, b, W2, b2)"),
]  # fmt: skip
BAD_NETWORKS = [
    ({"hidden_size": 0}, ValueError, "hidden_size is 0, expected an integer of at least 1"),
    ({"hidden_size": -1}, ValueError, "hidden_size is -1, expected an integer of at least 1"),
    ({"hidden_size": 2.5}, TypeError, "hidden_size is 2.5, expected an integer of at least 1"),
    ({"hidden_size": True}, TypeError, "hidden_size is True, expected an integer of at least 1"),
    ({"hidden_size": "many"}, TypeError, "hidden_size is 'many', expected an integer of at least 1"),
    ({"init": [np.ones((2, 3)), np.ones(3)]}, ValueError, "init holds 2 arrays, expected 4"),
    (
        {"init": [np.ones((2, 6)), np.ones(6), np.ones((6, 3)), np.ones(3)]},
        ValueError,
        "init: W has shape (2, 6), expected (2, 5)",
    ),
]
BAD_LINEAR = [
    ({"init": [np.ones((3, 3)), np.ones(3)]}, ValueError, "init: W has shape (3, 3), expected (2, 3)"),
    ({"init": [np.ones((2, 2)), np.ones(2)]}, ValueError, "init: W has shape (2, 2), expected (2, 3)"),
    ({"init": [np.ones((2, 3)), np.ones(4)]}, ValueError, "init: b has shape (4,), expected (3,)"),
    ({"init": [np.full((2, 3), np.nan), np.ones(3)]}, ValueError, "init: W holds NaN at [0, 0], expected finite"),
    ({"init": [np.ones((2, 3)), [0, 0, np.inf]]}, ValueError, "init: b holds infinity at [2], expected finite"),
    ({"init": [np.ones((2, 3)), ["a", "b", "c"]]}, TypeError, "init: b has dtype <U1, expected real numbers"),
]


def assert_refused_without_a_trace(make, settings, features, labels, error, message, monkeypatch):
    """One error of the right kind and text, no kernel, and a model that stays as it was: fitted or not."""
    fresh, fitted = make(**settings), make().fit(X, Y).set_params(**settings)
    state = state_of(fitted)

    def no_start(*args, **kwargs):
        raise AssertionError("a kernel was about to run")

    monkeypatch.setattr("spiralnn.estimators.training.start", no_start)
    for model in (fresh, fitted):
        with pytest.raises((ValueError, TypeError)) as raised:
            model.fit(features, labels)
        assert type(raised.value) is error
        assert message in str(raised.value)
    assert state_of(fresh) == {}
    assert_same_state(state_of(fitted), state)


@pytest.mark.parametrize(("settings", "error", "message"), BAD_SETTINGS)
@by_any_solver
def test_bad_settings(make, settings, error, message, monkeypatch):
    assert_refused_without_a_trace(make, settings, X, Y, error, message, monkeypatch)


@pytest.mark.parametrize(("settings", "error", "message"), BAD_NETWORKS)
def test_bad_settings_of_the_network(settings, error, message, monkeypatch):
    assert_refused_without_a_trace(network, settings, X, Y, error, message, monkeypatch)


@pytest.mark.parametrize(("settings", "error", "message"), BAD_LINEAR)
def test_bad_settings_of_the_linear_model(settings, error, message, monkeypatch):
    assert_refused_without_a_trace(linear, settings, X, Y, error, message, monkeypatch)


def with_value(value, row):
    features = X.copy()
    features[row, 1] = value
    return features


BAD_DATA = {
    "NaN in the first row": (with_value(np.nan, 0), Y, ValueError, "X holds NaN at [0, 1], expected finite numbers"),
    "infinity in the middle": (with_value(np.inf, 30), Y, ValueError, "X holds infinity at [30, 1], expected finite"),
    "-infinity in the last row": (with_value(-np.inf, 59), Y, ValueError, "X holds infinity at [59, 1]"),
    "one row as X": (X[0], Y, ValueError, "X has 1 dimension, expected 2"),
    "no rows": (X[:0], Y[:0], ValueError, "X needs a minimum of 1"),
    "no columns": (X[:, :0], Y, ValueError, "X holds no columns"),
    "ragged X": ([[1.0], [1.0, 2.0]], [0, 1], ValueError, "X is ragged, expected an array"),
    "complex X": (X * 1j, Y, ValueError, "X has dtype complex128, expected real numbers"),
    "X of text": (X.astype(str), Y, TypeError, "X has dtype <U32, expected real numbers"),
    "no y": (X, None, ValueError, "y is None"),
    "ragged y": (X, [[0], [0, 1]], ValueError, "y is ragged, expected an array"),
    "y too short": (X, Y[:-1], ValueError, "y has 59 labels, but X has 60 rows"),
    "y of two columns": (X, np.c_[Y, Y], ValueError, "y has shape (60, 2), expected (60,): one class label a row"),
    "one class": (X, np.ones(N, int), ValueError, "y holds 1 class (1), expected at least 2 classes"),
    "one class named 0": (X, np.zeros(N, int), ValueError, "y holds 1 class (0), expected at least 2 classes"),
    "one string": (X, ["a"] * N, ValueError, "y holds 1 class ('a'), expected at least 2 classes"),
    "fractions": (X, Y + 0.5, ValueError, "y holds fractions, expected class labels"),
    "NaN as a label": (X, np.where(Y == 1, np.nan, Y), ValueError, "y holds NaN at [20], expected finite numbers"),
    "complex y": (X, Y * 1j, ValueError, "y has dtype complex128"),
    "labels of two kinds": (X, np.array(["a", 1, 2], object)[Y], TypeError, "y holds labels that cannot be sorted"),
    "bools among numbers": (X, np.array([True, 2, 3], object)[Y], TypeError, "y holds labels of different kinds"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
@by_any_solver
def test_bad_data(make, case, monkeypatch):
    features, labels, error, message = BAD_DATA[case]
    assert_refused_without_a_trace(make, {}, features, labels, error, message, monkeypatch)


# ------------------------------------------------------------------------------------------------ memory

MEMORY = """
import sys
sys.path.insert(0, {root!r})
import numpy as np
from spiralnn import SoftmaxClassifier, TwoLayerNet

def kibibytes(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key))

def models():
    for solver in ("gd", "auto"):
        for kind in (SoftmaxClassifier, TwoLayerNet):
            yield kind(solver=solver, max_iter=3, random_state=0)

def data(N):
    X, y = np.empty((N, 2)), np.empty(N, np.int64)
    np.random.default_rng(0).random(out=X)
    for k in range(3):
        y[k::3] = k
    return X, y

for model in models():
    X, y = data(5000)
    model.fit(X, y).predict(X)
X, y = data(1_000_000)
before = kibibytes("VmRSS")
for model in models():
    model.fit(X, y)
    print(kibibytes("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads what Linux reports of a process")
def test_a_million_rows_need_little_memory_beside_the_data():
    program = MEMORY.format(root=str(ROOT))
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    added = [int(line) for line in out.split()]
    assert len(added) == 4
    assert max(added) <= 16 * 1024
