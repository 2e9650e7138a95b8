"""The two-layer ReLU network over a tile of rows: forward, softmax cross-entropy and backward.

    z = x W + b,  f = max(0, z) W2 + b2,  L = -log softmax(f)_y                      (the case study's formulas)

Softmax does not change when all scores of a row shift, and the class gradients of a row sum to zero. So where loss
and gradients are computed at once the last class serves as origin: the kernels compute with v_k = W2_k - W2_{K-1},
K - 1 columns forward and backward, and the last column of dW2 is minus the sum of the others. At K = 3 this saves a
third of the work on scores.

These are the kernels for any shape: hidden values of the tile are kept (H x T, in the second-level cache) and
overwritten with their gradient. Everything is done panel by panel (8 hidden units), forward and backward, while the
panel is in the first-level cache. Shapes of few inputs and classes have kernels of their own, see few_inputs.py.

theta (float64) is the flat parameter vector [W (D, Hp) | W2 transposed (K, Hp) | b (Hp) | b2 (Kp)], every row
padded to 16 with zeros, so that everything that runs along hidden units runs in whole vectors.
"""

from numba import njit

from .softmax import softmax_cross_entropy_tile
from .tile import (
    INPUTS,
    PANEL,
    add_products,
    add_row_sums,
    carve,
    chunks,
    load_gradients,
    load_inputs,
    load_targets,
    padded,
    pitch,
    prefetch_rows,
    put_best,
    put_rows,
    watch_scores,
)
from .vectors import (
    ENTRY,
    add_to,
    broadcast,
    choose,
    fma,
    if_,
    lanes,
    load,
    load_scalar,
    loop,
    maximum,
    minimum,
    reduce_add,
    reduce_add_each,
    relu,
    select,
    store,
    store_scalar,
    traced,
    var,
    vector_runs,
    view,
    zeros,
)


def layout(D, H, K):
    """Parts of theta as (name, first, rows, row length, used columns, whether transposed); weights come first."""
    Hp = padded(H, 16)
    return (
        ("W", 0, D, Hp, H, False),
        ("W2", D * Hp, K, Hp, H, True),
        ("b", (D + K) * Hp, 1, Hp, H, False),
        ("b2", (D + K + 1) * Hp, 1, padded(K, 16), K, False),
    )


def gradient_parts(sums, leaf, D, K, v):
    """dW, dW2 transposed, db, db2 and the loss of a leaf's sums, laid out as theta, with the loss behind them."""
    Hp = v.shape[1]
    places = (0, D, Hp), (D * Hp, K, Hp), ((D + K) * Hp, 1, Hp), ((D + K + 1) * Hp, 1, K), (sums.shape[1] - 16, 1, 2)
    return [view(sums, leaf, first, rows, columns) for first, rows, columns in places]


def pack_output(theta, now, D, K, v, b, b2):
    """v_k = W2_k - W2_{K-1} and both biases: the last class is the origin, and its own row becomes zero."""
    Hp, L = v.shape[1], lanes(theta)
    for h in loop(0, Hp, L):
        last = load(theta, now, (D + K - 1) * Hp + h)
        for k in loop(0, K):
            store(v, k, h, load(theta, now, (D + k) * Hp + h) - last)
        store(b, 0, h, load(theta, now, (D + K) * Hp + h))
    biases = (D + K + 1) * Hp
    origin = broadcast(theta, now, biases + K - 1)
    for k in loop(0, K, L):
        store(b2, 0, k, load(theta, now, biases + k) - origin)


# ReLU makes 0 of -infinity, which a sum may be only on its way to a hidden value that is finite, or positive: then the
# loss would be finite, and wrong. No such sum is larger than the sum of all |W| and |b|, the layer's reach, or than an
# input times it. Watching that takes two operations an input, not one a hidden value. b holds the reach in row 1.


def _magnitude(x):
    return maximum(x, 0.0 - x)


def put_reach(b, *parts):
    """b[1, 0] = sum of |part[i, :]| over parts (array, i, first, last)."""
    totals = []
    for a, i, first, last in parts:
        total = var(zeros(a))
        for t in loop(first, last, lanes(a)):
            total += _magnitude(load(a, i, t))
        totals.append(reduce_add(total))
    store_scalar(b, 1, 0, sum(totals[1:], totals[0]))


def close_last_class(dV, K):
    """A row's class gradients sum to zero: the last class of dV (K, H) is minus the sum of the others."""
    for h in loop(0, dV.shape[1], lanes(dV)):
        total = var(zeros(dV))
        for k in loop(0, K - 1):
            total -= load(dV, k, h)
        store(dV, K - 1, h, total)


# ---------------------------------------------------------------------------------------------- general


def shapes(D, H, K, T, unit, keep=True):
    """Shapes of what one thread needs: packed w, b, v, b2; the tile's x, s, targets, z. unit: elements of a cache line.

    keep: whether hidden values are kept, which take most of it; without, they need a place between chunks of inputs.
    """
    Hp, T = padded(H, 16), pitch(T, unit)
    kept = padded(H, PANEL) * (1 if keep else minimum((D - 1) // INPUTS, 1))
    packed = (padded(H, PANEL) // PANEL * D, PANEL), (2, Hp), (K, Hp), (1, padded(K, 16))
    return *packed, (minimum(padded(D, 2), INPUTS), T), (padded(K, 2), T), (2, T), (kept, T)


@traced
def pack(theta, now, D, H, K, workspace):
    """Parameters theta[now] into the workspace, once a step: hidden weights in panels of PANEL units."""
    w, b, v, b2, x, s, targets, z = workspace
    for h in loop(0, H, PANEL):
        for d in loop(0, D):
            store(w, h // PANEL * D + d, 0, load(theta, now, d * v.shape[1] + h))
    pack_output(theta, now, D, K, v, b, b2)
    Hp = v.shape[1]
    put_reach(b, (theta, now, 0, D * Hp), (theta, now, (D + K) * Hp, (D + K + 1) * Hp))


@traced
def tile(X, y, row, rows, H, K, workspace, sums, leaf):
    """Loss and gradient sums of a tile, added to sums[leaf]. Twin: reference.two_layer_loss_gradients."""
    w, b, v, b2, x, s, targets, z = workspace
    dW, dV, db, db2, loss = gradient_parts(sums, leaf, X.shape[1], K, v)
    weighted = load_targets(y, row, rows, targets, loss)
    for t in loop(0, rows, lanes(s)):
        store(s, K - 1, t, zeros(s))
    watch = var(zeros(x))
    _forward(X, row, rows, w, b, v, b2, H, K - 1, x, s, z, watch=watch)
    add_to(loss, 0, 0, reduce_add(watch))
    add_to(loss, 0, 0, softmax_cross_entropy_tile(s, K, targets, weighted, rows))
    add_row_sums(s, K, rows, db2)
    _backward(X, row, rows, x, s, z, v, H, K - 1, dW, dV, db)
    close_last_class(dV, K)


def blocks():
    """The units of a panel, in as many blocks as it takes for their sums to stay in registers."""
    n = choose(PANEL, PANEL // 2)
    return [range(i, i + n) for i in range(0, PANEL, n)]


def _forward(X, row, rows, w, b, v, b2, H, classes, x, s, z, keep=True, watch=None):
    """s (classes, T) = v max(0, z) + b2 with z (H, T) = w x + b, which is left behind if it is to be kept.

    watch: a vector that becomes NaN if a hidden value might overflow.
    """
    L, D = lanes(x), X.shape[1]
    if watch is not None:
        watch.set(fma(broadcast(b, 1, 0), 0.0, watch))
    for t in loop(0, rows, L):
        for k in loop(0, classes):
            store(s, k, t, broadcast(b2, 0, k))
    for first, inputs in chunks(D):
        load_inputs(X, row, rows, first, inputs, x, watch, broadcast(b, 1, 0))
        # while one chunk of inputs is multiplied the next one, or the next tile's first, comes from memory
        next_row, next_input = var(row + 0), var(first + inputs)
        for _ in if_(first + inputs == D):
            next_row.set(row + rows)
            next_input.set(D - D)
        share = (2 * L * PANEL + H - 1) // H  # rows asked for in a turn of the loop over h
        for t, n in vector_runs(rows, L, choose(2, 1)):  # two vectors of rows share a weight while it is in a register
            at = [t + j * L for j in range(n)]
            for h in loop(0, H, PANEL):
                panel = h // PANEL * D + first
                prefetch_rows(X, next_row.value + t + h // PANEL * share, share, next_input.value, inputs)
                sums = [[var(broadcast(b, 0, h + i)) for _ in at] for i in range(PANEL)]
                for _ in if_(first > 0):
                    for i in range(PANEL):
                        for j in range(n):
                            sums[i][j].set(load(z, h + i, at[j]))
                for some in blocks():
                    for d in loop(0, inputs):
                        values = [load(x, d, t) for t in at]
                        for i in some:
                            weight = broadcast(w, panel + d, i)
                            for j in range(n):
                                sums[i][j].set(fma(weight, values[j], sums[i][j]))
                for _ in if_(first + inputs < D + (1 if keep else 0)):
                    for i in range(PANEL):
                        for j in range(n):
                            store(z, h + i, at[j], sums[i][j])
                for _ in if_(first + inputs == D):
                    hidden = [[relu(z.value) for z in unit] for unit in sums]
                    _add_scores(hidden, v, h, classes, s, at)


def _add_scores(hidden, v, h, classes, s, at):
    """s += v hidden for a panel of hidden values in registers."""
    for k in loop(0, classes):
        weights = [broadcast(v, k, h + i) for i in range(PANEL)]
        for j, t in enumerate(at):
            # two chains: half the latency. The product that the second begins with is rounded
            even = fma(weights[0], hidden[0][j], load(s, k, t))
            odd = fma(weights[1], hidden[1][j], weights[3] * hidden[3][j])
            for i in range(2, PANEL, 2):
                even = fma(weights[i], hidden[i][j], even)
                if i > 2:
                    odd = fma(weights[i + 1], hidden[i + 1][j], odd)
            store(s, k, t, even + odd)


def _backward(X, row, rows, x, ds, z, v, H, classes, dW, dV, db):
    """From dscores of `classes` classes to dW2 (as dV), db and dW; x holds the last inputs, as _forward leaves it."""
    D = X.shape[1]
    last = var(D - D + 1)  # whether these are the last inputs, the first to come
    for first, inputs in chunks(D, backwards=True):
        for _ in if_(last.value == 0):
            load_inputs(X, row, rows, first, inputs, x)
        for h in loop(0, H, PANEL):
            for _ in if_(last.value == 1):
                add_products(ds, z, rows, 0, classes, h, dV, 2, PANEL, relu)
                _hidden_gradient(z, ds, v, classes, db, rows, h)
            add_products(x, z, rows, first, inputs, h, dW, 2, PANEL)
        last.set(D - D)


def _hidden_gradient(z, ds, v, classes, db, rows, h):
    """z = gradient of z = v^T ds where z > 0, else 0, for the panel at h; its sums over rows are added to db (1, H)."""
    L = lanes(z)
    totals = [var(zeros(z)) for _ in range(PANEL)]
    for t in loop(0, rows, L):
        sums = [var(zeros(z)) for _ in range(PANEL)]
        for some in blocks():
            for k in loop(0, classes):
                value = load(ds, k, t)
                for i in some:
                    sums[i].set(fma(broadcast(v, k, h + i), value, sums[i]))
        for i in range(PANEL):
            gradient = select(load(z, h + i, t) > 0.0, sums[i].value, 0.0)
            store(z, h + i, t, gradient)
            totals[i] += gradient
    add_to(db, 0, h, reduce_add_each(totals))


# Scores and gradients of their own are taken as they are: no class serves as origin.


def _packed(W, b, W2, b2, memory, T, keep):
    """The arrays of a workspace in memory (1, n), zeros, with the parameters in their places."""
    (D, H), K = W.shape, W2.shape[1]
    w, bias, v, bias2, x, s, targets, z = carve(memory, shapes(D, H, K, T, lanes(memory), keep))
    reach = var(load_scalar(b, 0) * 0.0)
    for d in loop(0, D):
        for h in loop(0, H):
            store_scalar(w, h // PANEL * D + d, h - h // PANEL * PANEL, load_scalar(W, d, h))
            reach += _magnitude(load_scalar(W, d, h))
    for h in loop(0, H):
        store_scalar(bias, 0, h, load_scalar(b, h))
        reach += _magnitude(load_scalar(b, h))
        for k in loop(0, K):
            store_scalar(v, k, h, load_scalar(W2, h, k))
    for k in loop(0, K):
        store_scalar(bias2, 0, k, load_scalar(b2, k))
    store_scalar(bias, 1, 0, reach.value)
    return w, bias, v, bias2, x, s, z


@traced
def _scores(X, start, stop, tile_rows, W, b, W2, b2, memory, scores) -> float:
    w, bias, v, bias2, x, s, z = _packed(W, b, W2, b2, memory, tile_rows, keep=False)
    watch = var(zeros(x))
    for row in loop(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        _forward(X, row, rows, w, bias, v, bias2, W.shape[1], W2.shape[1], x, s, z, keep=False, watch=watch)
        watch_scores(s, W2.shape[1], rows, watch)
        put_rows(s, row, rows, scores)
    return reduce_add(watch)


@traced
def _predict(X, start, stop, tile_rows, W, b, W2, b2, memory, best) -> float:
    w, bias, v, bias2, x, s, z = _packed(W, b, W2, b2, memory, tile_rows, keep=False)
    watch = var(zeros(x))
    for row in loop(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        _forward(X, row, rows, w, bias, v, bias2, W.shape[1], W2.shape[1], x, s, z, keep=False, watch=watch)
        put_best(s, W2.shape[1], row, rows, best, watch)
    return reduce_add(watch)


@traced
def _backward_alone(X, dscores, start, stop, tile_rows, W, b, W2, b2, memory, sums, leaf):
    w, bias, v, bias2, x, s, z = _packed(W, b, W2, b2, memory, tile_rows, keep=True)
    (D, H), K = W.shape, W2.shape[1]
    dW, dV, db, db2, loss = gradient_parts(sums, leaf, D, K, v)
    for row in loop(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        _forward(X, row, rows, w, bias, v, bias2, H, 0, x, s, z)
        load_gradients(dscores, row, rows, s)
        add_row_sums(s, K, rows, db2)
        _backward(X, row, rows, x, s, z, v, H, K, dW, dV, db)


# memory (1, n): zeros, see `shapes` and `tile.scratch_size`


@njit(**ENTRY)
def scores_rows(X, start, stop, tile_rows, W, b, W2, b2, memory, scores):
    """Rows [start, stop) of scores (N, K); returns 0, or NaN if one is not finite. Twin: reference.two_layer_scores."""
    return _scores(X, start, stop, tile_rows, W, b, W2, b2, memory, scores)


@njit(**ENTRY)
def predict_rows(X, start, stop, tile_rows, W, b, W2, b2, memory, best):
    """Rows [start, stop) of best (N,), the class of the largest score; returns 0, or NaN if X or a score is not."""
    return _predict(X, start, stop, tile_rows, W, b, W2, b2, memory, best)


@njit(**ENTRY)
def backward_rows(X, dscores, start, stop, tile_rows, W, b, W2, b2, memory, sums, leaf):
    """Gradient sums of rows [start, stop), added to sums[leaf]. Twin: reference.two_layer_backward."""
    _backward_alone(X, dscores, start, stop, tile_rows, W, b, W2, b2, memory, sums, leaf)
