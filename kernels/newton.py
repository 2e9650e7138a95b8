"""Newton's method for the linear model: its Hessian beside its gradient in one pass over X, and the step they make.

    H = sum_i w_i (diag(p_i) - p_i p_i^T) (x) x~_i x~_i^T,  x~ = (x', 1),  x' = (x - mean) scale

(Bishop, Pattern Recognition and Machine Learning, 2006, equation 4.110.) The loss does not change when all scores of a
row shift. So of p only the classes but the last count, and the unknowns are v_k = W_k - W_{K-1}, M = (D + 1) (K - 1)
of them. What else there is of W (D + 1, K), biases in its last row, is m, the mean over the classes, which only the L2
term sees: with strengths r (D + 1), 0 for the biases,

    r/2 sum_k W_k^2 = r/2 (sum_k v_k^2 - (sum_k v_k)^2 / K) + r/2 K m^2

So v and m are two problems. The first has the Hessian H + r (delta_kl - 1/K) on the diagonals of its blocks (k, l); the
second is solved by m = 0, in one step, where r > 0, and m stays as it is where r = 0.

Sums are [dW (D, Kp) | db (Kp) | blocks (k, l) of H, k <= l < K - 1], the gradient as linear.py has it. A block is
symmetric: of its lower triangle it holds panels of BLOCK columns, from the diagonal down. theta holds mean (D) and
scale (D) where the blocks begin: rows are centred and scaled as they are loaded, so nothing cancels, even in float32.
"""

import numpy as np
from numba import njit

from .cholesky import factor, solve
from .linear import CLASSES, few_scores, gradient_parts
from .softmax import softmax_cross_entropy_tile
from .tile import add_products, add_row_sums, load_inputs, load_targets, padded, pitch
from .vectors import (
    ENTRY,
    add_to,
    broadcast,
    choose,
    full,
    if_,
    lanes,
    load,
    load_scalar,
    loop,
    select,
    store,
    store_scalar,
    traced,
    var,
    view,
    zeros,
)

BLOCK = 4  # columns of a panel
# Rows of it at a time. Share of the multiply-add rate by 1, 2 and 3 (AVX2, 120 inputs): 0.43, 0.52 and 0.61 in float64,
# 0.55, 0.75 and 0.77 in float32. The last of a panel may be BEYOND its end
MANY_ROWS, FEW_ROWS, BEYOND = 4, 3, 2


def gradient_size(D, K):
    """Where the blocks begin."""
    return (D + 1) * padded(K, 16)


def size(D, K):
    """Numbers in a row of sums, without loss and weight."""
    Dp = padded(D + 1, BLOCK)
    return padded(gradient_size(D, K) + K * (K - 1) // 2 * (Dp * (Dp + BLOCK) // 2), 16)


def shapes(D, H, K, T, unit):
    """Shapes of what one thread needs: w, bias, affine (mean, scale); the tile's x as one row, s, u, z, targets."""
    Ks, T = padded(K, CLASSES), pitch(T, unit)
    packed = (Ks, padded(D, unit)), (1, padded(K, 16)), (2, padded(D, unit))
    return *packed, (1, (padded(D + 1, BLOCK) + BEYOND) * T), (Ks, T), (1, T), (BLOCK, T), (2, T)


@traced
def pack(theta, now, D, H, K, workspace):
    """Parameters, mean and scale of theta[now] into the workspace, once a step; x~ is 1 behind the last input."""
    w, bias, affine, x, s, u, z, targets = workspace
    Kp = bias.shape[1]
    for k in loop(0, K):
        for d in loop(0, D):
            store_scalar(w, k, d, load_scalar(theta, now, d * Kp + k))
        store_scalar(bias, 0, k, load_scalar(theta, now, D * Kp + k))
    for i in range(2):
        for d in loop(0, D):
            store_scalar(affine, i, d, load_scalar(theta, now, (D + 1) * Kp + i * D + d))
    for t in loop(0, targets.shape[1], lanes(x)):
        store(x, 0, D * targets.shape[1] + t, full(x, 1.0))


@traced
def tile(X, y, row, rows, H, K, workspace, sums, leaf):
    """Loss, gradient and Hessian sums of a tile, added to sums[leaf]. Twin: reference.linear_hessian."""
    w, bias, affine, inputs, s, u, z, targets = workspace
    D, T = X.shape[1], targets.shape[1]
    x = view(inputs, 0, 0, D + 2, T)  # with the 1, and one row more, as add_products takes two at a time
    dW, db, loss = gradient_parts(sums, leaf, D, bias)
    weighted = load_targets(y, row, rows, targets, loss)
    load_inputs(X, row, rows, 0, D, x)
    for d in loop(0, D):
        mean, scale = broadcast(affine, 0, d), broadcast(affine, 1, d)
        for t in loop(0, rows, lanes(x)):
            store(x, d, t, (load(x, d, t) - mean) * scale)
    few_scores(x, D, rows, w, bias, s)
    add_to(loss, 0, 0, softmax_cross_entropy_tile(s, K, targets, weighted, rows))
    add_row_sums(s, K, rows, db)
    for k in loop(0, s.shape[0], CLASSES):
        add_products(x, s, rows, 0, D, k, dW, 2, CLASSES)
    _probabilities(s, K, targets, weighted, rows)
    place = var((D + 1) * bias.shape[1])
    for k in loop(0, K - 1):
        for other in loop(k, K - 1):
            _curvatures(s, K, k, other, targets, weighted, rows, u)
            _add_block(inputs, D, u, rows, z, sums, leaf, place)


def _probabilities(s, K, targets, weighted, rows):
    """s = p (K, T) of the gradients w (p - 1(y = k)) in it; 0 in padding rows, and in those of no weight."""
    for t in loop(0, rows, lanes(s)):
        label, number = load(targets, 0, t), var(zeros(s))
        weight = load(targets, 1, t) if weighted else full(s, 1.0)
        for k in loop(0, K):
            p = load(s, k, t) + select(label == number.value, weight, 0.0)
            store(s, k, t, p / select(weight > 0.0, weight, 1.0) if weighted else p)
            number += 1.0


def _curvatures(s, K, k, other, targets, weighted, rows, u):
    """u (1, T) = w p_k (1 - p_k), with 1 - p_k as the sum over the other classes, or -w p_k p_other."""
    for t in loop(0, rows, lanes(s)):
        rest = var(zeros(s))
        for _ in if_(k < other):
            rest -= load(s, other, t)
        for _ in if_(other < k + 1):
            for first, last in ((0, k), (k + 1, K)):
                for j in loop(first, last):
                    rest += load(s, j, t)
        p = load(s, k, t) * load(targets, 1, t) if weighted else load(s, k, t)
        store(u, 0, t, p * rest.value)


def _add_block(inputs, D, u, rows, z, sums, leaf, place):
    """sums[leaf, place...] += the lower triangle of x~ u x~^T in panels; place: a variable, moved to the next block."""
    Dp, T = padded(D + 1, BLOCK), u.shape[1]
    for j in loop(0, Dp, BLOCK):
        x = view(inputs, 0, j * T, Dp - j + BEYOND, T)
        for t in loop(0, rows, lanes(x)):
            factors = load(u, 0, t)
            for i in range(BLOCK):
                store(z, i, t, load(x, i, t) * factors)
        panel = view(sums, leaf, place.value, Dp - j, BLOCK)
        add_products(x, z, rows, 0, Dp - j, 0, panel, choose(MANY_ROWS, FEW_ROWS), BLOCK)
        place.set(place.value + (Dp - j) * BLOCK)


# ------------------------------------------------------------------------------------------- what they make


@njit(**ENTRY)
def collect(row, D, K, gradient, hessian):
    """gradient (D + 1, K) and hessian (M, M), its upper triangle, of a row of sums; unknown k (D + 1) + d is v_k[d]."""
    rows, Kp = D + 1, (K + 15) // 16 * 16
    for d in range(rows):
        for k in range(K):
            gradient[d, k] = row[d * Kp + k]
    Dp = (rows + BLOCK - 1) // BLOCK * BLOCK
    block = rows * Kp
    for k in range(K - 1):
        for other in range(k, K - 1):
            for h in range(rows):
                panel = h // BLOCK
                first = block + BLOCK * (panel * Dp - BLOCK * (panel * (panel - 1) // 2)) + h % BLOCK
                for d in range(h, rows):
                    value = row[first + (d - panel * BLOCK) * BLOCK]
                    hessian[k * rows + h, other * rows + d] = value
                    if k < other:
                        hessian[k * rows + d, other * rows + h] = value
            block += Dp * (Dp + BLOCK) // 2


@njit(**ENTRY)
def penalize(point, ridge, gradient, hessian):
    """Add the L2 term, of strengths ridge (D + 1,), to gradient and hessian at point (D + 1, K); returns the loss's."""
    rows, K = point.shape
    loss = 0.0
    for d in range(rows):
        r = ridge[d]
        if r > 0.0:  # squares may overflow, and 0 times infinity is no loss
            for k in range(K):
                gradient[d, k] += r * point[d, k]
                loss += 0.5 * (r * (point[d, k] * point[d, k]))
            for k in range(K - 1):
                hessian[k * rows + d, k * rows + d] += r
                for other in range(k, K - 1):
                    hessian[k * rows + d, other * rows + d] -= r / K
    return loss


@njit(**ENTRY)
def direct(point, ridge, gradient, hessian, shift, first_shift, last_shift, least, direction):
    """direction (D + 1, K) = Newton's step at point, its change of biases without a common part.

    To the diagonal is added shift times the largest element of it: the first of shift, first_shift, 10 first_shift, ...
    that makes it positive definite. Returns that, or infinity if last_shift does not.
    """
    rows, K = point.shape
    M = rows * (K - 1)
    U, x = np.empty((M, M)), np.empty(M)
    largest = 0.0
    for i in range(M):
        largest = max(largest, hessian[i, i])
    while not factor(hessian, shift * largest, least, U):
        shift = max(10.0 * shift, first_shift)
        if not shift <= last_shift:
            return np.inf
    for d in range(rows):
        mean = 0.0
        for k in range(K):
            mean += point[d, k] / K
        for k in range(K - 1):
            x[k * rows + d] = ridge[d] * mean - gradient[d, k]
        direction[d, K - 1] = -mean if ridge[d] > 0.0 else 0.0
    solve(U, x)
    for d in range(rows):
        total = 0.0
        for k in range(K - 1):
            total += x[k * rows + d]
        common = direction[d, K - 1] - total / K
        for k in range(K - 1):
            direction[d, k] = x[k * rows + d] + common
        direction[d, K - 1] = common
    return shift


@njit(**ENTRY)
def product(a, b):
    """The sum of a * b, both (n, m)."""
    total = 0.0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            total += a[i, j] * b[i, j]
    return total
