"""Fits that go on: with warm_start and in parts, from the parameters and with what the solver remembers."""

import copy
import pickle

import numpy as np
import pytest
from solver_problems import BATCHED, PAIRS, assert_close, data, digest, make, objective, params_of, state_of

import spiralnn
from spiralnn.kernels import reference

solvers = pytest.mark.parametrize(("kind", "solver"), PAIRS)
batched = pytest.mark.parametrize(("kind", "solver"), BATCHED)
X, Y, WEIGHTS = data(200, scales=[1, 10, 0.1, 1, 1], shifts=[0, 3, 0, -1, 0])
X2, Y2, _ = data(120, scales=[2, 10, 0.2, 1, 1], shifts=[1, 3, 0, -1, 5], seed=1)
CLASSES = [0, 1, 2]


def constant(kind, solver, **settings):
    """Whose steps do not depend on how many there are to come."""
    own = {"learning_rate": "constant", "tol": 0} if solver in ("sgd", "adam") else {}
    return make(kind, solver, **own, **settings)


# --------------------------------------------------------------------------------------------------- warm_start


@solvers
@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_a_fit_in_two_parts_is_as_one(kind, solver, backend):
    whole = constant(kind, solver, backend=backend, max_iter=7).fit(X, Y, sample_weight=WEIGHTS)
    model = constant(kind, solver, backend=backend, max_iter=3, warm_start=True).fit(X, Y, sample_weight=WEIGHTS)
    first = list(model.loss_curve_)
    model.set_params(max_iter=4).fit(X, Y, sample_weight=WEIGHTS)
    # what it is between both parts is raw parameters, rounded; Newton's method may be at its end
    np.testing.assert_allclose([*first, *model.loss_curve_][: whole.n_iter_], whole.loss_curve_, rtol=1e-6)
    assert_close(model, whole, 1e-5)


@batched
def test_what_is_remembered_is_of_consequence(kind, solver):
    curves = []
    for remembers in (True, False):
        model = constant(kind, solver, max_iter=3, warm_start=True).fit(X, Y)
        if not remembers:
            model._carried = None
        curves.append(model.fit(X, Y).loss_curve_)
    assert np.abs(np.subtract(*curves)).max() > 1e-3


@pytest.mark.parametrize("kind", ["linear", "network"])
def test_l_bfgs_remembers_its_pairs(kind):
    # a step along the gradient would take a length of 1
    model = make(kind, "lbfgs", max_iter=12, warm_start=True).fit(X, Y)
    before = model.loss_
    remembering = copy.deepcopy(model).set_params(max_iter=3).fit(X, Y)
    model._carried = None
    forgetful = model.set_params(max_iter=3).fit(X, Y)
    assert remembering.loss_ < forgetful.loss_ < before


@solvers
def test_without_warm_start_it_begins_anew(kind, solver):
    model = make(kind, solver).fit(X, Y)
    first = digest(model)
    assert digest(model.fit(X2, Y2)) != first
    assert digest(model.fit(X, Y)) == first


@solvers
@pytest.mark.parametrize("way", ["copy", "pickle", "file"])
def test_it_goes_on_in_copies_and_from_files(kind, solver, way, tmp_path):
    model = constant(kind, solver, warm_start=True, max_iter=3).fit(X, Y)
    if way == "file":
        model.save(tmp_path / "model")
        other = spiralnn.load(tmp_path / "model").set_params(**model.get_params())
    else:
        other = copy.deepcopy(model) if way == "copy" else pickle.loads(pickle.dumps(model))
    before = model.loss_
    model.fit(X, Y)
    other.fit(X, Y)
    if way == "file" and solver != "gd":  # which holds parameters alone
        assert other.loss_ < before * 1.2
    else:
        assert digest(model) == digest(other)


@pytest.mark.parametrize("kind", ["linear", "network"])
def test_another_solver_goes_on_from_the_parameters_alone(kind):
    for first in ("gd", "sgd", "adam", "lbfgs"):
        for second in ("gd", "sgd", "adam", "lbfgs"):
            model = make(kind, first, warm_start=True, max_iter=5).fit(X, Y)
            start = params_of(model)
            model.set_params(**make(kind, second, warm_start=True, max_iter=2).get_params()).fit(X, Y)
            if first == second:
                continue
            other = make(kind, second, init=start, max_iter=2)
            if second in ("sgd", "adam") and kind == "network":
                continue  # the order of rows is drawn after the start, which is not drawn here
            assert digest(model) == digest(other.fit(X, Y)), (first, second)


@solvers
@pytest.mark.parametrize("dtypes", [(np.float32, np.float64), (np.float64, np.float32)])
def test_rows_of_another_dtype_go_on_from_the_parameters_alone(kind, solver, dtypes):
    # what is remembered is laid out for the vectors of a dtype
    curves = []
    for remembers in (True, False):
        model = constant(kind, solver, warm_start=True, max_iter=3).fit(X.astype(dtypes[0]), Y)
        if not remembers:
            model._carried = None
        curves.append(model.fit(X.astype(dtypes[1]), Y).loss_curve_)
        assert model.coefs_[0].dtype == dtypes[1]
    assert curves[0] == curves[1]


@pytest.mark.parametrize("kind", ["linear", "network"])
def test_columns_that_l_bfgs_was_in_are_those_it_goes_on_in(kind):
    model = make(kind, "lbfgs", warm_start=True, max_iter=5).fit(X, Y)
    affine = model._carried[1]["affine"]
    model.fit(X2, Y2)
    np.testing.assert_array_equal(model._carried[1]["affine"], affine)
    assert model.loss_ == pytest.approx(objective(model, X2, Y2, 1e-4)[0], rel=1e-9)


@solvers
def test_a_fit_that_went_on_is_resumed_in_its_columns(kind, solver, tmp_path):
    first = constant(kind, solver, warm_start=True, max_iter=3).fit(X, Y)
    first.save(tmp_path / "model")
    whole = copy.deepcopy(first).set_params(max_iter=6).fit(X2, Y2)
    if whole.n_iter_ < 6:
        return
    cut = copy.deepcopy(first).set_params(max_iter=6, callback=lambda step, *_: step == 2)
    cut.fit(X2, Y2, checkpoint=tmp_path / "run")
    model = spiralnn.load(tmp_path / "model").set_params(**{**first.get_params(), "max_iter": 6})
    try:
        model.fit(X2, Y2, checkpoint=tmp_path / "run", resume=True)
    except ValueError as error:  # what the solver remembers is not in the file of the model
        assert "is the checkpoint of another run" in str(error)
    else:
        assert digest(model) == digest(whole)
    model = copy.deepcopy(first).set_params(max_iter=6)
    assert digest(model.fit(X2, Y2, checkpoint=tmp_path / "run", resume=True)) == digest(whole)


# ------------------------------------------------------------------------------------------------------ in parts


@batched
@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_parts_are_epochs_of_a_constant_step_size(kind, solver, backend):
    whole = constant(kind, solver, backend=backend, step_size=1e-3, max_iter=4).fit(X, Y, sample_weight=WEIGHTS)
    model = make(kind, solver, backend=backend)
    for i in range(4):
        model.partial_fit(X, Y, classes=CLASSES, sample_weight=WEIGHTS)
        assert model.n_iter_ == len(model.loss_curve_) == i + 1
        assert model.n_passes_ == pytest.approx(2 + i)  # the first of them with one for means and variances
    np.testing.assert_allclose(model.loss_curve_, whole.loss_curve_, rtol=1e-10)
    assert_close(model, whole, 1e-9)


@pytest.mark.parametrize("kind", ["linear", "network"])
def test_two_parts_by_hand(kind):
    # Adam with all rows of a part as one batch: the columns are those of the first part, and moments go on
    model = make(kind, "adam", batch_size=1000, reg=0.01, max_iter=1, step_size=0.01)
    start = make(kind, "adam", batch_size=200, reg=0.01, max_iter=1, step_size=1e-300).fit(X, Y)
    mean, scale = X.mean(axis=0), 1 / np.sqrt(X.var(axis=0) + 0.01 / 0.01)
    params = params_of(start)
    params[1] = params[1] + mean @ params[0]
    params[0] = params[0] / scale[:, np.newaxis]
    first, second = ([np.zeros_like(a) for a in params] for _ in range(2))
    strength = [0.01 * scale[:, np.newaxis] ** 2, 0.0, 0.01, 0.0]
    for t, (features, labels) in enumerate([(X, Y), (X2, Y2), (X, Y)], start=1):
        gradients = [np.empty_like(a) for a in params]
        of = reference.two_layer_loss_gradients if kind == "network" else reference.linear_loss_gradients
        of((features - mean) * scale, labels, *params, 0.0, *gradients)
        for a, g, m, v, s in zip(params, gradients, first, second, strength, strict=False):
            g += s * a
            m[:], v[:] = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            correction = np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            a -= 0.01 * correction * m / (np.sqrt(v) + 1e-8)
        model.partial_fit(features, labels, classes=CLASSES)
        W = params[0] * scale[:, np.newaxis]
        for found, expected in zip(params_of(model), [W, params[1] - mean @ W, *params[2:]], strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
        assert model.n_iter_ == t
    assert model.n_passes_ == pytest.approx(4)


@batched
def test_parts_go_on_after_a_fit_and_a_fit_after_parts(kind, solver):
    model = constant(kind, solver, max_iter=3, step_size=1e-3).fit(X, Y)
    model.partial_fit(X, Y)
    whole = constant(kind, solver, max_iter=4, step_size=1e-3).fit(X, Y)
    assert_close(model, whole, 1e-9)
    assert model.n_iter_ == 4 and model.loss_curve_ == pytest.approx(whole.loss_curve_, rel=1e-10)
    model.set_params(warm_start=True, max_iter=2).fit(X, Y)
    assert_close(model, constant(kind, solver, max_iter=6, step_size=1e-3).fit(X, Y), 1e-9)
    assert model.n_iter_ == 2


@batched
def test_parts_of_any_size(kind, solver):
    model, random = make(kind, solver), np.random.default_rng(0)
    for n in (200, 1, 3, 31, 32, 33, 100):
        rows = random.integers(0, 200, n)
        model.partial_fit(X[rows], Y[rows], classes=CLASSES)
    assert np.isfinite(model.loss_curve_).all() and model.n_iter_ == 7


def test_auto_in_parts_is_adam():
    for kind in ("linear", "network"):
        auto = make(kind, "auto", max_iter=1).partial_fit(X, Y, classes=CLASSES).partial_fit(X2, Y2)
        adam = make(kind, "adam", max_iter=1, batch_size=None).partial_fit(X, Y, classes=CLASSES).partial_fit(X2, Y2)
        assert auto.solver_ == "adam" and digest(auto) == digest(adam)


@batched
def test_a_part_that_diverges_leaves_parameters_and_memory(kind, solver):
    model, other = (make(kind, solver).partial_fit(X, Y, classes=CLASSES) for _ in range(2))
    with pytest.raises(FloatingPointError, match=r"at epoch 0, batch \d+ of this call, with step_size=1e\+300"):
        model.set_params(step_size=1e300).partial_fit(X, Y)
    assert digest(model) == digest(other)
    model.set_params(step_size=None).partial_fit(X2, Y2)
    assert digest(model) == digest(other.partial_fit(X2, Y2))


@pytest.mark.parametrize(("kind", "solver"), [pair for pair in PAIRS if pair[1] in ("gd", "sgd", "adam")])
def test_bad_parts_leave_parameters_and_memory(kind, solver):
    model, other = (make(kind, solver, batch_size=None).partial_fit(X, Y, classes=CLASSES) for _ in range(2))
    before = state_of(model)
    for features, labels in ((X[:, :4], Y), (X, Y + 1), (X * np.nan, Y), (X, Y[:-1])):
        with pytest.raises(ValueError):
            model.partial_fit(features, labels)
    assert state_of(model) == before
    assert digest(model.partial_fit(X2, Y2)) == digest(other.partial_fit(X2, Y2))


@pytest.mark.parametrize("rate", ["linear", "invscaling", "adaptive"])
def test_partial_fit_has_no_schedule(rate):
    model = make("linear", "sgd", learning_rate=rate)
    with pytest.raises(ValueError, match=f"learning_rate is '{rate}'"):
        model.partial_fit(X, Y, classes=CLASSES)
    make("linear", "sgd", learning_rate="constant").partial_fit(X, Y, classes=CLASSES)
