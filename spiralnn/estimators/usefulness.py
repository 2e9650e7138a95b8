"""Whether a model that was trained is of any use: better than the best constant answer, and of more than one answer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checks.weights import class_totals
from ..engine import fused
from ..engine.folding import LooseAdder
from ..engine.plan import Plan
from ..engine.survey import ClassTotals, Survey
from ..kernels.models import Model
from ..kernels.tree import Node
from ..rows.rows import Rows
from .material import Material

SAMPLE = 32  # rows that are looked at first: NumPy is soon done with them, and they mostly settle it
BLOCK = 1 << 12  # rows at a time where all are left to NumPy


class UselessModelWarning(UserWarning):
    """A fit has ended with a model that is no better than a constant answer, or predicts one class for all rows."""


def constant_loss(material: Material) -> float:
    """The mean loss of the best constant answer, the share of each class: the entropy of the classes, in nats."""
    if material.is_stream:
        stream: Any = material.X
        N, D = stream.shape
        leaf_rows = Survey(N, D, stream.itemsize).plan.leaf_rows  # each process has the rows of these at hand
        totals = material.collector.total(ClassTotals(N, stream.coding, leaf_rows))
    else:
        assert material.y is not None
        totals = class_totals(material.y, material.weights, len(material.classes))
    shares = totals[totals > 0.0] / totals.sum()
    return float(-(shares * np.log(shares)).sum())


def only_answer(material: Material, params: Sequence[np.ndarray], backend: str) -> int | None:
    """The place of the class that is predicted for every row; None where there are several."""
    (N, D), itemsize = material.X.shape, material.dtype.itemsize
    if isinstance(material.X, np.ndarray) and len(_answers(material.X[:: N // SAMPLE + 1], params)) > 1:
        return None
    found = material.collector.total(Answers(N, D, itemsize, backend == "reference"), tuple(params))
    return next(iter(found)) if len(found) == 1 else None


class Answers(NamedTuple):
    """Work: the classes that are predicted, as keys, until there are two of them. State of a pass: the parameters."""

    N: int
    D: int
    itemsize: int
    is_reference: bool

    @property
    def plan(self) -> Plan:
        return Survey(self.N, self.D, self.itemsize).plan

    def flops(self, N: int) -> float:
        return 0.0  # a few rows mostly settle it: no work to share out, and BLAS needs more stack than threads may have

    def row_bytes(self, rows: Rows) -> int:
        return rows.D * self.itemsize

    def adder(self, rows: Rows, depth: int, most: int) -> "_AnswerFinder":
        return _AnswerFinder(self, rows, most)

    def merge(self, left: dict[int, bool], right: dict[int, bool]) -> dict[int, bool]:
        return left | right


class _AnswerFinder(LooseAdder):
    def __init__(self, work: Answers, rows: Rows, most: int) -> None:
        self._is_reference, self._rows, self._buffers = work.is_reference, rows, rows.buffers(most)
        self._best = np.empty(most, np.intp)
        self._params: Sequence[np.ndarray] = ()
        self._found: set[int] = set()  # in all nodes so far

    def open(self, state: Sequence[np.ndarray]) -> None:
        self._params, self._found = state, set()

    def begin(self, node: Node) -> None:
        self.value = {}

    def add(self, start: int, stop: int) -> None:
        if len(self._found) > 1:
            return
        X = self._rows.features(start, stop, self._buffers)
        answers = _answers(X[:: len(X) // SAMPLE + 1], self._params)
        if len(answers | self._found) == 1:
            answers |= self._of_all(X)
        self._found |= answers
        self.value.update(dict.fromkeys(answers, True))

    def _of_all(self, X: np.ndarray) -> set[int]:
        best = self._best[: len(X)]
        if not self._is_reference and fused.predict(X, self._params, best, n_threads=1):
            return set(np.unique(best).tolist())
        blocks = (X[start : start + BLOCK] for start in range(0, len(X), BLOCK))
        return set().union(*(_answers(block, self._params) for block in blocks))


def _answers(X: np.ndarray, params: Sequence[np.ndarray]) -> set[int]:
    """Places of the classes that NumPy predicts for some rows."""
    model = Model.of(params)
    scores = np.empty((len(X), model.K), X.dtype)
    with np.errstate(all="ignore"):
        model.reference.scores(X, *params, scores)
    return set(scores.argmax(axis=1).tolist())
