"""The softmax linear classifier over a tile of rows: scores, softmax cross-entropy and gradients.

    f = x W + b,  L = -log softmax(f)_y                                              (the case study's formulas)

theta (float64) is the flat parameter vector [W (D, Kp) | b (Kp)], every row padded to 16 with zeros.
"""

from numba import njit

from .softmax import softmax_cross_entropy_tile
from .tile import (
    add_products,
    add_row_sums,
    carve,
    load_gradients,
    load_inputs,
    load_targets,
    padded,
    pitch,
    put_best,
    put_rows,
    watch_scores,
)
from .vectors import (
    ENTRY,
    add_to,
    broadcast,
    broadcast_int,
    choose,
    fma,
    if_,
    iota,
    lanes,
    load,
    load_contiguous,
    load_scalar,
    loop,
    minimum,
    prefetch,
    reduce_add,
    reduce_add_each,
    select,
    store,
    store_scalar,
    traced,
    transpose,
    var,
    vector_runs,
    view,
    zeros,
)

CLASSES = 4  # classes at a time: most problems have few, and padding them to 8 would double the work
# From so many inputs on a row is multiplied as it lies in memory, lanes along its inputs, and never transposed. 32 are
# the two vectors of float32 that _row_products takes at a time.
MANY_INPUTS = 32


def layout(D, H, K):
    """Parts of theta as (name, first, rows, row length, used columns); weights come first."""
    Kp = padded(K, 16)
    return ("W", 0, D, Kp, K), ("b", D * Kp, 1, Kp, K)


def shapes(D, H, K, T, unit):
    """Shapes of what one thread needs: W transposed as w, bias; the tile's x, s, targets. unit: of a cache line."""
    Ks, T = padded(K, CLASSES), pitch(T, unit)
    return (Ks, padded(D, unit)), (1, padded(K, 16)), (minimum(padded(D, 2), MANY_INPUTS), T), (Ks, T), (2, T)


def gradient_parts(sums, leaf, D, bias):
    """dW, db and the loss of a leaf's sums, laid out as theta, with the loss behind them."""
    Kp = bias.shape[1]
    places = (0, D, Kp), (D * Kp, 1, Kp), (sums.shape[1] - 16, 1, 2)
    return [view(sums, leaf, first, rows, length) for first, rows, length in places]


def _pack(D, K, weight, constant, w, bias):
    """w = W transposed, bias = b, of weight(d, k) and constant(k).

    Where rows are read as they lie, the last vector of a row overlaps the one before it, so that it ends where the
    row ends: its weights are shifted to its end, with zeros for the inputs that the one before has had.
    """
    L = lanes(w)
    shift = var(D - D)
    for _ in if_(D > MANY_INPUTS - 1):
        shift.set(padded(D, L) - D)
    for k in loop(0, K):
        for d in loop(0, D // L * L):
            store_scalar(w, k, d, weight(d, k))
        for d in loop(D // L * L, D):
            store_scalar(w, k, d + shift.value, weight(d, k))
        store_scalar(bias, 0, k, constant(k))


@traced
def pack(theta, now, D, H, K, workspace):
    """Parameters theta[now] into the workspace, once a step, in the dtype of the tile."""
    w, bias, x, s, targets = workspace
    Kp = bias.shape[1]

    def value(d, k):
        return load_scalar(theta, now, d * Kp + k)

    _pack(D, K, value, lambda k: value(D, k), w, bias)


@traced
def tile(X, y, row, rows, H, K, workspace, sums, leaf):
    """Loss and gradient sums of a tile, added to sums[leaf]. Twin: reference.linear_loss_gradients."""
    w, bias, x, s, targets = workspace
    dW, db, loss = gradient_parts(sums, leaf, X.shape[1], bias)
    weighted = load_targets(y, row, rows, targets, loss)
    _forward(X, row, rows, w, bias, x, s)
    add_to(loss, 0, 0, softmax_cross_entropy_tile(s, K, targets, weighted, rows))
    add_row_sums(s, K, rows, db)
    _input_products(X, row, rows, x, s, dW)


def _forward(X, row, rows, w, bias, x, s, watch=None):
    """s (K, T) = W^T X^T + b; x holds the inputs where they are few. watch: see load_inputs."""
    D = X.shape[1]
    for _ in if_(D < MANY_INPUTS):
        load_inputs(X, row, rows, 0, D, x, watch)
        few_scores(x, D, rows, w, bias, s)
    for _ in if_(D > MANY_INPUTS - 1):
        _row_scores(X, row, rows, w, bias, s, watch)


def few_scores(x, D, rows, w, bias, s):
    """s = w x + bias, lanes along rows: two vectors of rows and CLASSES classes at a time."""
    L = lanes(x)
    for k in loop(0, s.shape[0], CLASSES):
        for t, n in vector_runs(rows, L, choose(2, 1)):
            at = [t + j * L for j in range(n)]
            sums = [[var(broadcast(bias, 0, k + i)) for _ in at] for i in range(CLASSES)]
            for d in loop(0, D):
                values = [load(x, d, t) for t in at]
                for i in range(CLASSES):
                    weight = broadcast(w, k + i, d)
                    for j in range(n):
                        sums[i][j].set(fma(weight, values[j], sums[i][j]))
            for i in range(CLASSES):
                for j in range(n):
                    store(s, k + i, at[j], sums[i][j])


def _row_scores(X, row, rows, w, bias, s, watch):
    """The same, lanes along inputs: 4 rows and CLASSES classes at a time; a sum over lanes a row and class."""
    L, D = lanes(X), X.shape[1]
    for t in loop(0, rows, 4):
        at = [row + minimum(t + i, rows - 1) for i in range(4)]
        for k in loop(0, s.shape[0], CLASSES):
            sums = [[var(zeros(X)) for _ in at] for _ in range(CLASSES)]
            for some in choose([range(4)], [range(2), range(2, 4)]):
                for d in loop(0, D, L):
                    for i in some:  # two turns ahead: (20 000, 784, 10) float64 takes 5.1 ms to predict, without 8.2
                        prefetch(X, row + t + i + 8, d)
                    values = {i: load_contiguous(X, at[i], minimum(d, D - L)) for i in some}
                    if watch is not None:
                        for value in values.values():
                            watch.set(fma(value, 0.0, watch))
                    for j in range(CLASSES):
                        weight = load(w, k + j, d)
                        for i in some:
                            sums[j][i].set(fma(weight, values[i], sums[j][i]))
            for j in range(CLASSES):
                store(s, k + j, t, reduce_add_each(sums[j]) + load_scalar(bias, 0, k + j))


def _input_products(X, row, rows, x, ds, dW):
    """dW (D, K) += X^T ds^T, with x as _forward leaves it."""
    D = X.shape[1]
    for k in loop(0, ds.shape[0], CLASSES):
        for _ in if_(D < MANY_INPUTS):
            add_products(x, ds, rows, 0, D, k, dW, 2, CLASSES)
        for _ in if_(D > MANY_INPUTS - 1):
            _row_products(X, row, rows, ds, k, dW)


def _row_products(X, row, rows, ds, k, dW):
    """dW[:, k:k + CLASSES] += X^T ds^T, lanes along inputs: no sum over lanes, and two vectors of inputs at a time."""
    L, D = lanes(X), X.shape[1]
    for d in loop(0, D, 2 * L):
        at = minimum(d, D - 2 * L)  # the last two end where the row ends; inputs below d are done
        sums = [[var(zeros(X)) for _ in range(CLASSES)] for _ in range(2)]
        for some in choose([range(2)], [range(1), range(1, 2)]):
            for t in loop(0, rows):
                slopes = [broadcast(ds, k + j, t) for j in range(CLASSES)]
                for i in some:
                    values = load_contiguous(X, row + t, at + i * L)
                    for j in range(CLASSES):
                        sums[i][j].set(fma(slopes[j], values, sums[i][j]))
        for i in range(2):
            fresh = iota(X) + broadcast_int(X, at + i * L) > broadcast_int(X, d - 1)
            by_input = transpose([select(fresh, total.value, 0.0) for total in sums[i]])
            for c in range(L):
                add_to(dW, at + i * L + c, k, by_input[c])


def _packed(W, b, memory, T):
    """The arrays of a workspace in memory (1, n), zeros, with the parameters in their places."""
    D, K = W.shape
    w, bias, x, s, targets = carve(memory, shapes(D, 0, K, T, lanes(memory)))
    _pack(D, K, lambda d, k: load_scalar(W, d, k), lambda k: load_scalar(b, k), w, bias)
    return w, bias, x, s


@traced
def _scores(X, start, stop, tile_rows, W, b, memory, scores) -> float:
    w, bias, x, s = _packed(W, b, memory, tile_rows)
    watch = var(zeros(x))
    for row in loop(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        _forward(X, row, rows, w, bias, x, s)
        watch_scores(s, W.shape[1], rows, watch)
        put_rows(s, row, rows, scores)
    return reduce_add(watch)


@traced
def _predict(X, start, stop, tile_rows, W, b, memory, best) -> float:
    w, bias, x, s = _packed(W, b, memory, tile_rows)
    watch = var(zeros(x))
    for row in loop(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        _forward(X, row, rows, w, bias, x, s, watch)
        put_best(s, W.shape[1], row, rows, best, watch)
    return reduce_add(watch)


@traced
def _backward(X, dscores, start, stop, tile_rows, memory, sums, leaf):
    D, K = X.shape[1], dscores.shape[1]
    w, bias, x, s, targets = carve(memory, shapes(D, 0, K, tile_rows, lanes(memory)))
    dW, db, loss = gradient_parts(sums, leaf, D, bias)
    for row in loop(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        load_gradients(dscores, row, rows, s)
        add_row_sums(s, K, rows, db)
        for _ in if_(D < MANY_INPUTS):
            load_inputs(X, row, rows, 0, D, x)
        _input_products(X, row, rows, x, s, dW)


# memory (1, n): zeros, see `shapes` and `tile.scratch_size`


@njit(**ENTRY)
def scores_rows(X, start, stop, tile_rows, W, b, memory, scores):
    """Rows [start, stop) of scores (N, K); returns 0, or NaN if one is not finite. Twin: reference.linear_scores."""
    return _scores(X, start, stop, tile_rows, W, b, memory, scores)


@njit(**ENTRY)
def predict_rows(X, start, stop, tile_rows, W, b, memory, best):
    """Rows [start, stop) of best (N,), the class of the largest score; returns 0, or NaN if X or a score is not."""
    return _predict(X, start, stop, tile_rows, W, b, memory, best)


@njit(**ENTRY)
def backward_rows(X, dscores, start, stop, tile_rows, memory, sums, leaf):
    """Gradient sums of rows [start, stop), added to sums[leaf]. Twin: reference.linear_backward."""
    _backward(X, dscores, start, stop, tile_rows, memory, sums, leaf)
