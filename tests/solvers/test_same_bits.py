"""The same bits from any number of threads and any slices; and the reference's numbers, close by."""

import numpy as np
import pytest
from problems import JIT
from solver_problems import BATCHED, PAIRS, assert_close, data, digest, make

from spiralnn.engine import passes, plan
from spiralnn.kernels.models import Model

solvers = pytest.mark.parametrize(("kind", "solver"), PAIRS)
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
needs_jit = pytest.mark.skipif(not JIT, reason="compiled threads")


@pytest.fixture
def started(all_threads, monkeypatch):
    """However small the work, it is shared by all threads that are asked for; the numbers that were."""
    numbers, run = [], passes.Passes.run

    def counted_run(self, steps, n_threads=None):
        numbers.append(n_threads or self.n_threads)
        return run(self, steps, n_threads)

    monkeypatch.setattr(passes.Passes, "run", counted_run)
    return numbers


@needs_jit
@solvers
@dtypes
@pytest.mark.parametrize("weighted", [False, True])
def test_threads_change_no_bit(kind, solver, dtype, weighted, started):
    X, y, weights = data(3001, dtype=dtype, scales=[1, 10, 0.1, 1, 1], shifts=[0, 3, 0, -1, 0])
    settings = {"max_iter": 3} | ({"batch_size": 1200} if solver in ("sgd", "adam") else {})
    digests, numbers = set(), set()
    for n_threads in (1, 2, 4):
        del started[:]
        model = make(kind, solver, n_threads=n_threads, **settings)
        digests.add(digest(model.fit(X, y, sample_weight=weights if weighted else None)))
        numbers |= set(started)
    assert len(digests) == 1
    if solver != "newton-cholesky":  # whose threads are others
        assert {1, 2, 4} <= numbers or solver in ("sgd", "adam")


@needs_jit
@pytest.mark.parametrize(("kind", "solver"), BATCHED)
@dtypes
def test_batches_that_are_worth_it_are_shared(kind, solver, dtype, started, monkeypatch):
    monkeypatch.setattr(plan, "SHARED_FLOPS", 1.0)
    passes.cached_batch_plan.cache_clear()
    X, y, weights = data(5001, dtype=dtype)
    digests = set()
    for n_threads in (1, 2, 4):
        del started[:]
        model = make(kind, solver, n_threads=n_threads, batch_size=2400, max_iter=3)
        digests.add(digest(model.fit(X, y, sample_weight=weights)))
        assert set(started) == {n_threads}
    passes.cached_batch_plan.cache_clear()
    assert len(digests) == 1


@needs_jit
@pytest.mark.long
@dtypes
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_batches_of_the_size_that_threads_share(solver, dtype):
    D, K = 300, 10
    size = int(plan.SHARED_FLOPS // Model(D, 100, K).flops(1)) + 1000
    X, y, weights = data(3 * size + 77, D=D, K=K, dtype=dtype)
    assert plan.batch_plan(size, Model(D, 100, K), X.itemsize).n_leaves > 1
    digests = set()
    for n_threads in (1, 2, 3, 4):
        for _ in range(5):
            model = make("network", solver, batch_size=size, max_iter=3, n_threads=n_threads)
            digests.add(digest(model.set_params(hidden_size=100).fit(X, y, sample_weight=weights)))
    assert len(digests) == 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@solvers
def test_slices_of_one_step_and_a_callback_change_no_bit(kind, solver, dtype):
    X, y, _ = data(150, dtype=dtype)
    whole = make(kind, solver).fit(X, y)
    stepwise = make(kind, solver, callback=lambda step, loss, model: False).fit(X, y)
    assert digest(whole) == digest(stepwise)
    assert (whole.n_iter_, whole.n_passes_, whole.loss_) == (stepwise.n_iter_, stepwise.n_passes_, stepwise.loss_)


@solvers
def test_one_look_after_every_batch_or_pass_changes_no_bit(kind, solver, monkeypatch):
    X, y, _ = data(150)
    whole = make(kind, solver).fit(X, y)
    monkeypatch.setattr("spiralnn.engine.pace.Pace.choose", lambda pace: (1, 1))
    assert digest(make(kind, solver).fit(X, y)) == digest(whole)


@solvers
@pytest.mark.parametrize("weighted", [False, True])
def test_the_reference_comes_to_the_same(kind, solver, weighted):
    X, y, weights = data(150, scales=[1, 10, 0.1, 1, 1], shifts=[0, 3, 0, -1, 0])
    w = weights if weighted else None
    fused, numpy = (make(kind, solver, backend=b).fit(X, y, sample_weight=w) for b in ("fused", "reference"))
    assert (fused.n_iter_, fused.n_passes_) == (numpy.n_iter_, numpy.n_passes_)
    np.testing.assert_allclose(fused.loss_curve_, numpy.loss_curve_, rtol=1e-8)
    assert_close(fused, numpy, 1e-7)


@solvers
def test_the_reference_in_float32(kind, solver):
    X, y, weights = data(150, dtype=np.float32)
    fused, numpy = (
        make(kind, solver, backend=b, max_iter=4).fit(X, y, sample_weight=weights) for b in ("fused", "reference")
    )
    for model in (fused, numpy):
        assert all(a.dtype == np.float32 for a in (*model.coefs_, *model.intercepts_))
    np.testing.assert_allclose(fused.loss_curve_, numpy.loss_curve_, rtol=1e-3)


@solvers
def test_float32_follows_float64(kind, solver):
    X, y, _ = data(150, dtype=np.float32)
    single, double = make(kind, solver, max_iter=4).fit(X, y), make(kind, solver, max_iter=4).fit(X.astype(float), y)
    np.testing.assert_allclose(single.loss_curve_, double.loss_curve_, rtol=1e-3)
    assert single.coefs_[0].dtype == np.float32 and double.coefs_[0].dtype == np.float64


@solvers
@dtypes
def test_two_fits_of_one_estimator_have_the_same_bits(kind, solver, dtype):
    X, y, _ = data(150, dtype=dtype)
    model = make(kind, solver)
    assert len({digest(model.fit(X, y)) for _ in range(3)}) == 1


@solvers
def test_inputs_are_left_alone(kind, solver):
    X, y, weights = data(150)
    before = X.copy(), y.copy(), weights.copy()
    settings = {"early_stopping": True, "class_weight": "balanced"}
    make(kind, solver, **settings).fit(X, y, sample_weight=weights)
    for a, b in zip((X, y, weights), before, strict=True):
        np.testing.assert_array_equal(a, b)
    for array in (X, y, weights):
        array.flags.writeable = False
    make(kind, solver, **settings).fit(X, y, sample_weight=weights)
