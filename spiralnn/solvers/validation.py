"""Rows that a run is judged by and not trained on: their loss and accuracy after every step, and early stopping."""

from collections.abc import Sequence

import numpy as np

from ..engine import fused
from ..engine.run import Judge
from ..kernels import reference
from ..kernels.models import Model

BLOCK_ROWS = 1 << 16  # rows whose scores are held at a time


class Validation(Judge):
    """Loss (without L2 term) and accuracy of rows X (N, D) of the model's dtype with labels y (N,) in [0, K).

    stops: the run is over once `patience` steps in a row have not raised the accuracy by at least tol, and comes to the
    parameters of the first step with the highest accuracy.
    """

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
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
        N, right, total = len(self._y), 0, 0.0
        model = Model.of(params)
        scores = np.empty((min(N, BLOCK_ROWS), model.K), self._X.dtype)
        for start in range(0, N, BLOCK_ROWS):
            X, y = self._X[start : start + BLOCK_ROWS], self._y[start : start + BLOCK_ROWS]
            block = scores[: len(X)]
            if self._is_reference:
                with np.errstate(over="ignore", invalid="ignore"):
                    model.reference.finite_scores(X, *params, block)
            else:
                fused.any_scores(X, params, block, n_threads=self._n_threads)
            right += int((block.argmax(axis=1) == y).sum())
            with np.errstate(over="ignore", invalid="ignore"):
                if self._is_reference:
                    total += len(X) * reference.softmax_cross_entropy(block, y, np.empty_like(block))
                else:
                    total += len(X) * fused.softmax_cross_entropy(block, y, block, n_threads=self._n_threads)
        return total / N, right / N

    def state(self) -> dict[str, np.ndarray]:
        best = {f"best_{i}": p.astype(np.float64) for i, p in enumerate(self._best or ()) if self.scores}
        judged = {"validation_losses": np.array(self.losses), "validation_scores": np.array(self.scores)}
        return {**judged, **best}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.losses, self.scores = (arrays[f"validation_{name}"].tolist() for name in ("losses", "scores"))
        self._counted = 0, -np.inf, 0
        best = [arrays[name] for name in sorted(arrays) if name.startswith("best_")]
        self._best = [p.astype(self._X.dtype) for p in best] or None
