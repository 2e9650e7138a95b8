"""Kernels made for exactly D inputs and K classes, where these are few: what a row needs stays in registers.

`linear(D, C)` and `two_layer(D, C)` give the kernels of a shape; D inputs and C = K - 1 classes beside the last, which
is the origin (see two_layer.py), are known while tracing, and all loops over them unrolled.

- Linear: scores, probabilities and sums of a vector of rows never leave the registers. (10^6, 2, 3): 3.8 ms float64,
  1.7 ms float32 on one thread, and 7.5 and 3.4 with them in arrays.
- Two layers: hidden values are cheaper to compute again than to keep, and the gradients of a hidden unit follow from
  (D + 1) C sums over the rows where it is active, additions only.

`models.py` decides where they serve. theta is laid out as linear.py and two_layer.py say.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from numba import njit

from . import linear as linear_model
from . import two_layer as two_layer_model
from .softmax import softmax_cross_entropy_vectors
from .tile import carve, load_few_inputs, load_targets, padded, pitch, put_best
from .vectors import (
    ENTRY,
    add_to,
    broadcast,
    choose,
    fma,
    half,
    joined,
    lanes,
    load,
    load_scalar,
    loop,
    minimum,
    reduce_add,
    reduce_add_each,
    relu,
    select,
    store,
    store_scalar,
    traced,
    var,
    zeros,
)


class Linear(NamedTuple):
    """Kernels of the linear model: shapes(D, H, K, T, unit) of a thread's workspace; two traced functions over it."""

    shapes: Callable[[int, int, int, int, int], tuple[tuple[int, int], ...]]
    pack: Any
    tile: Any


class TwoLayer(NamedTuple):
    """The same of the network. predict_rows: jitted, as two_layer.predict_rows, with memory of these shapes."""

    shapes: Callable[[int, int, int, int, int], tuple[tuple[int, int], ...]]
    pack: Any
    tile: Any
    predict_rows: Any


# ------------------------------------------------------------------------------------------- linear


@functools.cache
def linear(D, C):
    """The kernels for D inputs and C + 1 classes."""

    @traced
    def pack(theta, now, _, H, K, workspace):
        """Parameters theta[now] into the workspace, once a step."""
        _pack_linear(D, C, theta, now, workspace)

    @traced
    def tile(X, y, row, rows, H, K, workspace, sums, leaf):
        """Loss and gradient sums of a tile, added to sums[leaf]. Twin: reference.linear_loss_gradients."""
        _linear_tile(D, C, X, y, row, rows, workspace, sums, leaf)

    return Linear(functools.partial(_linear_shapes, D, C), pack, tile)


def _linear_shapes(D, C, _, H, K, T, unit):
    """Weights and biases as measured from the last class; the tile's x, targets. unit: elements of a cache line."""
    T = pitch(T, unit)
    return (D + 1, padded(C + 1, 16)), (D, T), (2, T)


def _pack_linear(D, C, theta, now, workspace):
    w, x, targets = workspace
    Kp = w.shape[1]
    for d in range(D + 1):
        origin = load_scalar(theta, now, d * Kp + C)
        for k in range(C):
            store_scalar(w, d, k, load_scalar(theta, now, d * Kp + k) - origin)


def _linear_tile(D, C, X, y, row, rows, workspace, sums, leaf):
    w, x, targets = workspace
    dW, db, loss = linear_model.gradient_parts(sums, leaf, D, w)
    weighted = load_targets(y, row, rows, targets, loss)
    load_few_inputs(X, row, rows, x, D)
    *weights, bias = [[broadcast(w, d, k) for k in range(C)] for d in range(D + 1)]
    *products, totals = [[var(zeros(x)) for _ in range(C)] for _ in range(D + 1)]

    def scores_at(t):
        scores = bias
        for d in range(D):
            value = load(x, d, t)
            scores = [fma(weights[d][k], value, scores[k]) for k in range(C)]
        return scores

    def add(t, gradients):
        for k, g in enumerate(gradients):
            totals[k] += g
            for d in range(D):
                products[d][k].set(fma(g, load(x, d, t), products[d][k]))

    add_to(loss, 0, 0, softmax_cross_entropy_vectors(scores_at, add, targets, weighted, rows))
    for d in range(D):
        _add_class_sums(products[d], dW, d)
    _add_class_sums(totals, db, 0)


def _add_class_sums(totals, out, i):
    """out[i] += the sums over the lanes of a vector a class; a row's class gradients sum to zero."""
    for k, total in enumerate(totals):
        total = reduce_add(total)
        add_to(out, i, k, total)
        add_to(out, i, len(totals), 0.0 - total)


# ------------------------------------------------------------------------------------------- two layers


@functools.cache
def two_layer(D, C):
    """The kernels for D inputs and C + 1 classes."""
    shapes = functools.partial(_two_layer_shapes, D, C)

    @traced
    def pack(theta, now, _, H, K, workspace):
        """Parameters theta[now] into the workspace, once a step."""
        _pack_two_layer(D, theta, now, K, workspace)

    @traced
    def tile(X, y, row, rows, H, K, workspace, sums, leaf):
        """Loss and gradient sums of a tile, added to sums[leaf]. Twin: reference.two_layer_loss_gradients."""
        _two_layer_tile(D, C, X, y, row, rows, H, K, workspace, sums, leaf)

    @traced
    def predict(X, start, stop, tile_rows, W, b, W2, b2, memory, best) -> float:
        H, K = W2.shape
        workspace = carve(memory, shapes(D, H, K, tile_rows, lanes(memory)))
        return _predict(D, C, X, start, stop, tile_rows, W, b, W2, b2, workspace, best)

    @njit(**ENTRY)
    def predict_rows(X, start, stop, tile_rows, W, b, W2, b2, memory, best):
        """Rows [start, stop) of best (N,), the class of the largest score; returns 0, or NaN if X or a score is not."""
        return predict(X, start, stop, tile_rows, W, b, W2, b2, memory, best)

    # what tells it from that of other shapes in a cache
    getattr(predict_rows, "py_func", predict_rows).kernel_name = f"{D}_inputs_{C + 1}_classes"
    return TwoLayer(shapes, pack, tile, predict_rows)


def _two_layer_shapes(D, C, _, H, K, T, unit):
    """w, b, v, b2; the tile's x, s, targets, m, spread. unit: elements of a cache line."""
    Hp, T, S = padded(H, 16), pitch(T, unit), (D + 1) * C
    packed = (D, Hp), (2, Hp), (C + 1, Hp), (1, padded(C + 1, 16))
    return *packed, (D, T), (C + 1, T), (2, T), (S, T), (S * unit, unit)


def _pack_two_layer(D, theta, now, K, workspace):
    w, b, v, b2, *_ = workspace
    for h in loop(0, w.shape[1], lanes(theta)):
        for d in range(D):
            store(w, d, h, load(theta, now, d * w.shape[1] + h))
    two_layer_model.pack_output(theta, now, D, K, v, b, b2)
    _put_reach(D, w, b)


def _put_reach(D, w, b):
    Hp = w.shape[1]
    two_layer_model.put_reach(b, (b, 0, 0, Hp), *((w, d, 0, Hp) for d in range(D)))


def _two_layer_tile(D, C, X, y, row, rows, H, K, workspace, sums, leaf):
    w, b, v, b2, x, s, targets, m, spread = workspace
    dW, dV, db, db2, loss = two_layer_model.gradient_parts(sums, leaf, D, K, v)
    weighted = load_targets(y, row, rows, targets, loss)
    load_few_inputs(X, row, rows, x, D)
    watch = var(broadcast(b, 1, 0) * 0.0)
    _watch_inputs(D, x, b, rows, watch)
    add_to(loss, 0, 0, reduce_add(watch))
    _scores(D, C, x, w, b, v, b2, H, s, rows)
    add_to(loss, 0, 0, _cross_entropy(D, C, x, s, targets, weighted, m, db2, rows))
    _backward(D, C, x, w, b, v, m, H, spread, dW, dV, db, rows)
    two_layer_model.close_last_class(dV, K)


def _watch_inputs(D, x, b, rows, watch):
    """watch: as of two_layer._forward."""
    for t in loop(0, rows, lanes(x)):
        for d in range(D):
            watch.set(fma(load(x, d, t) * broadcast(b, 1, 0), 0.0, watch))


def _hidden(D, w, b, x, h, n):
    """A function of t: w x + b of n units from h on. Their weights stay in registers."""
    weights = [[broadcast(w, d, h + i) for d in range(D)] for i in range(n)]
    bias = [broadcast(b, 0, h + i) for i in range(n)]

    def at(t):
        inputs = [load(x, d, t) for d in range(D)]
        z = list(bias)
        for d in reversed(range(D)):
            z = [fma(weights[i][d], inputs[d], z[i]) for i in range(n)]
        return z

    return at


def _scores(D, C, x, w, b, v, b2, H, s, rows):
    """s (C, T) = v max(0, w x + b) + b2, the hidden values in registers only."""
    n = choose(4 if D + C <= 4 else 2, 2)  # units at a time, for their weights. 2 at (2, 2): 6 to 12 % slower
    for t in loop(0, rows, lanes(x)):
        for k in range(C):
            store(s, k, t, broadcast(b2, 0, k))
    for h in loop(0, H, n):
        z = _hidden(D, w, b, x, h, n)
        weights = [[broadcast(v, k, h + i) for i in range(n)] for k in range(C)]
        for t in loop(0, rows, lanes(x)):
            values = [relu(value) for value in z(t)]
            for k in range(C):
                total = load(s, k, t)
                for i in range(n):
                    total = fma(values[i], weights[k][i], total)
                store(s, k, t, total)


def _cross_entropy(D, C, x, s, targets, weighted, m, db2, rows):
    """Sum of losses; m (S, T) = ds_k, ds_k x_0, ds_k x_1, ... for every class but the last; db2 += sums of ds."""
    totals = [var(zeros(x)) for _ in range(C)]

    def scores_at(t):
        return [load(s, k, t) for k in range(C)]

    def keep(t, gradients):
        inputs = [load(x, d, t) for d in range(D)]
        for k, g in enumerate(gradients):
            totals[k] += g
            store(m, (D + 1) * k, t, g)
            for d in range(D):
                store(m, (D + 1) * k + 1 + d, t, g * inputs[d])

    loss = softmax_cross_entropy_vectors(scores_at, keep, targets, weighted, rows)
    _add_class_sums(totals, db2, 0)
    return loss


def _backward(D, C, x, w, b, v, m, H, spread, dW, dV, db, rows):
    """Gradients from sums over the rows where a hidden unit is active.

    With A_kj = sum over active rows of ds_k x_j (x of the bias is 1), linearity of the active branch gives
    dW_j = sum_k v_k A_kj and dW2_k = b A_kb + sum_j w_j A_kj: S = (D + 1) C additions a row and unit instead of S + C
    multiply-adds, and additions have ports of their own on Zen (1.9 against 2.6 ns for 8 float64 rows, D = 2).
    """
    L, S = lanes(x), (D + 1) * C
    # at a time, so that their sums stay in registers. With 32 of 64 bytes 4 at S = 6 are 8 % slower; with 16 of 32 a
    # vector is two registers, and 12 sums of its halves have room beside what they are made of
    units, halved = choose((4 if S <= 4 else 2, False), (2 if S <= 6 else 1, True))
    for group in loop(0, H, L):
        for i in loop(0, minimum(L, H - group), units):
            sums = _active_sums(_hidden(D, w, b, x, group + i, units), m, S, units, halved, rows)
            for j in range(units):
                for p in range(S):
                    store(spread, p * L + i + j, 0, sums[j][p])
        # rows of spread beyond H are left over from another group: they meet weights that are zero
        A = [reduce_add_each([load(spread, p * L + i, 0) for i in range(L)]) for p in range(S)]
        inputs = [load(w, d, group) for d in range(D)]
        bias = load(b, 0, group)
        classes = [load(v, k, group) for k in range(C)]
        by_class = [A[k * (D + 1) : (k + 1) * (D + 1)] for k in range(C)]
        order = [1, 0, *range(2, C)][-C:]  # of additions, which decides bits
        for j in range(D + 1):
            into, at = (db, 0) if j == 0 else (dW, j - 1)
            add_to(into, at, group, _dot([classes[k] for k in order], [by_class[k][j] for k in order]))
        for k in range(C):
            add_to(dV, k, group, _dot([bias, *inputs], by_class[k]))


def _active_sums(z, m, S, units, halved, rows):
    """Sums of m (S, T) over the rows where z(t) of a unit is positive: S vectors a unit, lanes not added up.

    halved: in two passes over the rows, one for each half of the lanes.
    """
    by_part = []
    for part in [lambda v: half(v, 0), lambda v: half(v, 1)] if halved else [lambda v: v]:
        sums = [[var(part(zeros(m))) for _ in range(S)] for _ in range(units)]
        for t in loop(0, rows, lanes(m)):
            active = [part(value) > 0.0 for value in z(t)]
            for p in range(S):
                moment = part(load(m, p, t))
                for j in range(units):
                    total = sums[j][p].value
                    if halved:  # the same, for no sum is -0: an AND and an addition, that need one register
                        sums[j][p].set(total + select(active[j], moment, 0.0))
                    else:
                        sums[j][p].set(select(active[j], total + moment, total))  # one masked addition
        by_part.append(sums)
    if not halved:
        return by_part[0]
    return [[joined(*halves) for halves in zip(*unit, strict=True)] for unit in zip(*by_part, strict=True)]


def _dot(a, b):
    total = a[0] * b[0]
    for p, q in zip(a[1:], b[1:], strict=True):
        total = fma(p, q, total)
    return total


def _predict(D, C, X, start, stop, tile_rows, W, b, W2, b2, workspace, best):
    w, bias, v, bias2, x, s, *_ = workspace
    H = W2.shape[0]
    for h in loop(0, H):
        for d in range(D):
            store_scalar(w, d, h, load_scalar(W, d, h))
        store_scalar(bias, 0, h, load_scalar(b, h))
        for k in range(C):
            store_scalar(v, k, h, load_scalar(W2, h, k) - load_scalar(W2, h, C))
    for k in range(C):
        store_scalar(bias2, 0, k, load_scalar(b2, k) - load_scalar(b2, C))
    _put_reach(D, w, bias)
    watch = var(broadcast(bias, 1, 0) * 0.0)
    for row in loop(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        load_few_inputs(X, row, rows, x, D)
        _watch_inputs(D, x, bias, rows, watch)
        _scores(D, C, x, w, bias, v, bias2, H, s, rows)
        put_best(s, C + 1, row, rows, best, watch)  # the origin's score is 0, and stays it
    return reduce_add(watch)
