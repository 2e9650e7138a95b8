"""Arrays of Dask: whether something is one, and where its partitions come to lie.

Nothing here imports Dask before there is something of it.
"""

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checks.values import real_numbers

LIBRARIES = {"dask", "dask_expr"}


def is_dask(value: Any) -> bool:
    """Whether it is a collection of Dask."""
    return type(value).__module__.partition(".")[0] in LIBRARIES


class Arrays(NamedTuple):
    """X (N, D) with y (N,) and sample_weight (N,), None where there are none: arrays of Dask, X in one chunk of
    columns. N may be unknown."""

    X: Any
    y: Any
    weights: Any

    @property
    def given(self) -> list[Any]:
        return [array for array in self if array is not None]


def checked_arrays(X: Any, y: Any, sample_weight: Any, *, n_features: int | None, owner: str) -> Arrays:
    """What fit was given, as far as it can be checked before anything is computed."""
    _check_array("X", X, 2)
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    _check_array("y", y, 1)
    if sample_weight is not None:
        _check_array("sample_weight", sample_weight, 1)
        real_numbers("sample_weight", np.empty(0, sample_weight.dtype))
    if X.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: X has dtype {X.dtype}, expected real numbers")
    real_numbers("X", np.empty(0, X.dtype))
    D = X.shape[1]
    if not D:
        raise ValueError(f"0 feature(s) (shape=({X.shape[0]}, 0)) while a minimum of 1 is required: X holds no columns")
    if D != D:
        raise ValueError("X has an unknown number of columns, expected a known one: X.compute_chunk_sizes()")
    if n_features is not None and n_features != D:
        raise ValueError(f"X has {D} features, but {owner} is expecting {n_features} features as input")
    # numbers that Python holds are converted where they lie
    X = X.astype(np.float64) if X.dtype.kind == "O" else X
    if sample_weight is not None and sample_weight.dtype.kind == "O":
        sample_weight = sample_weight.astype(np.float64)
    return Arrays(X if X.numblocks[1] == 1 else X.rechunk({1: -1}), y, sample_weight)


def _check_array(name: str, value: Any, ndim: int) -> None:
    """TypeError or ValueError unless it is an array of Dask with so many dimensions."""
    kind = f"{type(value).__module__.partition('.')[0]} {type(value).__name__}"
    if not is_dask(value):
        raise TypeError(f"{name} is a {kind}, expected an array of Dask as X is: dask.array.from_array(...)")
    if not (hasattr(value, "chunks") and hasattr(value, "dtype")):
        raise TypeError(f"{name} is a {kind}, expected an array of Dask: .to_dask_array(lengths=True) makes one")
    if value.ndim != ndim:
        expected = "(N, D): samples by features" if ndim == 2 else "(N,): one a row"
        raise ValueError(f"{name} has shape {value.shape}, expected {expected}")


def known_lengths(array: Any) -> tuple[int, ...] | None:
    """Of its partitions, None where Dask does not know them."""
    lengths = array.chunks[0]
    return None if any(n != n for n in lengths) else tuple(map(int, lengths))


def of_partitions(futures: Sequence[Any], lengths: Sequence[int], dtype: np.dtype) -> Any:
    """An array (N,) of partitions that are there already."""
    import dask.array

    name = f"spiralnn-{uuid.uuid4().hex}"
    graph = {(name, k): future for k, future in enumerate(futures)}
    return dask.array.Array(graph, name, (tuple(lengths),), dtype)


def check_rows(lengths: Sequence[Sequence[int] | None]) -> None:
    """ValueError unless X, y and weights, of partitions with so many rows, have as many, and some."""
    N, *others = (None if of is None else sum(of) for of in lengths)
    if not N:
        raise ValueError("Found array with 0 sample(s): X has no rows, but a minimum of 1 is required")
    if others[0] != N:
        raise ValueError(f"y has {others[0]} labels, but X has {N} rows")
    if others[1] not in (None, N):
        raise ValueError(f"sample_weight has shape ({others[1]},), expected ({N},): one weight a row")


def aligned_with(array: Any, lengths: tuple[int, ...]) -> Any:
    """The array in partitions of so many rows."""
    return array if known_lengths(array) == lengths else array.rechunk((lengths, *array.chunks[1:]))


def ranges_for(lengths: Sequence[float] | None, n_partitions: int, shares: Sequence[int]) -> list[tuple[int, int]]:
    """Partitions [first, last) for each of several workers, side by side, rows as of their shares. lengths: None where
    they are not known, and all partitions count the same."""
    sizes = np.ones(n_partitions) if lengths is None else np.asarray(lengths, np.float64)
    middles = np.cumsum(sizes) - sizes / 2
    edges = np.cumsum(shares) / np.sum(shares) * sizes.sum()
    cuts = [0, *np.searchsorted(middles, edges[:-1]).tolist(), n_partitions]
    return list(zip(cuts, cuts[1:], strict=False))
