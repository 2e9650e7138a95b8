"""Names of Parquet's columns, which a model remembers and asks for."""

import warnings

import numpy as np
import pandas as pd
import pytest

from spiralnn import SoftmaxClassifier, open_rows


@pytest.fixture
def frame(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.standard_normal((60, 3)), columns=["a", "b", "c"])
    frame.assign(label=np.arange(60) % 2).to_parquet(tmp_path / "t.parquet", index=False)
    np.save(tmp_path / "X.npy", np.ascontiguousarray(frame.to_numpy()))
    return frame


def test_columns_are_those_that_the_model_was_fitted_with(frame, tmp_path):
    path = tmp_path / "t.parquet"
    rows = open_rows(path, "label")
    model = SoftmaxClassifier().fit(rows)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(model.predict(rows), model.predict(frame))
        assert model.score(rows) == model.score(frame, np.arange(60) % 2)
        SoftmaxClassifier().fit(frame, np.arange(60) % 2).predict_proba(rows)
    for ask in (model.predict, model.predict_proba, model.decision_function):
        with pytest.raises(ValueError, match="must be in the same order"):
            ask(open_rows(path, columns=["b", "a", "c"]))
    with pytest.raises(ValueError, match="must be in the same order"):
        model.score(open_rows(path, "label", columns=["c", "b", "a"]))


def test_rows_without_names_are_warned_of_once(frame, tmp_path):
    model = SoftmaxClassifier().fit(open_rows(tmp_path / "t.parquet", "label"))
    with pytest.warns(UserWarning, match="does not have valid feature names") as caught:
        model.predict(open_rows(tmp_path / "X.npy"))
    assert len(caught) == 1 and caught[0].filename == __file__
