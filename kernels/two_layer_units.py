"""The network over a few rows at a time, lanes along hidden units: for batches, where there is little to a tile.

The formulas are those of two_layer.py, as is the last class as origin. There, lanes run along rows, and every tile ends
with sums over lanes, one for each weight; here a weight's gradient is a lane, and there is nothing to pack but the
output's weights. Rows are copies that lie one after the other (see rows.py), and their inputs are broadcast.

theta is of the dtype of the rows: [W in panels of `lanes` hidden units (D, lanes) | W2 transposed (K, Hp) | b (Hp) |
b2 (Kp)]. A panel is one run of memory, whatever H is: rows a power of two apart would drive each other out of a cache.
"""

from .softmax import softmax_cross_entropy_tile
from .tile import add_row_sums, load_targets, padded, pitch
from .two_layer import close_last_class, pack_output
from .vectors import (
    add_to,
    broadcast,
    choose,
    fma,
    lanes,
    load,
    load_scalar,
    loop,
    reduce_add,
    reduce_add_each,
    relu,
    select,
    store,
    traced,
    var,
    vector_runs,
    view,
    zeros,
)

ROWS = 4  # at a time: with a vector of units, or two, their sums are eight registers, as many as are never waited for


def layout(D, H, K, unit):
    """Parts of theta as (name, first, rows, row length, used columns, whether transposed, first column)."""
    Hp = padded(H, 16)
    panels = [("W", h * D, D, unit, min(unit, H - h), False, h) for h in range(0, H, unit)]
    return (
        *panels,
        ("W2", D * Hp, K, Hp, H, True, 0),
        ("b", (D + K) * Hp, 1, Hp, H, False, 0),
        ("b2", (D + K + 1) * Hp, 1, padded(K, 16), K, False, 0),
    )


def shapes(D, H, K, T, unit):
    """Shapes of what one thread needs: v, b, b2; the tile's s, targets, and z, a panel after the other."""
    Hp, T = padded(H, 16), pitch(T, unit)
    return (K, Hp), (1, Hp), (1, padded(K, 16)), (padded(K, 2), T), (2, T), (Hp // unit * T, unit)


@traced
def pack(theta, now, D, H, K, workspace):
    """The output's weights, as measured from the last class, and the biases; W is read where it lies."""
    v, b, b2, *_ = workspace
    pack_output(theta, now, D, K, v, b, b2)


@traced
def tile(X, y, row, rows, H, K, workspace, sums, leaf):
    """Loss and gradient sums of a tile, added to sums[leaf]. Twin: reference.two_layer_loss_gradients.

    The workspace ends with theta as one row. X has ROWS rows more than are read.
    """
    v, b, b2, s, targets, z, theta = workspace
    D, Hp, L = X.shape[1], v.shape[1], lanes(X)
    dW = view(sums, leaf, 0, D * Hp // L, L)
    dV = view(sums, leaf, D * Hp, K, Hp)
    db = view(sums, leaf, (D + K) * Hp, 1, Hp)
    db2 = view(sums, leaf, (D + K + 1) * Hp, 1, K)
    loss = view(sums, leaf, sums.shape[1] - 16, 1, 2)
    weighted = load_targets(y, row, rows, targets, loss)
    watch = var(zeros(X))
    _hidden(X, row, rows, theta, b, z, s.shape[1], watch)
    _scores(rows, v, b2, K, z, s)
    add_to(loss, 0, 0, reduce_add(watch))
    add_to(loss, 0, 0, softmax_cross_entropy_tile(s, K, targets, weighted, rows))
    add_row_sums(s, K, rows, db2)
    _backward(X, row, rows, v, K, z, s, dW, dV, db)
    close_last_class(dV, K)


def _units(Hp, L, T):
    """Vectors of hidden units as (first unit of each, first row of z of each): two at a time where registers allow."""
    for h, n in vector_runs(Hp, L, choose(2, 1)):
        yield [h + j * L for j in range(n)], [(h + j * L) // L * T for j in range(n)]


def _hidden(X, row, rows, theta, b, z, T, watch):
    """z = max(0, X W + b). watch: a vector that becomes NaN where a value before that is not finite."""
    D, L = X.shape[1], lanes(X)
    for units, at in _units(b.shape[1], L, T):
        for t in loop(0, rows, ROWS):
            sums = [[var(load(b, 0, h)) for h in units] for _ in range(ROWS)]
            for d in loop(0, D):
                weights = [load(theta, 0, h * D + d * L) for h in units]
                for i in range(ROWS):
                    value = broadcast(X, row + t + i, d)
                    for total, weight in zip(sums[i], weights, strict=True):
                        total.set(fma(value, weight, total))
            for i in range(ROWS):
                for total, first in zip(sums[i], at, strict=True):
                    watch.set(fma(total, 0.0, watch))
                    store(z, first + t + i, 0, relu(total.value))


def _scores(rows, v, b2, K, z, s):
    """s (K, T) = v z + b2 but for the last class, whose scores are 0."""
    L, T, Hp = lanes(z), s.shape[1], v.shape[1]
    for k, n in vector_runs(K - 1, 1, choose(2, 1)):  # rows are always as many: it decides the order of their sums
        for t in loop(0, rows, ROWS):
            sums = [[var(zeros(z)) for _ in range(ROWS)] for _ in range(n)]
            for h in loop(0, Hp, L):
                weights = [load(v, k + j, h) for j in range(n)]
                for i in range(ROWS):
                    value = load(z, h // L * T + t + i, 0)
                    for j in range(n):
                        sums[j][i].set(fma(value, weights[j], sums[j][i]))
            for j in range(n):
                store(s, k + j, t, reduce_add_each(sums[j]) + load_scalar(b2, 0, k + j))
    for t in loop(0, rows, L):
        store(s, K - 1, t, zeros(s))


def _backward(X, row, rows, v, K, z, ds, dW, dV, db):
    """From ds (K, T) to dV, db and dW; z is overwritten with its own gradient."""
    D, L, T = X.shape[1], lanes(X), ds.shape[1]
    for units, at in _units(v.shape[1], L, T):
        for k, n in vector_runs(K - 1, 1, ROWS):
            products = _products(lambda i, t, k=k: broadcast(ds, k + i, t), n, z, at, rows)
            for i in range(n):
                for h, total in zip(units, products[i], strict=True):
                    add_to(dV, k + i, h, total)
        totals = [var(zeros(z)) for _ in units]
        for t in loop(0, rows, ROWS):
            sums = [[var(zeros(z)) for _ in units] for _ in range(ROWS)]
            for k in loop(0, K - 1):
                weights = [load(v, k, h) for h in units]
                for i in range(ROWS):
                    slope = broadcast(ds, k, t + i)
                    for total, weight in zip(sums[i], weights, strict=True):
                        total.set(fma(slope, weight, total))
            for i in range(ROWS):
                for total, first, column in zip(sums[i], at, totals, strict=True):
                    gradient = select(load(z, first + t + i, 0) > 0.0, total.value, 0.0)
                    store(z, first + t + i, 0, gradient)
                    column += gradient
        for h, total in zip(units, totals, strict=True):
            add_to(db, 0, h, total)
        for d, n in vector_runs(D, 1, ROWS):
            products = _products(lambda i, t, d=d: broadcast(X, row + t, d + i), n, z, at, rows)
            for i in range(n):
                for h, total in zip(units, products[i], strict=True):
                    add_to(dW, h // L * D + d + i, 0, total)


def _products(factor, n, z, at, rows):
    """The sums over rows t of factor(i, t) z for i below n (ROWS or 1) and some vectors of z, which begin at rows `at`.

    One of them alone would wait for every addition: it goes over ROWS rows at a time. Rows beyond the last are zero
    in one of both factors.
    """
    chains = [[var(zeros(z)) for _ in at] for _ in range(ROWS)]
    for t in loop(0, rows, 1 if n == ROWS else ROWS):
        for i in range(ROWS):
            own, row = (i, t) if n == ROWS else (0, t + i)
            value = factor(own, row)
            for total, first in zip(chains[i], at, strict=True):
                total.set(fma(value, load(z, first + row, 0), total))
    if n == ROWS:
        return chains
    halves = [[a.value + b.value for a, b in zip(*chains[i : i + 2], strict=True)] for i in (0, 2)]
    return [[a + b for a, b in zip(*halves, strict=True)]]
