"""partial_fit: one gradient step, or an epoch of batches, on the rows given, from where the model stands."""

import copy

import numpy as np
import pandas as pd
import pytest
from classifiers import descents, over

from spiralnn import load, loss_and_gradients, make_spiral
from spiralnn.checks.labels import class_labels

X, Y = make_spiral(20, 3, random_state=0)
N = len(X)
CLASSES = [0, 1, 2]


linear, network = descents(step_size=0.5, max_iter=20)
both = over(linear, network)
in_batches = [*(make.by("auto", step_size=None) for make in (linear, network)), network.by("sgd", step_size=0.05)]
by_any_solver = over(linear, network, *in_batches)
backends = pytest.mark.parametrize("backend", ["fused", "reference"])
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def parameters(model):
    """As loss_and_gradients takes them."""
    return [a for pair in zip(model.coefs_, model.intercepts_, strict=True) for a in pair]


def assert_same_model(a, b):
    for p, q in zip(parameters(a), parameters(b), strict=True):
        assert p.dtype == q.dtype
        np.testing.assert_array_equal(p, q)
    assert a.loss_curve_ == b.loss_curve_
    assert a.n_iter_ == b.n_iter_ == len(a.loss_curve_)
    assert a.loss_ == b.loss_
    np.testing.assert_array_equal(a.classes_, b.classes_)


def state_of(model):
    return copy.deepcopy({name: value for name, value in vars(model).items() if name.endswith("_")})


def assert_unchanged(model, state):
    assert state_of(model).keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_equal(getattr(model, name), value)


@dtypes
@backends
@both
def test_steps_on_all_rows_are_a_fit(make, backend, dtype):
    features = X.astype(dtype)
    model = make(backend=backend)
    for step in range(1, 6):
        assert model.partial_fit(features, Y, classes=CLASSES) is model
        assert_same_model(model, make(backend=backend, max_iter=step).fit(features, Y))
    assert model.converged_ is False
    assert model.n_features_in_ == 2


@dtypes
@both
def test_steps_go_on_after_a_fit(make, dtype):
    features = X.astype(dtype)
    model = make(max_iter=12).fit(features, Y)
    for _ in range(8):
        model.partial_fit(features, Y)
    assert_same_model(model, make(max_iter=20).fit(features, Y))
    # and a fit starts anew, or goes on where that is asked for: either counts its own steps alone
    kept = copy.deepcopy(model).set_params(warm_start=True, max_iter=5).fit(features, Y)
    assert kept.n_iter_ == len(kept.loss_curve_) == 5
    assert model.loss_curve_ + kept.loss_curve_ == make(max_iter=25).fit(features, Y).loss_curve_
    assert_same_model(model.fit(features, Y), make(max_iter=12).fit(features, Y))


@both
def test_steps_go_on_after_a_file(make, tmp_path):
    model = make().fit(X, Y)
    model.save(tmp_path / "model.npz")
    assert_same_model(load(tmp_path / "model.npz").partial_fit(X[:7], Y[:7]), model.partial_fit(X[:7], Y[:7]))


@backends
@both
def test_each_step_is_along_the_gradient_of_its_rows(make, backend):
    """Batches of several sizes, some of which lack a class, with weights of rows and of classes."""
    model = make(backend=backend, reg=0.1, class_weight={1: 3.0})
    expected = parameters(make(reg=0.1, step_size=0.0, max_iter=1).fit(X, Y))
    random, losses = np.random.RandomState(0), []
    batches = [np.arange(20), np.arange(30, 60), np.arange(50, 53), *(random.permutation(N)[:13] for _ in range(5))]
    for rows in batches:
        weights = random.rand(len(rows))
        model.partial_fit(X[rows], Y[rows], classes=CLASSES, sample_weight=weights)
        weighted = weights * np.where(Y[rows] == 1, 3.0, 1.0)
        loss, gradients = loss_and_gradients(X[rows], Y[rows], expected, reg=0.1, sample_weight=weighted)
        losses.append(loss)
        expected = [p - 0.5 * dp for p, dp in zip(expected, gradients, strict=True)]
    np.testing.assert_allclose(model.loss_curve_, losses, rtol=1e-12)
    for p, q in zip(parameters(model), expected, strict=True):
        np.testing.assert_allclose(p, q, rtol=0, atol=1e-12)
    assert model.n_iter_ == len(batches)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["red", "blue", "green"]),
        np.array(["red", "blue", "green"], object),
        np.array([7, -3, 10**12]),
        np.array([2.0, -1.0, 5.0]),
        np.array([False, True]),
    ],
    ids=["strings", "objects", "integers", "whole floats", "bools"],
)
@by_any_solver
def test_labels_are_found_among_the_classes(make, names):
    rank, numbers = np.argsort(np.argsort(names)), Y % len(names)
    model, numbered = make(), make()
    for rows in (slice(0, 20), slice(40, 60), slice(None)):
        model.partial_fit(X[rows], names[numbers[rows]], classes=np.append(names[::-1], names))
        numbered.partial_fit(X[rows], rank[numbers[rows]], classes=np.arange(len(names)))
    np.testing.assert_array_equal(model.classes_, np.sort(names))
    assert model.classes_.dtype == names.dtype
    for p, q in zip(parameters(model), parameters(numbered), strict=True):
        np.testing.assert_array_equal(p, q)
    np.testing.assert_array_equal(model.predict(X), model.classes_[numbered.predict(X)])


@by_any_solver
def test_labels_of_another_dtype_are_the_same_labels(make):
    model, expected = make(), make()
    for labels in (Y, Y.astype(float), Y.astype(object), Y.astype(np.uint8), Y.tolist(), pd.Series(Y)):
        model.partial_fit(X, labels, classes=pd.Series(CLASSES))
        expected.partial_fit(X, Y, classes=CLASSES)
    assert_same_model(model, expected)


def test_more_classes_than_a_byte_can_name():
    y = np.arange(300)
    features = np.random.RandomState(0).randn(300, 2)
    model, expected = linear(), linear(max_iter=1).fit(features, y)
    model.partial_fit(features, y.astype(str), classes=y.astype(str))
    rank = np.argsort(np.argsort(y.astype(str)))
    assert model.loss_curve_ == linear(max_iter=1).fit(features, rank).loss_curve_
    expected.partial_fit(features[255:], y[255:])
    assert expected.n_iter_ == 2


@pytest.mark.parametrize(("K", "kind"), [(256, np.uint8), (257, np.uint32)])
def test_labels_to_be_found_take_a_byte_each(K, kind):
    names = np.array([f"class {k:03}" for k in range(K)])
    for labels in (class_labels(names, K)[1], class_labels(names[:2], 2, names)[1]):
        assert labels.dtype == kind


@both
def test_starting_weights_are_drawn_once(make):
    draw = np.random.RandomState(5)
    model = make(random_state=draw)
    for _ in range(3):
        model.partial_fit(X, Y, classes=CLASSES)
    assert_same_model(model, make(random_state=5, max_iter=3).fit(X, Y))
    again = np.random.RandomState(5)
    for W in model.coefs_:
        again.randn(*W.shape)
    assert draw.randn() == again.randn()
    start = make(max_iter=2).fit(X, Y)
    begun = make(init=parameters(start)).partial_fit(X, Y, classes=CLASSES)
    assert begun.loss_curve_ == start.partial_fit(X, Y).loss_curve_[2:]


@by_any_solver
def test_the_model_keeps_its_dtype(make):
    single = X.astype(np.float32)
    model = make().fit(single, Y).partial_fit(X, Y)
    assert_same_model(model, make().fit(single, Y).partial_fit(single, Y))
    if make.solver == "gd":
        assert_same_model(model, make(max_iter=21).fit(single, Y))
    model = make().partial_fit(X, Y, classes=CLASSES).partial_fit(single, Y)
    expected = make().partial_fit(X, Y, classes=CLASSES).partial_fit(single.astype(np.float64), Y)
    assert_same_model(model, expected)
    assert parameters(model)[0].dtype == np.float64

    model = make().fit(single, Y)
    state, far = state_of(model), X.copy()
    far[30, 1] = 1e39
    with pytest.raises(ValueError, match=r"X holds infinity at \[30, 1\], expected finite numbers"):
        model.partial_fit(far, Y)
    assert_unchanged(model, state)


@by_any_solver
def test_what_concerns_fit_alone(make, capsys):
    def callback(step, loss, model):
        raise AssertionError("called")

    gd = make.solver == "gd"
    model = make(callback=callback, verbose=1, tol=10.0, max_iter=1, **({"step_size": 0.0} if gd else {}))
    for _ in range(12):
        model.partial_fit(X, Y, classes=CLASSES)
    assert (model.n_iter_, model.converged_) == (12, False)
    assert capsys.readouterr() == ("", "")


@by_any_solver
def test_column_names_are_those_of_the_first_call(make):
    frame = pd.DataFrame(X, columns=["width", "height"])
    model = make().partial_fit(frame, Y, classes=CLASSES).partial_fit(frame, Y)
    assert model.feature_names_in_.tolist() == ["width", "height"]
    with pytest.warns(UserWarning, match="X does not have valid feature names, but") as caught:
        model.partial_fit(X, Y)
    assert caught[0].filename == __file__
    expected = make().partial_fit(X, Y, classes=CLASSES).partial_fit(X, Y).partial_fit(X, Y)
    assert_same_model(model, expected)
    if make.solver == "gd":
        assert_same_model(model, make(max_iter=3).fit(X, Y))
    assert model.feature_names_in_.tolist() == ["width", "height"]
    with pytest.warns(UserWarning, match="A column-vector y was passed") as caught:
        model.partial_fit(frame, Y[:, None])
    assert caught[0].filename == __file__


REFUSED = {
    "other classes": (X, Y, {"classes": [0, 1]}, ValueError, r"classes is \[0, 1\], but the model was started with"),
    "classes of another kind": (X, Y, {"classes": list("abc")}, ValueError, "but the model was started with"),
    "another label": (X, Y + 1, {}, ValueError, r"y holds label 3, which is not among the classes \[0, 1, 2\]"),
    "labels of another kind": (X, Y.astype(str), {}, ValueError, "y holds label '0', which is not among the classes"),
    "a fraction": (X, Y + 0.5, {}, ValueError, "y holds fractions"),
    "labels too few": (X, Y[:-1], {}, ValueError, "y has 59 labels, but X has 60 rows"),
    "another number of features": (X[:, :1], Y, {}, ValueError, "X has 1 features, but [A-Za-z]+ is expecting 2 feat"),
    "NaN": (np.where(X[41, 1] == X, np.nan, X), Y, {}, ValueError, r"X holds NaN at \[41, 1\]"),
    "no rows": (X[:0], Y[:0], {}, ValueError, "X needs a minimum of 1"),
    "a negative weight": (X, Y, {"sample_weight": -np.ones(N)}, ValueError, "Negative values"),
    "no weight": (X, Y, {"sample_weight": np.zeros(N)}, ValueError, "sample_weight is zero in every row"),
    "column names in another order": (
        pd.DataFrame(X, columns=["b", "a"]), Y, {}, ValueError, "Feature names must be in the same order",
    ),
}  # fmt: skip
REFUSED_AT_FIRST = {
    "no classes": (None, ValueError, "classes is None, but classes must be passed on the first call to partial_fit"),
    "one class": ([1, 1], ValueError, r"classes holds 1 class \(1\), expected at least 2 classes"),
    "a number": (3, ValueError, r"classes has shape \(\), expected \(K,\)"),
    "nothing": ([], ValueError, r"classes has shape \(0,\), expected \(K,\)"),
    "a table": ([CLASSES], ValueError, r"classes has shape \(1, 3\), expected \(K,\)"),
    "NaN": ([0, 1, np.nan], ValueError, r"classes holds NaN at \[2\], expected finite numbers"),
    "None": (["a", "b", None], ValueError, r"classes holds None at \[2\], expected class labels"),
    "two kinds": (np.array(["a", 1, 2.5], object), TypeError, "classes holds labels that cannot be sorted"),
    "too few": ([0, 1], ValueError, r"y holds label 2, which is not among the classes \[0, 1\]"),
}
REFUSED_SETTINGS = [
    ({"class_weight": "balanced"}, "class_weight is 'balanced', expected a dict or None for partial_fit"),
    ({"early_stopping": True}, "early_stopping is True, expected False for partial_fit"),
    ({"step_size": np.inf}, "step_size is inf, expected a finite number"),
    ({"max_iter": 0}, "max_iter is 0, expected an integer of at least 1"),
    ({"backend": "cuda"}, "backend is 'cuda', expected one of"),
    ({"n_threads": 0}, "n_threads is 0, expected an integer of at least 1"),
]


@pytest.fixture
def no_kernel(monkeypatch):
    def no_run(*args, **kwargs):
        raise AssertionError("a kernel was about to run")

    monkeypatch.setattr("spiralnn.engine.run.Run.run", no_run)


@pytest.mark.parametrize("case", REFUSED)
@by_any_solver
def test_bad_rows_leave_no_trace(make, case, request):
    features, labels, more, error, message = REFUSED[case]
    model = make().fit(pd.DataFrame(X, columns=["a", "b"]) if isinstance(features, pd.DataFrame) else X, Y)
    state = state_of(model)
    request.getfixturevalue("no_kernel")
    with pytest.raises(error, match=message):
        model.partial_fit(features, labels, **more)
    assert_unchanged(model, state)


@pytest.mark.parametrize("case", REFUSED_AT_FIRST)
@by_any_solver
def test_bad_classes_of_the_first_call_leave_no_trace(make, case, no_kernel):
    classes, error, message = REFUSED_AT_FIRST[case]
    model = make()
    with pytest.raises(error, match=message):
        model.partial_fit(X, Y, classes=classes)
    assert state_of(model) == {}


@pytest.mark.parametrize(("settings", "message"), REFUSED_SETTINGS)
@by_any_solver
def test_bad_settings_leave_no_trace(make, settings, message, request):
    model = make().fit(X, Y).set_params(**settings)
    state = state_of(model)
    request.getfixturevalue("no_kernel")
    for refused in (model, make(**settings)):
        with pytest.raises(ValueError, match=message):
            refused.partial_fit(X, Y, classes=CLASSES)
    assert_unchanged(model, state)


def test_another_width_is_refused():
    model = network().fit(X, Y)
    state = state_of(model)
    with pytest.raises(ValueError, match=r"the fitted model: W has shape \(2, 5\), expected \(2, 6\)"):
        model.set_params(hidden_size=6).partial_fit(X, Y)
    assert_unchanged(model, state)


@dtypes
@backends
@both
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own, from the reference
def test_divergence_keeps_the_last_finite_parameters(make, backend, dtype):
    features = (1e6 * X).astype(dtype)
    model = make(backend=backend, step_size=1e-9).fit(features, Y).set_params(step_size=1e308)
    state = state_of(model)
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="at step 1 of this call, .* its parameters after 20 steps"):
            model.partial_fit(features, Y)
        assert_unchanged(model, state)
    model.set_params(step_size=1e-9).partial_fit(features, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 21


@dtypes
@backends
@over(*in_batches)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_in_batches_keeps_the_parameters_before_the_call(make, backend, dtype):
    make = make.by("adam" if make.solver == "auto" else "sgd", backend=backend)
    features = X.astype(dtype)
    model = make(max_iter=2).fit(features, Y)
    twin = copy.deepcopy(model)
    state, step_size = state_of(model), make.settings["step_size"]
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="batch [01] of this call, .* its parameters after 2 epochs"):
            model.set_params(step_size=float(np.finfo(dtype).max)).partial_fit(features, Y)
        assert_unchanged(model, state)
    assert_same_model(model.set_params(step_size=step_size).partial_fit(features, Y), twin.partial_fit(features, Y))


@both
def test_a_first_step_that_diverges_keeps_the_start(make):
    model = make(step_size=1e308)
    with pytest.raises(FloatingPointError, match="at step 1, .* keeps its parameters after 0 steps"):
        model.partial_fit(1e6 * X, Y, classes=CLASSES)
    assert (model.n_iter_, model.loss_curve_) == (0, [])
    assert np.isnan(model.loss_)
    assert_same_model(model.set_params(step_size=0.5).partial_fit(X, Y), make(max_iter=1).fit(X, Y))


@by_any_solver
def test_an_interrupt_keeps_the_parameters(make, monkeypatch):
    model = make().fit(X, Y)
    state, twin = state_of(model), copy.deepcopy(model)

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("spiralnn.engine.passes.Passes.run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(X, Y)
    assert_unchanged(model, state)
    assert_same_model(model.partial_fit(X, Y), twin.partial_fit(X, Y))
    if make.solver == "gd":
        assert_same_model(model, make(max_iter=21).fit(X, Y))
