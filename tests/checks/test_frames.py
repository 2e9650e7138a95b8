"""Tables of any library as X: columns one by one where they differ, their names, and what is missing told."""

import datetime
import decimal
import sys

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


# tables of Arrow and polars, whose columns differ


def arrow(**columns):
    return pa.table(columns)


def polars(**columns):
    return pytest.importorskip("polars", reason="polars is not installed").DataFrame(columns)


both_libraries = pytest.mark.parametrize("table", [arrow, polars])
A = np.random.default_rng(1).standard_normal(40)
MONEY = [decimal.Decimal("0.10"), decimal.Decimal("-7.35")] * 20


@both_libraries
def test_columns_of_other_tables_are_taken_one_by_one(table):
    found = feature_matrix(table(a=A, n=np.arange(40, dtype="i1"), flag=A > 0, money=MONEY, text=["1.5", "2"] * 20))
    expected = [A, range(40), A > 0, [float(value) for value in MONEY], [1.5, 2.0] * 20]
    np.testing.assert_array_equal(found, np.column_stack(expected))
    few = A.astype("f4")
    assert feature_matrix(table(a=few, b=few)).dtype == np.float32
    assert feature_matrix(table(a=few, n=np.arange(40, dtype="u1"))).dtype == np.float64  # as of pandas


@both_libraries
@pytest.mark.parametrize(
    "values",
    [[None, 1.5] * 20, [None, 2**60] * 20, [None, True] * 20, [None, "1"] * 20, [None] * 40, [None, *MONEY[1:]]],
    ids=["floats", "integers", "bools", "strings", "nothing", "decimals"],
)
def test_a_missing_value_of_other_tables_is_told_with_row_and_column(table, values):
    with pytest.raises(ValueError, match=r"X holds a missing value at \[0, 1\], column 'b', expected finite numbers"):
        feature_matrix(table(a=A, b=values))


@both_libraries
@pytest.mark.parametrize("value", [datetime.date.min, datetime.datetime(2020, 1, 1), datetime.timedelta(1), [1]])
def test_columns_of_other_tables_that_are_no_numbers_are_named(table, value):
    for columns in ({"a": A, "b": [value] * 40}, {"b": [value] * 40}):
        with pytest.raises(TypeError, match="X has dtype .* in column 'b', expected real numbers"):
            feature_matrix(table(**columns))
    with pytest.raises(ValueError, match=r"column 'b' of X has dtype object, .*: 'x' at \[1, 1\]"):
        feature_matrix(table(a=A, b=["1", "x"] * 20))


def test_a_lazy_frame_is_refused():
    with pytest.raises(TypeError, match=r"X is a LazyFrame, .* expected a table: X.collect\(\)"):
        SoftmaxClassifier().fit(polars(a=A, b=A).lazy(), (A > 0).astype(int))


class Stream:
    """A table that only Arrow's interface reads."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


class Exchange:
    """A table that only the dataframe interchange protocol reads."""

    def __init__(self, table):
        self._table = table

    def __dataframe__(self, **options):
        return self._table.__dataframe__(**options)


@pytest.mark.parametrize("kind", [Stream, Exchange])
def test_tables_that_are_no_arrays(kind, frame, monkeypatch):
    y = (frame.a > 0).astype(int)
    table = pa.Table.from_pandas(frame.assign(n=range(40)))
    model = SoftmaxClassifier().fit(kind(table), y)
    assert model.feature_names_in_.tolist() == [*NAMES, "n"]
    np.testing.assert_array_equal(model.predict_proba(kind(table)), model.predict_proba(table))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TypeError, match="X is a table for Arrow, which needs pyarrow"):
        feature_matrix(kind(table))


# objects


@pytest.mark.parametrize("missing", [pd.NA, pd.NaT, decimal.Decimal("sNaN")], ids=str)
def test_a_missing_object_is_told_with_row_and_column(missing, frame):
    values = frame.to_numpy(object).copy()
    values[7, 2] = missing
    for X in (values, pd.DataFrame(values)):
        with pytest.raises(ValueError, match=r"X holds a missing value .* at \[7, 2\], expected finite numbers"):
            feature_matrix(X)


@pytest.mark.parametrize("text", ["1_0", "2024_01", "\u0661", b"1_0"])
def test_text_that_only_python_takes_for_a_number_is_none(text, frame):
    values = frame.to_numpy(object).copy()
    values[7, 2] = text
    with pytest.raises(ValueError, match=r"X has dtype object, expected real numbers: .* at \[7, 2\]"):
        feature_matrix(values)
    with pytest.raises(ValueError, match=r"column 'c' of X has dtype object, .* at \[7, 2\]"):
        feature_matrix(pd.DataFrame(values, columns=NAMES).astype({"a": float}))
    values[7, 2] = "1e1"
    assert feature_matrix(values)[7, 2] == 10.0


def test_the_place_of_a_masked_value_is_told(frame):
    X = np.ma.masked_array(frame.to_numpy().copy())
    X[7, 2] = np.ma.masked
    with pytest.raises(ValueError, match=r"X holds masked values; .*: one at \[7, 2\]"):
        feature_matrix(X)


@pytest.mark.parametrize("X", [{"a": [1.0]}, {1.0}, iter([[1.0]]), object()], ids=lambda X: type(X).__name__)
def test_what_is_no_array_is_told_by_its_type(X):
    with pytest.raises(TypeError, match=f"X is of type {type(X).__name__}, expected an array of numbers"):
        feature_matrix(X)
