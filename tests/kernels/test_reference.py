"""The first rungs: values computed by hand, then gradients of the reference against finite differences."""

import numpy as np
import pytest
from problems import problem, relative_error, small_only

from spiralnn.engine import fused
from spiralnn.kernels import reference

pytestmark = pytest.mark.kernels

LOG2, LOG3, LOG4, LOG5 = 0.6931471805599453, 1.0986122886681098, 1.3862943611198906, 1.6094379124341003

# The numbers by hand are good to the last digit or two that a float64 has.
HAND = 1e-14

both = pytest.mark.parametrize("kernels", [reference, fused], ids=["reference", "fused"])


def check(kernel, X, y, params, reg, loss, gradients):
    """kernel's loss and gradients are those that stand written out."""
    outputs = [np.full_like(p, np.nan) for p in params]
    assert kernel(X, y, *params, reg, *outputs) == pytest.approx(loss, rel=HAND, abs=0)
    for output, gradient in zip(outputs, gradients, strict=True):
        np.testing.assert_allclose(output, gradient, rtol=HAND, atol=HAND)


@both
def test_linear_one_row(kernels):
    # x = (1, 0) picks the first row of W: scores log 2, 0, log 5 = exponentials 2, 1, 5 of a sum of 8
    X, y = np.array([[1.0, 0.0]]), np.array([1])
    W, b = np.array([[LOG2, 0.0, 0.0], [2.0, 4.0, -2.0]]), np.array([0.0, 0.0, LOG5])
    scores = np.empty((1, 3))
    kernels.linear_scores(X, W, b, scores)
    np.testing.assert_allclose(scores, [[LOG2, 0.0, LOG5]], rtol=HAND)
    dscores = np.empty((1, 3))
    loss = kernels.softmax_cross_entropy(scores, y, dscores)
    assert loss == pytest.approx(2.0794415416798357, rel=HAND, abs=0)  # log 8
    np.testing.assert_allclose(dscores, [[0.25, -0.875, 0.625]], rtol=HAND)
    # with reg = 0.5: 0.25 (log(2)^2 + 4 + 16 + 4) more loss, half of W more gradient
    expected = [[0.25 + 0.34657359027997264, -0.875, 0.625], [1.0, 2.0, -1.0]], [0.25, -0.875, 0.625]
    check(kernels.linear_loss_gradients, X, y, (W, b), 0.5, 2.0794415416798357 + 6.12011325347955, expected)


@both
def test_linear_two_rows(kernels):
    # scores log 3, 0 and -2 log 3, 0: probabilities 3/4, 1/4 and 1/10, 9/10; both rows are of class 0
    X, y = np.array([[1.0], [-2.0]]), np.array([0, 0])
    W, b = np.array([[LOG3, 0.0]]), np.zeros(2)
    loss = 1.2951335827229135  # (log(4/3) + log(10)) / 2
    check(kernels.linear_loss_gradients, X, y, (W, b), 0.0, loss, ([[0.775, -0.775]], [-0.575, 0.575]))
    dW, db = np.empty((1, 2)), np.empty(2)
    # rows that do not sum to zero: dW = 1 (0.5, 0.25) - 2 (-1, 3)
    kernels.linear_backward(X, np.array([[0.5, 0.25], [-1.0, 3.0]]), dW, db)
    np.testing.assert_allclose(dW, [[2.5, -5.75]], rtol=HAND)
    np.testing.assert_allclose(db, [-0.5, 3.25], rtol=HAND)


@both
def test_two_layer_one_row(kernels):
    # hidden values 1 + 2 - 1 = 2 and -1 + 2 - 3 = -2, so the second unit is not active;
    # scores 0, 2 log 2: probabilities 1/5, 4/5
    X, y = np.array([[1.0, 2.0]]), np.array([0])
    W, b = np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([-1.0, -3.0])
    W2, b2 = np.array([[0.0, LOG2], [1.0, 3.0]]), np.zeros(2)
    scores = np.empty((1, 2))
    kernels.two_layer_scores(X, W, b, W2, b2, scores)
    np.testing.assert_allclose(scores, [[0.0, LOG4]], rtol=HAND)
    expected = (
        [[0.5545177444479562, 0.0], [1.1090354888959124, 0.0]],  # 0.8 log 2 through the active unit, times x
        [0.5545177444479562, 0.0],
        [[-1.6, 1.6], [0.0, 0.0]],
        [-0.8, 0.8],
    )
    check(kernels.two_layer_loss_gradients, X, y, (W, b, W2, b2), 0.0, LOG5, expected)


@both
def test_two_layer_two_rows(kernels):
    # each row activates one unit: scores log 3, 0 and 0, log 4: probabilities 3/4, 1/4 and 1/5, 4/5
    X, y = np.array([[1.0], [-1.0]]), np.array([0, 1])
    params = np.array([[1.0, -1.0]]), np.zeros(2), np.array([[LOG3, 0.0], [0.0, LOG4]]), np.zeros(2)
    expected = [
        np.array([[-0.13732653608351372, 0.13862943611198906]]),  # -log(3) / 8, log(4) / 10
        [-0.13732653608351372, -0.13862943611198906],
        np.array([[-0.125, 0.125], [0.1, -0.1]]),
        [-0.025, 0.025],
    ]
    loss = 0.2554128118829953  # (log(4/3) + log(5/4)) / 2
    check(kernels.two_layer_loss_gradients, X, y, params, 0.0, loss, expected)
    # with reg = 0.5: 0.25 (1 + 1 + log(3)^2 + log(4)^2) more loss
    expected[0] = expected[0] + [[0.5, -0.5]]
    expected[2] = expected[2] + [[0.5493061443340549, 0.0], [0.0, 0.6931471805599453]]
    check(kernels.two_layer_loss_gradients, X, y, params, 0.5, loss + 1.2821902541213469, expected)


@pytest.mark.parametrize("N,D,H,K", small_only([
    (1, 1, 0, 2), (5, 3, 0, 4), (20, 7, 0, 3), (11, 2, 0, 12),
    (1, 1, 1, 2), (6, 2, 5, 3), (13, 4, 9, 5), (30, 1, 3, 2),
]))  # fmt: skip
def test_gradients_are_slopes_of_the_loss(N, D, H, K):
    # Weights are shifted one class at a time: a shift of all classes together changes no probability.
    # Central differences of 2e-5 are off by h^2 / 6 times the third derivative and by eps / h: both about 1e-10.
    h = 2e-5
    X, y, params = problem(N, D, H, K, margin=1e-3)
    kernel = reference.two_layer_loss_gradients if H else reference.linear_loss_gradients
    gradients = [np.empty_like(p) for p in params]
    unused = [np.empty_like(p) for p in params]
    kernel(X, y, *params, 0.1, *gradients)
    for p, gradient in zip(params, gradients, strict=True):
        slopes = np.empty_like(p)
        for i in np.ndindex(p.shape):
            value = p[i]
            p[i] = value + h
            above = kernel(X, y, *params, 0.1, *unused)
            p[i] = value - h
            below = kernel(X, y, *params, 0.1, *unused)
            p[i] = value
            slopes[i] = (above - below) / (2 * h)
        assert relative_error(gradient, slopes) <= 1e-7


def test_softmax_gradient_is_the_slope_of_the_loss():
    h = 2e-5
    random = np.random.default_rng(0)
    scores, y = random.standard_normal((7, 5)), random.integers(0, 5, 7)
    dscores, unused = np.empty_like(scores), np.empty_like(scores)
    reference.softmax_cross_entropy(scores, y, dscores)
    slopes = np.empty_like(scores)
    for i in np.ndindex(scores.shape):
        shift = np.zeros_like(scores)
        shift[i] = h
        above = reference.softmax_cross_entropy(scores + shift, y, unused)
        slopes[i] = (above - reference.softmax_cross_entropy(scores - shift, y, unused)) / (2 * h)
    assert relative_error(dscores, slopes) <= 1e-7


def test_the_reference_never_overflows():
    # exp(1e4) is no float64: the row maximum must have gone first
    scores = np.array([[1e4, -1e4], [-1e4, 1e4]])
    dscores = np.empty_like(scores)
    assert reference.softmax_cross_entropy(scores, np.array([0, 0]), dscores) == 1e4  # (0 + 2e4) / 2
    np.testing.assert_array_equal(dscores, [[0.0, 0.0], [-0.5, 0.5]])
