"""The spiral: the case study's very draws, and clear errors."""

import numpy as np
import pytest

from spiralnn import make_spiral


def published_spiral(N, K, random):
    """The case study's own code."""
    X = np.zeros((N * K, 2))
    y = np.zeros(N * K, dtype="uint8")
    for j in range(K):
        ix = range(N * j, N * (j + 1))
        r = np.linspace(0.0, 1, N)
        t = np.linspace(j * 4, (j + 1) * 4, N) + random.randn(N) * 0.2
        X[ix] = np.c_[r * np.sin(t), r * np.cos(t)]
        y[ix] = j
    return X, y


@pytest.mark.parametrize(("N", "K"), [(100, 3), (1, 1), (1, 4), (7, 2), (1000, 11)])
def test_equals_the_case_study(N, K):
    X, y = make_spiral(N, K, random_state=5)
    X_published, y_published = published_spiral(N, K, np.random.RandomState(5))
    np.testing.assert_array_equal(X, X_published)
    np.testing.assert_array_equal(y, y_published)
    assert X.dtype == np.float64
    assert y.dtype == np.int64


def test_defaults():
    X, y = make_spiral(random_state=0)
    assert X.shape == (300, 2)
    np.testing.assert_array_equal(y, [0] * 100 + [1] * 100 + [2] * 100)
    assert np.hypot(*X.T).max() <= 1 + 1e-15


def test_without_noise_each_arm_starts_where_the_last_one_ended():
    X, _ = make_spiral(50, 2, noise=0)
    np.testing.assert_allclose(X[49], [np.sin(4), np.cos(4)], rtol=1e-15)
    np.testing.assert_allclose(X[99], [np.sin(8), np.cos(8)], rtol=1e-15)


def test_noise_scales_the_same_draws():
    X, _ = make_spiral(20, 1, noise=0.5, random_state=3)
    t = np.linspace(0, 4, 20) + 0.5 * np.random.RandomState(3).randn(20)
    np.testing.assert_array_equal(X[:, 0], np.linspace(0, 1, 20) * np.sin(t))


def test_a_generator_is_drawn_from_and_moves_on():
    random = np.random.RandomState(1)
    first, _ = make_spiral(random_state=random)
    second, _ = make_spiral(random_state=random)
    np.testing.assert_array_equal(first, make_spiral(random_state=1)[0])
    assert not np.array_equal(first, second)
    reference = np.random.RandomState(1)
    reference.randn(600)
    assert random.randn() == reference.randn()


def test_none_draws_from_the_global_generator():
    state = np.random.get_state()
    try:
        np.random.seed(4)
        X, _ = make_spiral()
    finally:
        np.random.set_state(state)
    np.testing.assert_array_equal(X, make_spiral(random_state=4)[0])


def test_numpy_integers_are_integers():
    X, _ = make_spiral(np.int32(5), np.uint8(2), noise=np.float32(0.25), random_state=np.int64(0))
    np.testing.assert_array_equal(X, make_spiral(5, 2, noise=0.25, random_state=0)[0])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_per_class": 0}, ValueError, "n_per_class is 0, expected an integer of at least 1"),
        ({"n_per_class": -3}, ValueError, "n_per_class is -3, expected an integer of at least 1"),
        ({"n_per_class": 2.5}, TypeError, "n_per_class is 2.5, expected an integer"),
        ({"n_per_class": True}, TypeError, "n_per_class is True, expected an integer"),
        ({"n_classes": 0}, ValueError, "n_classes is 0, expected an integer of at least 1"),
        ({"n_classes": "3"}, TypeError, "n_classes is '3', expected an integer"),
        ({"noise": -0.1}, ValueError, "noise is -0.1, expected a finite number of at least 0"),
        ({"noise": float("nan")}, ValueError, "noise is nan, expected a finite number of at least 0"),
        ({"noise": float("inf")}, ValueError, "noise is inf, expected a finite number of at least 0"),
        ({"noise": None}, TypeError, "noise is None, expected a finite number of at least 0"),
        ({"random_state": -1}, ValueError, "random_state is -1, expected an integer from 0 to"),
        ({"random_state": 2**32}, ValueError, "random_state is 4294967296, expected an integer from 0 to"),
        ({"random_state": "0"}, TypeError, "random_state is '0', expected None, an int or a numpy RandomState"),
        ({"random_state": 1.0}, TypeError, "random_state is 1.0, expected None, an int or a numpy RandomState"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error) as raised:
        make_spiral(**arguments)
    assert message in str(raised.value)
