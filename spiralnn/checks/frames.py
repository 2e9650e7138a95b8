"""Tables of other libraries as rows of numbers, column by column where columns may be of several kinds.

Duck-typed: pandas and polars are never imported from here, and pyarrow only for tables that nothing else reads.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .values import real_numbers


class Column(NamedTuple):
    """dtype: as its library calls it. kind: of NumPy, "O" for what each value tells, "" for what is no number.

    missing: where it has no value; None where every row has one, or NaN, which is looked for in all rows together.
    values: of a dtype, where all are there.
    """

    name: Any
    dtype: Any
    kind: str
    is_single: bool
    missing: Callable[[], np.ndarray | None]
    values: Callable[[Any], np.ndarray]


class Columns(NamedTuple):
    """The columns, of N rows each."""

    N: int
    columns: list[Column]

    def matrix(self) -> np.ndarray:
        """Rows of float32 where all columns are, else of float64. ValueError, TypeError: what stands where is none."""
        single = all(column.is_single for column in self.columns)
        matrix = np.empty((self.N, len(self.columns)), np.float32 if single else np.float64)
        for j, column in enumerate(self.columns):
            missing = column.missing()
            if missing is not None and missing.any():
                place = f"[{int(missing.argmax())}, {j}], column {column.name!r}"
                raise ValueError(f"X holds a missing value at {place}, expected finite numbers")
            if not column.kind or column.kind not in "fiubO":
                raise TypeError(f"X has dtype {column.dtype} in column {column.name!r}, expected real numbers")
            values = column.values(matrix.dtype)
            if column.kind == "O":
                values = real_numbers(f"column {column.name!r} of X", values, of="X", column=j)
            matrix[:, j] = values
        return matrix


def columns_of(X: Any) -> Columns | None:
    """The columns of a table whose columns are to be taken one by one; None for everything else."""
    if hasattr(X, "iloc") and hasattr(X, "dtypes") and getattr(X, "ndim", 0) == 2:
        return _of_pandas(X)
    if is_lazy(X):
        raise TypeError("X is a LazyFrame, which is yet to be computed, expected a table: X.collect()")
    if hasattr(X, "get_columns") and hasattr(X, "n_chunks"):
        return _of_polars(X)
    if hasattr(X, "num_columns") and hasattr(X, "column") and hasattr(X, "schema"):
        return _of_arrow(X)
    if hasattr(X, "__array__") or isinstance(X, np.ndarray | list | tuple):
        return None
    if hasattr(X, "__arrow_c_stream__"):
        return _of_arrow(_pyarrow().table(X))
    if hasattr(X, "__dataframe__"):
        _pyarrow()
        from pyarrow.interchange import from_dataframe

        return _of_arrow(from_dataframe(X))
    return None


def names_of(X: Any) -> Any:
    """The names of a table's columns, of any library; None for what has none."""
    if is_lazy(X):
        return None
    schema: Any = getattr(X, "schema", None)
    if isinstance(getattr(schema, "names", None), list):  # of pyarrow, whose columns are arrays
        return schema.names
    columns = getattr(X, "columns", None)
    if columns is None and hasattr(X, "__dataframe__"):
        return list(X.__dataframe__().column_names())
    if columns is None and hasattr(X, "__arrow_c_stream__") and not hasattr(X, "__array__"):
        return _pyarrow().RecordBatchReader.from_stream(X).schema.names
    return columns


def is_lazy(X: Any) -> bool:
    """Whether X is a frame of polars that knows how to come about, and holds nothing."""
    return hasattr(X, "collect") and hasattr(X, "collect_schema") and not hasattr(X, "__array__")


def _of_pandas(X: Any) -> Columns | None:
    """None for a frame of one of NumPy's dtypes: it is one array, or as good as that."""
    kinds = set(X.dtypes)
    if len(kinds) == 0 or (len(kinds) == 1 and isinstance(next(iter(kinds)), np.dtype)):
        return None

    def column(j: int) -> Column:
        series = X.iloc[:, j]
        kind = getattr(series.dtype, "kind", "O")
        may_miss = not (kind in "fiub" and isinstance(series.dtype, np.dtype))

        def values(dtype: Any) -> np.ndarray:
            return np.asarray(series.array) if kind == "O" else series.to_numpy(dtype=dtype)

        return Column(
            X.columns[j], series.dtype, kind, str(series.dtype).lower() == "float32",
            lambda: series.isna().to_numpy() if may_miss else None, values,
        )  # fmt: skip

    return Columns(len(X), [column(j) for j in range(X.shape[1])])


def _of_polars(X: Any) -> Columns:
    def column(series: Any) -> Column:
        dtype = series.dtype
        is_decimal, kind = type(dtype).__name__ == "Decimal", ""
        if dtype.is_numeric() or str(dtype) == "Boolean":
            kind = "f"
        elif str(dtype).startswith(("String", "Categorical", "Enum", "Object")):
            kind = "O"

        def values(dtype: Any) -> np.ndarray:
            found = series
            if is_decimal:  # by way of text, which comes to the nearest number
                found = series.cast(sys.modules["polars"].String).cast(sys.modules["polars"].Float64)
            return np.asarray(found.to_numpy())

        return Column(
            series.name, dtype, kind, str(dtype) == "Float32",
            lambda: series.is_null().to_numpy() if series.null_count() else None, values,
        )  # fmt: skip

    return Columns(len(X), [column(series) for series in X.get_columns()])


def _of_arrow(X: Any) -> Columns:
    pa = _pyarrow()
    types = pa.types
    numeric = types.is_floating, types.is_integer, types.is_boolean, types.is_decimal

    def column(name: str, array: Any) -> Column:
        kind, dtype = "", array.type
        plain = dtype.value_type if types.is_dictionary(dtype) else dtype
        if any(is_kind(plain) for is_kind in numeric):
            kind = "f"
        elif str(plain) in ("string", "large_string", "string_view"):
            kind = "O"

        def values(_: Any) -> np.ndarray:
            found = array.cast(plain) if plain != dtype else array
            if types.is_decimal(plain):  # by way of text, which comes to the nearest number
                found = found.cast(pa.string()).cast(pa.float64())
            return np.asarray(found.to_numpy(zero_copy_only=False))

        return Column(
            name, dtype, kind, types.is_float32(plain),
            lambda: array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None, values,
        )  # fmt: skip

    return Columns(len(X), [column(name, X.column(j)) for j, name in enumerate(X.schema.names)])


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise TypeError("X is a table for Arrow, which needs pyarrow: pip install 'spiralnn[parquet]'") from None
    return pyarrow
