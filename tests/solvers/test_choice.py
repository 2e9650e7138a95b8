"""Which solver is taken, with which settings; and what is refused, before anything is changed."""

import math

import numpy as np
import pytest
from solver_problems import data, digest, make, params_of, state_of

from spiralnn import SoftmaxClassifier, TwoLayerNet
from spiralnn.kernels.models import Model
from spiralnn.solvers import choice
from spiralnn.solvers.choice import Choice, batch_size_for, choose, epochs_for, solver_of

LINEAR, NETWORK = Model(5, 0, 3), Model(5, 7, 3)
NONE = dict.fromkeys(["step_size", "reg", "max_iter", "batch_size", "learning_rate", "init_scale", "tol"])
X, Y, _ = data(200)


def chosen(model, N, *, partial=False, **settings):
    return choose({"solver": "auto", **NONE, **settings}, model, N, partial=partial)


# -------------------------------------------------------------------------------------------------- what is taken


def test_what_auto_comes_to():
    assert solver_of("auto", NETWORK, 999, batched=False) == "lbfgs"
    assert solver_of("auto", NETWORK, 1000, batched=False) == "adam"
    assert solver_of("auto", NETWORK, 10, batched=True) == "adam"
    assert solver_of("auto", LINEAR, 10, batched=True) == "adam"
    for solver in ("gd", "sgd", "adam", "lbfgs", "newton-cholesky"):
        assert solver_of(solver, LINEAR, 10**6, batched=solver == "sgd") == solver


@pytest.mark.parametrize("is_faster", [False, True])
def test_the_linear_model_takes_newtons_method_where_it_is_faster(is_faster, monkeypatch):
    monkeypatch.setattr(choice, "wins", lambda model, N: is_faster)
    assert solver_of("auto", LINEAR, 100, batched=False) == ("newton-cholesky" if is_faster else "lbfgs")
    assert solver_of("auto", NETWORK, 100, batched=False) == "lbfgs"
    assert solver_of("auto", LINEAR, 100, batched=True) == "adam"


@pytest.mark.parametrize(
    ("N", "size", "epochs"),
    [
        (1, 1, 1500), (31, 31, 1500), (32, 32, 1500), (100, 32, 375), (2047, 32, 40), (2048, 64, 47), (4095, 64, 40),
        (4096, 128, 47), (10_000, 128, 40), (100_000, 128, 40), (200_000, 128, 20), (1_000_000, 128, 10),
        (10**9, 128, 10),
    ],
)  # fmt: skip
def test_batches_and_epochs(N, size, epochs):
    assert batch_size_for(N) == size
    assert epochs_for(N, size) == epochs
    # 40 epochs, more where they make less than 1500 updates, fewer where they go over more than 4 million rows
    assert epochs * math.ceil(N / size) >= 1500 and epochs >= 10
    assert chosen(NETWORK, N, solver="adam") == Choice("adam", 0.01, 1e-4, epochs, None, size, "linear", None)
    assert chosen(NETWORK, N, solver="sgd") == Choice("sgd", 0.1, 1e-4, epochs, None, size, "linear", None)


def test_epochs_are_of_the_batches_that_are_asked_for():
    assert chosen(LINEAR, 1000, solver="adam", batch_size=1000).max_iter == 1500
    assert chosen(LINEAR, 1000, solver="adam", batch_size=1).max_iter == 40
    assert chosen(LINEAR, 1000, solver="adam", batch_size=300).max_iter == 375


def test_each_solver_has_its_own_settings():
    assert chosen(LINEAR, 100, solver="gd") == Choice("gd", 1.0, 1e-3, 200, None, None, None, 0.01)
    assert chosen(NETWORK, 100, solver="gd") == Choice("gd", 1.0, 1e-3, 10_000, None, None, None, 0.01)
    for solver, iterations in (("lbfgs", (1000, 200)), ("newton-cholesky", (100,))):
        for model, n in zip((LINEAR, NETWORK), iterations, strict=False):
            found = chosen(model, 100, solver=solver)
            assert (found.reg, found.tol, found.max_iter, found.batch_size) == (1e-4, 1e-4, n, None)
            assert found.learning_rate is found.init_scale is None


def test_what_is_said_is_taken():
    said = {"step_size": 0.5, "reg": 0.25, "max_iter": 3, "init_scale": 0.125, "tol": 0.0}
    assert chosen(NETWORK, 100, solver="gd", **said) == Choice("gd", 0.5, 0.25, 3, 0.0, None, None, 0.125)
    said |= {"batch_size": 9, "learning_rate": "adaptive"}
    assert chosen(NETWORK, 100, solver="sgd", **said) == Choice("sgd", 0.5, 0.25, 3, 0.0, 9, "adaptive", 0.125)
    del said["step_size"], said["batch_size"], said["learning_rate"]
    assert chosen(LINEAR, 100, solver="lbfgs", **said)[2:] == (0.25, 3, 0.0, None, None, 0.125)


@pytest.mark.parametrize("rate", ["constant", "invscaling", "adaptive"])
def test_what_has_no_end_of_its_own_stops_where_nothing_is_gained(rate):
    assert chosen(NETWORK, 100, solver="adam", learning_rate=rate).tol == 1e-4
    assert chosen(NETWORK, 100, solver="adam", learning_rate="linear").tol is None


def test_parts_have_a_small_step_size_that_stays():
    for solver in ("auto", "adam", "sgd"):
        found = chosen(NETWORK, 100, solver=solver, partial=True)
        assert found.solver == ("sgd" if solver == "sgd" else "adam")
        assert (found.step_size, found.learning_rate, found.tol) == (1e-3, "constant", None)
    assert chosen(NETWORK, 7, solver="adam", batch_size=32, partial=True).batch_size == 7
    assert chosen(NETWORK, 7, partial=True).batch_size == 7


@pytest.mark.parametrize(
    ("build", "N", "settings", "solver"),
    [
        (TwoLayerNet, 999, {}, "lbfgs"),
        (TwoLayerNet, 1000, {}, "adam"),
        (TwoLayerNet, 1110, {"early_stopping": True}, "lbfgs"),  # of those that are left to train on
        (TwoLayerNet, 1120, {"early_stopping": True}, "adam"),
        (TwoLayerNet, 200, {"batch_size": 200}, "adam"),
        (SoftmaxClassifier, 200, {"batch_size": 20}, "adam"),
        (SoftmaxClassifier, 200, {"solver": "newton-cholesky"}, "newton-cholesky"),
        (TwoLayerNet, 200, {"solver": "sgd"}, "sgd"),
        (TwoLayerNet, 200, {"solver": "gd"}, "gd"),
    ],
)
def test_solver_says_what_was_taken(build, N, settings, solver, capsys):
    features, labels, _ = data(N, K=2 if N == 1110 else 3)
    more = {"hidden_size": 2} if build is TwoLayerNet else {}
    model = build(**settings, **more, max_iter=1, verbose=1, random_state=0).fit(features, labels)
    assert model.solver_ == solver
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("solver: " + solver if "solver" not in settings else ("epoch 0: ", "iteration 0: "))


def test_starts_by_solver():
    random = np.random.RandomState(0)
    drawn = [0.01 * random.randn(5, 7), 0.01 * random.randn(7, 3)]
    for a, b in zip(make("network", "gd", max_iter=1, step_size=0.0).fit(X, Y).coefs_, drawn, strict=True):
        np.testing.assert_array_equal(a, b)
    scale = 1 / np.sqrt(X.var(axis=0) + 1e-4 / 0.01)
    random = np.random.RandomState(0)
    W = random.uniform(-1, 1, (5, 7)) * np.sqrt(6 / 12)
    W2 = random.uniform(-1, 1, (7, 3)) * np.sqrt(6 / 10)
    for solver in ("adam", "lbfgs"):
        model = make("network", solver, max_iter=1, **({"step_size": 1e-300} if solver == "adam" else {"tol": 1e9}))
        model.fit(X, Y)
        np.testing.assert_allclose(model.coefs_[0], W * scale[:, np.newaxis], rtol=1e-12)
        np.testing.assert_allclose(model.coefs_[1], W2, rtol=1e-12)
        np.testing.assert_allclose(model.intercepts_[0], -(X.mean(axis=0) @ model.coefs_[0]), rtol=1e-10, atol=1e-12)
    linear = make("linear", "lbfgs", tol=1e9).fit(X, Y)
    assert not any(a.any() for a in params_of(linear)) and linear.n_iter_ == 0 and linear.converged_


# ------------------------------------------------------------------------------------------------ what is refused

BAD = [
    ({"solver": "newton"}, "solver is 'newton', expected one of 'auto', 'gd', 'sgd', 'adam', 'lbfgs', 'newton-chol"),
    ({"solver": None}, "solver is None, expected one of"),
    ({"solver": 3}, "solver is 3, expected one of"),
    ({"solver": ["adam"]}, "solver is"),
    ({"solver": "adam", "batch_size": 201}, "batch_size is 201, but there are 200 rows to train on"),
    ({"batch_size": 201}, "batch_size is 201, but there are 200 rows to train on"),
    ({"batch_size": 190, "early_stopping": True}, "batch_size is 190, but there are 1[78]. rows to train on"),
    ({"solver": "sgd", "batch_size": 0}, "batch_size is 0, expected an integer of at least 1"),
    ({"solver": "sgd", "batch_size": -5}, "batch_size is -5, expected"),
    ({"solver": "gd", "batch_size": 20}, "batch_size is 20, but solver 'gd' has no batches, expected None"),
    ({"solver": "lbfgs", "batch_size": 20}, "batch_size is 20, but solver 'lbfgs' has no batches"),
    ({"solver": "gd", "learning_rate": "linear"}, "learning_rate is 'linear', but solver 'gd' has no batches"),
    ({"solver": "lbfgs", "learning_rate": "adaptive"}, "learning_rate is 'adaptive', but solver 'lbfgs' has no"),
    ({"learning_rate": "constant"}, "learning_rate is 'constant', but solver 'lbfgs' has no batches"),
    ({"solver": "adam", "learning_rate": "fast"}, "learning_rate is 'fast', expected one of 'constant', 'invscaling'"),
    ({"solver": "adam", "learning_rate": 0.01}, "learning_rate is 0.01, expected one of 'constant'"),
    ({"solver": "adam", "step_size": 0.0}, "step_size is 0.0, expected a positive number"),
    ({"solver": "sgd", "step_size": -1}, "step_size is -1.0?, expected a positive number"),
    ({"solver": "sgd", "step_size": math.inf}, "step_size is inf, expected a finite number"),
    ({"solver": "lbfgs", "step_size": 0.1}, "step_size is 0.1, but solver is 'lbfgs', which has none: expected None"),
    ({"step_size": 0.1}, "step_size is 0.1, but solver is 'auto', which chooses one: expected None"),
    ({"solver": "sgd", "momentum": 1.0}, "momentum is 1.0, expected a number from 0 to less than 1"),
    ({"solver": "sgd", "momentum": -0.1}, "momentum is -0.1, expected a number from 0 to less than 1"),
    ({"solver": "sgd", "momentum": math.nan}, "momentum is nan, expected"),
    ({"solver": "adam", "beta_1": 1}, "beta_1 is 1, expected a number from 0 to less than 1"),
    ({"solver": "adam", "beta_2": 1.5}, "beta_2 is 1.5, expected a number from 0 to less than 1"),
    ({"solver": "adam", "beta_2": -1e-9}, "beta_2 is -1e-09, expected a number from 0 to less than 1"),
    ({"solver": "adam", "epsilon": 0.0}, "epsilon is 0.0, expected a number above 0"),
    ({"solver": "adam", "epsilon": math.inf}, "epsilon is inf, expected"),
    ({"n_iter_no_change": 0}, "n_iter_no_change is 0, expected an integer of at least 1"),
    ({"max_iter": 0}, "max_iter is 0, expected an integer of at least 1"),
    ({"tol": -1e-4}, "tol is -0.0001, expected a finite number of at least 0"),
    ({"reg": -1.0}, "reg is -1.0, expected a finite number of at least 0"),
    ({"init_scale": -1.0}, "init_scale is -1.0, expected a finite number of at least 0"),
    ({"random_state": -1}, "random_state is -1, expected"),
    ({"backend": "numpy"}, "backend is 'numpy', expected one of 'fused', 'reference'"),
    ({"class_weight": "fair"}, "class_weight"),
]
OF_OTHER_TYPES = [
    ({"batch_size": 20.0}, "batch_size is 20.0, expected an integer"),
    ({"batch_size": "auto"}, "batch_size is 'auto', expected an integer"),
    ({"batch_size": True}, "batch_size is True, expected an integer"),
    ({"solver": "sgd", "step_size": "0.1"}, "step_size is '0.1', expected a finite number"),
    ({"solver": "sgd", "step_size": [0.1]}, "step_size is"),
    ({"momentum": None}, "momentum is None, expected"),
    ({"momentum": "0.9"}, "momentum is '0.9', expected"),
    ({"beta_1": False}, "beta_1 is False, expected"),
    ({"nesterovs_momentum": 1}, "nesterovs_momentum is 1, expected True or False"),
    ({"shuffle": "yes"}, "shuffle is 'yes', expected True or False"),
    ({"shuffle": None}, "shuffle is None, expected True or False"),
    ({"early_stopping": 0}, "early_stopping is 0, expected True or False"),
    ({"warm_start": "no"}, "warm_start is 'no', expected True or False"),
    ({"validation_fraction": "0.1"}, "validation_fraction is '0.1', expected"),
    ({"n_iter_no_change": 2.5}, "n_iter_no_change is 2.5, expected an integer"),
    ({"max_iter": 10.0}, "max_iter is 10.0, expected an integer"),
    ({"random_state": "0"}, "random_state is '0', expected"),
    ({"callback": "print"}, "callback is 'print', expected a function"),
]


@pytest.mark.parametrize(("settings", "message"), [*BAD, *OF_OTHER_TYPES], ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("build", [SoftmaxClassifier, TwoLayerNet])
def test_what_is_refused_is_one_error_and_changes_nothing(build, settings, message):
    kind = TypeError if (settings, message) in OF_OTHER_TYPES else ValueError
    fitted = build(solver="adam", max_iter=2, random_state=0, warm_start=True).fit(X, Y)
    before, bits, carried = state_of(fitted), digest(fitted), fitted._carried
    defaults = build().get_params()
    for model in (build(**settings), fitted.set_params(**{**defaults, **settings})):
        with pytest.raises(kind, match=message):
            model.fit(X, Y)
    assert state_of(fitted) == before and digest(fitted) == bits and fitted._carried is carried
    assert not hasattr(build(**settings), "coefs_")


def test_the_network_has_no_newton():
    model = TwoLayerNet(solver="newton-cholesky")
    with pytest.raises(ValueError, match="'newton-cholesky', which the network does not have, expected one of 'auto'"):
        model.fit(X, Y)
    assert not hasattr(model, "classes_")


def test_newton_is_for_few_unknowns():
    features, labels, _ = data(400, D=99, K=5)
    with pytest.raises(ValueError, match=r"\(inputs \+ 1\) \(classes - 1\) is 400, expected at most 300"):
        SoftmaxClassifier(solver="newton-cholesky").fit(features, labels)
    assert solver_of("auto", Model(99, 0, 5), 10**6, batched=False) == "lbfgs"


def test_settings_of_other_solvers_are_checked_but_of_no_consequence():
    plain = make("linear", "lbfgs").fit(X, Y)
    other = make("linear", "lbfgs", momentum=0.1, beta_1=0.2, beta_2=0.3, epsilon=1.0, shuffle=False, random_state=3)
    assert digest(other.fit(X, Y)) == digest(plain)


@pytest.mark.parametrize(
    ("solver", "settings"),
    [
        ("sgd", {"momentum": 0.5}), ("sgd", {"nesterovs_momentum": False}), ("sgd", {"shuffle": False}),
        ("sgd", {"batch_size": 31}), ("sgd", {"step_size": 0.2}), ("sgd", {"learning_rate": "constant"}),
        ("sgd", {"reg": 0.5}), ("sgd", {"random_state": 1}), ("adam", {"beta_1": 0.5}), ("adam", {"beta_2": 0.5}),
        ("adam", {"epsilon": 0.1}), ("adam", {"max_iter": 9}), ("adam", {"learning_rate": "invscaling"}),
        ("lbfgs", {"reg": 0.5}), ("lbfgs", {"max_iter": 5}), ("lbfgs", {"tol": 1.0}),
    ],
)  # fmt: skip
def test_each_setting_is_of_consequence(solver, settings):
    plain = make("linear", solver).fit(X, Y)
    assert digest(make("linear", solver, **settings).fit(X, Y)) != digest(plain)


def test_there_is_no_partial_fit_where_all_rows_are_needed():
    for solver in ("lbfgs", "newton-cholesky"):
        assert not hasattr(SoftmaxClassifier(solver=solver), "partial_fit")
    for solver in ("auto", "gd", "sgd", "adam"):
        assert hasattr(SoftmaxClassifier(solver=solver), "partial_fit")
