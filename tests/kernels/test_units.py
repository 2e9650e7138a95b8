"""The kernels of batches against the reference: rows that are gathered, centred and scaled, lanes along hidden units.

A batch goes through the loop of Adam with a step size of 0: parameters stay, and its sums are looked at.
"""

import numpy as np
import pytest
from problems import JIT, TOLERANCES, problem, relative_error, small_only

from spiralnn.engine.passes import BatchPasses, Passes
from spiralnn.engine.plan import batch_plan
from spiralnn.kernels import loop, reference
from spiralnn.kernels.models import Model
from spiralnn.kernels.steps import DIVERGED, RUNNING
from spiralnn.kernels.updates import ADAM, GRADIENT, GRADIENT_DESCENT

pytestmark = pytest.mark.kernels

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
ADAMS = (0.0, 0.0, 0.9, 0.999, 1.0 - 0.9, 1.0 - 0.999, 1e-8)  # settings

# Lanes along hidden units: 8 of float64, 16 of float32, padded to 16
UNIT_SHAPES = [
    *[(N, 5, 16, 3) for N in range(1, 68)],
    *[(19, D, 7, 3) for D in (4, 7, 8, 9, 13, 15, 16, 17, 31, 37)],
    *[(23, 5, H, 4) for H in (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 100)],
    *[(29, 5, 9, K) for K in (2, 3, 4, 5, 6, 10, 27)],
    *[(29, 11, 100, K) for K in (2, 3, 27)],
    (1, 5, 1, 2), (2, 1, 1, 11), (67, 131, 70, 5), (35, 64, 100, 10), (13, 6, 5, 300), (11, 5, 17, 257),
    (300, 40, 33, 7),
]  # fmt: skip
# Those of all rows serve batches, too: the linear model, and networks with few inputs
OTHER_SHAPES = [
    (1, 5, 0, 4), (45, 5, 0, 4), (300, 40, 0, 10), (33, 2, 0, 3), (1, 2, 9, 3), (45, 2, 9, 3), (300, 3, 17, 3)
]  # fmt: skip
SHAPES = small_only(UNIT_SHAPES + OTHER_SHAPES)


def raw(p, seed=0):
    """The problem with columns of another mean and spread, and what brings them back: (problem, affine)."""
    random, dtype = np.random.default_rng([seed, *p.X.shape]), p.X.dtype
    D = p.X.shape[1]
    affine = np.stack([random.uniform(-3, 3, D), 10.0 ** random.uniform(-1, 1, D)]).astype(dtype)
    return p._replace(X=(p.X / affine[1] + affine[0]).astype(dtype)), affine


def weights_of(N, dtype):
    weights = np.random.default_rng(N).uniform(0.1, 3.0, N).astype(dtype)
    weights[1::5] = 0
    return weights


def batches(p, affine, order, size, weights=None, **options):
    """Passes over batches, whose parameters stay as they are."""
    model = Model.of(p.params)
    run = BatchPasses(
        model, p.X, p.y, weights, ADAM, ADAMS, order=order, affine=affine, batch_size=size, mean_weight=1.0,
        numbers=(0.0, 0.0, 0.9, 0.999), n_threads=options.pop("n_threads", 1), **options,
    )  # fmt: skip
    run.memory.theta[0] = model.batch_layout(p.X.itemsize).flatten(p.params)
    return run


def sums_of(run):
    """Gradients, loss and weight of the batch that was last."""
    model, sums = run.model, run.memory.sums[0]
    P = model.padded_size
    gradients = model.batch_layout(run._dtype.itemsize).unflatten(sums[:P], np.float64)
    return [*gradients, sums[P + loop.LOSS], sums[P + loop.WEIGHT]]


def expected_of(p, affine, rows, weights=None):
    """The reference's sums, in float64, over rows as they are copied."""
    X = ((p.X[rows] - affine[0]) * affine[1]).astype(np.float64)
    weights = None if weights is None else weights[rows].astype(np.float64)
    total = reference.add_rows(X, p.y[rows], [a.astype(np.float64) for a in p.params], weights)
    return [*Model.of(p.params).split(total[:-2]), *total[-2:]]


def assert_sums(run, expected):
    for value, truth in zip(sums_of(run), expected, strict=True):
        assert relative_error(value, truth) <= TOLERANCES[run._dtype.type]


def whole(p):
    """Arguments for one batch of all rows as they are."""
    N, D = p.X.shape
    affine = np.stack([np.zeros(D), np.ones(D)]).astype(p.X.dtype)
    return affine, np.arange(N, dtype=np.uint32), N


@dtypes
@pytest.mark.parametrize("N,D,H,K", SHAPES)
def test_a_batch_of_all_rows(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    affine, order, size = whole(p)
    run = batches(p, affine, order, size)
    assert run.run(1) == loop.OVER
    assert_sums(run, expected_of(p, affine, order))
    assert run.memory.losses[0] == sums_of(run)[-2]
    theta = run.model.batch_layout(p.X.itemsize).flatten(p.params)
    np.testing.assert_array_equal(run.memory.theta[0], theta.astype(dtype))


@dtypes
@pytest.mark.parametrize("N,D,H,K", SHAPES[::3] + SHAPES[-7:])
def test_a_weighted_batch_of_all_rows(N, D, H, K, dtype):
    p, weights = problem(N, D, H, K, dtype), weights_of(N, dtype)
    affine, order, size = whole(p)
    run = batches(p, affine, order, size, weights)
    assert run.run(1) == loop.OVER
    assert_sums(run, expected_of(p, affine, order, weights))


# rows, and of these in a batch: of one row, of a tile, of several tiles with a short one, and a short last batch
CUTS = [(1, 1), (5, 1), (67, 17), (67, 66)] + [(700, 300)] * JIT
MANY_CLASSES = pytest.param(5, 7, 300, marks=[] if JIT else pytest.mark.long)


@dtypes
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("D,H,K", [(5, 16, 3), (37, 20, 4), MANY_CLASSES, (5, 0, 4), (2, 9, 3)])
@pytest.mark.parametrize("N,size", CUTS)
def test_batches_are_gathered_centred_and_scaled(N, size, D, H, K, weighted, dtype):
    p, affine = raw(problem(N, D, H, K, dtype))
    random = np.random.default_rng([N, size])
    order = random.permutation(N)[: max(1, N - 3)].astype(np.uint32)  # rows held out are never looked at
    held = np.setdiff1d(np.arange(N), order)
    p.X[held] = np.nan
    weights = weights_of(N, dtype) if weighted else None
    run = batches(p, affine, order, size, weights)
    n_batches = -(-len(order) // size)
    for step in range(min(n_batches, 5) + 1):  # with the first of the next epoch, behind a short one
        step = step if step < 4 else n_batches - 5 + step
        run.memory.status[:] = step, RUNNING
        assert run.run(1) == loop.OVER and run.memory.status.tolist() == [step + 1, RUNNING]
        at = step % n_batches * size
        assert_sums(run, expected_of(p, affine, order[at : at + size], weights))


@dtypes
@pytest.mark.parametrize("D,H,K", [(5, 16, 3), (37, 20, 4), (5, 0, 4)])
def test_what_a_batch_leaves_behind_is_nothing_to_a_short_one(D, H, K, dtype):
    # rows of the first batch are enormous, the second has one row: padding rows of its buffers hold the former
    p = problem(40, D, H, K, dtype)
    p.X[:39] *= 1e4
    affine, order, _ = whole(p)
    run = batches(p, affine, order, 39, weights_of(40, dtype) + 1)
    run.run(2)
    assert_sums(run, expected_of(p, affine, order[39:], weights_of(40, dtype) + 1))


@dtypes
@pytest.mark.parametrize("N,D,H,K", [(41, 5, 7, 4), (200, 40, 100, 3)] if JIT else [(41, 5, 7, 4)])
def test_the_order_of_rows_in_memory_is_nothing_to_a_batch(N, D, H, K, dtype):
    p, affine = raw(problem(N, D, H, K, dtype))
    order = np.random.default_rng(N).permutation(N).astype(np.uint32)
    gathered = batches(p, affine, order, N)
    gathered.run(1)
    q = p._replace(X=p.X[order], y=p.y[order])
    lying = batches(q, affine, np.arange(N, dtype=np.uint32), N)
    lying.run(1)
    np.testing.assert_array_equal(gathered.memory.sums[0], lying.memory.sums[0])


@dtypes
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # with the JIT off NumPy overflows, aloud
@pytest.mark.parametrize("N,D,H,K", [(19, 5, 7, 3), (1, 5, 1, 2), (67, 16, 33, 4)] if JIT else [(19, 5, 7, 3)])
def test_a_hidden_value_of_minus_infinity_shows(N, D, H, K, dtype):
    # ReLU makes 0 of it; also where but a part of the sum overflows, and where it is the last unit of the last row
    large = np.sqrt(np.finfo(dtype).max)
    for unit in {0, H // 2, H - 1}:
        for row in {0, N // 2, N - 1}:
            p = problem(N, D, H, K, dtype)
            p.params[0][0, unit] = -100 * large
            p.X[:, 0], p.X[row, 0] = 0, 100 * large
            affine, order, size = whole(p)
            run = batches(p, affine, order, size)
            run.run(1)
            assert run.memory.status.tolist() == [0, DIVERGED]
            assert not np.isfinite(run.memory.losses[0])
            p.X[row, 0] = 0
            run.memory.status[:] = 0, RUNNING
            run.memory.theta[0] = run.model.batch_layout(p.X.itemsize).flatten(p.params)
            run.run(1)
            assert run.memory.status.tolist() == [1, RUNNING]


@dtypes
@pytest.mark.parametrize("D,H,K", [(5, 7, 3), (40, 20, 4)])
def test_a_parameter_that_is_no_number_shows(D, H, K, dtype):
    for i in range(4):
        for place in (0, -1):
            p = problem(21, D, H, K, dtype)
            p.params[i].reshape(-1)[place] = np.nan
            affine, order, size = whole(p)
            run = batches(p, affine, order, size)
            run.run(1)
            assert run.memory.status[1] == DIVERGED, (i, place)


@dtypes
@pytest.mark.parametrize("N,D,H,K", UNIT_SHAPES[-12:])
def test_the_layout_holds_every_parameter_once_and_padding_stays_zero(N, D, H, K, dtype):
    p = problem(1, D, H, K, dtype)
    model = Model.of(p.params)
    layout = model.batch_layout(p.X.itemsize)
    assert layout.size == model.padded_size
    flat = layout.flatten([a + 1000 for a in p.params])
    assert np.count_nonzero(flat) == model.size
    for a, b in zip(layout.unflatten(flat, dtype), p.params, strict=True):
        np.testing.assert_array_equal(a, b + dtype(1000))
    assert flat[: layout.n_weights].astype(bool).sum() == p.params[0].size + p.params[2].size


@dtypes
@pytest.mark.parametrize("D,H,K", [(5, 7, 3), (37, 20, 5), (5, 0, 4)])
def test_padding_has_no_gradient(D, H, K, dtype):
    p = problem(50, D, H, K, dtype)
    affine, order, size = whole(p)
    run = batches(p, affine, order, size)
    run.run(1)
    layout = run.model.batch_layout(p.X.itemsize)
    used = layout.flatten([np.ones_like(a) for a in p.params]) > 0
    assert not run.memory.sums[0, : layout.size][~used].any()


@pytest.mark.skipif(not JIT, reason="compiled threads")
@dtypes
@pytest.mark.parametrize("D,H,K", [(37, 20, 4), (5, 0, 4)])
def test_a_batch_that_threads_share_has_the_same_bits(D, H, K, dtype, all_threads, monkeypatch):
    monkeypatch.setattr("spiralnn.engine.plan.SHARED_FLOPS", 1.0)
    monkeypatch.setattr("spiralnn.engine.passes.cached_batch_plan", batch_plan)
    p, affine = raw(problem(5000, D, H, K, dtype))
    order = np.random.default_rng(0).permutation(5000).astype(np.uint32)
    found = []
    for n_threads in (1, 2, 4):
        run = batches(p, affine, order, 2400, n_threads=n_threads)
        assert run.plan.n_leaves >= 4 and run.n_threads == n_threads
        run.run(3)  # two of 2400 rows, one of 200
        found.append(run.memory.sums[0].copy())
        assert_sums(run, expected_of(p, affine, order[4800:]))
    for sums in found[1:]:
        np.testing.assert_array_equal(sums, found[0])


@pytest.mark.parametrize("itemsize", [4, 8])
def test_plans_of_batches(itemsize):
    for model in (Model(5, 16, 3), Model(784, 128, 10), Model(5, 0, 4), Model(2, 100, 3), Model(54, 128, 7)):
        for size in (1, 15, 16, 17, 32, 128, 200, 1000, 100_000):
            rows = batch_plan(size, model, itemsize)
            assert rows.n_leaves * rows.leaf_rows >= size > (rows.n_leaves - 1) * rows.leaf_rows
            assert rows.tile_rows <= rows.leaf_rows
            assert rows.tile_rows % (64 // itemsize if model.has_few_inputs() else 16) == 0
            if model.flops(size) < 40e6:
                assert rows.n_leaves == 1
            if model.has_units():
                assert rows.tile_rows <= 128
    assert batch_plan(100_000, Model(54, 128, 7), itemsize).n_leaves > 1


def test_sums_of_batches_are_those_of_all_rows():
    p = problem(60, 5, 7, 3)
    affine, order, size = whole(p)
    run = batches(p, affine, order, size)
    run.run(1)
    passes = Passes(run.model, p.X, p.y, None, GRADIENT if JIT else GRADIENT_DESCENT, [0.0, 0.0], n_threads=1)
    passes.memory.theta[0] = run.model.flatten(p.params)
    passes.run(1)
    found = run.model.unflatten(passes.memory.sums[0], np.float64)
    for a, b in zip(sums_of(run), found, strict=False):
        assert relative_error(a, b) <= 1e-13
