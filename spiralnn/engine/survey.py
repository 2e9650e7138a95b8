"""The first pass over rows that are not one array in memory: everything is checked, classes and weights are found."""

from typing import Any, NamedTuple

import numpy as np

from ..checks.labels import check_two, class_counts, distinct_labels
from ..checks.weights import TOTAL_ROWS, WEIGHTLESS, class_factors, exponent_for
from ..kernels.models import Model
from ..kernels.tree import Node, add_rows_of_sums
from ..rows.coded import Coded, Coding, Weighing
from ..rows.rows import Rows
from ..rows.source import RowError
from .folding import Collector, LeafByLeaf
from .passes import cached_plan
from .plan import Plan

LABEL_BYTES = 16  # read of a row for its label and weight, about


class Found(NamedTuple):
    """What rows hold: by label [rows, largest weight], the smallest and the largest weight of all (1 without any)."""

    labels: dict[Any, list[float]]
    lowest: float
    highest: float

    def with_more(self, other: "Found") -> "Found":
        """Both together; the labels of this one are written to."""
        for label, (n, weight) in other.labels.items():
            known = self.labels.setdefault(label, [0.0, 0.0])
            known[0] += n
            known[1] = max(known[1], weight)
        return Found(self.labels, min(self.lowest, other.lowest), max(self.highest, other.highest))


class Survey(NamedTuple):
    """Work: rows are looked at for what is wrong with them, and for their labels."""

    N: int
    D: int
    itemsize: int

    @property
    def plan(self) -> Plan:
        return cached_plan(self.N, Model(self.D, 0, 2), self.itemsize, few_inputs=False)

    def flops(self, N: int) -> float:
        return 8.0 * N * (self.D + LABEL_BYTES)

    def row_bytes(self, rows: Rows) -> int:
        return rows.D * self.itemsize + LABEL_BYTES

    def adder(self, rows: Rows, depth: int, most: int) -> "_Surveyor":
        return _Surveyor(rows, most)

    def merge(self, left: Found, right: Found) -> Found:
        return left.with_more(right)


class _Surveyor:
    def __init__(self, rows: Rows, most: int) -> None:
        self._rows, self._buffers = rows, rows.buffers(most)
        self._found = Found({}, np.inf, 0.0)

    def open(self, state: Any) -> None:
        pass

    def begin(self, node: Node) -> None:
        self._found = Found({}, np.inf, 0.0)

    def add(self, start: int, stop: int) -> None:
        rows = self._rows
        rows.checked_features(start, stop, self._buffers)
        weights = rows.checked_weights(start, stop, self._buffers)
        if rows.y is None:
            return
        labels = rows.labels(start, stop, self._buffers)
        try:
            classes, places = distinct_labels("y", labels, start)
        except (ValueError, TypeError) as error:
            raise RowError(f"{error} (from {rows.y.place(start)} on)", start) from None
        counts = class_counts(places, len(classes))
        largest = np.ones(len(classes))
        if weights is not None:
            largest[:] = 0.0
            np.maximum.at(largest, places, weights)
        found = zip(classes.tolist(), counts.tolist(), largest.tolist(), strict=True)
        by_label = {label: [float(n), weight] for label, n, weight in found}
        low, high = (1.0, 1.0) if weights is None else (float(weights.min()), float(weights.max()))
        self._found = self._found.with_more(Found(by_label, low, high))

    def end(self) -> Found:
        return self._found


class ClassTotals(NamedTuple):
    """Work: the weight of each class, as `checks.weights.class_totals` has it, but for leaf_rows."""

    N: int
    coding: Coding
    leaf_rows: int = TOTAL_ROWS

    @property
    def targets_only(self) -> bool:
        """X is not read."""
        return True

    @property
    def plan(self) -> Plan:
        return Plan(self.leaf_rows, self.leaf_rows, -(-self.N // self.leaf_rows))

    def flops(self, N: int) -> float:
        return 20.0 * N

    def row_bytes(self, rows: Rows) -> int:
        return LABEL_BYTES

    def adder(self, rows: Rows, depth: int, most: int) -> "_ClassAdder":
        return _ClassAdder(self, Coded(rows, self.coding), most)

    def merge(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return add_rows_of_sums(left, right)


class _ClassAdder(LeafByLeaf):
    def __init__(self, work: ClassTotals, rows: Coded, most: int) -> None:
        super().__init__(work, rows)
        self._rows, self._K, self._buffers = rows, rows.K, rows.target_buffers(most)
        self._totals = np.zeros(rows.K)

    def read(self, start: int, stop: int) -> Any:
        return self._rows.codes(start, stop, self._buffers), self._rows.own_weights(start, stop, self._buffers)

    def take(self, piece: Any, first: int, last: int) -> None:
        codes, weights = piece
        own = None if weights is None else weights[first:last]
        self._totals = class_counts(codes[first:last], self._K, own).astype(np.float64)

    def close(self) -> np.ndarray:
        return self._totals


def survey(collector: Collector) -> Found:
    """Every row looked at; RowError for the first that is not what it must be."""
    rows: Rows = collector.rows
    found: Found = collector.total(Survey(rows.N, rows.D, rows.dtype.itemsize))
    if found.highest == 0.0:
        raise ValueError("sample_weight is zero in every row, expected a positive weight")
    return found


def surveyed(collector: Collector, class_weight: Any, known: np.ndarray | None = None) -> Coding:
    """The coding of a collector's rows, all of which are checked: classes and weights as `checks` has them for arrays.

    known: the sorted classes that labels must be of; None: those that are found, at least two.
    """
    found, rows = survey(collector), collector.rows
    if known is None:
        known = np.array(sorted(found.labels), rows.y.dtype)
        check_two("y", known)
    else:
        unknown = sorted(set(found.labels) - set(known.tolist()))
        if unknown:
            collector.total(ClassTotals(rows.N, Coding(known)))  # says where the first one stands
            raise ValueError(f"y holds label {unknown[0]!r}, which is not among the classes {known.tolist()}")
    return coding_of(collector, found, class_weight, known)


def coding_of(collector: Collector, found: Found, class_weight: Any, classes: np.ndarray) -> Coding:
    """Of rows in which so much was found, with the classes that all labels are of."""
    rows: Rows = collector.rows
    exponent = exponent_for(found.highest)
    weighing = Weighing(None, (exponent, 0))

    def totals() -> np.ndarray:
        if rows.weights is None:
            return np.array([float(found.labels.get(label, (0,))[0]) for label in classes.tolist()])
        return collector.total(ClassTotals(rows.N, Coding(classes, weighing)))

    factors = class_factors(class_weight, classes, totals)
    if factors is not None:
        largest = [found.labels.get(label, (0, 0.0))[1] for label in classes.tolist()]
        own = np.ldexp(np.array(largest), exponent).astype(rows.dtype).astype(np.float64)
        highest = float((factors * own).max())
        if highest == 0.0:
            raise ValueError(WEIGHTLESS)
        weighing = Weighing(factors, (exponent, exponent_for(highest)))
    return Coding(classes, weighing)
