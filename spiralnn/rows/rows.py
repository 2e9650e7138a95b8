"""Rows: features with their labels and weights, read piece by piece."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checks.arrays import check_finite, kernel_array
from ..checks.values import real_numbers
from .source import Memory, RowError, Source


class Buffers(NamedTuple):
    """What one thread reads a piece of rows into."""

    X: Any
    converted: np.ndarray | None
    y: Any
    weights: Any


class Rows:
    """X (N, D) with labels y (N,) and weights (N,), where they have any.

    dtype: that which is computed with, float32 for float32 and float64 for every other. names: of the columns, or None.
    is_part: whether they are only what one rank of an MPI job holds of the whole.
    """

    is_part = False

    def __init__(
        self, X: Source, y: Source | None = None, weights: Source | None = None, *, names: Sequence[str] | None = None
    ) -> None:
        self.X, self.y, self.weights, self.names = X, y, weights, names
        self.N, self.D = X.shape
        self.dtype = np.dtype(np.float32 if X.dtype.newbyteorder("=") == np.float32 else np.float64)

    def __len__(self) -> int:
        return self.N

    @property
    def shape(self) -> tuple[int, int]:
        return self.N, self.D

    @classmethod
    def of(cls, X: np.ndarray, y: np.ndarray | None, weights: np.ndarray | None = None) -> "Rows":
        """Arrays in memory."""
        return cls(Memory(X), None if y is None else Memory(y), None if weights is None else Memory(weights))

    def astype(self, dtype: Any) -> "Rows":
        """The same rows, computed with another dtype."""
        other = Rows(self.X, self.y, self.weights, names=self.names)
        other.dtype, other.is_part = np.dtype(dtype), self.is_part
        return other

    def as_part(self) -> "Rows":
        """The same rows, as what this rank holds of the whole, which is all ranks' parts, one behind the other."""
        part = self.astype(self.dtype)
        part.is_part = True
        return part

    def buffers(self, n: int) -> Buffers:
        converted = np.empty((n, self.D), self.dtype) if self.X.dtype != self.dtype else None
        return self.target_buffers(n)._replace(X=self.X.buffer(n), converted=converted)

    def target_buffers(self, n: int) -> Buffers:
        """For labels and weights alone."""
        y, weights = (None if part is None else part.buffer(n) for part in (self.y, self.weights))
        return Buffers(None, None, y, weights)

    def features(self, start: int, stop: int, buffers: Buffers) -> np.ndarray:
        """X[start:stop] as kernels take it: C-contiguous, of `dtype`; valid until the next call with these buffers."""
        X = self.X.read(start, stop, buffers.X)
        if buffers.converted is None:
            return kernel_array(X, self.dtype)
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused
            buffers.converted[: stop - start] = X
        return buffers.converted[: stop - start]

    def checked_features(self, start: int, stop: int, buffers: Buffers) -> np.ndarray:
        """The same; RowError with the place of what is not finite."""
        X = self.features(start, stop, buffers)
        try:
            check_finite("X", X, start)
        except ValueError as error:
            row = start + int((~np.isfinite(X)).any(axis=1).argmax())
            raise RowError(f"{error} ({self.X.place(row)})", row) from None
        return X

    def labels(self, start: int, stop: int, buffers: Buffers) -> np.ndarray:
        """y[start:stop] as it is."""
        assert self.y is not None
        return self.y.read(start, stop, buffers.y)

    def checked_weights(self, start: int, stop: int, buffers: Buffers) -> np.ndarray | None:
        """weights[start:stop], None where there are none; RowError for what is not finite, or negative."""
        if self.weights is None:
            return None
        weights = real_numbers("sample_weight", self.weights.read(start, stop, buffers.weights))
        try:
            check_finite("sample_weight", weights, start)
        except ValueError as error:
            row = start + int((~np.isfinite(weights)).argmax())
            raise RowError(f"{error} ({self.weights.place(row)})", row) from None
        row = start + int(weights.argmin())
        lowest = float(weights[row - start])
        if lowest < 0.0:
            raise RowError(
                f"Negative values in data passed to `sample_weight`: {lowest:g} at [{row}], expected at least 0 "
                f"({self.weights.place(row)})",
                row,
            )
        return weights

    def blocks(self, n: int) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, X) of n rows after the other, checked to be finite; each valid until the next."""
        buffers = self.buffers(min(n, self.N))
        for start in range(0, self.N, n):
            yield start, self.checked_features(start, min(start + n, self.N), buffers)

    def identity(self) -> list[Any]:
        """What must be the same wherever the same rows are opened, in JSON's types."""
        parts = (self.X, self.y, self.weights)
        return [self.dtype.str, *(None if part is None else part.identity() for part in parts)]


def check_own_targets(rows: Rows, y: Any, sample_weight: Any) -> None:
    """ValueError unless the rows hold labels, and nobody gives others."""
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(f"{name} is given beside rows that hold their own, expected None: see spiralnn.open_rows")
    if rows.y is None:
        raise ValueError("the rows have no labels, expected some: spiralnn.open_rows(X, y)")


def check_width(rows: Rows, n_features: int | None, owner: str) -> None:
    """As of `checks.arrays.feature_matrix`."""
    if n_features is not None and n_features != rows.D:
        raise ValueError(f"X has {rows.D} features, but {owner} is expecting {n_features} features as input")
