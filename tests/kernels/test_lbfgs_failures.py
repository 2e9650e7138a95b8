"""L-BFGS over functions that are badly behaved: it has an end, and that is the best that was found."""

import numpy as np
import pytest
from problems import JIT
from searches import Search, quadratic

from spiralnn.kernels.lbfgs import AT_ROUNDING, CONVERGED, GOES_ON, ITERATION, LOSS, MOST_TRIALS, NO_DESCENT

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize("start", [np.inf, np.nan])
def test_a_start_that_is_not_finite_is_no_start(start):
    search = Search(lambda x: (start, np.ones_like(x)), np.ones(4))
    assert search.step() == NO_DESCENT
    search = Search(lambda x: (1.0, np.full_like(x, start)), np.ones(4))
    assert search.step() == NO_DESCENT
    np.testing.assert_array_equal(search.point, 1.0)


def test_a_start_that_is_an_end():
    search = Search(quadratic(6)[0], quadratic(6)[1], tol=1e-6)
    assert search.step() == CONVERGED
    np.testing.assert_array_equal(search.point, quadratic(6)[1])
    assert search.number(ITERATION) == 0


def test_what_rises_along_its_gradient_is_left_where_it_began():
    f, _ = quadratic(6)
    search = Search(lambda x: (f(x)[0], -f(x)[1]), np.ones(6))
    assert search.run() == NO_DESCENT
    search.check()
    assert len(search.trials) <= MOST_TRIALS + 2 and search.number(ITERATION) == 0
    np.testing.assert_array_equal(search.point, np.ones(6))


def kink(x):
    """Least where it has no slope; its gradient is nowhere small."""
    return float(np.abs(x - 0.3).sum()) + 1.0, np.where(x > 0.3, 1.0, -1.0)


@pytest.mark.parametrize("seed", range(10))
def test_a_kink_ends_it_at_the_best_point_there_is(seed):
    start = np.random.default_rng(seed).standard_normal(1 + seed)
    search = Search(kink, start)
    assert search.run() == NO_DESCENT
    search.check()
    assert search.number(LOSS) <= min(loss for _, loss, _ in search.trials) + 1e-12
    assert search.number(LOSS) <= kink(start)[0]


def test_a_kink_that_no_step_leads_down_from_ends_without_descent():
    # at the kink itself, with a slope that is that of one side
    search = Search(lambda x: (float(np.abs(x).sum()), np.where(x >= 0.0, 1.0, 2.0)), np.zeros(3))
    assert search.run() == NO_DESCENT
    search.check()
    np.testing.assert_array_equal(search.point, 0.0)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("noise", [1e-3, 1e-8, 1e-12])
def test_noise_ends_it_and_never_above_where_it_began(noise, seed):
    f, best = quadratic(12, 30.0)
    random = np.random.default_rng(seed)

    def noisy(x):
        loss, gradient = f(x)
        return loss + noise * random.standard_normal(), gradient + noise * random.standard_normal(len(x))

    search = Search(noisy, np.zeros(12), tol=0.0, noise=noise * 1e-3)
    assert search.run() in (AT_ROUNDING, NO_DESCENT)
    search.check()
    assert search.number(LOSS) <= search.accepted[0][1]
    assert f(search.point)[0] <= 1e3 * noise


@pytest.mark.parametrize("seed", range(30 if JIT else 5))
def test_whatever_the_function_it_never_goes_up(seed):
    # rough, without a bound, with holes: not one of these is what a solver is made for
    random = np.random.default_rng(seed)
    size = int(random.integers(1, 20))
    a, b, c = random.standard_normal((3, size)) * 10.0 ** random.uniform(-2, 2, (3, 1))
    kind = seed % 5

    def f(x):
        if not np.isfinite(x).all() or np.abs(x).max() > 1e6:  # as far down as it goes
            return np.nan, np.zeros(size)
        wave = np.sin(a * x + b)
        loss, gradient = float((wave * c).sum()), c * a * np.cos(a * x + b)
        if kind == 1:
            gradient = gradient * random.choice([1.0, 1.0, 1.0, -1.0], size)
        elif kind == 2:
            loss, gradient = loss + float(np.abs(x).sum()), gradient + np.sign(x)
        elif kind == 3 and random.uniform() < 0.3:
            loss = random.choice([np.inf, np.nan])
        elif kind == 4:
            loss, gradient = loss - float((a * x).sum()), gradient - a  # no lower bound
        return loss, gradient

    search = Search(f, random.standard_normal(size))
    search.run(500)
    if np.isfinite(search.trials[0][1]):
        search.check()
        assert search.number(LOSS) <= search.trials[0][1]
        assert np.isfinite(search.point).all()


def test_each_search_has_an_end():
    f, _ = quadratic(12, 30.0)
    search = Search(lambda x: (f(x)[0] + 1e-6 * (hash(x.tobytes()) % 1000), f(x)[1]), np.zeros(12), tol=0.0)
    since, longest = 0, 0
    for _ in range(2000):
        if search.step() != GOES_ON:
            break
        since = 0 if search.trials[-1] is search.accepted[-1] else since + 1
        longest = max(longest, since)
    assert search.outcome in (AT_ROUNDING, NO_DESCENT)
    assert longest <= 2 * (MOST_TRIALS + 2)  # one along the pairs, one along the gradient
