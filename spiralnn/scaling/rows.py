"""The rows that a scaling run trains on, and the losses that they must come to."""

from collections.abc import Sequence

import numpy as np

from ..data import make_spiral
from ..kernels import reference
from .planning import CLASSES, INPUTS, PERIOD

PART_PER_CLASS = 10_000  # rows are made in parts of so many a class, shuffled
STEP_SIZE, REG = 0.1, 1e-3


def make_rows(N: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """X (N, 2) and labels (N,) uint8: shuffled parts of the spiral, repeated every PERIOD rows.

    Drawing 10^8 rows one by one would take longer than measuring them, and the loss of any N would not be known.
    """
    X, y = np.empty((N, INPUTS), dtype), np.empty(N, np.uint8)
    part = PART_PER_CLASS * CLASSES
    for i, start in enumerate(range(0, min(N, PERIOD), part)):
        some_X, some_y = make_spiral(PART_PER_CLASS, CLASSES, random_state=i)
        order = np.random.RandomState(i).permutation(part)[: N - start]
        X[start : start + part], y[start : start + part] = some_X[order], some_y[order]
    for start in range(PERIOD, N, PERIOD):
        count = min(PERIOD, N - start)
        X[start : start + count], y[start : start + count] = X[:count], y[:count]
    return X, y


def start(H: int, dtype: str) -> tuple[np.ndarray, ...]:
    random = np.random.RandomState(0)
    sizes = (INPUTS, H, CLASSES) if H else (INPUTS, CLASSES)
    return tuple(
        (0.1 * random.randn(*shape)).astype(dtype)
        for n, m in zip(sizes, sizes[1:], strict=False)
        for shape in ((n, m), (m,))
    )


def expected_losses(X: np.ndarray, y: np.ndarray, params: Sequence[np.ndarray], N: int) -> list[float]:
    """Losses before the first two steps on N rows of make_rows, by the reference in float64.

    The second depends on every gradient. Rows are taken a part at a time, and those that repeat only once.
    """
    kernel = reference.two_layer_loss_gradients if len(params) == 4 else reference.linear_loss_gradients
    params = [p.astype(np.float64) for p in params]
    part_gradients = [np.empty_like(p) for p in params]
    periods, rest = divmod(N, PERIOD)
    parts = [  # first row, row after the last, how often they come
        (start, min(start + PART_PER_CLASS, last), times)
        for first, last, times in ((0, rest, periods + 1), (rest, min(N, PERIOD), periods))
        for start in range(first, last, PART_PER_CLASS)
    ]
    losses = []
    for _ in range(2):
        loss = 0.5 * REG * sum(float(np.sum(W * W)) for W in params[::2])
        gradients = [REG * p * (i % 2 == 0) for i, p in enumerate(params)]
        for start, stop, times in parts:
            some = X[start:stop].astype(np.float64), y[start:stop].astype(np.intp)
            share = times * (stop - start) / N
            loss += share * kernel(*some, *params, 0.0, *part_gradients)
            for total, part in zip(gradients, part_gradients, strict=True):
                total += share * part
        losses.append(loss)
        for p, dp in zip(params, gradients, strict=True):
            p -= STEP_SIZE * dp
    return losses
