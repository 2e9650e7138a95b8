"""The two-layer ReLU network over a block of rows: forward, softmax cross-entropy and backward, tile by tile.

    z = x W + b,  f = max(0, z) W2 + b2,  L = -log softmax(f)_y                      (the case study's formulas)

Softmax does not change when all scores of a row shift, and the class gradients of a row sum to zero. So the
last class serves as origin: the kernels compute with v_k = W2_k - W2_{K-1}, K - 1 columns forward and backward,
and the last column of dW2 is minus the sum of the others. At K = 3 this saves a third of the work on scores.

Two families, chosen in `spiralnn/descent.py`:

- general: hidden values of the tile are kept (H x T, in the second-level cache) and overwritten with their
  gradient; the loops of `tile.py`, in register blocks.
- few inputs (D <= 2, K <= 3): hidden values are cheaper to compute again than to keep, and the gradients of a
  hidden unit follow from six sums over the rows where it is active (`_few_backward`), which are additions only.

theta (float64) is the flat parameter vector [W (Dp, Hp) | W2 transposed (K, Hp) | b (Hp) | b2 (Kp)], every row
padded to 16 with zeros, so that everything that runs along hidden units runs in whole vectors.
"""

import numpy as np
from numba import njit

from .simd import (
    ENTRY,
    VECTOR_BYTES,
    add_to,
    every,
    lanes,
    load,
    minimum,
    relu,
    span,
    store,
    sum_each,
    traced,
    var,
    vectors,
    where,
    zeros,
)
from .softmax import softmax_cross_entropy_tile
from .tile import (
    BLOCK,
    INPUTS,
    PANEL,
    add_input_products,
    add_products,
    add_row_sums,
    affine,
    aligned,
    clear,
    load_gradients,
    load_inputs,
    load_labels,
    padded,
    put_rows,
)


def layout(D, H, K, block=BLOCK):
    """Parts of theta as (first, rows, row length, used rows, used columns): W, W2 transposed, b, b2; weights first.

    block: what D is padded to.
    """
    Dp, Hp = padded(D, block), padded(H, 16)
    return (
        (0, Dp, Hp, D, H),
        (Dp * Hp, K, Hp, K, H),
        ((Dp + K) * Hp, 1, Hp, 1, H),
        ((Dp + K + 1) * Hp, 1, padded(K, 16), 1, K),
    )


def _sums(layout):
    """Sums with the loss behind them, and their parts dW, dV, db, db2."""
    first, rows, length, _, _ = layout[-1]
    (sums,) = aligned("f8", (1, first + rows * length + 16))
    parts = [sums[0, first : first + rows * n].reshape(rows, n) for first, rows, n, _, _ in layout]
    return (sums, *parts)


def _pack_output(theta, now, Dp, K, v, biases):
    """v_k = W2_k - W2_{K-1} and both biases, relative to the last class: its own row becomes zero."""
    Hp = v.shape[1]
    b = (Dp + K) * Hp
    for h in span(0, Hp, lanes(theta)):
        last = load(theta, now, b - Hp + h)
        for k in span(0, K):
            store(v, k, h, load(theta, now, (Dp + k) * Hp + h) - last)
        store(biases, 0, h, load(theta, now, b + h))
    origin = every(theta, now, b + Hp + K - 1)
    for k in span(0, K, lanes(theta)):
        store(biases, 1, k, load(theta, now, b + Hp + k) - origin)


def _close_last_class(dV, K):
    """A row's class gradients sum to zero: the last class of dV (K, H) is minus the sum of the others."""
    for h in span(0, dV.shape[1], lanes(dV)):
        total = var(zeros(dV))
        for k in span(0, K - 1):
            total -= load(dV, k, h)
        store(dV, K - 1, h, total)


# ---------------------------------------------------------------------------------------------- general


def general_workspace(D, H, K, T, dtype):
    """Arrays one thread needs: sums and parts, packed v, biases, w; the tile's x, z, s, labels."""
    Hz = padded(H, PANEL)
    Hp, Kp = padded(H, 16), padded(K, 16)
    packed = (padded(K, 2), Hp), (2, max(Hp, Kp)), (Hz // PANEL * D, PANEL)
    tile = (min(padded(D, BLOCK), INPUTS), T), (Hz, T), (padded(K, 2), T), (1, T)
    return (*_sums(layout(D, H, K)), *aligned(dtype, *packed, *tile))


@traced
def general_pack(theta, now, D, H, K, workspace):
    """Parameters theta[now] into the workspace, once a step: hidden weights in panels of PANEL units."""
    sums, dW, dV, db, db2, v, biases, w, x, z, s, labels = workspace
    for h in span(0, z.shape[0], PANEL):
        for d in span(0, D):
            store(w, h // PANEL * D + d, 0, load(theta, now, d * v.shape[1] + h))
    _pack_output(theta, now, dW.shape[0], K, v, biases)


@traced
def general_block(X, y, start, stop, tile_rows, H, K, workspace):
    """Loss and gradient sums of rows [start, stop) into the workspace. Twin: reference.two_layer_loss_gradients."""
    sums, dW, dV, db, db2, v, biases, w, x, z, s, labels = workspace
    clear(sums)
    for row in span(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        load_labels(y, row, rows, labels)
        affine(X, row, rows, w, biases, x, z, run=2)
        _scores(z, v, biases, K, s, rows)
        add_to(sums, 0, sums.shape[1] - 16, softmax_cross_entropy_tile(s, K, labels, rows))
        add_row_sums(s, K, rows, db2)
        _backward(X, row, rows, x, z, s, v, K - 1, dW, dV, db)
    _close_last_class(dV, K)


def _backward(X, row, rows, x, z, ds, v, classes, dW, dV, db):
    """From dscores of `classes` classes to dW2 (as dV), db and dW."""
    add_products(ds, z, rows, 0, classes, dV, 2, PANEL, relu)
    _backward_hidden(z, ds, v, classes, db, rows)
    add_input_products(X, row, rows, x, z, dW)


def _scores(z, v, biases, K, s, rows):
    """s (K, T) = v max(0, z) + bias, two classes at a time; v is zero in the last class, the origin."""
    L = lanes(z)
    for t, n in vectors(rows, L, 4):
        for k in span(0, K, 2):
            sums = [[var(every(biases, 1, k + i)) for _ in range(n)] for i in range(2)]
            for h in span(0, z.shape[0]):
                weights = [every(v, k + i, h) for i in range(2)]
                for j in range(n):
                    value = relu(load(z, h, t + j * L))
                    for i in range(2):
                        sums[i][j] += weights[i] * value
            for i in range(2):
                for j in range(n):
                    store(s, k + i, t + j * L, sums[i][j])


def _backward_hidden(z, ds, v, classes, db, rows):
    """The hidden gradient v^T ds, where z > 0, replaces z (H, T); db += its sums over rows."""
    for h in span(0, z.shape[0], PANEL):
        totals = [var(zeros(z)) for _ in range(PANEL)]
        for t in span(0, rows, lanes(z)):
            sums = [var(zeros(z)) for _ in range(PANEL)]
            for k in span(0, classes):
                value = load(ds, k, t)
                for i in range(PANEL):
                    sums[i] += every(v, k, h + i) * value
            for i in range(PANEL):
                gradient = where(load(z, h + i, t) > 0.0, sums[i], 0.0)
                store(z, h + i, t, gradient)
                totals[i] += gradient
        add_to(db, 0, h, sum_each(totals))


# Scores and backward on their own take class scores and gradients as they come, whose rows need not sum to zero.
# They run as above with one more class, of zero weights, as the origin: K below counts it.


@traced
def _score_tiles(X, start, stop, tile_rows, K, workspace, scores):
    sums, dW, dV, db, db2, v, biases, w, x, z, s, labels = workspace
    for row in span(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        affine(X, row, rows, w, biases, x, z, run=2)
        _scores(z, v, biases, K, s, rows)
        put_rows(s, row, rows, scores)


@traced
def _backward_tiles(X, dscores, start, stop, tile_rows, K, workspace):
    sums, dW, dV, db, db2, v, biases, w, x, z, s, labels = workspace
    clear(sums)
    for row in span(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        affine(X, row, rows, w, biases, x, z, run=2)
        load_gradients(dscores, row, rows, s)
        add_row_sums(s, K - 1, rows, db2)
        _backward(X, row, rows, x, z, s, v, K - 1, dW, dV, db)


@njit(**ENTRY)
def scores_rows(X, start, stop, tile_rows, theta, H, K, workspace, scores):
    """Rows [start, stop) of scores (N, K - 1). Twin: reference.two_layer_scores."""
    general_pack(theta, 0, X.shape[1], H, K, workspace)
    _score_tiles(X, start, stop, tile_rows, K, workspace, scores)


@njit(**ENTRY)
def backward_rows(X, dscores, start, stop, tile_rows, theta, H, K, workspace):
    """Gradient sums of rows [start, stop) into the workspace. Twin: reference.two_layer_backward."""
    general_pack(theta, 0, X.shape[1], H, K, workspace)
    _backward_tiles(X, dscores, start, stop, tile_rows, K, workspace)


# ------------------------------------------------------------------------------------------- few inputs

UNITS = 2  # hidden units at a time: 12 sums in registers in _few_backward. 4 spill: 2.19 against 2.03 ns


def few_layout(D, H, K):
    """As layout, with two rows of W: fewer zeros to add up."""
    return layout(D, H, K, 2)


def few_workspace(D, H, K, T, dtype):
    """Arrays one thread needs: sums and parts, packed v, biases, w; the tile's x, s, labels, m, spread."""
    Hp, L = padded(H, 16), VECTOR_BYTES // np.dtype(dtype).itemsize
    packed = (3, Hp), (2, Hp), (2, Hp)  # v: two classes beside the last, also when there is only one
    tile = (2, T), (3, T), (1, T), (6, T), (6 * L, L)
    return (*_sums(few_layout(D, H, K)), *aligned(dtype, *packed, *tile))


@traced
def few_pack(theta, now, D, H, K, workspace):
    """Parameters theta[now] into the workspace, once a step; absent inputs and classes stay zero."""
    sums, dW, dV, db, db2, v, biases, w, x, s, labels, m, spread = workspace
    for h in span(0, w.shape[1], lanes(theta)):
        for d in span(0, D):
            store(w, d, h, load(theta, now, d * w.shape[1] + h))
    _pack_output(theta, now, dW.shape[0], K, v, biases)


@traced
def few_block(X, y, start, stop, tile_rows, H, K, workspace):
    """Loss and gradient sums of rows [start, stop), D <= 2 and K <= 3, into the workspace."""
    sums, dW, dV, db, db2, v, biases, w, x, s, labels, m, spread = workspace
    clear(sums)
    for row in span(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        load_labels(y, row, rows, labels)
        load_inputs(X, row, rows, 0, X.shape[1], x)
        _few_scores(x, w, v, biases, H, s, rows)
        add_to(sums, 0, sums.shape[1] - 16, softmax_cross_entropy_tile(s, K, labels, rows))
        add_row_sums(s, K, rows, db2)
        _few_moments(x, s, m, rows)
        _few_backward(x, w, biases, v, m, H, spread, dW, dV, db, rows)
    _close_last_class(dV, K)


def _few_scores(x, w, v, biases, H, s, rows):
    """s (3, T) = v max(0, w x + bias) + bias, the hidden values in registers only; the last class is the origin."""
    L = lanes(x)
    for t in span(0, rows, L):
        for k in range(3):
            store(s, k, t, every(biases, 1, k))
    for h in span(0, H, UNITS):
        units = range(UNITS)
        w0, w1 = [every(w, 0, h + i) for i in units], [every(w, 1, h + i) for i in units]
        b, v0, v1 = ([every(a, row, h + i) for i in units] for a, row in ((biases, 0), (v, 0), (v, 1)))
        for t in span(0, rows, L):
            x0, x1 = load(x, 0, t), load(x, 1, t)
            hidden = [relu(w0[i] * x0 + (w1[i] * x1 + b[i])) for i in units]
            s0, s1 = load(s, 0, t), load(s, 1, t)
            for i in units:
                s0, s1 = s0 + hidden[i] * v0[i], s1 + hidden[i] * v1[i]
            store(s, 0, t, s0)
            store(s, 1, t, s1)


def _few_moments(x, ds, m, rows):
    """m (6, T): ds_k, ds_k x_0, ds_k x_1 for two classes."""
    for t in span(0, rows, lanes(x)):
        x0, x1 = load(x, 0, t), load(x, 1, t)
        for k in range(2):
            g = load(ds, k, t)
            store(m, 3 * k, t, g)
            store(m, 3 * k + 1, t, g * x0)
            store(m, 3 * k + 2, t, g * x1)


def _few_backward(x, w, biases, v, m, H, spread, dW, dV, db, rows):
    """Gradients from sums over the rows where a hidden unit is active.

    With A_kj = sum over active rows of ds_k x_j (x of the bias is 1), linearity of the active branch gives
    dW_j = sum_k v_k A_kj and dW2_k = bias A_kb + sum_j w_j A_kj: six additions a row and unit instead of nine
    multiply-adds, and additions have ports of their own on Zen (1.9 against 2.6 ns for 8 float64 rows).
    """
    L = lanes(x)
    for group in span(0, H, L):
        for i in span(0, minimum(L, H - group), UNITS):
            units = range(UNITS)
            h = group + i
            w0, w1 = [every(w, 0, h + j) for j in units], [every(w, 1, h + j) for j in units]
            b = [every(biases, 0, h + j) for j in units]
            sums = [[var(zeros(x)) for _ in range(6)] for _ in units]
            for t in span(0, rows, L):
                x0, x1 = load(x, 0, t), load(x, 1, t)
                active = [w0[j] * x0 + (w1[j] * x1 + b[j]) > 0.0 for j in units]
                for p in range(6):
                    moment = load(m, p, t)
                    for j in units:
                        total = sums[j][p].value
                        sums[j][p].set(where(active[j], total + moment, total))  # one masked addition
            for j in units:
                for p in range(6):
                    store(spread, p * L + i + j, 0, sums[j][p])
        # rows of spread beyond H are left over from another group: they meet weights that are zero
        A = [sum_each([load(spread, p * L + i, 0) for i in range(L)]) for p in range(6)]
        v0, v1 = load(v, 0, group), load(v, 1, group)
        w0, w1, b = load(w, 0, group), load(w, 1, group), load(biases, 0, group)
        add_to(dW, 0, group, v0 * A[1] + v1 * A[4])
        add_to(dW, 1, group, v0 * A[2] + v1 * A[5])
        add_to(db, 0, group, v0 * A[0] + v1 * A[3])
        add_to(dV, 0, group, b * A[0] + w0 * A[1] + w1 * A[2])
        add_to(dV, 1, group, b * A[3] + w0 * A[4] + w1 * A[5])
