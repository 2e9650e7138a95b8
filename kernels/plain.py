"""The fused step as ordinary Numba: the middle rung between reference.py and the vector kernels.

These are the reference's lines for a block of rows at a time, so that nothing of size N x H or N x K is ever in memory.
The innermost loops are such that LLVM makes vectors of them by itself, and nothing else is asked of it. What the vector
kernels add: sums that stay in registers, multiply-adds, an exp of vectors, threads. On one core with AVX2 a step of the
network takes 2.5 to 3 times as long here as there at (300, 2, 100, 3), and about as long at (1797, 64, 100, 10); one of
the linear model 9 times as long at (300, 2, 3). The first call compiles in 4 seconds instead of 3.

Names and signatures are those of reference.py. A block has R rows; an array whose name ends in _T is transposed. Shapes
and labels are trusted.
"""

import numpy as np
from numba import njit

# 64 to 256 rows are equally fast, from (300, 2, 100, 3) to (2000, 784, 128, 10); 16 take up to a third longer
BLOCK = 64


@njit(error_model="numpy", nogil=True)
def linear_loss_gradients(X, y, W, b, reg, dW, db, sample_weight=None):
    """Loss, returned, and gradients of the linear classifier, with L2 strength reg on W."""
    W_T = np.ascontiguousarray(W.T)
    # a block's sums are in the dtype of X, those of blocks in float64: any N costs no digits
    sum_W_T, sum_b = np.zeros(W_T.shape), np.zeros(b.shape)
    loss = total = 0.0
    for i in range(0, len(X), BLOCK):
        X_block, y_block = X[i : i + BLOCK], y[i : i + BLOCK]
        weights = np.ones(len(X_block), X.dtype) if sample_weight is None else sample_weight[i : i + BLOCK]
        scores_T = _product(W_T, np.ascontiguousarray(X_block.T))
        loss += _softmax_cross_entropy(scores_T, b, y_block, weights, sum_b)
        dscores_T = scores_T
        _add_product(dscores_T, X_block, sum_W_T)
        total += weights.sum()
    return loss / total + _mean(sum_W_T.T, sum_b, total, reg, W, dW, db)


@njit(error_model="numpy", nogil=True)
def two_layer_loss_gradients(X, y, W, b, W2, b2, reg, dW, db, dW2, db2, sample_weight=None):
    """Loss, returned, and gradients of the two-layer network, with L2 strength reg on W and W2."""
    W2_T = np.ascontiguousarray(W2.T)
    sum_W, sum_b, sum_W2_T, sum_b2 = np.zeros(W.shape), np.zeros(b.shape), np.zeros(W2_T.shape), np.zeros(b2.shape)
    loss = total = 0.0
    for i in range(0, len(X), BLOCK):
        X_block, y_block = X[i : i + BLOCK], y[i : i + BLOCK]
        weights = np.ones(len(X_block), X.dtype) if sample_weight is None else sample_weight[i : i + BLOCK]
        hidden = _product(X_block, W)
        _relu(hidden, b)
        scores_T = _product(W2_T, np.ascontiguousarray(hidden.T))
        loss += _softmax_cross_entropy(scores_T, b2, y_block, weights, sum_b2)
        dscores_T = scores_T
        # backpropagate into W2, then into the hidden layer, then into W and b
        _add_product(dscores_T, hidden, sum_W2_T)
        dhidden = _product(np.ascontiguousarray(dscores_T.T), W2_T)
        _relu_backward(hidden, dhidden, sum_b)
        _add_product(np.ascontiguousarray(X_block.T), dhidden, sum_W)
        total += weights.sum()
    penalty = _mean(sum_W, sum_b, total, reg, W, dW, db) + _mean(sum_W2_T.T, sum_b2, total, reg, W2, dW2, db2)
    return loss / total + penalty


@njit(error_model="numpy", nogil=True)
def _product(A, B):
    """A B, of A (P, M) and B (M, Q). The innermost loop adds to no number twice, so LLVM may make vectors of it."""
    C = np.zeros((A.shape[0], B.shape[1]), A.dtype)
    for p in range(A.shape[0]):
        for m in range(A.shape[1]):
            a = A[p, m]
            for q in range(B.shape[1]):
                C[p, q] += a * B[m, q]
    return C


@njit(error_model="numpy", nogil=True)
def _add_product(A, B, sums):
    """sums (P, Q), float64, += A B."""
    C = _product(A, B)
    for p in range(C.shape[0]):
        for q in range(C.shape[1]):
            sums[p, q] += C[p, q]


@njit(error_model="numpy", nogil=True)
def _relu(hidden, b):
    """hidden (R, H) = max(0, hidden + b), where NaN stays NaN."""
    zero = hidden.dtype.type(0)
    for r in range(hidden.shape[0]):
        for h in range(hidden.shape[1]):
            value = hidden[r, h] + b[h]
            hidden[r, h] = zero if value <= 0 else value  # a select: with branches a step takes up to twice as long


@njit(error_model="numpy", nogil=True)
def _relu_backward(hidden, dhidden, sum_b):
    """dhidden (R, H) where the unit is active, else 0; sum_b (H,) gains its column sums."""
    zero = hidden.dtype.type(0)
    for r in range(hidden.shape[0]):
        for h in range(hidden.shape[1]):
            dhidden[r, h] = zero if hidden[r, h] <= 0 else dhidden[r, h]
            sum_b[h] += dhidden[r, h]


@njit(error_model="numpy", nogil=True)
def _softmax_cross_entropy(scores_T, b, y, weights, sum_b):
    """Summed loss of scores_T (K, R) + b, returned; scores_T becomes its gradient, whose row sums sum_b (K,) gains."""
    K, R = scores_T.shape
    loss = 0.0
    for r in range(R):
        for k in range(K):
            scores_T[k, r] += b[k]
        top = scores_T[0, r]
        for k in range(1, K):
            top = max(top, scores_T[k, r])
        correct = scores_T[y[r], r] - top
        exp_sum = scores_T.dtype.type(0)
        for k in range(K):
            scores_T[k, r] = np.exp(scores_T[k, r] - top)
            exp_sum += scores_T[k, r]
        loss += weights[r] * (np.log(exp_sum) - correct)
        for k in range(K):
            scores_T[k, r] *= weights[r] / exp_sum
        scores_T[y[r], r] -= weights[r]
        for k in range(K):
            sum_b[k] += scores_T[k, r]
    return loss


@njit(error_model="numpy", nogil=True)
def _mean(sum_W, sum_b, total, reg, W, dW, db):
    """dW (D, K) and db (K,) from sums over rows; the penalty reg/2 |W|^2, returned."""
    squares = 0.0
    for k in range(db.size):  # loops: an array expression, `db[:] = sum_b / total`, compiles three seconds longer
        db[k] = sum_b[k] / total
        for d in range(dW.shape[0]):
            squares += np.square(np.float64(W[d, k]))
            dW[d, k] = sum_W[d, k] / total + reg * W[d, k]  # regularization gradient
    return 0.5 * reg * squares if reg != 0 else 0.0
