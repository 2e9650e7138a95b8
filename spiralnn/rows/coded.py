"""Rows as kernels take them: labels as the bytes of their places among the classes, weights of samples and classes."""

from typing import Any, NamedTuple

import numpy as np

from ..checks.labels import label_bytes
from ..checks.weights import scaled_weights
from .rows import Buffers, Rows
from .source import RowError

TABLE = 1 << 16  # integers that classes lie among, at most, for a table of their places


class CodedBuffers(NamedTuple):
    """Of one thread: what is read, and what is made of it. y: label bytes of `codes`, as a view."""

    read: Buffers
    codes: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None


class Weighing(NamedTuple):
    """How a row's weight comes about: its own, scaled by a power of two, times that of its class, scaled again.

    factors (K,) by class, or None. exponents: those of the two powers.
    """

    factors: np.ndarray | None = None
    exponents: tuple[int, int] = (0, 0)


class Coding(NamedTuple):
    """What makes targets of labels and weights. classes (K,): sorted, all that labels are among."""

    classes: np.ndarray
    weighing: Weighing = Weighing()


class Coded:
    """Rows by a coding. The rest is as of `Rows`."""

    def __init__(self, rows: Rows, coding: Coding) -> None:
        self.rows = rows
        self.classes, self.weighing = coding
        self.N, self.D, self.dtype, self.K = rows.N, rows.D, rows.dtype, len(self.classes)
        self.is_weighted = rows.weights is not None or self.weighing.factors is not None
        self._codes = _Codes(self.classes)

    def buffers(self, n: int) -> CodedBuffers:
        return self._buffers(self.rows.buffers(n), n)

    def _buffers(self, read: Buffers, n: int) -> CodedBuffers:
        # kernels may look at whole vectors of labels: some more lie behind the last
        codes = np.zeros(n + 64, np.uint8 if self.K <= 256 else np.uint32)
        weights = np.empty(n, self.dtype) if self.is_weighted else None
        return CodedBuffers(read, codes, label_bytes(codes, self.K), weights)

    def target_buffers(self, n: int) -> CodedBuffers:
        """Where X is not read."""
        return self._buffers(self.rows.target_buffers(n), n)

    def piece(self, start: int, stop: int, buffers: CodedBuffers) -> tuple[np.ndarray, Any]:
        """(X, y) of rows [start, stop), or (X, (y, weights)), valid until the next call with these buffers."""
        return self.rows.features(start, stop, buffers.read), self.targets(start, stop, buffers)

    def targets(self, start: int, stop: int, buffers: CodedBuffers) -> Any:
        """y, or (y, weights), of the rows."""
        n = stop - start
        codes = self.codes(start, stop, buffers)
        if buffers.weights is None:
            return buffers.y[:n]
        buffers.weights[:n] = self._weigh(start, stop, codes, buffers)
        return buffers.y[:n], buffers.weights[:n]

    def codes(self, start: int, stop: int, buffers: CodedBuffers) -> np.ndarray:
        """(n,): the place of each label among the classes. RowError for one that is not there."""
        codes = buffers.codes[: stop - start]
        unknown = self._codes.write(self.rows.labels(start, stop, buffers.read), codes)
        if unknown is not None:
            assert self.rows.y is not None
            raise RowError(
                f"y holds label {unknown[1]!r}, which is not among the classes {self.classes.tolist()} "
                f"({self.rows.y.place(start + unknown[0])})",
                start + unknown[0],
            )
        return codes

    def own_weights(self, start: int, stop: int, buffers: CodedBuffers) -> np.ndarray | None:
        """Those of the rows, scaled, without their classes'."""
        if self.rows.weights is None:
            return None
        found = self.rows.weights.read(start, stop, buffers.read.weights)
        return scaled_weights(found, self.weighing.exponents[0], self.dtype)

    def _weigh(self, start: int, stop: int, codes: np.ndarray, buffers: CodedBuffers) -> np.ndarray:
        weights = self.own_weights(start, stop, buffers)
        if self.weighing.factors is None:
            assert weights is not None
            return weights
        by_row = self.weighing.factors[codes]
        if weights is not None:
            by_row *= weights
        return scaled_weights(by_row, self.weighing.exponents[1], self.dtype)


class _Codes:
    """Places of labels among classes, in whatever way is fastest for these."""

    def __init__(self, classes: np.ndarray) -> None:
        self._classes = classes
        self._table: np.ndarray | None = None
        if classes.dtype.kind in "iub":
            low, high = int(classes[0]), int(classes[-1])
            self._low = low
            if high - low < TABLE:
                self._table = np.full(high - low + 1, len(classes), np.uint32)
                self._table[[label - low for label in classes.tolist()]] = range(len(classes))
            self._is_plain = low == 0 and high == len(classes) - 1

    def write(self, labels: np.ndarray, codes: np.ndarray) -> tuple[int, Any] | None:
        """codes = places; or the first label that has none, with its number."""
        table = self._table
        if table is not None and labels.dtype.kind in "iub":
            low, high = int(labels.min()), int(labels.max())
            if low >= self._low and high < self._low + len(table):
                if self._is_plain:
                    np.copyto(codes, labels, casting="unsafe")
                    return None
                wide = labels if labels.dtype == np.uint64 else labels.astype(np.int64)
                found = table[wide - wide.dtype.type(self._low)]
                known = found < len(self._classes)
            else:
                known = np.isin(labels, self._classes)
                found = np.zeros(len(labels), np.uint32)
        else:
            found = np.searchsorted(self._classes, labels)
            known = self._classes[np.minimum(found, len(self._classes) - 1)] == labels
        if not known.all():
            i = int(np.argmin(known))
            return i, labels[i].item() if hasattr(labels[i], "item") else labels[i]
        np.copyto(codes, found, casting="unsafe")
        return None
