"""The Hessian beside the gradient, the Cholesky factor, and Newton's step: each against what NumPy makes of it."""

import numpy as np
import pytest
from problems import JIT, SMALL, TOLERANCES, problem, relative_error

from spiralnn.engine.cache import attach
from spiralnn.engine.curvature import Curvature
from spiralnn.kernels import cholesky, newton, reference
from spiralnn.kernels.models import Model

pytestmark = pytest.mark.kernels

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
SHAPES = [
    *[(N, 3, 3) for N in (1, 2, 7, 8, 9, 16, 17, 31, 97)],
    *[(41, D, 2) for D in (1, 2, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 127)],
    *[(29, D, K) for D, K in ((1, 4), (2, 5), (3, 17), (12, 7))],
    (2049, 6, 3), (7001, 13, 2), (600, 299, 2),
]  # fmt: skip
SHAPES = [(N, D, K) for N, D, K in SHAPES if JIT or N * (D * K) ** 2 <= SMALL]

factor, solve = attach(cholesky.factor), attach(cholesky.solve)
penalize, direct, product = (attach(function) for function in (newton.penalize, newton.direct, newton.product))


def weights_of(p):
    weights = np.random.default_rng(len(p.X)).uniform(0.1, 3.0, len(p.X)).astype(p.X.dtype)
    weights[1::5] = 0
    return weights


def measured(p, weights=None, affine=None, n_threads=1):
    """(loss, gradient (D + 1, K), upper triangle (M, M)) at the parameters of p."""
    D, K = p.params[0].shape
    affine = np.stack([np.zeros(D), np.ones(D)]) if affine is None else affine
    curvature = Curvature(Model(D, 0, K), p.X, p.y, weights, affine, n_threads=n_threads)
    gradient, hessian = np.full((D + 1, K), np.nan), np.zeros(((D + 1) * (K - 1),) * 2)
    return curvature(np.vstack(p.params), gradient, hessian), gradient, hessian


def expected(p, weights=None):
    gradients = p.outputs()
    loss = reference.linear_loss_gradients(p.X, p.y, *p.params, 0.0, *gradients, weights)
    return loss, np.vstack(gradients), np.triu(reference.linear_hessian(p.X, *p.params, weights))


def assert_agree(results, truth, tolerance):
    for result, number in zip(results, truth, strict=True):
        # where all entries of a gradient cancel the error is relative to their terms, of order 1
        size = max(np.abs(number).max(), 1e-2)
        assert np.abs(result - number).max() <= tolerance * size


@dtypes
@pytest.mark.parametrize("N,D,K", SHAPES)
def test_a_pass_is_that_of_the_reference(N, D, K, dtype):
    p = problem(N, D, 0, K, dtype)
    assert_agree(measured(p), expected(p.astype(np.float64)), TOLERANCES[dtype])


@pytest.mark.parametrize("N,D,K", [(1, 1, 2), (9, 2, 3), (41, 9, 2)] + [(300, 5, 4), (601, 40, 2)] * JIT)
def test_weights(N, D, K):
    p = problem(N, D, 0, K)
    assert_agree(measured(p, weights_of(p)), expected(p, weights_of(p)), TOLERANCES[np.float64])


@pytest.mark.parametrize("K", [2, 4])
def test_the_hessian_is_the_slope_of_the_gradient(K):
    p, h = problem(50, 3, 0, K), 1e-5
    _, _, hessian = measured(p)
    hessian = hessian + np.triu(hessian, 1).T
    for k in range(K - 1):
        for d in range(4):
            sides = []
            for step in (h, -h):
                params = np.vstack(p.params)
                params[d, k] += step
                sides.append(measured(p._replace(params=(params[:-1], params[-1])))[1])
            slope = (sides[0] - sides[1])[:, :-1] / (2 * h)  # its error: h^2, and 1e-16 / h
            np.testing.assert_allclose(slope.T.reshape(-1), hessian[k * 4 + d], rtol=0, atol=1e-9)


@dtypes
def test_columns_are_centred_and_scaled_on_the_way(dtype):
    p = problem(60, 5, 0, 3, dtype)
    affine = np.array([[3.0, -1e3, 0.25, 0.0, 7.0], [1.0, 2.0, 0.5, 4.0, 0.125]])
    far = p._replace(X=(p.X / affine[1].astype(dtype) + affine[0].astype(dtype)))
    near = p._replace(X=((far.X.astype(np.float64) - affine[0]) * affine[1]))
    assert_agree(measured(far, affine=affine), expected(near.astype(np.float64)), TOLERANCES[dtype])


def test_scores_that_overflow_make_the_loss_nan():
    p = problem(20, 3, 0, 3)
    assert np.isnan(measured(p._replace(params=(p.params[0] * np.inf, p.params[1])))[0])


@dtypes
@pytest.mark.parametrize("N,D,K", [(3000, 6, 3), (5000, 40, 2)] if JIT else [(50, 3, 2)])
def test_threads_do_not_matter(N, D, K, dtype, all_threads):
    p = problem(N, D, 0, K, dtype)
    one = measured(p, n_threads=1)
    for n_threads in (2, 3):
        for a, b in zip(measured(p, n_threads=n_threads), one, strict=True):
            np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------------------------------------- Cholesky


def positive_definite(n, condition=1e3):
    random = np.random.default_rng(n)
    Q, _ = np.linalg.qr(random.standard_normal((n, n)))
    A = (Q * np.geomspace(1, 1 / condition, n)) @ Q.T
    return (A + A.T) / 2


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 17] + [64, 101] * JIT)
def test_a_factor_and_what_it_solves_are_those_of_numpy(n):
    A, b = positive_definite(n), np.random.default_rng(n).standard_normal(n)
    U, x = np.full((n, n), np.nan), b.copy()
    assert factor(np.triu(A), 0.0, 1e-13, U)  # its lower triangle is not read
    np.testing.assert_allclose(np.triu(U), np.linalg.cholesky(A).T, atol=1e-12)
    solve(U, x)
    np.testing.assert_allclose(x, np.linalg.solve(A, b), rtol=1e-9, atol=1e-9)
    assert factor(A, 0.5, 1e-13, U)
    np.testing.assert_allclose(np.triu(U), np.linalg.cholesky(A + 0.5 * np.eye(n)).T, atol=1e-12)


@pytest.mark.parametrize(
    "A", [[[0.0]], [[-1.0]], [[np.nan]], [[np.inf]], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0 + 1e-15]]]
)  # fmt: skip
def test_what_has_no_factor(A):
    A = np.array(A)
    assert not factor(A, 0.0, 1e-13, np.empty_like(A))


# ------------------------------------------------------------------------------------------------- the step


@pytest.mark.parametrize("D,K", [(1, 2), (3, 2), (2, 5), (7, 3)])
@pytest.mark.parametrize("reg", [0.0, 0.3])
def test_the_step_is_the_shortest_that_solves_the_whole_system(D, K, reg):
    """Of all W and b, a singular one: what is the same for all classes of a row of W goes to 0 if penalised."""
    p = problem(80, D, 0, K)
    point, ridge = np.vstack(p.params), np.append(reg * np.linspace(0.5, 2, D), 0.0)
    _, gradient, hessian = measured(p)
    whole = np.zeros((K, D + 1, K, D + 1))
    whole[:-1, :, :-1] = (hessian + np.triu(hessian, 1).T).reshape(K - 1, D + 1, K - 1, D + 1)
    whole[-1] = -whole[:-1].sum(axis=0)
    whole[:, :, -1] = -whole[:, :, :-1].sum(axis=2)
    for k in range(K):
        whole[k, range(D + 1), k, range(D + 1)] += ridge
    loss = penalize(point, ridge, gradient, hessian)
    assert loss == pytest.approx(0.5 * (ridge[:, np.newaxis] * point**2).sum())
    n = K * (D + 1)
    truth = np.linalg.lstsq(whole.reshape(n, n), -gradient.T.reshape(n), rcond=1e-10)[0].reshape(K, D + 1).T
    direction = np.full_like(point, np.nan)
    assert direct(point, ridge, gradient, hessian, 0.0, 1e-10, 1e-2, 1e-13, direction) == 0.0
    assert relative_error(direction, truth) <= 1e-9
    if reg:
        np.testing.assert_allclose((point + direction)[:-1].sum(axis=1), 0, atol=1e-12)
    assert product(gradient, direction) == pytest.approx((gradient * truth).sum())


def test_the_diagonal_grows_until_there_is_a_step():
    point, ridge, direction = np.zeros((2, 2)), np.zeros(2), np.empty((2, 2))
    gradient = np.array([[1.0, -1.0], [0.5, -0.5]])

    def shift_for(hessian, first=0.0):
        return direct(point, ridge, gradient, np.array(hessian), first, 1e-10, 1e-2, 1e-13, direction)

    assert shift_for([[1.0, 1.0], [0.0, 1.0]]) == 1e-10
    assert (direction * gradient).sum() < 0
    assert shift_for([[1.0, 1.0], [0.0, 1.0 - 1e-9]]) == pytest.approx(1e-9)
    assert shift_for([[1.0, 0.5], [0.0, 1.0]], first=1e-5) == 1e-5
    assert shift_for([[1.0, 1.5], [0.0, 1.0]]) == np.inf
    assert shift_for(np.zeros((2, 2))) == np.inf
