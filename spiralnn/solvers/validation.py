"""Rows that a run is judged by and not trained on: their loss and accuracy after every step, and early stopping."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..engine import fused
from ..engine.folding import LeafByLeaf
from ..engine.plan import Plan
from ..engine.run import Judge
from ..engine.streaming import Stream
from ..kernels import reference
from ..kernels.models import Model
from ..kernels.tree import Forest, Node, add_rows_of_sums
from ..rows.coded import Coded, Coding
from ..rows.rows import Rows

MOST_ROWS, FEWEST_ROWS, BLOCK_BYTES = 1 << 16, 256, 4 << 20  # that are judged at a time


def block_rows(D: int, itemsize: int) -> int:
    """Rows of a leaf of the tree along which losses are added up."""
    return max(FEWEST_ROWS, min(MOST_ROWS, BLOCK_BYTES // (D * itemsize)))


class _Block:
    """Up to n rows at a time, judged."""

    def __init__(self, n: int, model: Model, dtype: Any, n_threads: int | None, is_reference: bool = False) -> None:
        self._model, self._n_threads, self._is_reference = model, n_threads, is_reference
        self._scores = np.empty((n, model.K), dtype)

    def judge(self, X: np.ndarray, y: np.ndarray, params: Sequence[np.ndarray]) -> np.ndarray:
        """(sum of losses, rows that are predicted right), float64."""
        block = self._scores[: len(X)]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if self._is_reference:
                self._model.reference.finite_scores(X, *params, block)
            else:
                fused.any_scores(X, params, block, n_threads=self._n_threads)
            right = int((block.argmax(axis=1) == y).sum())
            if self._is_reference:
                loss = reference.softmax_cross_entropy(block, y, np.empty_like(block))
            else:
                loss = fused.softmax_cross_entropy(block, y, block, n_threads=self._n_threads)
        return np.array([len(X) * loss, right], np.float64)


class Judging(NamedTuple):
    """Work: the same of a stream's rows. State of a pass: the parameters."""

    N: int
    D: int
    itemsize: int
    coding: Coding

    @property
    def plan(self) -> Plan:
        rows = block_rows(self.D, self.itemsize)
        return Plan(rows, rows, -(-self.N // rows))

    def flops(self, N: int) -> float:
        return 100.0 * N * self.D

    def row_bytes(self, rows: Rows) -> int:
        return rows.D * self.itemsize

    def adder(self, rows: Rows, depth: int, most: int) -> "_JudgingAdder":
        return _JudgingAdder(self, Coded(rows, self.coding), most)

    def merge(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return add_rows_of_sums(left, right)


class _JudgingAdder(LeafByLeaf):
    def __init__(self, work: Judging, rows: Coded, most: int) -> None:
        super().__init__(work, rows)
        self._rows, self._most, self._buffers = rows, most, rows.buffers(most)
        self._params: Sequence[np.ndarray] = ()
        self._value = np.zeros(2)

    def open(self, state: Sequence[np.ndarray]) -> None:
        self._params = state
        self._block = _Block(self._most, Model.of(state), self._rows.dtype, n_threads=1)

    def read(self, start: int, stop: int) -> Any:
        X, _ = self._rows.piece(start, stop, self._buffers)
        return X, self._buffers.codes[: stop - start]

    def take(self, piece: Any, first: int, last: int) -> None:
        X, y = piece
        self._value = self._block.judge(X[first:last], y[first:last], self._params)

    def close(self) -> np.ndarray:
        return self._value


class Validation(Judge):
    """Loss (without L2 term) and accuracy of rows X (N, D) of the model's dtype with labels y (N,) in [0, K), or of a
    stream, which holds both.

    stops: the run is over once `patience` steps in a row have not raised the accuracy by at least tol, and comes to the
    parameters of the first step with the highest accuracy.
    """

    def __init__(
        self,
        X: np.ndarray | Stream,
        y: np.ndarray | None,
        *,
        stops: bool,
        tol: float,
        patience: int,
        n_threads: int | None,
        backend: str,
    ) -> None:
        self._X, self._y, self.stops, self._tol, self._patience = X, y, stops, tol, patience
        self._n_threads, self._is_reference = n_threads, backend == "reference"
        self.losses: list[float] = []
        self.scores: list[float] = []
        self._work: Judging | None = None
        self._best: list[np.ndarray] | None = None
        self._counted = 0, -np.inf, 0  # scores, the best of them, and steps since one last raised that by tol

    @property
    def n_looked(self) -> int:  # type: ignore[override]
        return len(self.scores)

    @property
    def best(self) -> Sequence[np.ndarray] | None:
        return self._best

    @property
    def best_score(self) -> float:
        return max(self.scores, default=float("nan"))

    def line(self, step: int) -> str:
        if step >= len(self.scores):  # the run was cut short before it was judged
            return ""
        return f", validation loss {self.losses[step]:f}, accuracy {self.scores[step]:.4f}"

    def look(self, params: Sequence[np.ndarray]) -> None:
        loss, score = self.judge(params)
        best = max(self.scores, default=-np.inf)
        # Ctrl-C may come between any two lines: done again, they come to the same, until there is a score
        if self.stops and score > best:
            self._best = [p.copy() for p in params]
        self.losses[len(self.scores) :] = [loss]
        self.scores.append(score)

    def is_over(self) -> bool:
        n, best, since = self._counted
        for score in self.scores[n:]:
            since = since + 1 if score < best + self._tol else 0
            best = max(best, score)
        self._counted = len(self.scores), best, since
        return self.stops and since >= self._patience

    def judge(self, params: Sequence[np.ndarray]) -> tuple[float, float]:
        """(mean loss, accuracy) at these parameters; scores that are not finite make the loss NaN."""
        N, D = self._X.shape
        if isinstance(self._X, Stream):
            work = self._work = self._work or Judging(N, D, self._X.itemsize, self._X.coding)
            total, right = self._X.collector.total(work, tuple(params))
            return float(total) / N, float(right) / N
        assert self._y is not None
        forest, rows = Forest(add_rows_of_sums), block_rows(D, self._X.itemsize)
        block = _Block(min(N, rows), Model.of(params), self._X.dtype, self._n_threads, self._is_reference)
        for leaf, start in enumerate(range(0, N, rows)):
            part = slice(start, start + rows)
            forest.add(Node(0, leaf), block.judge(self._X[part], self._y[part], params))
        total, right = forest.total()
        return float(total) / N, float(right) / N

    def state(self) -> dict[str, np.ndarray]:
        best = {f"best_{i}": p.astype(np.float64) for i, p in enumerate(self._best or ()) if self.scores}
        judged = {"validation_losses": np.array(self.losses), "validation_scores": np.array(self.scores)}
        return {**judged, **best}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.losses, self.scores = (arrays[f"validation_{name}"].tolist() for name in ("losses", "scores"))
        self._counted = 0, -np.inf, 0
        best = [arrays[name] for name in sorted(arrays) if name.startswith("best_")]
        self._best = [p.astype(self._X.dtype) for p in best] or None
