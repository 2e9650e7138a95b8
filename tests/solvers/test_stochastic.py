"""Batches: Adam and momentum against loops over the reference that know nothing of kernels; step sizes by hand."""

import math

import numpy as np
import pytest
from problems import JIT, problem

from spiralnn.kernels.order import shuffle
from spiralnn.solvers.problem import Problem
from spiralnn.solvers.stochastic import LEAST_RATE, Schedule, Stochastic, adam, momentum_descent

pytestmark = [
    pytest.mark.kernels,
    pytest.mark.filterwarnings("ignore:overflow encountered in scalar:RuntimeWarning"),  # orders, with the JIT off
]

REG = 0.3  # large enough that a share of it at the wrong place would show
BETAS = 0.9, 0.999, 1e-8
RULES = {"adam": adam(*BETAS), "nesterov": momentum_descent(0.9, True), "momentum": momentum_descent(0.9, False)}
RATES = {"adam": 0.02, "nesterov": 0.02, "momentum": 0.02}
rules = pytest.mark.parametrize("rule", RULES)
backends = pytest.mark.parametrize("backend", ["fused", "reference"])

# Every kind of kernel; N and the size of a batch: the last batch is short, and of one row, and there is but one
SHAPES = [(100, 5, 7, 3), (97, 37, 20, 4), (100, 2, 9, 3), (100, 5, 0, 4)] if JIT else [(41, 5, 7, 3), (41, 5, 0, 4)]
shapes = pytest.mark.parametrize("N,D,H,K", SHAPES)


def raw(p, seed=0):
    """The problem in columns that are shifted and scaled, one of them constant."""
    random = np.random.default_rng([seed, *p.X.shape])
    D = p.X.shape[1]
    X = p.X * 10.0 ** random.uniform(-2, 2, D) + random.uniform(-3, 3, D)
    X[:, D // 2] = 4.0
    return p._replace(X=X.astype(p.X.dtype))


def affine_of(X, weights, reg):
    """Means, and one over the root of variance and strength: of a constant column one over the latter alone, or 1."""
    X = X.astype(np.float64)
    weights = np.ones(len(X)) if weights is None else weights.astype(np.float64)
    mean = weights @ X / weights.sum()
    variance = weights @ (X - mean) ** 2 / weights.sum()
    constant = np.ptp(X, axis=0) == 0
    return mean, 1.0 / np.sqrt(np.where(constant, 1.0, variance + reg / 0.01))


def loss_and_gradients(X, y, params, weights):
    """The sum over rows of the loss, and its gradients, written once more: nothing of the package is in here."""
    W, b, *rest = params
    hidden = np.maximum(0, X @ W + b) if rest else X
    scores = hidden @ rest[0] + rest[1] if rest else X @ W + b
    scores = scores - scores.max(axis=1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    slopes = (np.exp(logs) - np.eye(scores.shape[1])[y]) * weights[:, np.newaxis]
    loss = -float((logs[np.arange(len(y)), y] * weights).sum())
    if not rest:
        return loss, [X.T @ slopes, slopes.sum(axis=0)]
    back = slopes @ rest[0].T * (hidden > 0)
    return loss, [X.T @ back, back.sum(axis=0), hidden.T @ slopes, slopes.sum(axis=0)]


def plain_loop(p, rule, size, epochs, rates, *, weights=None, reg=REG, seed=0, shuffled=True):
    """(losses of epochs, parameters): in centred and scaled columns, with the L2 term of raw W."""
    N, y = len(p.y), p.y
    mean, scale = affine_of(p.X, weights, reg)
    X = (p.X.astype(np.float64) - mean) * scale
    w = np.ones(N) if weights is None else weights.astype(np.float64)
    params = [a.astype(np.float64) for a in p.params]
    params[1] = params[1] + mean @ params[0]
    params[0] = params[0] / scale[:, np.newaxis]
    strengths = [reg if a.ndim == 2 else 0.0 for a in params]
    strengths[0] = reg * scale[:, np.newaxis] ** 2
    first, second = ([np.zeros_like(a) for a in params] for _ in range(2))
    losses, t = [], 0
    for epoch in range(epochs):
        order, total = np.arange(N, dtype=np.uint32), 0.0
        if shuffled:
            shuffle(order, seed, epoch, 0, N)
        for at in range(0, N, size):
            rows = order[at : at + size]
            loss, gradients = loss_and_gradients(X[rows], y[rows], params, w[rows])
            total, rate, t = total + loss, rates(t), t + 1
            for a, g, strength, m, v in zip(params, gradients, strengths, first, second, strict=True):
                g = g / (len(rows) * w.mean()) + strength * a
                if rule == "adam":
                    m[...] = 0.9 * m + 0.1 * g
                    v[...] = 0.999 * v + 0.001 * g * g
                    a -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8 / math.sqrt(1 - 0.999**t))
                else:
                    m[...] = 0.9 * m - rate * g
                    a += m if rule == "momentum" else 0.9 * m - rate * g
        W = params[0] * scale[:, np.newaxis]
        penalty = 0.5 * reg * ((W**2).sum() + sum((a**2).sum() for a in params[2::2]))
        losses.append(total / w.sum() + penalty)
    return np.array(losses), [W, params[1] - mean @ W, *params[2:]]


def start(p, rule, size, epochs, *, weights=None, reg=REG, kind="linear", backend="fused", **options):
    given = Problem(p.X, p.y, p.params, weights, reg, 1, backend)
    schedule = Schedule(kind, options.pop("rate", RATES[rule]), epochs)
    options.setdefault("seed", 0)
    return Stochastic(given, RULES[rule], schedule, batch_size=size, **options)


def falling(rule, steps):
    return lambda t: RATES[rule] * (steps - t) / steps


def assert_same(run, losses, params, tolerance):
    np.testing.assert_allclose(run.losses, losses, rtol=tolerance)
    for a, b in zip(run._params(np.float64), params, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


@rules
@shapes
@backends
@pytest.mark.parametrize(("size", "weighted"), [(32, True), (33, False), (100, True)] if JIT else [(16, True)])
def test_epochs_are_those_of_a_plain_loop(N, D, H, K, rule, backend, weighted, size):
    if H == 20 and size == 100:
        size = 97
    p = raw(problem(N, D, H, K))
    weights = np.random.default_rng(N).uniform(0.1, 3, N) if weighted else None
    epochs = 4 if JIT else 2
    losses, params = plain_loop(p, rule, size, epochs, falling(rule, epochs * -(-N // size)), weights=weights, seed=5)
    run = start(p, rule, size, epochs, weights=weights, seed=5, backend=backend)
    assert run.run(epochs) == epochs and run.n_passes == 1 + epochs
    assert_same(run, losses, params, 1e-13)  # 1e-16 a number, a hundred or so additions, and some growth


@rules
@shapes
def test_epochs_of_float32(N, D, H, K, rule):
    p = raw(problem(N, D, H, K, np.float32))
    losses, params = plain_loop(p, rule, 33, 3, falling(rule, 3 * -(-N // 33)))
    run = start(p, rule, 33, 3)
    run.run(3)
    assert all(a.dtype == np.float32 for a in run.params)
    assert_same(run, losses, params, 1e-5)  # the same with 1e-7


@rules
@backends
def test_rows_that_are_not_shuffled_come_as_they_lie(rule, backend):
    p = raw(problem(*SHAPES[0]))
    losses, params = plain_loop(p, rule, 32, 3, lambda t: RATES[rule], shuffled=False)
    run = start(p, rule, 32, 3, kind="constant", shuffled=False, backend=backend)
    run.run(3)
    assert_same(run, losses, params, 1e-13)


@rules
def test_seeds_make_other_orders_and_the_loss_is_that_of_the_data(rule):
    p = raw(problem(*SHAPES[0]))
    runs = [start(p, rule, 32, 3, seed=seed) for seed in (0, 1)]
    for run in runs:
        run.run(3)
    assert runs[0].losses[0] != runs[1].losses[0]
    np.testing.assert_allclose(runs[0].losses, runs[1].losses, rtol=0.5)


@pytest.mark.parametrize("rule", ["adam", "nesterov"])
def test_without_l2_term(rule):
    p = raw(problem(*SHAPES[0]))
    losses, params = plain_loop(p, rule, 32, 3, lambda t: RATES[rule], reg=0.0)
    run = start(p, rule, 32, 3, kind="constant", reg=0.0)
    run.run(3)
    assert_same(run, losses, params, 1e-13)


def test_weights_of_one_size_are_none():
    p = raw(problem(*SHAPES[0]))
    runs = [start(p, "adam", 32, 3, weights=w) for w in (None, np.full(len(p.y), 2.5))]
    for run in runs:
        run.run(3)
    assert_same(runs[1], runs[0].losses, runs[0].params, 1e-13)


# --------------------------------------------------------------------------------------------------- step sizes


def flat_problem():
    """Columns of mean 0 and variance 1, so that nothing is changed; a gradient that hardly changes, either."""
    X = np.array([[a, b, c] for a in (-1.0, 1) for b in (-1.0, 1) for c in (-1.0, 1)])
    return problem(8, 3, 0, 4)._replace(X=X)


def taken(run, epochs):
    """The step size of each epoch of one batch: what parameters moved, by the gradient there."""
    p, rates = flat_problem(), []
    for _ in range(epochs):
        before = run._params(np.float64)
        _, gradients = loss_and_gradients(p.X, p.y, before, np.full(8, 1 / 8))
        if not run.run(1):
            break
        moved = [a - b for a, b in zip(before, run._params(np.float64), strict=True)]
        ratios = np.concatenate([(a / g).reshape(-1) for a, g in zip(moved, gradients, strict=True)])
        assert np.ptp(ratios) < 1e-8 * ratios.max() + 1e-12
        rates.append(ratios.mean())
    return rates


RATE = 0.01
HAND = {
    "constant": [RATE] * 6,
    "linear": [RATE, RATE * 5 / 6, RATE * 4 / 6, RATE * 3 / 6, RATE * 2 / 6, RATE / 6],
    "invscaling": [RATE, RATE / 2**0.5, RATE / 3**0.5, RATE / 2, RATE / 5**0.5, RATE / 6**0.5],
    "adaptive": [RATE] * 6,
}


def one_batch(kind, backend="fused", epochs=6, **options):
    p = flat_problem()
    schedule = Schedule(kind, RATE, epochs)
    problem_ = Problem(p.X, p.y, p.params, None, 0.0, 1, backend)
    return Stochastic(problem_, momentum_descent(0.0, False), schedule, batch_size=8, seed=0, **options)


@backends
@pytest.mark.parametrize("kind", HAND)
def test_step_sizes_by_hand(kind, backend):
    assert taken(one_batch(kind, backend), 6) == pytest.approx(HAND[kind], rel=1e-8)


@backends
def test_a_step_size_falls_within_an_epoch(backend):
    p = flat_problem()
    p = p._replace(X=np.tile(p.X, (2, 1)), y=np.tile(p.y, 2))  # two batches, the same rows in each
    given, rule = Problem(p.X, p.y, p.params, None, 0.0, 1, backend), momentum_descent(0.0, False)
    moved = []
    for kind in ("linear", "constant"):
        run = Stochastic(given, rule, Schedule(kind, 1e-4, 2), batch_size=8, seed=0, shuffled=False)
        run.run(1)
        moved.append(run._params(np.float64)[0] - p.params[0])
    # two steps of 4/4 and 3/4 of the rate, and two of the whole: in a gradient that hardly changes
    assert np.linalg.norm(moved[0]) / np.linalg.norm(moved[1]) == pytest.approx(7 / 8, rel=1e-3)


@backends
def test_an_adaptive_step_size_falls_where_nothing_is_gained_and_ends_it(backend):
    # what is to be gained is more than there is: the first epoch counts as a gain, then two are one too many
    run = one_batch("adaptive", backend, tol=1e3, patience=2, epochs=10**6)
    rates = taken(run, 40)
    expected = [RATE] * 3 + [RATE / 5**i for i in range(1, 7) for _ in range(2)]
    assert rates == pytest.approx(expected, rel=1e-4)  # of the last, what is moved is rounding
    assert rates[-1] < LEAST_RATE < rates[-3]
    assert run.is_converged() and run.run(5) == 0


@backends
@pytest.mark.parametrize("kind", ["constant", "linear", "invscaling"])
def test_others_end_where_nothing_is_gained(kind, backend):
    run = one_batch(kind, backend, tol=1e3, patience=3, epochs=100)
    assert run.run(100) == 4 and run.is_converged()
    run = one_batch(kind, backend, tol=0.0, patience=3, epochs=20)  # a gain of nothing but more than nothing
    assert run.run(20) == 20 and not run.is_converged()
    run = one_batch(kind, backend, tol=None, epochs=20)
    assert run.run(20) == 20 and not run.is_converged()


# ------------------------------------------------------------------------------------------------------ L2 term


@pytest.mark.parametrize("rule", ["momentum", "nesterov"])
def test_the_l2_term_shrinks_raw_weights_and_leaves_biases_alone(rule):
    # labels that nothing says anything of, one row of each: all gradients but that of the L2 term are 0
    X = np.repeat(np.array([[1.0, 100.0], [3.0, 500.0], [5.0, -300.0]]), 3, axis=0)
    y = np.tile(np.arange(3), 3)
    p = problem(9, 2, 0, 3)._replace(X=X, y=y)
    p = p._replace(params=(np.full((2, 3), 0.01), np.full(3, 0.7)))
    run = start(p, rule, 9, 30, reg=0.1, rate=0.01)
    run.run(30)
    W, b = run.params
    assert (np.abs(W) < 0.01).all()
    mean = X.mean(axis=0)
    np.testing.assert_allclose(b + mean @ W, p.params[1] + mean @ p.params[0], rtol=1e-13)


# ------------------------------------------------------------------------------------------------------- losses


@backends
def test_the_loss_so_far_is_known_before_the_first_epoch_ends(backend, monkeypatch):
    p = raw(problem(*SHAPES[0]))
    monkeypatch.setattr("spiralnn.engine.pace.Pace.choose", lambda pace: (1, 1))
    monkeypatch.setattr("spiralnn.solvers.stochastic.SLICE_SECONDS", -1.0)
    run, losses = start(p, "adam", 16, 1, rate=1e-14, backend=backend), []
    run.run(1, lambda run: losses.append((run.position, run.loss)))
    assert [done for done, _ in losses] == list(range(1, run.n_batches + 1))
    order = np.arange(len(p.y), dtype=np.uint32)
    shuffle(order, 0, 0, 0, len(p.y))
    for done, loss in losses:
        rows = order[: 16 * done]
        expected = loss_and_gradients(p.X[rows], p.y[rows], p.params, np.ones(len(rows)))[0] / len(rows)
        expected += 0.5 * REG * sum((a**2).sum() for a in p.params[0::2])
        assert loss == pytest.approx(expected, rel=1e-9)
