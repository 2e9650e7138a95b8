"""Softmax cross-entropy fused with its gradient, over a tile of class scores s (K, T).

    p_k = exp(f_k) / sum_j exp(f_j),  L = -log p_y,  dL/df_k = p_k - 1(y = k)        (the case study's formulas)
"""

import numpy as np
from numba import njit

from .simd import (
    add_to,
    exp,
    full,
    lanes,
    load,
    log,
    maximum,
    span,
    store,
    sum_lanes,
    traced,
    var,
    where,
    zeros,
)
from .tile import aligned, load_inputs, load_labels, padded, put_rows


@traced
def softmax_cross_entropy_tile(s, K, labels, rows) -> float:
    """Sum of the tile's losses; s (K, T) is overwritten with its own gradient (not divided by N).

    labels (1, T) hold the class as a float, -1 in padding rows, which get no loss and no gradient.
    """
    loss = var(zeros(s))
    for t in span(0, rows, lanes(s)):
        label = load(labels, 0, t)
        top = var(load(s, 0, t))
        for k in span(1, K):
            top.set(maximum(load(s, k, t), top.value))
        total = var(zeros(s))
        number = var(zeros(s))  # k, in every lane
        for k in span(0, K):
            shifted = load(s, k, t) - top
            loss -= where(label == number.value, shifted, 0.0)
            e = exp(shifted)
            total += e
            number += 1.0
            store(s, k, t, e)
        real = label > -0.5
        loss += where(real, log(total), 0.0)
        scale = where(real, 1.0 / total.value, 0.0)
        number.set(zeros(s))
        for k in span(0, K):
            store(s, k, t, load(s, k, t) * scale - where(label == number.value, full(s, 1.0), 0.0))
            number += 1.0
    return sum_lanes(loss)


@traced
def add_row_sums(s, K, rows, db):
    """db (1, K) += sums of s (K, T) over rows: the gradient of the bias that was added to the scores."""
    for k in span(0, K):
        total = var(zeros(s))
        for t in span(0, rows, lanes(s)):
            total += load(s, k, t)
        add_to(db, 0, k, sum_lanes(total))



def workspace(K, T, dtype):
    """Arrays one thread needs for softmax_cross_entropy_rows: the tile's s and labels."""
    return (aligned(padded(K, 2), T, dtype), aligned(1, T, dtype))


@njit(error_model="numpy", nogil=True)
def softmax_cross_entropy_rows(scores, y, start, stop, tile_rows, workspace, dscores):
    """Loss sum of rows [start, stop), returned; their gradient, divided by N, into dscores (N, K)."""
    s, labels = workspace
    N, K = scores.shape
    factor = scores.dtype.type(1.0 / N)
    loss = 0.0
    for row in range(start, stop, tile_rows):
        rows = tile_rows if row + tile_rows <= stop else stop - row
        load_inputs(scores, row, rows, 0, K, s)
        load_labels(y, row, rows, labels)
        loss += softmax_cross_entropy_tile(s, K, labels, rows)
        put_rows(s, row, rows, factor, dscores)
    return np.float64(loss)
