"""The hidden layer as features: `TwoLayerNet.transform`, and what scikit-learn's tools ask of a transformer."""

import copy
import pickle
import sys
import types

import numpy as np
import pandas as pd
import pytest
import sklearn
from problems import TOLERANCES, relative_error
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from spiralnn import SoftmaxClassifier, TwoLayerNet, make_spiral
from spiralnn.estimators import prediction

X, Y = make_spiral(20, 3, random_state=0)
BACKENDS = ["fused", "reference"]
both_backends = pytest.mark.parametrize("backend", BACKENDS)


def network(**changes):
    return TwoLayerNet(**{"random_state": 0, "max_iter": 3, "hidden_size": 5, "init_scale": 1.0, **changes})


def standing(W, b, dtype=np.float64, backend="fused"):
    """A network that is fitted with exactly these parameters of its first layer."""
    W, b = np.asarray(W, dtype), np.asarray(b, dtype)
    rows = np.zeros((2, W.shape[0]), dtype)
    init = (W, b, np.zeros((len(b), 2)), np.zeros(2))
    # with NumPy, which compiles nothing
    settings = {"solver": "gd", "max_iter": 1, "step_size": 0.0, "reg": 0.0, "backend": "reference"}
    return TwoLayerNet(hidden_size=len(b), init=init, **settings).fit(rows, [0, 1]).set_params(backend=backend)


@both_backends
def test_by_hand(backend):
    model = standing([[1.0, -1.0, 2.0], [3.0, 1.0, 0.0]], [0.5, 0.0, -4.0], backend=backend)
    hidden = model.transform([[1.0, 2.0], [-1.0, 0.0], [3.0, -1.0]])
    np.testing.assert_array_equal(hidden, [[7.5, 1.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 2.0]])


@pytest.mark.parametrize(("N", "D", "H"), [(1, 1, 1), (300, 2, 1), (97, 3, 8), (251, 40, 17), (20, 5, 1000)])
@pytest.mark.parametrize("dtype", TOLERANCES)
@both_backends
def test_it_is_the_formula(N, D, H, dtype, backend):
    random = np.random.default_rng([N, D, H])
    W, b, rows = (random.standard_normal(shape).astype(dtype) for shape in ((D, H), H, (N, D)))
    kept = rows.copy()
    hidden = standing(W, b, dtype, backend).transform(rows)
    assert hidden.shape == (N, H) and hidden.dtype == dtype
    expected = np.maximum(0, rows.astype(np.float64) @ W + b)
    assert 0 < np.count_nonzero(expected) < expected.size or expected.size == 1
    assert relative_error(hidden, expected) < TOLERANCES[dtype]
    np.testing.assert_array_equal(rows, kept)


@both_backends
def test_scores_follow_from_it(backend):
    model = network(backend=backend).fit(X, Y)
    scores = model.transform(X) @ model.coefs_[1] + model.intercepts_[1]
    assert relative_error(scores, model.decision_function(X)) < TOLERANCES[np.float64]


@both_backends
@pytest.mark.parametrize("of_rows", TOLERANCES)
@pytest.mark.parametrize("of_model", TOLERANCES)
def test_the_dtype_is_that_of_scores(of_model, of_rows, backend):
    model = network(backend=backend).fit(X.astype(of_model), Y)
    hidden = model.transform(X.astype(of_rows))
    assert hidden.dtype == model.decision_function(X.astype(of_rows)).dtype == np.result_type(of_model, of_rows)


def test_equal_bits_for_any_threads_and_for_rows_apart(all_threads):
    rows = np.random.default_rng(0).standard_normal((40_000, 3))
    model = standing(np.random.default_rng(1).standard_normal((3, 7)), np.arange(7.0) - 3)
    hidden = model.set_params(n_threads=1).transform(rows)
    np.testing.assert_array_equal(model.set_params(n_threads=4).transform(rows), hidden)
    np.testing.assert_array_equal(model.transform(rows[12_345:12_346]), hidden[12_345:12_346])


# --------------------------------------------------------------------------------------------------- errors


@both_backends
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("dtype", "large"), [(np.float32, 1e30), (np.float64, 1e200)])
def test_what_overflows_names_its_row(dtype, large, sign, backend, monkeypatch):
    """Below, too, where ReLU would make 0 of it."""
    monkeypatch.setattr(prediction, "PREDICT_ROWS", 3)
    model = standing([[sign * large], [1.0]], [0.0], dtype, backend)
    rows = np.zeros((8, 2), dtype)
    rows[4] = large / 1e10, 1.0
    rows[7] = large, 0.0
    match = f"hidden values of row 4 are not finite: .* beyond {np.dtype(dtype).name}. Scale X as in fit"
    with pytest.raises(FloatingPointError, match=match):
        model.transform(rows)
    rows[4] = 1e-10, 1.0
    with pytest.raises(FloatingPointError, match="row 7"):
        model.transform(rows)
    rows[7] = 0.0
    assert np.isfinite(model.transform(rows)).all()


def test_clear_errors():
    with pytest.raises(NotFittedError, match="This TwoLayerNet instance is not fitted yet"):
        TwoLayerNet().transform(X)
    with pytest.raises(NotFittedError, match="This TwoLayerNet instance is not fitted yet"):
        TwoLayerNet().get_feature_names_out()
    model = network().fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but TwoLayerNet is expecting 2 features as input"):
        model.transform(np.zeros((4, 3)))
    for value, name in ((np.nan, "NaN"), (np.inf, "infinity")):
        with pytest.raises(ValueError, match=rf"X holds {name} at \[1, 0\], expected finite numbers"):
            model.transform([[0.0, 1.0], [value, 0.0]])
    model.backend = "gpu"
    with pytest.raises(ValueError, match="backend is 'gpu', expected one of 'fused', 'reference'"):
        model.transform(X)


def test_column_names_are_checked():
    frame = pd.DataFrame(X, columns=["width", "height"])
    model = network().fit(frame, Y)
    np.testing.assert_array_equal(model.transform(frame), network().fit(X, Y).transform(X))
    with pytest.raises(ValueError, match="Feature names must be in the same order as they were in fit"):
        model.transform(frame[["height", "width"]])
    with pytest.warns(UserWarning, match="X does not have valid feature names, but TwoLayerNet was fitted") as caught:
        model.transform(X)
    assert len(caught) == 1 and caught[0].filename == __file__


def test_the_linear_model_has_none():
    for name in ("transform", "fit_transform", "get_feature_names_out", "set_output"):
        assert not hasattr(SoftmaxClassifier(), name)
        assert hasattr(TwoLayerNet(), name)


# --------------------------------------------------------------------------------- scikit-learn's tools


# which check_estimator leaves out
OUTPUT_CHECKS = [
    estimator_checks.check_transformer_get_feature_names_out,
    estimator_checks.check_transformer_get_feature_names_out_pandas,
    estimator_checks.check_set_output_transform,
    estimator_checks.check_set_output_transform_pandas,
    estimator_checks.check_global_output_transform_pandas,
]


@pytest.mark.parametrize("check", OUTPUT_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.filterwarnings("ignore:X .* feature names:UserWarning")
def test_output_checks(check):
    check("TwoLayerNet", network())


def test_fit_transform_is_both():
    weights = 1.0 + np.arange(len(X)) % 3
    model = network()
    hidden = model.fit_transform(X, Y, sample_weight=weights)
    np.testing.assert_array_equal(hidden, network().fit(X, Y, weights).transform(X))
    np.testing.assert_array_equal(hidden, model.transform(X))
    assert relative_error(hidden, network().fit_transform(X, Y)) > 1e-6
    with pytest.raises(ValueError, match="requires y to be passed"):
        model.fit_transform(X)


def test_it_stands_in_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), network(), LogisticRegression()).fit(X, Y)
    scaled = StandardScaler().fit_transform(X)
    hidden = network().fit_transform(scaled, Y)
    np.testing.assert_array_equal(pipeline[:-1].transform(X), hidden)
    np.testing.assert_array_equal(pipeline.predict(X), LogisticRegression().fit(hidden, Y).predict(hidden))
    assert pipeline[:-1].get_feature_names_out().tolist() == [f"twolayernet{i}" for i in range(5)]


def test_a_pipeline_that_ends_with_it_may_ask_for_dataframes():
    pipeline = make_pipeline(StandardScaler(), network()).set_output(transform="pandas").fit(X, Y)
    np.testing.assert_array_equal(pipeline[-1].feature_names_in_, ["x0", "x1"])
    assert isinstance(pipeline.transform(X), pd.DataFrame)


def test_dataframes_keep_index_and_values():
    frame = pd.DataFrame(X, index=np.arange(len(X)) + 100)
    model = network().fit(X, Y)
    expected = model.transform(X)
    assert model.set_output(transform="pandas") is model is model.set_output()
    for twin in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), clone(model).fit(X, Y)):
        hidden = twin.transform(frame)
        assert hidden.index.equals(frame.index)
        assert list(hidden) == ["twolayernet0", "twolayernet1", "twolayernet2", "twolayernet3", "twolayernet4"]
        np.testing.assert_array_equal(hidden.to_numpy(), expected)
    assert type(model.set_output(transform="default").transform(frame)) is np.ndarray
    with sklearn.config_context(transform_output="pandas"):
        assert type(model.transform(frame)) is np.ndarray  # what it was told itself counts more
        assert isinstance(network().fit_transform(X, Y), pd.DataFrame)


def test_dataframes_of_polars(monkeypatch):
    """Called as polars is, which need not be installed."""
    stand_in = types.SimpleNamespace(DataFrame=lambda data, schema, orient: (data, schema, orient))
    monkeypatch.setitem(sys.modules, "polars", stand_in)
    model = network(hidden_size=2).fit(X, Y)
    expected = model.transform(X)
    data, schema, orient = model.set_output(transform="polars").transform(X)
    np.testing.assert_array_equal(data, expected)
    assert schema == ["twolayernet0", "twolayernet1"] and orient == "row"


def test_other_containers_are_refused():
    model = network().fit(X, Y)
    match = "transform is 'cudf', expected one of 'default', 'pandas', 'polars'"
    with pytest.raises(ValueError, match=match):
        model.set_output(transform="cudf")
    with sklearn.config_context(transform_output="cudf"), pytest.raises(ValueError, match=match):
        model.transform(X)
    assert type(model.transform(X)) is np.ndarray


def test_names_of_inputs_are_compared():
    frame = pd.DataFrame(X, columns=["width", "height"])
    model = network(hidden_size=1).fit(frame, Y)
    assert model.get_feature_names_out(["width", "height"]).tolist() == ["twolayernet0"]
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        model.get_feature_names_out(["height", "width"])
    with pytest.raises(ValueError, match=r"should have length equal to number of features \(2\), got 3"):
        model.fit(X, Y).get_feature_names_out(["a", "b", "c"])
