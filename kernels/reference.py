"""The case study in plain NumPy: the text's own formulas, readable beside it.

Every function here has a fused twin of the same name and signature in `spiralnn.engine.fused`. Arrays are
X (N, D), y (N,) integer, W (D, K) or (D, H), b (K,) or (H,), W2 (H, K), b2 (K,); outputs come last and
are overwritten. Two changes to the text: softmax subtracts the row maximum, so that exp cannot overflow, and with
sample_weight (N,) the mean over rows is a weighted one.
"""

from typing import Any, NamedTuple

import numpy as np


def linear_scores(X, W, b, scores):
    """scores (N, K) = X W + b."""
    np.dot(X, W, out=scores)
    scores += b


def two_layer_scores(X, W, b, W2, b2, scores):
    """scores (N, K) = max(0, X W + b) W2 + b2."""
    hidden_layer = np.maximum(0, np.dot(X, W) + b)  # note, ReLU activation
    np.dot(hidden_layer, W2, out=scores)
    scores += b2


def softmax_cross_entropy(scores, y, dscores, sample_weight=None):
    """Mean cross-entropy loss of scores (N, K), returned; its gradient into dscores (N, K)."""
    num_examples = scores.shape[0]
    shifted = scores - np.max(scores, axis=1, keepdims=True)
    exp_scores = np.exp(shifted)
    sums = np.sum(exp_scores, axis=1, keepdims=True)
    rows = np.arange(num_examples)
    # -log(exp(f_y) / sum) with the division written as a difference, which cannot underflow to log(0)
    correct_logprobs = np.log(sums[:, 0]) - shifted[rows, y]
    np.divide(exp_scores, sums, out=dscores)
    dscores[rows, y] -= 1
    if sample_weight is None:
        dscores /= num_examples
        return float(np.sum(correct_logprobs, dtype=np.float64) / num_examples)
    total = np.sum(sample_weight, dtype=np.float64)
    dscores *= (sample_weight / total)[:, np.newaxis]
    return float(np.sum(correct_logprobs * sample_weight, dtype=np.float64) / total)


def linear_backward(X, dscores, dW, db):
    """dW (D, K) = X^T dscores, db (K,) = column sums of dscores."""
    np.dot(X.T, dscores, out=dW)
    np.sum(dscores, axis=0, out=db)


def two_layer_backward(X, W, b, W2, dscores, dW, db, dW2, db2):
    """Gradients of all four parameters from dscores (N, K); the hidden layer is computed again."""
    hidden_layer = np.maximum(0, np.dot(X, W) + b)
    np.dot(hidden_layer.T, dscores, out=dW2)
    np.sum(dscores, axis=0, out=db2)
    _backward_hidden(X, hidden_layer, W2, dscores, dW, db)


def linear_loss_gradients(X, y, W, b, reg, dW, db, sample_weight=None):
    """Loss, returned, and gradients of the linear classifier, with L2 strength reg on W."""
    scores = np.dot(X, W) + b
    dscores = np.empty_like(scores)
    loss = softmax_cross_entropy(scores, y, dscores, sample_weight)
    linear_backward(X, dscores, dW, db)
    dW += reg * W  # regularization gradient
    return loss + _penalty(reg, W)


def two_layer_loss_gradients(X, y, W, b, W2, b2, reg, dW, db, dW2, db2, sample_weight=None):
    """Loss, returned, and gradients of the two-layer network, with L2 strength reg on W and W2."""
    hidden_layer = np.maximum(0, np.dot(X, W) + b)
    scores = np.dot(hidden_layer, W2) + b2
    dscores = np.empty_like(scores)
    loss = softmax_cross_entropy(scores, y, dscores, sample_weight)
    # backpropagate into W2 and b2, then into the hidden layer, then into W and b
    np.dot(hidden_layer.T, dscores, out=dW2)
    np.sum(dscores, axis=0, out=db2)
    _backward_hidden(X, hidden_layer, W2, dscores, dW, db)
    dW2 += reg * W2
    dW += reg * W
    return loss + _penalty(reg, W, W2)


def _backward_hidden(X, hidden_layer, W2, dscores, dW, db):
    dhidden = np.dot(dscores, W2.T)
    dhidden[hidden_layer <= 0] = 0  # backprop the ReLU non-linearity
    np.dot(X.T, dhidden, out=dW)
    np.sum(dhidden, axis=0, out=db)


def _penalty(reg, *weights):
    if reg == 0:
        return 0.0  # also where squares overflow
    return 0.5 * reg * sum(float(np.sum(np.square(W, dtype=np.float64))) for W in weights)


def linear_finite_scores(X, W, b, scores):
    """linear_scores; returns for each row whether all is finite."""
    linear_scores(X, W, b, scores)
    return np.isfinite(scores).all(axis=1)


def two_layer_finite_scores(X, W, b, W2, b2, scores):
    """two_layer_scores; returns for each row whether all is finite, hidden values too: ReLU makes 0 of -infinity."""
    two_layer_scores(X, W, b, W2, b2, scores)
    return np.isfinite(scores).all(axis=1) & np.isfinite(np.dot(X, W) + b).all(axis=1)


class Functions(NamedTuple):
    """The functions of one model."""

    loss_gradients: Any
    finite_scores: Any
    scores: Any


LINEAR = Functions(linear_loss_gradients, linear_finite_scores, linear_scores)
TWO_LAYER = Functions(two_layer_loss_gradients, two_layer_finite_scores, two_layer_scores)

# The three pieces that a step is composed of. A row of sums is float64: gradients of W, b, W2, b2 one after the other,
# then the loss and the weight, none of them divided.


def add_rows(X, y, params, sample_weight=None):
    """The row of sums over these rows: gradients, loss, weight."""
    loss_gradients = (LINEAR if len(params) == 2 else TWO_LAYER).loss_gradients
    gradients = tuple(np.empty_like(p) for p in params)
    loss = loss_gradients(X, y, *params, 0.0, *gradients, sample_weight)
    weight = float(len(X) if sample_weight is None else np.sum(sample_weight, dtype=np.float64))
    return np.concatenate([*(g.reshape(-1).astype(np.float64) * weight for g in gradients), [loss * weight, weight]])


def combine(leaves):
    """The sum of rows (n, ...) along the one binary tree over their numbers: the left part is a whole subtree."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return combine(leaves[:half]) + combine(leaves[half:])


def gradient(theta, total, is_weight, reg):
    """Gradient of the whole loss from the row of all sums, at theta (P,); is_weight (P,): what reg penalises."""
    return total[: len(theta)] / total[-1] + reg * theta * is_weight


def gradient_descent(theta, total, is_weight, reg, step_size):
    """The next parameters."""
    return theta - step_size * gradient(theta, total, is_weight, reg)


# The rules of batches: theta (P,) and state (n P,) are overwritten; settings as in updates.py, from the step size on.


def momentum(theta, gradient, state, settings):
    """Gradient descent with momentum."""
    step_size, momentum = settings[:2]
    state[:] = momentum * state - step_size * gradient
    theta += state


def nesterov(theta, gradient, state, settings):
    """The same with the gradient as of where the velocity leads."""
    step_size, momentum = settings[:2]
    state[:] = momentum * state - step_size * gradient
    theta += momentum * state - step_size * gradient


def adam(theta, gradient, state, settings):
    """Adam; the step size holds its bias corrections."""
    step_size, beta_1, beta_2, rest_1, rest_2, epsilon = settings[:6]
    mean, square = state.reshape(2, -1)
    mean[:] = beta_1 * mean + rest_1 * gradient
    square[:] = beta_2 * square + rest_2 * np.square(gradient)
    theta -= step_size * mean / (np.sqrt(square) + epsilon)


# What Newton's method needs of the linear model.


def linear_hessian(X, W, b, sample_weight=None):
    """Second derivatives (M, M), M = (K - 1) (D + 1), of the mean loss with respect to W_k and b_k, k < K - 1.

    Mean of (diag(p) - p p^T) (x) x~ x~^T, x~ = (x, 1): class after class, each with its inputs and then its bias.
    """
    scores = np.dot(X, W) + b
    p = np.exp(scores - np.max(scores, axis=1, keepdims=True))
    p /= np.sum(p, axis=1, keepdims=True)
    inputs = np.column_stack([X, np.ones(len(X), X.dtype)])
    share = np.full(len(X), 1 / len(X), X.dtype)
    if sample_weight is not None:
        share = sample_weight / np.sum(sample_weight, dtype=np.float64)
    classes = range(p.shape[1] - 1)

    def block(k, j):
        curvatures = share * p[:, k] * ((k == j) - p[:, j])
        return np.dot(inputs.T, curvatures[:, np.newaxis] * inputs)

    return np.block([[block(k, j) for j in classes] for k in classes])
