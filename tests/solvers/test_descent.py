"""The loop: the reference's trajectory, the published log, and what ends a descent."""

import math
import threading

import numpy as np
import pytest
from problems import JIT, problem

from spiralnn import make_spiral
from spiralnn.checks.labels import label_view
from spiralnn.engine.run import DIVERGED, RUNNING, STOPPED_GAINING
from spiralnn.kernels import loop, reference
from spiralnn.kernels.sync import STOP
from spiralnn.solvers.descent import PATIENCE, Descent

pytestmark = pytest.mark.kernels


# One of each family of kernels; more than two tiles, a whole number of vectors or not.
SHAPES = [(1201, 2, 0, 3), (1201, 2, 20, 3), (600, 5, 20, 4)] if JIT else [(40, 2, 0, 3), (40, 2, 5, 3), (40, 3, 5, 4)]
shapes = pytest.mark.parametrize("N,D,H,K", SHAPES)
backends = pytest.mark.parametrize("backend", ["fused", "reference"])


def start(p, *, step_size=0.5, reg=1e-3, **options):
    y = label_view(p.y, len(p.X), p.params[-1].size)
    return Descent(p.X, y, p.params, step_size=step_size, reg=reg, **options)


def plain_loop(p, steps, step_size=0.5, reg=1e-3):
    """The case study's loop: the losses before each step, and the parameters after the last."""
    params = [a.copy() for a in p.params]
    gradients = [np.empty_like(a) for a in params]
    kernel = reference.linear_loss_gradients if len(params) == 2 else reference.two_layer_loss_gradients
    losses = []
    for _ in range(steps):
        losses.append(kernel(p.X, p.y, *params, reg, *gradients))
        for a, da in zip(params, gradients, strict=True):
            a += -step_size * da
    return np.array(losses), params


def assert_same_state(a, b):
    """To the last bit."""
    assert a.n_steps == b.n_steps and a.status == b.status
    np.testing.assert_array_equal(a.losses, b.losses)
    for p, q in zip(a.params, b.params, strict=True):
        np.testing.assert_array_equal(p, q)


@backends
@shapes
def test_the_trajectory_is_that_of_the_reference(N, D, H, K, backend):
    p = problem(N, D, H, K)
    losses, params = plain_loop(p, 50)
    descent = start(p, backend=backend)
    assert descent.run(50) == 50 == descent.n_steps
    assert descent.status == RUNNING
    assert losses[-1] < losses[0]
    # 1e-12 a step, 50 steps, and up to twice as much where a row has come close to the kink of ReLU
    np.testing.assert_allclose(descent.losses, losses, rtol=1e-10)
    for a, b in zip(descent.params, params, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * np.abs(b).max())


@pytest.mark.parametrize(
    "N,D,H,K",
    [(40, D, H, K) for D in (1, 3, 5, 33, 65, 129, 257) for H, K in ((0, 3), (5, 3), (17, 2))] + [(40, 7, 0, 17)],
)
def test_the_zeros_that_pad_the_parameters_stay_zeros(N, D, H, K):
    # they would enter the L2 term: the loss of the second step, and no gradient, would be wrong
    p = problem(N, D, H, K)
    losses, _ = plain_loop(p, 5, reg=0.5)
    descent = start(p, reg=0.5)
    descent.run(5)
    np.testing.assert_allclose(descent.losses, losses, rtol=1e-12)
    np.testing.assert_array_equal(descent._memory.theta[5 % 3], descent.model.flatten(descent.params))


@shapes
def test_float32_follows_the_reference_for_a_while(N, D, H, K):
    p = problem(N, D, H, K, np.float32)
    losses, _ = plain_loop(p.astype(np.float64), 20)
    descent = start(p)
    descent.run(20)
    # 2e-5 in a gradient, times a step of 0.5, adds up over 20 steps
    np.testing.assert_allclose(descent.losses, losses, rtol=2e-4)
    assert all(a.dtype == np.float32 for a in descent.params)


@backends
@shapes
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_slices_do_not_matter(N, D, H, K, dtype, backend):
    p = problem(N, D, H, K, dtype)
    steps = 50 if JIT else 8
    whole, single, uneven = (start(p, backend=backend) for _ in range(3))
    whole.run(steps)
    for _ in range(steps):
        assert single.run(1) == 1
    seen = []
    uneven.run(steps, lambda d: seen.append(d.n_steps), slice_steps=3)
    assert_same_state(single, whole)
    assert_same_state(uneven, whole)
    # of 3 steps at most: how many a slice takes is a matter of pace
    assert seen[-1] == steps and set(np.diff([0, *seen])) <= {1, 2, 3}
    assert len(whole.losses) == steps


@shapes
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_threads_do_not_matter(N, D, H, K, dtype, all_threads):
    p = problem(4 * N, D, H, K, dtype) if JIT else problem(N, D, H, K, dtype)
    steps = 50 if JIT else 2
    one = start(p, n_threads=1)
    one.run(steps)
    assert one.n_threads == 1
    for n_threads in (2, 3, 4) if JIT else (2,):
        several = start(p, n_threads=n_threads)
        assert several.n_threads == n_threads
        several.run(steps)
        assert_same_state(several, one)


@backends
def test_a_slice_may_stop_the_descent_and_it_goes_on_later(backend):
    p = problem(*SHAPES[1])
    descent, other = start(p, backend=backend), start(p, backend=backend)
    done = descent.run(10, lambda d: d.n_steps >= 4, slice_steps=2)
    assert 4 <= done <= 5
    assert descent.n_steps == len(descent.losses) == done
    assert descent.run(6) == 6
    other.run(done + 6)
    assert_same_state(descent, other)


@backends
def test_an_exception_between_slices_leaves_whole_steps(backend):
    def interrupt(descent):
        if descent.n_steps >= 4:
            raise KeyboardInterrupt

    p = problem(*SHAPES[1])
    descent, other = start(p, backend=backend), start(p, backend=backend)
    with pytest.raises(KeyboardInterrupt):
        descent.run(10, interrupt, slice_steps=2)
    assert 4 <= descent.n_steps == len(descent.losses) <= 5  # a slice has one step or two
    descent.run(6)
    other.run(descent.n_steps)
    assert_same_state(descent, other)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_exception_in_the_middle_of_a_step_leaves_whole_steps(n_threads, all_threads):
    # as Ctrl-C does it: raised between two looks of the caller at its signals, with part of a step in its hands
    p = problem(*SHAPES[1])
    descent, other = start(p, n_threads=n_threads), start(p)
    descent.passes._tiles = 1  # a look after every tile
    participate, calls = descent.passes._loop, []

    def interrupted(*arguments):
        calls.append(participate(*arguments))
        if len(calls) == 8:
            raise KeyboardInterrupt
        return calls[-1]

    descent.passes._loop = interrupted
    with pytest.raises(KeyboardInterrupt):
        descent.run(1000)
    assert loop.BUSY in calls
    assert descent.n_steps == len(descent.losses) < 1000
    descent.run(8)
    other.run(descent.n_steps)
    assert_same_state(descent, other)


@pytest.mark.skipif(not JIT, reason="in Python, threads take turns at fixed places")
def test_a_stop_flag_at_any_moment_leaves_whole_steps(all_threads):
    p = problem(120, 2, 20, 3)
    whole = start(p, n_threads=1)
    descent = start(p, n_threads=2)
    passes = descent.passes
    random = np.random.default_rng(0)
    turns = 0
    while turns < 100 or descent.n_steps <= 100:  # a busy machine makes few in a millisecond: then the flag comes later
        turns += 1
        seconds = random.uniform(2e-4, 1e-3) * math.ceil(turns / 100)
        stop = threading.Timer(seconds, passes.team.sync.__setitem__, (STOP, 1))
        stop.start()
        descent._open()
        passes.run(len(passes.memory.losses))
        descent._close()
        stop.join()
        whole.run(descent.n_steps - whole.n_steps)
        for a, b in zip(descent.params, whole.params, strict=True):
            np.testing.assert_array_equal(a, b)
    assert_same_state(descent, whole)


# ---------------------------------------------------------------------------------------------- the published log

LINEAR_LOG = [
    "1.096956", "0.917265", "0.851503", "0.822336", "0.807586", "0.799448", "0.794681", "0.791764", "0.789920",
    "0.788726", "0.787938", "0.787409", "0.787049", "0.786803", "0.786633", "0.786514", "0.786431", "0.786373",
    "0.786331", "0.786302",
]  # fmt: skip
NETWORK_LOG = [1.098744, 0.294946, 0.259301, 0.248310, 0.246170, 0.245649, 0.245491, 0.245400, 0.245335, 0.245292]


def published_problem():
    """The case study's data and starting parameters, from the random state behind its published output."""
    random = np.random.RandomState(0)
    X, y = make_spiral(100, 3, random_state=random)
    random.randn(18)  # draws that the author's session had used up by then
    linear = 0.01 * random.randn(2, 3), np.zeros(3)
    network = 0.01 * random.randn(2, 100), np.zeros(100), 0.01 * random.randn(100, 3), np.zeros(3)
    return X, y, linear, network


def accuracy(kernel, X, y, params):
    scores = np.empty((len(X), 3))
    kernel(X, *params, scores)
    return f"{np.mean(scores.argmax(axis=1) == y):.2f}"


@backends
def test_the_published_log_of_the_linear_classifier(backend):
    X, y, params, _ = published_problem()
    descent = Descent(X, label_view(y, 300, 3), params, step_size=1.0, reg=1e-3, backend=backend)
    descent.run(200)
    assert [f"{loss:.6f}" for loss in descent.losses[::10]] == LINEAR_LOG
    assert accuracy(reference.linear_scores, X, y, descent.params) == "0.49"


@pytest.mark.skipif(not JIT, reason="ten thousand steps")
def test_the_published_log_of_the_network():
    X, y, _, params = published_problem()
    descent = Descent(X, label_view(y, 300, 3), params, step_size=1.0, reg=1e-3)
    descent.run(10_000)
    lines = descent.losses[::1000]
    # The last lines depend on the order of additions: a unit switches on or off in one row, and the loss forks.
    np.testing.assert_allclose(lines[:7], NETWORK_LOG[:7], rtol=0, atol=1e-6)
    np.testing.assert_allclose(lines[7:], NETWORK_LOG[7:], rtol=0, atol=5e-6)
    assert accuracy(reference.two_layer_scores, X, y, descent.params) == "0.98"


# ------------------------------------------------------------------------------------------------- how it ends


@backends
@shapes
@pytest.mark.parametrize("slice_steps", [None, 1])
@pytest.mark.parametrize("step_size", [1e20, 1e60, 1e160, 1e300])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the reference overflows as NumPy does, aloud
def test_divergence_keeps_the_last_finite_parameters(N, D, H, K, dtype, step_size, slice_steps, backend):
    p = problem(N, D, H, K, dtype)
    descent = start(p, step_size=step_size, reg=0.1, backend=backend)
    with np.errstate(all="ignore"):
        descent.run(60, slice_steps=slice_steps)
    assert descent.status == DIVERGED
    assert len(descent.losses) == descent.n_steps < 60
    assert np.isfinite(descent.losses).all()
    assert all(np.isfinite(a).all() for a in descent.params)
    # they are those whose loss was the last to be finite
    last = start(p._replace(params=descent.params), step_size=0.0, reg=0.1)
    assert last.run(1) == 1 and np.isfinite(last.losses[0])
    assert descent.run(5) == 0  # and the descent is over


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_parameters_are_finite_after_a_run_of_few_steps(steps, dtype):
    # after a first step of 1e60 times the gradient, parameters are finite in float64 but not in float32
    p = problem(*SHAPES[0], dtype)
    descent = start(p, step_size=1e60)
    descent.run(steps)
    assert all(np.isfinite(a).all() for a in descent.params)
    assert len(descent.losses) == descent.n_steps
    assert descent.status == DIVERGED or dtype == np.float64


@pytest.mark.parametrize("slice_steps", [None, 1])
@pytest.mark.parametrize("n_threads", [1, 2] if JIT else [1])
@pytest.mark.parametrize(("dtype", "step_size"), [(np.float64, 1e300), (np.float32, 1e30)])
@pytest.mark.parametrize("D", [2, 5])  # few inputs and general
@backends
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_infinite_parameter_ends_the_descent_at_its_step(backend, D, dtype, step_size, n_threads, slice_steps,
                                                            all_threads):  # fmt: skip
    # the first step sends the bias of the only hidden unit to -infinity: it is never active again, and the loss of
    # the biases that are left is finite ever after
    X, y = np.zeros((60, D), dtype), np.arange(60) % 3 // 2
    params = np.zeros((D, 1)), np.array([1e-30]), np.array([[-1e10, 1e10]]), np.zeros(2)
    params = tuple(p.astype(dtype) for p in params)
    options = {"step_size": step_size, "reg": 0.0, "backend": backend, "n_threads": n_threads}
    descent = Descent(X, label_view(y, 60, 2), params, **options)
    assert descent.n_threads == (n_threads if backend == "fused" else 1)
    descent.run(20, slice_steps=slice_steps)
    assert (descent.status, descent.diverged_at, descent.n_steps) == (DIVERGED, "step 1", 0)
    for kept, p in zip(descent.params, params, strict=True):
        np.testing.assert_array_equal(kept, p)


@backends
def test_convergence(backend):
    X, y, params, _ = published_problem()
    labels = label_view(y, 300, 3)
    options = {"step_size": 1.0, "reg": 1e-3, "backend": backend}
    free = Descent(X, labels, params, **options)
    free.run(100)
    assert free.status == RUNNING
    descent = Descent(X, labels, params, tol=1e-3, **options)
    descent.run(100)
    # PATIENCE steps in a row that gain less than 1e-3, counted by hand
    gains = -np.diff(free.losses)
    first = next(i for i in range(100) if (gains[i : i + PATIENCE] <= 1e-3).all())
    assert 0 < first < 80
    assert descent.status == STOPPED_GAINING
    assert descent.n_steps == first + PATIENCE + 1
    np.testing.assert_array_equal(descent.losses, free.losses[: descent.n_steps])
    assert descent.run(5) == 0


@backends
def test_a_descent_that_swings_or_climbs_has_not_converged(backend):
    X, y, params, _ = published_problem()
    labels = label_view(y, 300, 3)
    options = {"reg": 1e-3, "backend": backend}
    settled = Descent(X, labels, params, step_size=1.0, tol=1e-3, **options)
    settled.run(200)
    assert settled.status == STOPPED_GAINING and settled.is_converged()
    swinging = Descent(X, labels, params, step_size=60.0, tol=0.0, patience=5, **options)
    swinging.run(2000)
    assert swinging.status == STOPPED_GAINING and not swinging.is_converged()
    assert swinging.losses[-5:].max() > swinging.losses.min() + 0.1
