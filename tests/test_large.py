"""More than 2^31 numbers, and shapes that no machine holds: right, or one clear error.

The rows are zeros that were never written, which the system maps without giving them memory of their own.
"""

import numpy as np
import pytest

import spiralnn
from spiralnn.engine import fused
from spiralnn.kernels import reference

N, D = (1 << 27) + 37, 17  # 2.28e9 numbers; 2^31 of them end inside row 126 322 567
LAST = [(1 << 31) // D, (1 << 31) // D + 1, N - 40, N - 1]  # rows with values, around number 2^31 and at the end


@pytest.fixture(scope="module")
def rows():
    try:
        X = np.zeros((N, D), np.float32)
        y = np.zeros(N, np.uint8)
    except MemoryError:
        pytest.skip("this system does not promise memory that is never used")
    random = np.random.default_rng(0)
    X[LAST] = 1000 * random.standard_normal((len(LAST), D))
    y[LAST] = [1, 2, 1, 2]
    return X, y


def expected(X, y, params):
    """Loss and gradients from the rows with values and one row of zeros that stands for all others, in float64."""
    params = [p.astype(np.float64) for p in params]
    kernel = reference.linear_loss_gradients if len(params) == 2 else reference.two_layer_loss_gradients

    def of(X, y):
        gradients = [np.empty_like(p) for p in params]
        return [kernel(X.astype(np.float64), y.astype(np.intp), *params, 0.0, *gradients), *gradients]

    filled, empty = of(X[LAST], y[LAST]), of(X[:1], y[:1])
    return [(len(LAST) * a + (N - len(LAST)) * b) / N for a, b in zip(filled, empty, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("H", [pytest.param(0, marks=pytest.mark.long), 3])
def test_beyond_two_to_the_31(rows, H):
    X, y = rows
    assert X.size > 1 << 31
    random = np.random.default_rng(1)
    shapes = [(D, 3), (3,)] if not H else [(D, H), (H,), (H, 3), (3,)]
    params = [random.standard_normal(shape).astype(np.float32) for shape in shapes]
    loss, gradients = spiralnn.loss_and_gradients(X, y, params)
    truth = expected(X, y, params)
    assert loss == pytest.approx(truth[0], rel=1e-6)
    for gradient, wanted in zip(gradients, truth[1:], strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())

    assert np.abs(truth[1]).max() > 1e-6  # what the rows with values leave in dW; rows of zeros leave nothing

    best = np.empty(N, np.intp)
    assert fused.predict(X, params, best)
    kernel = reference.linear_scores if not H else reference.two_layer_scores
    scores = np.empty((len(LAST) + 1, 3))
    kernel(X[[*LAST, 0]].astype(np.float64), *(p.astype(np.float64) for p in params), scores)
    np.testing.assert_array_equal(best[[*LAST, 0]], scores.argmax(axis=1))
    assert (np.bincount(best, minlength=3).max()) >= N - len(LAST)


def virtual(shape, dtype=np.float64):
    """An array of one number that claims any shape."""
    return np.broadcast_to(np.zeros((), dtype), shape)


@pytest.mark.parametrize("shape", [(1 << 45, 4), (3, 1 << 45), (1 << 32, 1 << 27)])
def test_an_X_that_no_memory_holds_is_an_error(shape):
    with pytest.raises(MemoryError, match=r"X of shape .* float64"):
        spiralnn.loss_and_gradients(virtual(shape), virtual(shape[:1], np.uint8), (np.zeros((2, 2)), np.zeros(2)))
    model = spiralnn.TwoLayerNet(max_iter=1)
    with pytest.raises(MemoryError, match=r"X of shape .* float64"):
        model.fit(virtual(shape), np.array([0, 1]))
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("hidden_size", [1 << 45, 1 << 62, 1 << 70])
def test_a_network_that_no_memory_holds_is_an_error(hidden_size):
    X, y = spiralnn.make_spiral(10, random_state=0)
    model = spiralnn.TwoLayerNet(hidden_size=hidden_size, max_iter=1)
    with pytest.raises((MemoryError, ValueError), match="hidden_size"):
        model.fit(X, y)
    assert not hasattr(model, "coefs_")
