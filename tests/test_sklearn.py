"""scikit-learn's own checks, and its tools around both classifiers: copies, searches, calibration, column names."""

import copy
import pickle
import subprocess
import sys
import unittest
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from classifiers import descents, over_solvers
from places import ROOT
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import parametrize_with_checks

from spiralnn import SoftmaxClassifier, TwoLayerNet, make_spiral

X, Y = make_spiral(20, 3, random_state=0)
N = len(X)
NAMES = ["width", "height"]


both = over_solvers(*descents(max_iter=20))


def parameters(model):
    return [*model.coefs_, *model.intercepts_]


def assert_same_bits(a, b):
    for p, q in zip(parameters(a), parameters(b), strict=True):
        assert p.dtype == q.dtype
        np.testing.assert_array_equal(p, q)
    assert a.loss_curve_ == b.loss_curve_


def never(step, loss, model):
    """A callback that can be pickled."""
    return False


# ------------------------------------------------------------------------------------------ its own checks

SKIPPED = {"check_array_api_input"}  # wants the environment to set SCIPY_ARRAY_API before SciPy is imported


def checks_of(*estimators, marks=()):
    """(argument names, parameters) of all checks."""
    with warnings.catch_warnings():  # that they do not inherit from BaseEstimator, which is the point
        warnings.simplefilter("ignore", UserWarning)
        checks = parametrize_with_checks(estimators)
    cases = [pytest.param(*getattr(case, "values", case), marks=marks) for case in checks.args[1]]
    return pytest.mark.parametrize(checks.args[0], cases, **checks.kwargs)


all_checks = checks_of(SoftmaxClassifier(), TwoLayerNet())
all_checks_of_others = checks_of(
    *(kind(solver=solver) for solver in ("gd", "sgd", "adam") for kind in (SoftmaxClassifier, TwoLayerNet)),
    SoftmaxClassifier(solver="lbfgs"),
    marks=pytest.mark.long,
)


@all_checks
@pytest.mark.filterwarnings("ignore:Estimator .* does not inherit:UserWarning")
def test_estimator_checks(estimator, check):
    try:
        check(estimator)
    except unittest.SkipTest as skipped:
        assert check.func.__name__ in SKIPPED, skipped
        pytest.skip(str(skipped))


@all_checks_of_others
@pytest.mark.filterwarnings("ignore:Estimator .* does not inherit:UserWarning")
def test_estimator_checks_by_other_solvers(estimator, check):
    test_estimator_checks(estimator, check)


# ---------------------------------------------------------------------------------------------- its tools


@both
def test_it_is_a_classifier(make):
    assert is_classifier(make())


@both
def test_clones_have_the_parameters_alone(make):
    model = make(init=None, callback=never, class_weight={0: 2.0}, random_state=np.random.RandomState(3)).fit(X, Y)
    twin = clone(model)
    assert set(vars(twin)) == set(model.get_params())
    for name, value in model.get_params().items():
        if name != "random_state":
            assert getattr(twin, name) == value
    assert twin.random_state is not model.random_state
    assert twin.random_state.randn() == model.random_state.randn()


@both
def test_clones_of_explicit_starts(make):
    start = make(max_iter=1).fit(X, Y)
    model = make(init=[a for pair in zip(start.coefs_, start.intercepts_, strict=True) for a in pair])
    twin = clone(model)
    assert all(a is not b for a, b in zip(twin.init, model.init, strict=True))
    assert_same_bits(twin.fit(X, Y), model.fit(X, Y))


@both
def test_grid_search_over_a_pipeline_in_two_processes(make):
    step = type(make()).__name__.lower()
    pipeline = make_pipeline(StandardScaler(), make())
    other = {"gd": ("step_size", [1.0, 0.1]), "adam": ("batch_size", [8, 16])}
    name, values = other.get(make.solver, ("tol", [1e-2, 1.0]))
    grid = {f"{step}__reg": [1e-3, 1.0], f"{step}__{name}": values}
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=3).fit(X, Y)
    by_hand = GridSearchCV(pipeline, search.param_grid, n_jobs=1, cv=3).fit(X, Y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], by_hand.cv_results_["mean_test_score"])
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()
    best = make(**{name.partition("__")[2]: value for name, value in search.best_params_.items()})
    assert_same_bits(search.best_estimator_[-1], best.fit(StandardScaler().fit_transform(X), Y))
    np.testing.assert_array_equal(search.predict(X), best.predict(StandardScaler().fit_transform(X)))


@both
def test_cross_validation(make):
    folds = [(np.arange(N) % 3 != k, np.arange(N) % 3 == k) for k in range(3)]
    scores = cross_val_score(make(), X, Y, cv=[tuple(np.flatnonzero(part) for part in fold) for fold in folds])
    np.testing.assert_array_equal(scores, [make().fit(X[a], Y[a]).score(X[b], Y[b]) for a, b in folds])


@both
def test_two_classes_are_ranked_by_their_score(make):
    """As area under the curve, calibration and thresholds take decision_function: one number a row."""
    y = np.array(["no", "yes"])[Y // 2]
    make = make.by(make.solver, max_iter=100 if make.solver == "gd" else 20)
    scores = cross_val_score(make(), X, y, scoring="roc_auc", cv=3)
    assert np.isfinite(scores).all() and scores.mean() > 0.5
    calibrated = CalibratedClassifierCV(make(), cv=3).fit(X, y)
    assert calibrated.score(X, y) > 0.5


@both
def test_calibration_and_voting(make):
    calibrated = CalibratedClassifierCV(make(), cv=3).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1.0, rtol=1e-12)
    vote = VotingClassifier([("a", make()), ("b", make(reg=1.0))], voting="soft").fit(X, Y)
    mean = (make().fit(X, Y).predict_proba(X) + make(reg=1.0).fit(X, Y).predict_proba(X)) / 2
    np.testing.assert_allclose(vote.predict_proba(X), mean, rtol=1e-12)


@both
def test_metadata_routing(make):
    weights = np.linspace(0.5, 2.0, N) ** 2
    with sklearn.config_context(enable_metadata_routing=True):
        model = make().set_fit_request(sample_weight=True).set_score_request(sample_weight="weights")
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        pipeline.fit(X, Y, sample_weight=weights)
        assert_same_bits(pipeline[-1], make().fit(StandardScaler().fit_transform(X), Y, weights))
        folds = [(np.arange(0, N, 2), np.arange(1, N, 2))]
        search = GridSearchCV(model, {"reg": [0.0]}, cv=folds).fit(X, Y, sample_weight=weights, weights=weights[::-1])
        half = make(reg=0.0).fit(X[::2], Y[::2], weights[::2])
        assert search.best_score_ == half.score(X[1::2], Y[1::2], weights[::-1][1::2])
        assert search.best_score_ != half.score(X[1::2], Y[1::2])
        with pytest.raises(ValueError, match="not explicitly set as requested"):
            GridSearchCV(make(), {"reg": [0.0]}).fit(X, Y, sample_weight=weights)
        routed = make().set_partial_fit_request(sample_weight=False).get_metadata_routing()
        assert routed.partial_fit.requests == {"sample_weight": False}


@both
def test_its_own_exceptions_and_warnings(make):
    with pytest.raises(NotFittedError, match="instance is not fitted yet"):
        make().predict(X)
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        make().fit(X, Y[:, None])


@both
def test_one_look_in_a_notebook(make):
    model = make(step_size=0.25, class_weight={"<b>": 1.0}, init=[np.zeros((60, 60))])
    html = model._repr_html_()
    assert html.startswith("<details open><summary>") and html.endswith("</details>")
    assert f"<b>{type(model).__name__}</b> (not fitted)" in html
    assert "{&#x27;&lt;b&gt;&#x27;: 1.0}" in html and "'<b>'" not in html
    rows = dict(row.split("</td>", 1) for row in html.split('<td style="text-align: left">')[1:])
    assert list(rows) == sorted(model.get_params())
    bold = [row for row in html.split("<tr")[1:] if "bold" in row]
    changed = {"step_size", "class_weight", "init", "random_state", "max_iter"} | {"hidden_size"} & set(rows)
    changed |= {"solver"} if make.solver != "auto" else set()
    assert {name for name in rows if any(f">{name}<" in row for row in bold)} == changed
    assert len(rows["init"]) < 300
    assert "(fitted)" in make().fit(X, Y)._repr_html_()


@both
def test_a_pipeline_with_it_is_drawn(make):
    model = make(max_iter=3)
    for pipeline in (make_pipeline(StandardScaler(), model), make_pipeline(StandardScaler(), model).fit(X, Y)):
        assert f"{type(model).__name__}(" in estimator_html_repr(pipeline)
        assert type(model).__name__ in repr(pipeline)


# ------------------------------------------------------------------------------------------------- copies

DUPLICATES = {
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {p}": lambda model, p=p: pickle.loads(pickle.dumps(model, protocol=p))
        for p in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
@both
def test_copies_are_the_same_and_apart(make, duplicate):
    model = make(warm_start=True, callback=never, class_weight={0: 2.0})
    assert duplicate(model).get_params() == model.get_params()
    model.fit(pd.DataFrame(X, columns=NAMES), Y)
    twin = duplicate(model)
    assert vars(twin).keys() == vars(model).keys()
    for name, value in vars(model).items():
        np.testing.assert_equal(getattr(twin, name), value)
    assert twin.callback is never
    rows = pd.DataFrame(X, columns=NAMES)
    np.testing.assert_array_equal(twin.predict_proba(rows), model.predict_proba(rows))
    kept = copy.deepcopy(vars(model))
    twin.fit(X, Y)
    for name, value in kept.items():
        np.testing.assert_equal(getattr(model, name), value)
    assert_same_bits(twin, model.fit(X, Y))


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
@both
def test_copies_of_explicit_starts(make, duplicate):
    start = make(max_iter=1).fit(X, Y)
    model = make(init=[a for pair in zip(start.coefs_, start.intercepts_, strict=True) for a in pair])
    twin = duplicate(model)
    for a, b in zip(twin.init, model.init, strict=True):
        np.testing.assert_array_equal(a, b)
    assert_same_bits(twin.fit(X, Y), model.fit(X, Y))


# -------------------------------------------------------------------------------------- labels of all kinds


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series(Y, index=np.arange(N) + 100),
        pd.Series(np.array(["red", "blue", "green"])[Y]),
        pd.Series(np.array(["red", "blue", "green"])[Y], dtype="category"),
        pd.Categorical(np.array(["red", "blue", "green"])[Y], categories=["red", "green", "blue", "never seen"]),
        pd.Series(Y, dtype="category"),
        pd.Series(Y, dtype="Int64"),
        pd.Series(Y == 1, dtype="boolean"),
        pd.Index(Y),
    ],
    ids=["numbers", "strings", "category", "Categorical", "category of numbers", "Int64", "boolean", "Index"],
)
@both
def test_labels_of_pandas(make, labels):
    values = np.array(list(labels))
    model, plain = make().fit(X, labels), make().fit(X, values)
    assert_same_bits(model, plain)
    np.testing.assert_array_equal(model.classes_.astype(values.dtype), np.unique(values))
    np.testing.assert_array_equal(model.predict(X).astype(values.dtype), plain.predict(X))
    assert model.score(X, labels) == plain.score(X, values)


@pytest.mark.parametrize(
    "missing", [pd.Series([1, 0, None] * 20, dtype="Int64"), pd.Series(["a", "b", None] * 20)], ids=["Int64", "strings"]
)
@both
def test_missing_labels_of_pandas_are_refused(make, missing):
    model = make()
    with pytest.raises((TypeError, ValueError), match="^y "):
        model.fit(X, missing)
    assert not hasattr(model, "classes_")


# ----------------------------------------------------------------------------------------- column names

METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function", "score"]


def call(model, method, features):
    return getattr(model, method)(features, *([Y] if method == "score" else []))


@pytest.mark.parametrize("method", METHODS)
@both
def test_column_names_are_kept_and_checked(make, method):
    frame = pd.DataFrame(X, columns=NAMES)
    model = make().fit(frame, Y)
    assert model.feature_names_in_.dtype == object
    assert model.feature_names_in_.tolist() == NAMES
    assert_same_bits(model, make().fit(X, Y))
    expected = call(make().fit(X, Y), method, X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(call(model, method, frame), expected)
    match = "The feature names should match those that were passed during fit.\n"
    with pytest.raises(ValueError, match=match + "Feature names must be in the same order as they were in fit"):
        call(model, method, frame[NAMES[::-1]])
    with pytest.raises(
        ValueError, match=match + "Feature names unseen at fit time:\n- depth\n.*now missing:\n- height"
    ):
        call(model, method, frame.rename(columns={"height": "depth"}))
    with pytest.raises(ValueError, match=match + "Feature names unseen at fit time:\n- depth\n$"):
        call(model, method, frame.assign(depth=1.0))
    with pytest.raises(ValueError, match=match + "Feature names seen at fit time, yet now missing:\n- height\n$"):
        call(model, method, frame[["width"]])


@pytest.mark.parametrize("method", METHODS)
@both
def test_names_on_one_side_only_are_warned_of(make, method):
    frame = pd.DataFrame(X, columns=NAMES)
    owner = type(make()).__name__
    for fitted, given, message in (
        (frame, X, f"X does not have valid feature names, but {owner} was fitted with feature names"),
        (X, frame, f"X has feature names, but {owner} was fitted without feature names"),
    ):
        model = make().fit(fitted, Y)
        with pytest.warns(UserWarning, match=message) as caught:
            called = call(model, method, given)
        assert len(caught) == 1 and caught[0].filename == __file__
        np.testing.assert_array_equal(called, call(make().fit(X, Y), method, X))


@both
def test_long_lists_of_names_are_cut(make):
    frame = pd.DataFrame(np.random.RandomState(0).randn(N, 8), columns=[f"column {i}" for i in range(8)])
    model = make().fit(frame, Y)
    with pytest.raises(
        ValueError, match="unseen at fit time:\n- c0\n- c1\n- c2\n- c3\n- c4\n- ...\nFeature names seen"
    ):
        model.predict(frame.set_axis([f"c{i}" for i in range(8)], axis=1))


@both
def test_a_fit_forgets_the_names_of_another(make):
    model = make().fit(pd.DataFrame(X, columns=NAMES), Y)
    assert not hasattr(model.fit(X, Y), "feature_names_in_")
    assert not hasattr(model.fit(pd.DataFrame(X), Y), "feature_names_in_")  # columns that are only numbered


@both
def test_names_of_mixed_kinds_are_refused(make):
    model = make().fit(pd.DataFrame(X, columns=NAMES), Y)
    before = copy.deepcopy(vars(model))
    with pytest.raises(
        TypeError, match="X has column names of types int, str. Feature names are only supported if all"
    ):
        model.fit(pd.DataFrame(X, columns=["width", 1]), Y)
    for name, value in before.items():
        np.testing.assert_equal(getattr(model, name), value)


# ------------------------------------------------------------------------------------- but never imported

WITHOUT = """
import sys
sys.path.insert(0, {root!r})
import spiralnn
X, y = spiralnn.make_spiral(20, 3, random_state=0)
for model in (spiralnn.SoftmaxClassifier(max_iter=3), spiralnn.TwoLayerNet(max_iter=3)):
    try:
        model.predict(X)
    except ValueError as error:
        print(type(error).__module__)
    model.fit(X, y, sample_weight=y + 1).partial_fit(X, y, sample_weight=y + 1)
    model.predict(X), model.predict_proba(X), model.decision_function(X), model.score(X, y)
    repr(model), model._repr_html_(), model.set_params(**model.get_params())
    model.save({path!r})
    spiralnn.load({path!r})
print(*sorted({{name.partition(".")[0] for name in sys.modules}} & {{"sklearn", "pandas", "joblib"}}))
"""


def test_nothing_of_it_is_imported(tmp_path):
    program = WITHOUT.format(root=str(ROOT), path=str(tmp_path / "model.npz"))
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert out.splitlines() == ["spiralnn.estimators.protocol", "spiralnn.estimators.protocol", ""]


# --------------------------------------------------------------------------------- feature selection, labels of score


@pytest.mark.parametrize("K", [2, 3])
def test_features_are_selected_by_coef(K):
    from sklearn.feature_selection import RFE, SelectFromModel

    random = np.random.RandomState(0)
    X = random.randn(90, 4)
    y = np.digitize(X[:, 1], [0] if K == 2 else [-0.5, 0.5])
    model = SoftmaxClassifier().fit(X, y)
    assert model.coef_.shape == (K, 4) and model.intercept_.shape == (K,)
    np.testing.assert_array_equal(model.coef_, model.coefs_[0].T)
    np.testing.assert_array_equal(model.intercept_, model.intercepts_[0])
    chosen = RFE(SoftmaxClassifier(), n_features_to_select=1).fit(X, y).get_support()
    assert chosen.tolist() == [False, True, False, False]
    assert SelectFromModel(SoftmaxClassifier()).fit(X, y).get_support()[1]
    assert not hasattr(SoftmaxClassifier(), "coef_") and not hasattr(TwoLayerNet(), "coef_")


@pytest.mark.parametrize("make", [SoftmaxClassifier, TwoLayerNet])
def test_score_takes_labels_of_the_same_kind_alone(make):
    X = np.random.RandomState(0).randn(60, 2)
    y = (X[:, 0] > 0).astype(int)
    model = make(max_iter=5, random_state=0).fit(X, y)
    right = model.score(X, y)
    for labels in (y.tolist(), y.astype(float), y.astype("u1"), y == 1, pd.Series(y).astype("Int64"), y.astype(object)):
        assert model.score(X, labels) == right
    assert model.score(X, np.where(y == 1, 7, 0)) < right  # a label that is not among the classes is wrong
    half = np.arange(60) % 2 == 0
    for labels, message in (
        (y.astype(str), r"y holds labels of type str \(.*'0'.*\), but the model was fitted with numbers"),
        (y.astype("S"), "y holds labels of type bytes"),
        (np.where(half, np.nan, y), r"y holds NaN at \[0\]"),
        (pd.Series(np.where(half, None, y)).astype("Int64"), r"y holds (NaN|<NA>) at \[0\]"),
        (y + 0.5, "Unknown label type: continuous"),
        (y.astype("M8[s]"), "y holds dates"),
    ):
        with pytest.raises(ValueError, match=message):
            model.score(X, labels)
    words = make(max_iter=5, random_state=0).fit(X, y.astype(str))
    assert words.score(X, y.astype(str)) == words.score(X, y.astype(str).astype(object)) == right
    with pytest.raises(ValueError, match="y holds numbers .*, but the model was fitted with labels of type str"):
        words.score(X, y)
