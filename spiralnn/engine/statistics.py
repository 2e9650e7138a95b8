"""Means and variances of columns, in one pass over X, their sums added along the tree."""

import numpy as np

from ..kernels import columns, reference
from ..kernels.models import Model
from .cache import attach
from .pace import threads_for
from .passes import cached_plan
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
    places = _some_rows(N, sample_weight)
    pivot = np.zeros(D)
    for row in X[places].astype(np.float64):
        pivot += row / len(places)
    sums = np.zeros((rows.n_leaves, 2 * D + 1))
    weights = np.empty(0, X.dtype) if sample_weight is None else sample_weight

    def work(start: int, stop: int, leaf: int) -> None:
        _add_columns(X, weights, start, stop, pivot, sums, leaf)

    over_leaves(work, N, rows, threads_for(FLOPS * N * D, rows.n_leaves, n_threads))
    with np.errstate(over="ignore", invalid="ignore"):
        total = reference.combine(sums)
        first, second = total[:D] / total[-1], total[D : 2 * D] / total[-1]
        return pivot + first, np.maximum(second - first * first, 0.0)


def _some_rows(N: int, sample_weight: np.ndarray | None) -> list[int]:
    """Up to PIVOT_ROWS rows from all over X, of those that have weight."""
    if sample_weight is None:
        return list(range(0, N, max(1, N // PIVOT_ROWS)))[:PIVOT_ROWS]
    places, stretch = [], max(LOOKED_AT, -(-N // PIVOT_ROWS))
    for start in range(0, N, stretch):
        for first in range(start, min(start + stretch, N), LOOKED_AT):
            has_weight = sample_weight[first : min(first + LOOKED_AT, start + stretch)] > 0.0
            if has_weight.any():
                places.append(first + int(has_weight.argmax()))
                break
    return places
