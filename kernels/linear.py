"""The softmax linear classifier over a block of rows: scores, softmax cross-entropy and gradients, tile by tile.

    f = x W + b,  L = -log softmax(f)_y                                              (the case study's formulas)

theta (float64) is the flat parameter vector [W (D, Kp) | b (Kp)], every row padded to 16 with zeros.
"""

from numba import njit

from .simd import ENTRY, add_to, get, minimum, put, span, traced
from .softmax import softmax_cross_entropy_tile
from .tile import (
    BLOCK,
    INPUTS,
    add_input_products,
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

CLASSES = 4  # a weight panel: most problems have few classes, and padding them to 8 would double the work


def layout(D, H, K):
    """Parts of theta as (first, rows, row length, used rows, used columns): W, b; weights come first."""
    Dp, Kp = padded(D, BLOCK), padded(K, 16)
    return ((0, Dp, Kp, D, K), (Dp * Kp, 1, Kp, 1, K))


def workspace(D, H, K, T, dtype):
    """Arrays one thread needs: sums with the loss behind them, dW, db; packed w, bias; the tile's x, s, labels."""
    Dp, Kp = padded(D, BLOCK), padded(K, 16)
    (sums,) = aligned("f8", (1, (Dp + 1) * Kp + 16))
    dW, db = sums[0, : Dp * Kp].reshape(Dp, Kp), sums[0, Dp * Kp : -16].reshape(1, Kp)
    Ks = padded(K, CLASSES)
    shapes = ((Ks // CLASSES * D, CLASSES), (1, Kp), (min(Dp, INPUTS), T), (Ks, T), (1, T))
    return (sums, dW, db, *aligned(dtype, *shapes))


@traced
def pack(theta, now, D, H, K, workspace):
    """Parameters theta[now] into the workspace, once a step: panels of CLASSES classes, in the dtype of the tile."""
    sums, dW, db, w, bias, x, s, labels = workspace
    Kp = bias.shape[1]
    for k in span(0, w.shape[0] // D * CLASSES, CLASSES):
        for i in range(CLASSES):
            for d in span(0, D):
                put(w, k // CLASSES * D + d, i, get(theta, now, d * Kp + k + i))
            put(bias, 0, k + i, get(theta, now, dW.shape[0] * Kp + k + i))


@traced
def block(X, y, start, stop, tile_rows, H, K, workspace):
    """Loss and gradient sums of rows [start, stop) into the workspace. Twin: reference.linear_loss_gradients."""
    sums, dW, db, w, bias, x, s, labels = workspace
    clear(sums)
    for row in span(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        load_labels(y, row, rows, labels)
        affine(X, row, rows, w, bias, x, s, n_z=CLASSES)
        add_to(sums, 0, sums.shape[1] - 16, softmax_cross_entropy_tile(s, K, labels, rows))
        add_row_sums(s, K, rows, db)
        add_input_products(X, row, rows, x, s, dW, n_x=2)


@traced
def _scores(X, start, stop, tile_rows, workspace, scores):
    sums, dW, db, w, bias, x, s, labels = workspace
    for row in span(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        affine(X, row, rows, w, bias, x, s, n_z=CLASSES)
        put_rows(s, row, rows, scores)


@traced
def _backward(X, dscores, start, stop, tile_rows, K, workspace):
    sums, dW, db, w, bias, x, s, labels = workspace
    D = X.shape[1]
    clear(sums)
    for row in span(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        load_gradients(dscores, row, rows, s)
        add_row_sums(s, K, rows, db)
        load_inputs(X, row, rows, (D - 1) // INPUTS * INPUTS, D, x)
        add_input_products(X, row, rows, x, s, dW, n_x=2)


@njit(**ENTRY)
def scores_rows(X, start, stop, tile_rows, theta, H, K, workspace, scores):
    """Rows [start, stop) of scores (N, K). Twin: reference.linear_scores."""
    pack(theta, 0, X.shape[1], H, K, workspace)
    _scores(X, start, stop, tile_rows, workspace, scores)


@njit(**ENTRY)
def backward_rows(X, dscores, start, stop, tile_rows, theta, H, K, workspace):
    """Gradient sums of rows [start, stop) into the workspace. Twin: reference.linear_backward."""
    _backward(X, dscores, start, stop, tile_rows, K, workspace)
