"""Softmax cross-entropy fused with its gradient, over a tile of class scores s (K, T).

    p_k = exp(f_k) / sum_j exp(f_j),  L = -log p_y,  dL/df_k = p_k - 1(y = k)        (the case study's formulas)
"""

from numba import njit

from .simd import (
    ENTRY,
    add_to,
    exp_of_negative,
    full,
    lanes,
    load,
    log,
    maximum,
    minimum,
    span,
    store,
    sum_lanes,
    traced,
    var,
    where,
    zeros,
)
from .tile import aligned, load_inputs, load_labels, padded, put_rows


def softmax_cross_entropy_tile(s, K, labels, rows):
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
            shifted = load(s, k, t) - top.value
            loss -= where(label == number.value, shifted, 0.0)
            e = exp_of_negative(shifted)
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


def workspace(K, T, dtype):
    """Arrays one thread needs for softmax_cross_entropy_rows: the loss, the tile's s and labels."""
    return (*aligned("f8", (1, 1)), *aligned(dtype, (padded(K, 2), T), (1, T)))


@traced
def _rows(scores, y, start, stop, tile_rows, workspace, dscores, factor):
    loss, s, labels = workspace
    K = scores.shape[1]
    for row in span(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        load_inputs(scores, row, rows, 0, K, s)
        load_labels(y, row, rows, labels)
        add_to(loss, 0, 0, softmax_cross_entropy_tile(s, K, labels, rows))
        put_rows(s, row, rows, dscores, factor)


@njit(**ENTRY)
def softmax_cross_entropy_rows(scores, y, start, stop, tile_rows, workspace, dscores):
    """Loss sum of rows [start, stop), added to workspace[0]; their gradient, divided by N, into dscores (N, K)."""
    _rows(scores, y, start, stop, tile_rows, workspace, dscores, scores.dtype.type(1.0 / scores.shape[0]))
