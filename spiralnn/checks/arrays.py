"""Arrays: rows of numbers in the one form that kernels take, real and finite."""

import math
from typing import Any

import numpy as np

from .frames import columns_of
from .values import as_array, real_numbers

CHECKED_ROWS = 1 << 16  # rows looked at together, so that checking needs a megabyte or so at any N


def feature_matrix(
    X: Any, *, n_features: int | None = None, owner: str = "the model", dtype: Any = None, finite: bool = True
) -> np.ndarray:
    """X as a C-contiguous, finite float array (N, D): float32 stays, every other real dtype becomes float64.

    The caller's array itself when it is that already, read-only or not: nothing here or below writes to it.
    n_features: what D must be, of whom (owner). dtype: float32 or float64 whatever X has. finite=False leaves the
    values to the caller to check.
    """
    if type(X) is np.ndarray and (X.dtype is _FLOAT64 or X.dtype is _FLOAT32) and X.ndim == 2 and X.flags.carray:
        array = X  # nothing to convert: a call on few rows is made of such questions
    else:
        array = _as_float_matrix(X)
    known = array is not X and getattr(X, "is_finite", None) is True  # a table of ours, checked as it was read
    if dtype is not None and array.dtype != dtype:
        known = False
        with np.errstate(over="ignore"):  # what overflows is infinite and refused
            array = array.astype(dtype)
    N, D = array.shape
    if N == 0:
        raise ValueError(f"Found array with 0 sample(s) (shape={array.shape}): X needs a minimum of 1 is required")
    if D == 0:
        raise ValueError(f"0 feature(s) (shape=({N}, 0)) while a minimum of 1 is required: X holds no columns")
    if n_features is not None and n_features != D:
        raise ValueError(f"X has {D} features, but {owner} is expecting {n_features} features as input")
    if finite and not known:
        check_finite("X", array)
    return array


_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def _as_float_matrix(X: Any) -> np.ndarray:
    if hasattr(X, "toarray") and hasattr(X, "nnz"):
        raise TypeError("X is a sparse matrix; expected a dense array: X.toarray() makes one, if memory allows")
    table = columns_of(X)
    array = as_array("X", X) if table is None else table.matrix()
    if array.dtype.kind == "O" and not array.ndim and X is not None:
        raise TypeError(f"X is of type {type(X).__name__}, expected an array of numbers: (samples, features)")
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: X has dtype {array.dtype}, expected real numbers")
    array = real_numbers("X", array)
    if array.ndim != 2:
        raise ValueError(
            f"X has {array.ndim} dimension{'s' * (array.ndim != 1)}, expected 2: (samples, features). "
            "Reshape your data: X.reshape(-1, 1) for one feature, X.reshape(1, -1) for one sample"
        )
    target = np.float32 if array.dtype.newbyteorder("=") == np.float32 else np.float64
    try:
        with np.errstate(over="ignore"):  # what overflows is infinite and refused
            return kernel_array(array, target)
    except (MemoryError, ValueError) as error:  # ValueError: more numbers than an index can count
        kind = np.dtype(target).name
        raise MemoryError(f"X of shape {array.shape} needs a contiguous copy in {kind}: {error}") from None


def kernel_array(array: Any, dtype: Any) -> np.ndarray:
    """The one form in which kernels take floats: C-contiguous, aligned, native, not marked read-only; itself if so.

    To Numba every other form is another type, and another compilation.
    """
    if type(array) is np.ndarray and array.dtype == dtype and array.flags.carray:
        return array
    return writable_view(np.require(np.asarray(array), dtype, ["C", "A"]))


def writable_view(array: np.ndarray) -> np.ndarray:
    """The same memory as an array that is not marked read-only: to Numba a read-only array is another type."""
    if array.flags.writeable:
        return array

    class Memory:
        __array_interface__ = {**array.__array_interface__, "data": (array.__array_interface__["data"][0], False)}
        owner = array

    return np.asarray(Memory())


def check_finite(name: str, array: np.ndarray, first_row: int = 0) -> None:
    """ValueError that says where the first NaN or infinity stands, in what array is the rows of from first_row on."""
    for start in range(0, len(array), CHECKED_ROWS):
        part = array[start : start + CHECKED_ROWS]
        # the sum is finite when all values are, and costs no temporary; only when it is not, look at each
        with np.errstate(over="ignore", invalid="ignore"):
            if math.isfinite(float(part.sum(dtype=np.float64))):
                continue
        bad = np.argwhere(~np.isfinite(part))
        if len(bad):
            place = tuple(int(i) for i in bad[0])
            value = "NaN" if np.isnan(part[place]) else "infinity"
            where = ", ".join(str(i) for i in (first_row + start + place[0], *place[1:]))
            raise ValueError(f"{name} holds {value} at [{where}], expected finite numbers")
