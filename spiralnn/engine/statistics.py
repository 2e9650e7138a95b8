"""Means and variances of columns, in one pass over X, their sums added along the tree."""

from typing import Any, NamedTuple

import numpy as np

from ..kernels import columns, reference
from ..kernels.models import Model
from ..kernels.tree import add_rows_of_sums
from ..rows.coded import Coded, Coding
from ..rows.rows import Rows
from .cache import attach
from .folding import LeafByLeaf, LooseAdder
from .pace import threads_for
from .passes import cached_plan
from .plan import Plan
from .streaming import Stream
from .threads import over_leaves

_add_columns = attach(columns.add_columns)

PIVOT_ROWS = 16  # whose mean is subtracted before anything is squared
LOOKED_AT = 1 << 16  # weights at a time
FLOPS = 8.0  # of arithmetic's time an element takes, which waits for memory


def column_statistics(
    X: np.ndarray, sample_weight: np.ndarray | None, n_threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(means, variances) of the columns of X (N, D), weighted, both (D,) float64; not finite where squares overflow."""
    N, D = X.shape
    rows = cached_plan(N, Model(D, 0, 2), X.itemsize, few_inputs=False)
    pivot = _mean(X[_some_rows(N, sample_weight)])
    sums = np.zeros((rows.n_leaves, 2 * D + 1))
    weights = np.empty(0, X.dtype) if sample_weight is None else sample_weight

    def work(start: int, stop: int, leaf: int) -> None:
        _add_columns(X, weights, start, stop, pivot, sums, leaf)

    over_leaves(work, N, rows, threads_for(FLOPS * N * D, rows.n_leaves, n_threads))
    return _from_sums(pivot, reference.combine(sums))


def _mean(rows: np.ndarray) -> np.ndarray:
    mean = np.zeros(rows.shape[1])
    for row in rows.astype(np.float64):
        mean += row / len(rows)
    return mean


def _from_sums(pivot: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    D = len(pivot)
    with np.errstate(over="ignore", invalid="ignore"):
        first, second = total[:D] / total[-1], total[D : 2 * D] / total[-1]
        return pivot + first, np.maximum(second - first * first, 0.0)


def _some_rows(N: int, sample_weight: np.ndarray | None) -> list[int]:
    """Up to PIVOT_ROWS rows from all over X, of those that have weight."""
    if sample_weight is None:
        return list(range(0, N, max(1, N // PIVOT_ROWS)))[:PIVOT_ROWS]
    places, stretch = [], _stretch(N)
    for start in range(0, N, stretch):
        for first in range(start, min(start + stretch, N), LOOKED_AT):
            has_weight = sample_weight[first : min(first + LOOKED_AT, start + stretch)] > 0.0
            if has_weight.any():
                places.append(first + int(has_weight.argmax()))
                break
    return places


def _stretch(N: int) -> int:
    """Rows of which one is looked for."""
    return max(LOOKED_AT, -(-N // PIVOT_ROWS))


# ------------------------------------------------------------------------------------------- of a stream


class ColumnSums(NamedTuple):
    """Work: what the means and variances of a stream's columns are made of, as measured from pivot (D,)."""

    N: int
    D: int
    itemsize: int
    coding: Coding
    pivot: np.ndarray

    @property
    def plan(self) -> Plan:
        return cached_plan(self.N, Model(self.D, 0, 2), self.itemsize, few_inputs=False)

    def flops(self, N: int) -> float:
        return FLOPS * N * self.D

    def row_bytes(self, rows: Rows) -> int:
        return rows.D * self.itemsize

    def adder(self, rows: Rows, depth: int, most: int) -> "_ColumnAdder":
        return _ColumnAdder(self, Coded(rows, self.coding), most)

    def merge(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return add_rows_of_sums(left, right)


class _ColumnAdder(LeafByLeaf):
    def __init__(self, work: ColumnSums, rows: Coded, most: int) -> None:
        super().__init__(work, rows)
        self._rows, self._buffers, self._pivot = rows, rows.buffers(most), work.pivot
        self._sums = np.zeros((1, 2 * rows.D + 1))
        self._unweighted = np.empty(0, rows.dtype)

    def read(self, start: int, stop: int) -> Any:
        X, y = self._rows.piece(start, stop, self._buffers)
        return X, y[1] if isinstance(y, tuple) else self._unweighted

    def take(self, piece: Any, first: int, last: int) -> None:
        X, weights = piece
        _add_columns(X, weights, first, last, self._pivot, self._sums, 0)

    def close(self) -> np.ndarray:
        sums = self._sums[0].copy()
        self._sums[:] = 0.0
        return sums


class FirstWeighted(NamedTuple):
    """Work: of each stretch of rows the first one that has weight, as {stretch: row}."""

    N: int
    coding: Coding

    @property
    def targets_only(self) -> bool:
        """X is not read."""
        return True

    @property
    def plan(self) -> Plan:
        return Plan(LOOKED_AT, LOOKED_AT, -(-self.N // LOOKED_AT))

    def flops(self, N: int) -> float:
        return 20.0 * N

    def row_bytes(self, rows: Rows) -> int:
        return 16

    def adder(self, rows: Rows, depth: int, most: int) -> "_WeightFinder":
        return _WeightFinder(Coded(rows, self.coding), most)

    def merge(self, left: dict[int, int], right: dict[int, int]) -> dict[int, int]:
        return right | left


class _WeightFinder(LooseAdder):
    def __init__(self, rows: Coded, most: int) -> None:
        self._rows, self._buffers = rows, rows.target_buffers(most)

    def add(self, start: int, stop: int) -> None:
        _, weights = self._rows.targets(start, stop, self._buffers)
        rows = start + np.flatnonzero(weights > 0.0)
        stretches, first = np.unique(rows // _stretch(self._rows.N), return_index=True)
        self.value = dict(zip(stretches.tolist(), rows[first].tolist(), strict=True)) | self.value


class SomeRows(NamedTuple):
    """Work: certain rows of X, as {row: X[row]}."""

    N: int
    D: int
    itemsize: int
    places: tuple[int, ...]

    @property
    def plan(self) -> Plan:
        return cached_plan(self.N, Model(self.D, 0, 2), self.itemsize, few_inputs=False)

    def flops(self, N: int) -> float:
        return 0.0

    def row_bytes(self, rows: Rows) -> int:
        return rows.D * self.itemsize

    def adder(self, rows: Rows, depth: int, most: int) -> "_RowPicker":
        return _RowPicker(rows, self.places)

    def merge(self, left: dict[int, np.ndarray], right: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        return left | right


class _RowPicker(LooseAdder):
    def __init__(self, rows: Rows, places: tuple[int, ...]) -> None:
        self._rows, self._places, self._buffers = rows, places, rows.buffers(1)

    def add(self, start: int, stop: int) -> None:
        for row in self._places:
            if start <= row < stop:
                self.value = self.value | {row: self._rows.features(row, row + 1, self._buffers)[0].copy()}


def stream_statistics(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """As of column_statistics."""
    (N, D), (collector, coding) = stream.shape, stream
    if stream.is_weighted:
        found = collector.total(FirstWeighted(N, coding))
        places = [found[stretch] for stretch in sorted(found)]
    else:
        places = _some_rows(N, None)
    rows = collector.total(SomeRows(N, D, stream.itemsize, tuple(places)))
    pivot = _mean(np.array([rows[place] for place in places]))
    return _from_sums(pivot, collector.total(ColumnSums(N, D, stream.itemsize, coding, pivot)))
