"""The middle rung, ordinary Numba loops, against the reference."""

import numpy as np
import pytest
from problems import JIT, TOLERANCES, problem, relative_error, small_only

from spiralnn.kernels import plain, reference

pytestmark = pytest.mark.kernels

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
REG = 0.1  # large enough to be seen in every digit that is compared

_B = plain.BLOCK
SHAPES = [
    *[(N, 2, 0, 3) for N in (1, 2, 7, _B - 1, _B, _B + 1, 2 * _B, 300)], (41, 1, 0, 2), (41, 7, 0, 17), (45, 40, 0, 4),
    (300, 784, 0, 10), (2, 129, 0, 300), (20_001, 3, 0, 3),
    *[(N, 2, 9, 3) for N in (1, 2, 7, _B - 1, _B, _B + 1, 2 * _B, 300)], (43, 1, 1, 2), (37, 5, 17, 11), (35, 65, 7, 4),
    (600, 64, 100, 10), (29, 2, 9, 300), (20_001, 2, 5, 3),
]  # fmt: skip
ONE_OF_EACH = [(97, 2, 0, 3), (97, 3, 5, 4)] if JIT else [(67, 2, 0, 3), (67, 3, 5, 4)]


def loss_gradients(kernels, p, **options):
    """Weights are given or left out, never None, which Numba would compile once more."""
    model = "linear" if len(p.params) == 2 else "two_layer"
    outputs = p.outputs()
    loss = getattr(kernels, f"{model}_loss_gradients")(p.X, p.y, *p.params, REG, *outputs, **options)
    return loss, *outputs


def row_weights(p):
    weights = np.random.default_rng(len(p.X)).uniform(0.1, 3.0, len(p.X)).astype(p.X.dtype)
    weights[1::5] = 0
    return weights


def assert_agree(p, **options):
    dtype = p.X.dtype.type
    results = loss_gradients(plain, p, **options)
    expected = loss_gradients(reference, p.astype(np.float64), **options)
    assert isinstance(results[0], float)
    for result, truth in zip(results, expected, strict=True):
        assert relative_error(result, truth) <= TOLERANCES[dtype]


@dtypes
@pytest.mark.parametrize("N,D,H,K", small_only(SHAPES))
def test_loss_and_gradients(N, D, H, K, dtype):
    assert_agree(problem(N, D, H, K, dtype))


@dtypes
@pytest.mark.parametrize("N,D,H,K", small_only(SHAPES))
def test_weighted_loss_and_gradients(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    assert_agree(p, sample_weight=row_weights(p))


@dtypes
@pytest.mark.parametrize("N,D,H,K", ONE_OF_EACH)
def test_no_weights_are_equal_weights_and_zero_leaves_a_row_out(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    kept = np.arange(N) % 3 > 0
    alone = loss_gradients(plain, p._replace(X=p.X[kept], y=p.y[kept]))
    for result, truth in zip(loss_gradients(plain, p, sample_weight=2 * kept.astype(dtype)), alone, strict=True):
        assert relative_error(result, truth) <= TOLERANCES[dtype]


@pytest.mark.parametrize("D,H,K", [(3, 0, 3), (3, 5, 4)])
def test_any_number_of_float32_rows_costs_no_digits(D, H, K):
    # a block again and again: its float32 sums have digits to spare in float64, where adding them is exact
    p = problem(plain.BLOCK, D, H, K, np.float32)
    times = 4096 if JIT else 4
    many = p._replace(X=np.tile(p.X, (times, 1)), y=np.tile(p.y, times))
    for result, truth in zip(loss_gradients(plain, many), loss_gradients(plain, p), strict=True):
        np.testing.assert_array_equal(result, truth)


@dtypes
@pytest.mark.parametrize("N,D,H,K", ONE_OF_EACH)
def test_inputs_are_left_alone(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    inputs = p.X, p.y, *p.params, row_weights(p)
    before = [a.copy() for a in inputs]
    loss_gradients(plain, p)
    loss_gradients(plain, p, sample_weight=inputs[-1])
    for a, b in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(a, b)


@dtypes
@pytest.mark.parametrize("N,D,H,K", ONE_OF_EACH)
def test_a_parameter_that_is_no_number_shows_in_the_loss(N, D, H, K, dtype):
    # ReLU must not make 0 of NaN
    p = problem(N, D, H, K, dtype)
    for i in range(len(p.params)):
        for place in (0, -1):
            params = [a.copy() for a in p.params]
            params[i].reshape(-1)[place] = np.nan
            assert np.isnan(loss_gradients(plain, p._replace(params=tuple(params)))[0]), (i, place)


@pytest.mark.parametrize("N,D,H,K", ONE_OF_EACH)
def test_large_weights_give_the_loss_of_the_reference(N, D, H, K):
    # scores of 10^3 to 10^5: probabilities of exactly 0 and 1
    p = problem(N, D, H, K)
    p = p._replace(params=tuple(a * 1e3 for a in p.params))
    assert_agree(p)


@dtypes
@pytest.mark.parametrize("N,D,H,K", ONE_OF_EACH)
def test_huge_scores_have_a_finite_loss(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    params = (*p.params[:-2], p.params[-2] * dtype(1e5), p.params[-1])  # exp of the scores overflows both dtypes
    results = loss_gradients(plain, p._replace(params=params))
    assert all(np.isfinite(result).all() for result in results) and results[0] > 1000


@dtypes
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # with the JIT off NumPy overflows, aloud
@pytest.mark.parametrize("N,D,H,K", ONE_OF_EACH)
def test_without_regularisation_squares_may_overflow(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    p.params[0][...] = np.finfo(dtype).max
    model = "linear" if not H else "two_layer"
    loss = getattr(plain, f"{model}_loss_gradients")(0 * p.X, p.y, *p.params, 0.0, *p.outputs())
    assert np.isfinite(loss)
