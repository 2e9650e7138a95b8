"""Tables of any library as X: columns one by one where they differ, their names, and what is missing told."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from spiralnn import SoftmaxClassifier
from spiralnn.checks.arrays import feature_matrix

NAMES = ["a", "b", "c"]


@pytest.fixture
def frame():
    return pd.DataFrame(np.random.default_rng(0).standard_normal((40, 3)), columns=NAMES)


def test_mixed_columns_become_float64_rows(frame):
    mixed = frame.assign(
        flag=frame.a > 0, whole=pd.Series(range(40), dtype="Int64"), real=frame.b.astype("Float64"),
        few=frame.c.astype("f4"),
    )
    mixed["object"] = frame.a.astype(object)
    found = feature_matrix(mixed)
    assert found.dtype == np.float64 and found.flags.c_contiguous
    expected = [frame.a, frame.b, frame.c, frame.a > 0, range(40), frame.b, frame.c.astype("f4"), frame.a]
    np.testing.assert_array_equal(found, np.column_stack(expected))


def test_float32_stays_where_all_columns_are(frame):
    assert feature_matrix(frame.astype("float32")).dtype == np.float32
    assert feature_matrix(frame.astype("Float32")).dtype == np.float32
    assert feature_matrix(frame.astype({"a": "float32"})).dtype == np.float64


@pytest.mark.parametrize(
    "column, missing",
    [("Int64", pd.NA), ("Float64", pd.NA), ("boolean", pd.NA), ("float64[pyarrow]", pd.NA), ("object", None)],
)
def test_a_missing_value_is_told_with_row_and_column(column, missing, frame):
    values = pd.Series([0, 1] * 20).astype(column)
    values[7] = missing
    with pytest.raises(ValueError, match=r"missing value at \[7, 3\], column 'n'"):
        feature_matrix(frame.assign(n=values))
    frame.loc[7, "b"] = np.nan
    with pytest.raises(ValueError, match=r"X holds NaN at \[7, 1\]"):
        feature_matrix(frame.assign(flag=True))


@pytest.mark.parametrize("values", [pd.Timestamp(0), 1j, pd.Timedelta(1, "s")])
def test_columns_that_are_no_numbers_are_named(values, frame):
    with pytest.raises(TypeError, match=r"in column 'n', expected real numbers"):
        feature_matrix(frame.assign(n=values))


def test_words_in_a_column_are_named(frame):
    with pytest.raises(ValueError, match="column 'n' of X has dtype object, expected real numbers"):
        feature_matrix(frame.assign(n="word", flag=True))


class Interchange:
    """A table that is known by the dataframe interchange protocol alone."""

    def __init__(self, frame):
        self._frame = frame
        self.shape = frame.shape

    def __array__(self, dtype=None, copy=None):
        return self._frame.to_numpy(dtype)

    def __len__(self):
        return len(self._frame)

    def __dataframe__(self, *_, **__):
        class Columns:
            column_names = staticmethod(lambda names=list(self._frame.columns): iter(names))

        return Columns()


@pytest.mark.parametrize(
    "table", [pa.Table.from_pandas, lambda frame: pa.Table.from_pandas(frame).to_batches()[0], Interchange],
    ids=["Table", "RecordBatch", "interchange"],
)  # fmt: skip
def test_names_of_columns_are_seen_in_any_table(table, frame):
    y = (frame.a > 0).astype(int)
    model = SoftmaxClassifier().fit(table(frame), y)
    assert model.feature_names_in_.tolist() == NAMES
    assert model.score(table(frame), y) == model.score(frame, y)
    for swapped in (table(frame[["c", "b", "a"]]), frame[["c", "b", "a"]]):
        with pytest.raises(ValueError, match="must be in the same order"):
            model.predict(swapped)
