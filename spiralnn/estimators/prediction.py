"""Prediction: what a fitted classifier says of rows."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks.arrays import check_finite, feature_matrix, kernel_array
from ..checks.labels import label_column, places_among
from ..checks.scalars import thread_count
from ..checks.weights import sample_weights
from ..engine import fused
from ..files import model_file, onnx_file
from ..kernels.models import Model
from ..kernels.tree import Forest, Node, add_rows_of_sums
from ..rows.rows import Rows, check_own_targets, check_width
from ..solvers.validation import block_rows
from ..tables import Table
from .protocol import not_fitted
from .settings import Settings

PREDICT_ROWS = 1 << 17  # rows whose scores are held at a time where only their largest is wanted


def _share_of_right(blocks: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> float:
    """Of rows that are right, or of their weights, added up along the tree."""
    forest = Forest(add_rows_of_sums)
    for leaf, (right, weights) in enumerate(blocks):
        parts = [right.sum(), len(right)] if weights is None else [weights[right].sum(), weights.sum()]
        forest.add(Node(0, leaf), np.array(parts, np.float64))
    found, total = forest.total()
    if total == 0.0:
        raise ValueError("sample_weight is zero in every row, expected a positive weight")
    return float(found / total)


def _rows_at_a_time(rows: Rows) -> int:
    return block_rows(rows.D, rows.dtype.itemsize)


class Predictor(Settings):
    """A classifier that is fitted, or not yet."""

    if TYPE_CHECKING:
        classes_: np.ndarray
        n_features_in_: int
        coefs_: list[np.ndarray]
        intercepts_: list[np.ndarray]

    def _params(self) -> list[np.ndarray]:
        if not hasattr(self, "coefs_"):
            raise not_fitted(self)
        return [a for pair in zip(self.coefs_, self.intercepts_, strict=True) for a in pair]

    def _checked_features(self, X: Any, finite: bool = True) -> tuple[np.ndarray, list[np.ndarray]]:
        """X as a matrix, checked to be finite or left to the caller to check, and the parameters, all of one dtype."""
        params = self._params()
        self._check_column_names(X)
        matrix = feature_matrix(X, n_features=self.n_features_in_, owner=type(self).__name__, finite=finite)
        # computed in the model's own dtype, so that a float64 model does not lose digits to float32 rows
        if matrix.dtype != params[0].dtype:
            matrix = matrix.astype(np.result_type(params[0], matrix), copy=False)
        return matrix, [kernel_array(p, matrix.dtype) for p in params]

    def _scores(
        self, matrix: np.ndarray, params: list[np.ndarray], first_row: int = 0, noun: str = "scores"
    ) -> np.ndarray:
        """Scores of all rows; FloatingPointError, which calls them noun, when one is not finite.

        first_row: the number of matrix[0].
        """
        self._check_backend()
        model = Model.of(params)
        scores = np.empty((matrix.shape[0], params[-1].size), matrix.dtype)
        if self.backend == "fused" and fused.any_scores(matrix, params, scores, n_threads=thread_count(self.n_threads)):
            return scores
        # with NumPy, who was asked for it, or has a closer look at numbers that may have overflowed on the way
        for start in range(0, len(matrix), PREDICT_ROWS):
            rows = slice(start, start + PREDICT_ROWS)
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                finite = model.reference.finite_scores(matrix[rows], *params, scores[rows])
            if not finite.all():
                raise FloatingPointError(
                    f"{noun} of row {first_row + start + int(finite.argmin())} are not finite: its values times the "
                    f"fitted weights are beyond {matrix.dtype}. Scale X as in fit"
                )
        return scores

    def decision_function(self, X: Any) -> np.ndarray:
        """Class scores (N, K), before softmax, in the order of `classes_`. FloatingPointError when they overflow.

        Two classes: as everywhere in scikit-learn, the score of the second less that of the first, (N,).
        """
        if isinstance(X, Rows):
            return self._in_blocks(self.decision_function, X)
        scores = self._scores(*self._checked_features(X))
        with np.errstate(over="ignore"):  # infinite where no number is as large, with the right sign
            return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """The class of the largest score of each row, from `classes_`; shape (N,). FloatingPointError: see there.

        X is an array (N, D) here and in the other methods, or rows of `spiralnn.open_rows`, read block by block.
        """
        if isinstance(X, Rows):
            return self._in_blocks(self.predict, X)
        self._check_backend()
        best = self._best_places(*self._checked_features(X, finite=self.backend != "fused"))
        return self.classes_[best]

    def _best_places(self, matrix: np.ndarray, params: list[np.ndarray]) -> np.ndarray:
        """Of the predicted classes among all. The fused kernel finds out on its way whether the rows are finite."""
        best = np.empty(len(matrix), np.intp)
        if self.backend == "fused":
            if fused.predict(matrix, params, best, n_threads=thread_count(self.n_threads)):
                return best
            check_finite("X", matrix)  # X or the scores: if these, the following says which, or has a way around it
        for start in range(0, len(best), PREDICT_ROWS):  # scores of all rows at once would need N x K numbers
            rows = slice(start, start + PREDICT_ROWS)
            best[rows] = self._scores(matrix[rows], params, start).argmax(axis=1)
        return best

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the class probabilities (N, K), without underflow. FloatingPointError when scores overflow."""
        if isinstance(X, Rows):
            return self._in_blocks(self.predict_log_proba, X)
        return self._probabilities(*self._checked_features(X), are_logs=True)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (N, K): softmax of the scores. FloatingPointError when these overflow."""
        if isinstance(X, Rows):
            return self._in_blocks(self.predict_proba, X)
        return self._probabilities(*self._checked_features(X), are_logs=False)

    def _probabilities(self, matrix: np.ndarray, params: list[np.ndarray], are_logs: bool) -> np.ndarray:
        scores = self._scores(matrix, params)
        if self.backend == "fused":
            fused.probabilities(scores, are_logs=are_logs, n_threads=thread_count(self.n_threads))
            return scores
        with np.errstate(over="ignore", under="ignore"):  # what is too small is -infinity, the logarithm of 0
            scores -= scores.max(axis=1, keepdims=True)
            scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
            return scores if are_logs else np.exp(scores)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Share of rows, or of the rows' weights (N,), whose class is predicted right.

        X may be rows of `spiralnn.open_rows`, which hold y and weights themselves.
        """
        self._check_backend()
        if isinstance(X, Rows):
            return _share_of_right(self._judged_rows(X, y, sample_weight))
        matrix, params = self._checked_features(X, finite=self.backend != "fused")
        labels = places_among("y", label_column(y, len(matrix)), self.classes_)
        weights = sample_weights(sample_weight, matrix.shape[0], np.float64)
        right = self._best_places(matrix, params) == labels
        n = block_rows(matrix.shape[1], matrix.itemsize)
        parts = (slice(start, start + n) for start in range(0, len(right), n))
        return _share_of_right((right[part], None if weights is None else weights[part]) for part in parts)

    def _judged_rows(self, rows: Rows, y: Any, sample_weight: Any) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """(whether it is predicted right, weights or None) of one block of rows after the other."""
        check_own_targets(rows, y, sample_weight)
        self._check_rows(rows)
        n = _rows_at_a_time(rows)
        buffers = rows.target_buffers(n)
        for start, block in rows.blocks(n):
            stop = start + len(block)
            labels, weights = rows.labels(start, stop, buffers), rows.checked_weights(start, stop, buffers)
            best = self._best_places(*self._checked_features(self._table(block), finite=self.backend != "fused"))
            yield best == places_among("y", labels, self.classes_, start), weights

    def _in_blocks(self, method: Callable[[Table], np.ndarray], rows: Rows) -> np.ndarray:
        """What a method says of rows that are read piece by piece; the answers are held in memory."""
        self._check_rows(rows)
        return np.concatenate([method(self._table(block)) for _, block in rows.blocks(_rows_at_a_time(rows))])

    def _check_rows(self, rows: Rows) -> None:
        self._params()
        self._check_column_names(rows, stacklevel=5)
        check_width(rows, self.n_features_in_, type(self).__name__)

    def _table(self, block: np.ndarray) -> Table:
        """Of rows that were checked: columns and values are not looked at again."""
        return Table(block, getattr(self, "feature_names_in_", None), is_finite=True)

    def save(self, path: Any) -> None:
        """Write the fitted model to a file that `spiralnn.load` reads: see `spiralnn.files.model_file`."""
        self._params()
        model_file.save(self, path)

    def to_onnx(self, path: Any) -> None:
        """Write the fitted model as an ONNX file, which other runtimes predict from; needs onnx (`spiralnn[onnx]`).

        Its input is X (N, D), its outputs are label (N,) and probabilities (N, K); X and probabilities are of the dtype
        of `coefs_`. Labels are int64 where classes are integers, bools or whole floats, and strings where they are str;
        TypeError for all others. Nothing is checked there: what overflows is NaN. ImportError without onnx, OSError
        when the file cannot be written; one that was there stays whole.
        """
        self._params()
        onnx_file.save(self, path)
