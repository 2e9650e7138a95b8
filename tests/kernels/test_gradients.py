"""Gradients of random problems against complex steps, what they may not depend on, and descents of many seeds.

A complex step is exact: f(p + ih v) = f(p) + ih f'(p) v + O(h^2), without a difference, so h may be 1e-30. ReLU takes
its side by the real part, and no hidden value of these problems is at the kink.
"""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from problems import JIT, TOLERANCES, problem, relative_error

from spiralnn import SoftmaxClassifier, TwoLayerNet, loss_and_gradients

pytestmark = pytest.mark.skipif(not JIT, reason="hundreds of problems")

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
networks = pytest.mark.parametrize("network", [False, True], ids=["linear", "two-layer"])

STEP = 1e-30


class Case(NamedTuple):
    N: int
    D: int
    H: int
    K: int
    seed: int
    reg: float
    weighted: bool


FEW_INPUTS = (2, 3)  # inputs and classes of the kernels of their own that the short form compiles; the long form all


@st.composite
def cases(draw, network, any_shape):
    D, K = draw(st.tuples(st.integers(1 if any_shape else 5, 40), st.integers(2, 12)) | st.just(FEW_INPUTS))
    return Case(
        N=draw(st.integers(1, 400)),
        D=D,
        H=draw(st.integers(1, 130)) if network else 0,
        K=K,
        seed=draw(st.integers(0, 2**16)),
        reg=draw(st.sampled_from([0.0, 1e-3, 1.0])),
        weighted=draw(st.booleans()),
    )


def for_many_cases(network, dtype, check, number, any_shape):
    """check(problem, case, weights) of so many random problems, the same in every run."""

    @settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(case=cases(network, any_shape))
    def run(case):
        p = problem(case.N, case.D, case.H, case.K, dtype, seed=(case.seed,))
        weights = np.random.default_rng(case.seed).integers(0, 5, case.N) * dtype(0.25) if case.weighted else None
        if case.weighted:
            weights[case.seed % case.N] = 1.5  # not all of them 0
        check(p, case, weights)

    run()


short_and_long = pytest.mark.parametrize(
    ("number", "any_shape"), [(60, False), pytest.param(200, True, marks=pytest.mark.long)], ids=["short", "long"]
)


# ------------------------------------------------------------------------------------------------- complex steps


def complex_loss(p, params, reg, weights):
    """The loss as the case study writes it, of complex parameters."""
    hidden = p.X.astype(np.float64)
    for W, b in zip(params[:-2:2], params[1:-2:2], strict=True):
        z = hidden @ W + b
        hidden = np.where(z.real > 0, z, 0)
    scores = hidden @ params[-2] + params[-1]
    scores = scores - scores.real.max(axis=1, keepdims=True)
    losses = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(p.X)), p.y]
    return np.average(losses, weights=weights) + 0.5 * reg * sum((W * W).sum() for W in params[::2])


def assert_gradients_are_complex_steps(p, case, weights):
    loss, gradients = loss_and_gradients(p.X, p.y, p.params, reg=case.reg, sample_weight=weights)
    exact = [a.astype(complex) for a in p.params]
    tolerance = TOLERANCES[p.X.dtype.type]
    assert loss == pytest.approx(complex_loss(p, exact, case.reg, weights).real, rel=tolerance)
    random = np.random.default_rng(case.seed)
    for i, gradient in enumerate(gradients):
        assert gradient.shape == p.params[i].shape and gradient.dtype == p.X.dtype
        single = np.zeros(gradient.shape)
        single.flat[random.integers(gradient.size)] = 1.0
        for direction in (random.standard_normal(gradient.shape), single):
            moved = list(exact)
            moved[i] = exact[i] + 1j * STEP * direction
            slope = complex_loss(p, moved, case.reg, weights).imag / STEP
            # the error of an entry is relative to the largest, as in TOLERANCES, and those of many are independent;
            # where all entries cancel it is relative to their terms, which are of order 1
            size = np.linalg.norm(direction) * max(np.abs(gradient).max(), 1e-2)
            assert abs(np.vdot(direction, gradient) - slope) <= 2 * tolerance * size


@short_and_long
@networks
@dtypes
def test_gradients_are_complex_steps(dtype, network, number, any_shape):
    for_many_cases(network, dtype, assert_gradients_are_complex_steps, number, any_shape)


# -------------------------------------------------------------------------------------------------- invariances


def assert_invariant(p, case, weights):
    def result(X, y, params=p.params, weights=weights):
        return loss_and_gradients(X, y, params, reg=case.reg, sample_weight=weights)

    def assert_same(a, b):
        tolerance = TOLERANCES[p.X.dtype.type]
        assert a[0] == pytest.approx(b[0], rel=tolerance)
        for one, other in zip(a[1], b[1], strict=True):
            # where all entries cancel the error is relative to their terms, of order 1
            assert np.abs(one - other).max() <= 2 * tolerance * max(np.abs(other).max(), 1e-2)

    random = np.random.default_rng(case.seed)
    whole = result(p.X, p.y)
    # rows in another order
    order = random.permutation(case.N)
    assert_same(result(p.X[order], p.y[order], weights=None if weights is None else weights[order]), whole)
    # some rows twice are rows of twice the weight, and all of them twice are the same mean
    times = random.integers(1, 3, case.N)
    rows = np.repeat(np.arange(case.N), times)
    once = np.ones(case.N) if weights is None else weights
    assert_same(result(p.X[rows], p.y[rows], weights=once[rows]), result(p.X, p.y, weights=once * times))
    twice = np.tile(np.arange(case.N), 2)
    assert_same(result(p.X[twice], p.y[twice], weights=None if weights is None else weights[twice]), whole)
    # classes under other numbers: class k becomes class names[k]
    names = random.permutation(case.K)
    places = np.argsort(names)
    *hidden, W, b = p.params
    loss, (*of_hidden, dW, db) = result(p.X, names[p.y], (*hidden, W[:, places], b[places]))
    assert_same((loss, (*of_hidden, dW[:, names], db[names])), whole)
    # hidden units in another order
    if case.H:
        units = random.permutation(case.H)
        W, b, W2, b2 = p.params
        loss, (dW, db, dW2, db2) = result(p.X, p.y, (W[:, units], b[units], W2[units], b2))
        back = np.argsort(units)
        assert_same((loss, (dW[:, back], db[back], dW2[back], db2)), whole)


@short_and_long
@networks
@dtypes
def test_order_and_names_do_not_matter(dtype, network, number, any_shape):
    for_many_cases(network, dtype, assert_invariant, number, any_shape)


# -------------------------------------------------------------------------------------------------- trajectories


@pytest.mark.parametrize(
    "model",
    [
        SoftmaxClassifier(solver="gd", max_iter=40),
        TwoLayerNet(solver="gd", hidden_size=20, max_iter=40, init_scale=0.5),
    ],
    ids=["linear", "two-layer"],
)
@pytest.mark.parametrize(("D", "K"), [FEW_INPUTS, (5, 4)])
def test_descents_of_25_seeds_follow_the_reference(model, D, K):
    for seed in range(25):
        p = problem(150, D, 0, K, seed=(seed,))
        fused, reference = (
            type(model)(**{**model.get_params(), "random_state": seed, "backend": backend}).fit(p.X, p.y)
            for backend in ("fused", "reference")
        )
        # 1e-12 a step, 40 steps, and more where a row has come close to the kink of ReLU
        np.testing.assert_allclose(fused.loss_curve_, reference.loss_curve_, rtol=1e-10)
        assert fused.loss_curve_[-1] < fused.loss_curve_[0]
        for a, b in zip(fused.coefs_ + fused.intercepts_, reference.coefs_ + reference.intercepts_, strict=True):
            assert relative_error(a, b) <= 1e-9
        np.testing.assert_allclose(fused.predict_proba(p.X), reference.predict_proba(p.X), rtol=1e-8)
