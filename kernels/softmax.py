"""Softmax cross-entropy fused with its gradient, over a tile of class scores s (K, T).

    p_k = exp(f_k) / sum_j exp(f_j),  L = -log p_y,  dL/df_k = p_k - 1(y = k)        (the case study's formulas)
"""

from numba import njit

from .tile import carve, load_inputs, load_targets, padded, pitch, put_rows
from .vectors import (
    ENTRY,
    add_to,
    exp_of_negative,
    fma,
    full,
    lanes,
    load,
    log,
    loop,
    maximum,
    minimum,
    reduce_add,
    select,
    store,
    traced,
    var,
    zeros,
)

# So many losses share a logarithm, that of the product of their totals. A total is at most K: 4 cannot overflow.
PRODUCTS = 4


def softmax_cross_entropy_tile(s, K, targets, weighted, rows):
    """Sum of the tile's losses; s (K, T) is overwritten with its own gradient (not divided by N).

    targets (2, T) as `load_targets` leaves them: the class as a float, -1 in padding rows, which get no loss and no
    gradient, and in the second row the weight of the row's loss, if weighted.
    """
    L = lanes(s)
    # watch sums scores: one that overflowed below zero makes the loss NaN, where exp would make 0 of it
    loss, watch = var(zeros(s)), var(zeros(s))
    for group in loop(0, rows, PRODUCTS * L):
        product = var(full(s, 1.0))
        for t in loop(group, minimum(group + PRODUCTS * L, rows), L):
            label = load(targets, 0, t)
            weight = load(targets, 1, t) if weighted else full(targets, 1.0)
            top = var(load(s, 0, t))
            watch += top
            for k in loop(1, K):
                score = load(s, k, t)
                watch += score
                top.set(maximum(score, top.value))
            total, own = var(zeros(s)), var(zeros(s))
            number = var(zeros(s))  # k, in every lane
            for k in loop(0, K):
                shifted = load(s, k, t) - top.value
                own.set(select(label == number.value, shifted, own.value))
                e = exp_of_negative(shifted)
                total += e
                number += 1.0
                store(s, k, t, e)
            scale = _add_loss(loss, product, label, weight, weighted, own.value, total.value)
            number.set(zeros(s))
            for k in loop(0, K):
                store(s, k, t, load(s, k, t) * scale - select(label == number.value, weight, 0.0))
                number += 1.0
        if not weighted:
            loss += log(product.value)
    return reduce_add(fma(watch, 0.0, loss))


def softmax_cross_entropy_vectors(scores_at, gradients_to, targets, weighted, rows):
    """The same for few classes, known while tracing, whose scores never leave the registers. Returns the loss sum.

    scores_at(t) gives the scores of a vector of rows, a vector a class, but for the last class, whose score is 0;
    gradients_to(t, gradients) takes their gradients.
    """
    L = lanes(targets)
    loss = var(zeros(targets))
    for group in loop(0, rows, PRODUCTS * L):
        product = var(full(targets, 1.0))
        for t in loop(group, minimum(group + PRODUCTS * L, rows), L):
            label, scores = load(targets, 0, t), scores_at(t)
            weight = load(targets, 1, t) if weighted else full(targets, 1.0)
            top = zeros(targets)
            for score in scores:
                top = maximum(score, top)
            # see above; a sum of its own would take a register too many
            loss.set(fma(sum(scores[1:], scores[0]), 0.0, loss))
            shifted = [score - top for score in (*scores, zeros(targets))]
            e = [exp_of_negative(x) for x in shifted]
            own = select(label > -0.5, shifted[-1], 0.0)
            for k in range(len(scores)):
                own = select(label == float(k), shifted[k], own)
            scale = _add_loss(loss, product, label, weight, weighted, own, sum(e[1:], e[0]))
            gradients_to(t, [e[k] * scale - select(label == float(k), weight, 0.0) for k in range(len(scores))])
        if not weighted:
            loss += log(product.value)
    return reduce_add(loss)


def _add_loss(loss, product, label, weight, weighted, own, total):
    """Add the losses of a vector of rows, log(total) - own, to loss; returns the factor from exponentials to gradients.

    Without weights the logarithm is left to the product of the totals.
    """
    if weighted:  # 0 in padding rows
        loss.set(fma(log(total) - own, weight, loss))
        return weight / total
    loss -= own
    real = label > -0.5
    product.set(product.value * select(real, total, 1.0))
    return select(real, 1.0 / total, 0.0)


def shapes(K, T, unit):
    """Shapes of what one thread needs for softmax_cross_entropy_rows: the tile's s and targets."""
    T = pitch(T, unit)
    return (padded(K, 2), T), (2, T)


@traced
def _rows(scores, y, start, stop, tile_rows, memory, losses, leaf, dscores, factor):
    K = scores.shape[1]
    s, targets = carve(memory, shapes(K, tile_rows, lanes(memory)))
    for row in loop(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        load_inputs(scores, row, rows, 0, K, s)
        weighted = load_targets(y, row, rows, targets)
        add_to(losses, leaf, 0, softmax_cross_entropy_tile(s, K, targets, weighted, rows))
        put_rows(s, row, rows, dscores, factor)


@njit(**ENTRY)
def softmax_cross_entropy_rows(scores, y, start, stop, tile_rows, memory, losses, leaf, dscores, share):
    """Loss sum of rows [start, stop), added to losses[leaf, 0]; share times their gradient into dscores (N, K)."""
    factor = scores.dtype.type(share)
    _rows(scores, y, start, stop, tile_rows, memory, losses, leaf, dscores, factor)


# ------------------------------------------------------------------------------------------- probabilities alone


@traced
def _put_probabilities(scores, start, stop, tile_rows, memory):
    _normalize(scores, start, stop, tile_rows, memory, are_logs=False)


@traced
def _put_log_probabilities(scores, start, stop, tile_rows, memory):
    _normalize(scores, start, stop, tile_rows, memory, are_logs=True)


def _normalize(scores, start, stop, tile_rows, memory, are_logs):
    K = scores.shape[1]
    s, _ = carve(memory, shapes(K, tile_rows, lanes(memory)))
    for row in loop(start, stop, tile_rows):
        rows = minimum(tile_rows, stop - row)
        load_inputs(scores, row, rows, 0, K, s)
        for t in loop(0, rows, lanes(s)):
            top, total = var(load(s, 0, t)), var(zeros(s))
            for k in loop(1, K):
                top.set(maximum(load(s, k, t), top.value))
            for k in loop(0, K):
                shifted = load(s, k, t) - top.value  # -infinity where no number is as small
                e = exp_of_negative(shifted)
                total += e
                store(s, k, t, shifted if are_logs else e)
            rest = log(total.value) if are_logs else total.value
            for k in loop(0, K):
                store(s, k, t, load(s, k, t) - rest if are_logs else load(s, k, t) / rest)
        put_rows(s, row, rows, scores)


@njit(**ENTRY)
def probabilities_rows(scores, start, stop, tile_rows, memory):
    """Rows [start, stop) of scores (N, K), finite numbers, become probabilities."""
    _put_probabilities(scores, start, stop, tile_rows, memory)


@njit(**ENTRY)
def log_probabilities_rows(scores, start, stop, tile_rows, memory):
    """The same: logarithms of probabilities."""
    _put_log_probabilities(scores, start, stop, tile_rows, memory)
