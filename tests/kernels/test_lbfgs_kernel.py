"""L-BFGS, one evaluation after the other: directions of the textbook, searches that keep the Wolfe conditions."""

import math

import numpy as np
import pytest
from searches import LIKE, P, Search, quadratic, rosenbrock

from spiralnn.kernels import lbfgs
from spiralnn.kernels.lbfgs import (
    AT_ROUNDING,
    C1,
    C2,
    CONVERGED,
    DIRECTION,
    FIRST_PAIR,
    GOAL,
    GOES_ON,
    GRADIENT,
    ITERATION,
    LARGEST,
    LENGTH,
    LOSS,
    MOST_TRIALS,
    N_PAIRS,
    NEWEST,
    PAIRS,
    REACHED_GOAL,
    SLOPE,
    SQUARES,
    STEP,
    TRIAL,
    FirstLayer,
)

pytestmark = pytest.mark.kernels


def two_loops(g, pairs):
    """-H g of the textbook: algorithm 7.4, from pairs (s, y), the oldest first."""
    q, factors = g.copy(), []
    for s, y in reversed(pairs):
        a = (s @ q) / (s @ y)
        q -= a * y
        factors.append(a)
    s, y = pairs[-1]
    r = q * ((s @ y) / (y @ y))
    for (s, y), a in zip(pairs, reversed(factors), strict=True):
        r += s * (a - (y @ r) / (s @ y))
    return -r


# ------------------------------------------------------------------------------------------------- directions


@pytest.mark.parametrize("seed", range(5))
def test_the_direction_is_that_of_the_two_loop_recursion_on_random_pairs(seed):
    # 25 of them: the ring of ten is filled twice and half
    random = np.random.default_rng(seed)
    search = Search(rosenbrock, np.zeros(P))
    vectors, n, pairs = search.vectors, search.numbers[0], []
    vectors[GRADIENT] = random.standard_normal(P)
    for i in range(25):
        before = vectors[GRADIENT].copy()
        s, step = random.standard_normal(P), random.uniform(0.5, 2)
        y = s * random.uniform(0.5, 2.0, P) + 0.2 * random.standard_normal(P)
        vectors[DIRECTION], vectors[TRIAL], n[STEP] = s / step, before + y, step
        lbfgs._accept(vectors, search.numbers)
        pairs = [*pairs, (vectors[DIRECTION] * 0 + s, vectors[TRIAL] - before)][-PAIRS:]
        assert n[N_PAIRS] == min(i + 1, PAIRS)
        expected = two_loops(vectors[GRADIENT], pairs)
        np.testing.assert_allclose(vectors[DIRECTION], expected, rtol=0, atol=1e-12 * np.abs(expected).max())
        assert n[SLOPE] == pytest.approx(vectors[GRADIENT] @ expected, rel=1e-12) and n[SLOPE] < 0.0
        newest = int(n[NEWEST])
        np.testing.assert_allclose(vectors[FIRST_PAIR + newest], s, rtol=1e-15)
        assert n[STEP] == 1.0


@pytest.mark.parametrize("f,start", [(rosenbrock, np.full(16, -1.2)), (quadratic(20)[0], np.zeros(20))])
def test_the_direction_is_that_of_the_two_loop_recursion_on_the_way(f, start):
    search, checked = Search(f, start), 0
    while search.step() == GOES_ON and checked < 40:
        if len(search.accepted) < 2 or search.number(N_PAIRS) == 0:
            continue
        found = search.vectors[DIRECTION, : search.size]
        kept = search.accepted[-1 - int(search.number(N_PAIRS)) :]
        pairs = [(b[0] - a[0], b[2] - a[2]) for a, b in zip(kept, kept[1:], strict=False)]
        expected = two_loops(search.accepted[-1][2], pairs)
        # differences of points are rounded where they are taken, and once more in the pairs
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * np.abs(expected).max())
        checked += 1
    assert checked >= 20


def test_a_pair_without_curvature_begins_anew_along_the_gradient():
    search = Search(rosenbrock, np.zeros(P))
    vectors, n = search.vectors, search.numbers[0]
    for bend in (1.0, -1.0, 0.0):
        vectors[GRADIENT] = np.linspace(1, 2, P)
        vectors[DIRECTION] = -1.0
        vectors[TRIAL] = vectors[GRADIENT] - bend
        n[STEP], n[SQUARES], n[lbfgs.LENGTH] = 1.0, P, math.sqrt(P)
        lbfgs._accept(vectors, search.numbers)
        if bend > 0.0:
            assert n[N_PAIRS] == 1
        else:
            assert (n[N_PAIRS], n[NEWEST]) == (0, -1)
            np.testing.assert_array_equal(vectors[DIRECTION], -vectors[GRADIENT])
            assert n[STEP] * np.linalg.norm(vectors[GRADIENT]) == pytest.approx(n[LENGTH], rel=1e-14)


def test_the_first_step_has_length_one():
    search = Search(quadratic(20)[0], np.zeros(20))
    search.step()
    assert np.linalg.norm(search.theta[0]) == pytest.approx(1.0, rel=1e-14)
    gradient = search.accepted[0][2]
    np.testing.assert_allclose(search.theta[0, :20], -gradient / np.linalg.norm(gradient), rtol=1e-14)


# ---------------------------------------------------------------------------------------------------- searches


def assert_strong_wolfe(accepted):
    for (x, loss, gradient), (x_then, loss_then, gradient_then) in zip(accepted, accepted[1:], strict=False):
        s = x_then - x
        assert gradient @ s < 0.0
        assert loss_then <= loss + C1 * (gradient @ s) + 1e-15 * abs(loss)
        assert abs(gradient_then @ s) <= C2 * abs(gradient @ s) * (1 + 1e-9)


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
@pytest.mark.parametrize("size", [1, 5, 32])
def test_quadratics_are_solved_by_steps_that_satisfy_the_strong_wolfe_conditions(size, condition):
    f, best = quadratic(size, condition)
    search = Search(f, np.zeros(size), tol=1e-9)
    assert search.run() == CONVERGED
    search.check()
    assert search.number(LARGEST) <= 1e-9
    np.testing.assert_allclose(search.point, best, atol=1e-8)
    assert_strong_wolfe(search.accepted[: np.argmax([loss < 1e-12 for _, loss, _ in search.accepted])])


@pytest.mark.parametrize("size", [2, 10, 32])
def test_rosenbrocks_valley(size):
    search = Search(rosenbrock, np.full(size, -1.2))
    assert search.run() == CONVERGED
    search.check()
    np.testing.assert_allclose(search.point, 1.0, atol=1e-6)
    assert len(search.trials) < 150
    assert_strong_wolfe([a for a in search.accepted if a[1] > 1e-12])


SLOPES = {  # along a line, from 0 on, with slope -1 there; Moré and Thuente's tests among others
    "far away": lambda a: ((a - 1e3) ** 2 / 2e3, (a - 1e3) / 1e3),
    "near": lambda a: ((a - 1e-3) ** 2 * 500, (a - 1e-3) * 1e3),
    "flat, then a wall": lambda a: (-a + math.exp(min(50 * (a - 3), 700)), -1 + 50 * math.exp(min(50 * (a - 3), 700))),
    "waves": lambda a: (-a + 0.1 * math.sin(5 * a) * (a > 0) + a * a / 50, -1 + 0.5 * math.cos(5 * a) + a / 25),
    "a + 2 ...": lambda a: (-a / (a * a + 2), (a * a - 2) / (a * a + 2) ** 2),
    "(a + .004)^5 - 2 (a + .004)^4": lambda a: (
        (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4,
        5 * (a + 0.004) ** 4 - 8 * (a + 0.004) ** 3,
    ),
}


@pytest.mark.parametrize("case", SLOPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_search_along_a_line_ends_where_the_strong_wolfe_conditions_hold(case, scale):
    def f(x):
        value, slope = SLOPES[case](scale * float(x[0]))
        return value, np.array([scale * slope])

    search = Search(f, [0.0], goal=1)
    for _ in range(MOST_TRIALS + 1):
        if search.step() != GOES_ON:
            break
    assert search.outcome in (REACHED_GOAL, CONVERGED), SLOPES
    search.check()
    assert_strong_wolfe(search.accepted)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("of_gradient", [False, True])
def test_a_search_backs_off_from_what_is_not_finite(value, of_gradient):
    # beyond a wall nothing is a number, which the first steps run into
    f, best = quadratic(8, 10.0)

    def walled(x):
        loss, gradient = f(x)
        if x @ best > best @ best + 0.01:
            return (loss, gradient * value) if of_gradient else (value, gradient)
        return loss, gradient

    search = Search(walled, -30.0 * best)
    assert search.run() in (CONVERGED, AT_ROUNDING)
    search.check()
    assert any(not np.isfinite(loss) or not np.isfinite(g).all() for _, loss, g in search.trials)
    np.testing.assert_allclose(search.point, best, atol=1e-7)


def test_a_barrier_of_a_logarithm():
    def f(x):
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(-np.log(1.0 - x).sum() - 9.0 * x.sum()), 1.0 / (1.0 - x) - 9.0

    search = Search(f, np.linspace(-5, 0.5, 12))
    assert search.run() in (CONVERGED, AT_ROUNDING)
    search.check()
    np.testing.assert_allclose(search.point, 8.0 / 9.0, atol=1e-7)
    assert any(np.isnan(loss) for _, loss, _ in search.trials)


# --------------------------------------------------------------------------------------------------- the rest


def test_a_goal_that_was_reached_is_no_end():
    whole = Search(rosenbrock, np.full(10, -1.2))
    whole.run()
    cut = Search(rosenbrock, np.full(10, -1.2), goal=1)
    while cut.step() in (GOES_ON, REACHED_GOAL):
        if cut.outcome == REACHED_GOAL:
            assert cut.number(ITERATION) == cut.number(GOAL)
            cut.numbers[0, GOAL] += 1
    assert cut.outcome == whole.outcome == CONVERGED
    np.testing.assert_array_equal(cut.vectors, whole.vectors)
    np.testing.assert_array_equal(cut.losses[:50], whole.losses[:50])


def test_the_first_layer_is_searched_in_columns_that_are_centred_and_scaled():
    # theta is W (2, 16), b (16); x is W / factor, b + shift W: the gradient that arrives is that of theta
    random = np.random.default_rng(0)
    D, pitch = 1, 16
    shift, factor = np.array([3.0]), np.array([0.02])
    layer = FirstLayer(D, pitch, D * pitch), np.stack([shift, factor])
    f, _ = quadratic(P, 50.0)
    start = random.standard_normal(P)

    def theta_of(x):
        W = x[:16] * factor[0]
        return np.r_[W, x[16:] - shift[0] * W]

    def in_theta(theta):  # f of x, with the gradient with respect to theta
        W, b = theta[:16], theta[16:]
        x = np.r_[W / factor[0], b + shift[0] * W]
        loss, slope = f(x)
        return loss, np.r_[slope[:16] / factor[0] + shift[0] * slope[16:], slope[16:]]

    plain, changed = Search(f, start), Search(in_theta, start, layer=layer)
    np.testing.assert_allclose(changed.theta[0], theta_of(start), rtol=1e-14)
    for _ in range(15):
        assert plain.step() == changed.step()
        np.testing.assert_allclose(changed.theta[0], theta_of(plain.theta[0]), rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(changed.number(LOSS), plain.number(LOSS), rtol=1e-9)
    assert plain.number(ITERATION) > 5


def test_trials_are_of_the_dtype_that_is_computed_with():
    search = Search(quadratic(20)[0], np.full(20, 0.1))
    lbfgs.point(search.theta, 0, search.vectors, search.affine, search.layer, LIKE.astype(np.float32))
    np.testing.assert_array_equal(search.theta[0, :20], np.float32(0.1))
    lbfgs.point(search.theta, 0, search.vectors, search.affine, search.layer, LIKE)
    np.testing.assert_array_equal(search.theta[0, :20], 0.1)
