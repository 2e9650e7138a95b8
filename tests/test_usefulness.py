"""A model that has learned nothing is told, once; one that has learned something is not."""

import math
import warnings

import numpy as np
import pytest

from spiralnn import SoftmaxClassifier, TwoLayerNet, UselessModelWarning, make_spiral, open_rows
from spiralnn.engine import fused
from spiralnn.estimators import usefulness
from spiralnn.estimators.material import gather


def told(fit):
    """Messages of the warnings that a fit gives about its model."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit()
    return [str(w.message) for w in caught if issubclass(w.category, UselessModelWarning)]


def rare(N=600):
    """Inputs that say nothing of labels, of which one in 50 is 1."""
    X = np.random.default_rng(0).uniform(size=(N, 3))
    return X, (np.arange(N) % 50 == 0).astype(int)


@pytest.fixture(scope="module")
def spiral():
    return make_spiral(50, 3, random_state=0)


def material_of(X, y, weights=None):
    return gather(X, y, weights, None, n_features=None, owner="", dtype=None, classes=None, n_threads=1)


def test_the_constant_loss_is_the_hand_computed_entropy():
    X = np.zeros((4, 1))
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert usefulness.constant_loss(material_of(X, [0, 0, 0, 1])) == pytest.approx(expected, rel=1e-15)
    weights = np.array([1.0, 1.0, 0.0, 6.0])
    assert usefulness.constant_loss(material_of(X, [0, 0, 0, 1], weights)) == pytest.approx(expected, rel=1e-15)
    expected = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4))  # a class without weight has no share
    weights = np.array([1.5, 1.5, 2.0, 0.0])
    assert usefulness.constant_loss(material_of(X, [0, 0, 1, 2], weights)) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_steps_that_end_above_the_constant_loss_are_told(backend):
    X = 1000.0 * np.random.default_rng(0).uniform(size=(60, 3))
    y = (X[:, 0] > 500.0).astype(int)
    model = SoftmaxClassifier(solver="gd", backend=backend)
    (message,) = told(lambda: model.fit(X, y))
    assert model.loss_ > 1.0
    assert f"{model.loss_:.4g}" in message and "solver='auto'" in message
    # the advice helps
    assert told(lambda: SoftmaxClassifier(solver="auto").fit(X, y)) == []


def test_inputs_that_say_nothing_at_all_are_told():
    (message,) = told(lambda: SoftmaxClassifier().fit(np.ones((50, 2)), np.arange(50) % 2))
    assert "0.6931" in message or "class 0" in message


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("name", [None, "no"])
def test_one_class_for_every_row_is_told(backend, name):
    X, y = rare()
    y = y if name is None else np.where(y == 0, "no", "yes")
    solver = "lbfgs" if backend == "fused" else "gd"
    (message,) = told(lambda: SoftmaxClassifier(solver=solver, backend=backend).fit(X, y))
    assert f"class {name or 0!r} is predicted for every row" in message


def test_rows_in_a_file_are_told_of_alike(tmp_path):
    X, y = rare()
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    rows = open_rows(tmp_path / "X.npy", tmp_path / "y.npy")
    (message,) = told(lambda: SoftmaxClassifier().fit(rows))
    assert "class 0" in message
    np.save(tmp_path / "y.npy", (X[:, 0] > 0.5).astype(int))
    rows = open_rows(tmp_path / "X.npy", tmp_path / "y.npy")
    assert told(lambda: SoftmaxClassifier().fit(rows)) == []


@pytest.mark.parametrize("solver", ["gd", "sgd", "adam", "lbfgs"])
def test_useful_models_are_not(solver, spiral):
    assert told(lambda: TwoLayerNet(solver=solver, max_iter=200, random_state=0).fit(*spiral)) == []


def test_many_rows_of_one_class_before_those_of_others(monkeypatch):
    # the sample and the first pieces are of one class alone
    monkeypatch.setattr("spiralnn.engine.folding.PIECE_BYTES", 256)
    X = np.concatenate([np.zeros(900), np.ones(100)])[:, np.newaxis]
    y = (np.arange(1000) >= 900).astype(int)
    model = SoftmaxClassifier(random_state=0)
    assert told(lambda: model.fit(X, y)) == []
    assert model.score(X, y) == 1.0


def test_a_few_rows_settle_it_without_a_kernel(spiral, monkeypatch):
    monkeypatch.setattr(fused, "predict", lambda *a, **k: pytest.fail("all rows were predicted"))
    assert told(lambda: TwoLayerNet(random_state=0).fit(*spiral)) == []


def test_a_needle_in_the_haystack_is_found(spiral):
    # no row of the sample is of the second class, one of all rows is
    N = 20 * usefulness.SAMPLE
    X = np.zeros((N, 1))
    X[N // 2 + 1] = 100.0
    params = (np.array([[0.0, 1.0]]), np.array([1.0, 0.0]))
    material = material_of(X, np.arange(N) % 2)
    for backend in ("fused", "reference"):
        assert usefulness.only_answer(material, params, backend) is None
        assert usefulness.only_answer(material_of(0.0 * X, np.arange(N) % 2), params, backend) == 0


def test_what_somebody_stopped_is_not_judged(spiral):
    X, y = rare()
    stop = {"callback": lambda step, loss, model: True}
    assert told(lambda: SoftmaxClassifier(solver="gd", **stop).fit(X, y)) == []
    assert told(lambda: SoftmaxClassifier(solver="gd", max_iter=1).fit(X, y)) == []
    assert told(lambda: SoftmaxClassifier(solver="adam").partial_fit(X, y, classes=[0, 1])) == []


def test_the_model_is_complete_where_the_warning_is_an_error():
    X, y = rare()
    model = SoftmaxClassifier()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UselessModelWarning)
        with pytest.raises(UselessModelWarning):
            model.fit(X, y)
    assert model.converged_ and model.score(X, y) == 0.98


@pytest.mark.filterwarnings("always::spiralnn.UselessModelWarning")
def test_the_command_tells_it_in_one_line(tmp_path, capsys):
    from spiralnn.cli import main

    X, y = rare()
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    assert main(["fit", str(tmp_path / "X.npy"), str(tmp_path / "y.npy"), "--model", "linear"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(lines) == 1 and "class 0" in lines[0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_column_of_row_numbers_does_no_harm(dtype):
    rng = np.random.default_rng(0)
    a = rng.uniform(-1.0, 1.0, size=300)
    X, y = np.column_stack([1e6 + np.arange(300), a]).astype(dtype), a > 0.0
    model = TwoLayerNet(random_state=0)
    assert told(lambda: model.fit(X[:200], y[:200])) == []
    assert model.score(X[:200], y[:200]) >= 0.99


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_raw_tables_come_to_what_mlp_classifier_comes_to(name):
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    parts = train_test_split(*getattr(datasets, f"load_{name}")(return_X_y=True), random_state=0)
    (X, X_test, y, y_test), ours = parts, TwoLayerNet(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = MLPClassifier(random_state=0).fit(X, y)
    assert told(lambda: ours.fit(X, y)) == []
    assert ours.score(X, y) >= theirs.score(X, y) - 0.01
    assert ours.score(X_test, y_test) >= theirs.score(X_test, y_test) - 0.01
