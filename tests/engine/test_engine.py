"""The engine: sum, tree and update as three pieces, compiled whole or driven from Python; threads that come and go."""

import os
import threading
import time

import numpy as np
import pytest
from numba import njit
from problems import JIT, TOLERANCES, problem, relative_error

from spiralnn.engine import pace, passes, plan, threads
from spiralnn.engine.evaluation import Evaluation
from spiralnn.engine.memory import LARGE, LARGE_PAGE, aligned
from spiralnn.engine.pace import Pace
from spiralnn.engine.passes import Passes
from spiralnn.engine.run import DIVERGED, RUNNING
from spiralnn.engine.threads import Team
from spiralnn.kernels import loop, models, reference, tree, updates
from spiralnn.kernels.models import Model
from spiralnn.kernels.sync import CLOSED, HELPERS, TICKETS
from spiralnn.kernels.updates import GRADIENT, GRADIENT_DESCENT, Update
from spiralnn.kernels.vectors import ENTRY
from spiralnn.solvers.descent import Descent

pytestmark = pytest.mark.kernels

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
REG, STEP_SIZE = 0.1, 0.3

# Both models, all kinds of kernels, one leaf and many, a column share and several (8192 parameters each)
SHAPES = [
    (1, 2, 0, 3), (300, 2, 0, 3), (5000, 5, 0, 4), (1797, 64, 0, 10), (9001, 40, 0, 300),
    (1, 2, 5, 3), (300, 2, 100, 3), (5003, 3, 17, 3), (150, 4, 9, 3), (1797, 64, 100, 10), (2600, 131, 70, 5),
    (40, 3, 300, 4),
] if JIT else [(40, 2, 0, 3), (41, 5, 0, 4), (40, 2, 5, 3), (41, 5, 6, 4)]  # fmt: skip
shapes = pytest.mark.parametrize("N,D,H,K", SHAPES)


_apply = updates.apply(GRADIENT_DESCENT)


@njit(**ENTRY)
def _descend(theta, state, total, n_weights, share, settings, like):
    _apply(theta, state, 0, 1, total, 0, n_weights, theta.shape[1], share, settings, like)


def descend_once(model, theta, total, X):
    """The update of gradient descent, on its own, from Python: the next theta (P,)."""
    rows, state, settings = aligned(np.float64, [(3, len(theta)), (3, 0), (1, 2)])
    rows[0], settings[0] = theta, (REG, STEP_SIZE)
    _descend(rows, state, total, model.n_weights, 1.0 / total[0, len(theta) + loop.WEIGHT], settings, X)
    return rows[1].copy()


def range_of(whole, p, first, last, blocks):
    """The sums of leaves [first, last) of what `whole` passes over, by whoever has their rows alone: rows of blocks."""
    leaf_rows = whole.plan.leaf_rows
    rows = slice(first * leaf_rows, last * leaf_rows)
    part = Passes(whole.model, p.X[rows], p.y[rows], None, GRADIENT, [REG], n_threads=1)
    part._scratch = whole._scratch
    (sums,) = aligned(np.float64, [(len(blocks.leaves) + blocks.depth, part.memory.sums.shape[1])])
    pairs = len(blocks.additions) - (len(blocks.roots) - 1)
    additions = blocks.additions[:pairs].reshape(-1)
    memory = part.memory._replace(leaves=blocks.leaves - first, additions=additions, sums=sums)
    memory.theta[0] = whole.model.flatten(p.params)
    sync, X, y, _, *others, _ = part._arguments(0)
    part._own = sync, X, y, loop.Cut(whole.plan.tile_rows, leaf_rows, blocks.depth), *others, memory
    assert part.run(1) == loop.OVER
    return sums


def sums_of(p, update=GRADIENT, weights=None, n_threads=1):
    """Passes after one step of an update, and the row of all sums."""
    model = Model.of(p.params)
    run = Passes(model, p.X, p.y, weights, update, [REG, STEP_SIZE], n_threads=n_threads)
    run.memory.theta[0] = model.flatten(p.params)
    assert run.run(1) == loop.OVER
    return run, run.memory.sums[:1]


@dtypes
@shapes
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_loop_in_python_over_the_three_pieces_gives_the_bits_of_the_compiled_one(
    N, D, H, K, dtype, n_threads, all_threads
):
    p, steps = problem(N, D, H, K, dtype), 12 if JIT else 3
    model = Model.of(p.params)
    descent = Descent(p.X, p.y, p.params, step_size=STEP_SIZE, reg=REG, n_threads=n_threads)
    descent.run(steps)
    evaluation = Evaluation(model, p.X, p.y, None, REG, n_threads=n_threads)
    assert evaluation.n_threads == descent.n_threads == min(n_threads, descent.plan.n_leaves)
    flat, slope, losses = np.concatenate([a.reshape(-1) for a in p.params], dtype=np.float64), np.empty(model.size), []
    places = model.places()
    for _ in range(steps):
        losses.append(evaluation(flat, slope))
        theta = np.zeros(model.padded_size)
        theta[places] = flat
        flat = descend_once(model, theta, evaluation._memory.sums[:1], p.X)[places]
    np.testing.assert_array_equal(losses, descent.losses)
    for a, b in zip(model.split(flat), descent.params, strict=True):
        np.testing.assert_array_equal(a.astype(dtype), b)


@dtypes
@shapes
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_are_those_of_the_reference(N, D, H, K, dtype, weighted):
    p = problem(N, D, H, K, dtype)
    weights = np.random.default_rng(N).uniform(0.1, 3, N).astype(dtype) if weighted else None
    run, total = sums_of(p, weights=weights)
    expected = reference.add_rows(*p.astype(np.float64), None if weights is None else weights.astype(np.float64))
    P = run.model.padded_size
    found = [*run.model.unflatten(total[0], np.float64), total[0, P + loop.LOSS], total[0, P + loop.WEIGHT]]
    parts = [*run.model.split(expected[:-2]), *expected[-2:]]
    for value, truth in zip(found, parts, strict=True):
        assert relative_error(value, truth) <= TOLERANCES[dtype]
    if weights is None:
        assert found[-1] == N
    assert (total[0, P + 2 :] == 0).all()


@dtypes
@shapes
def test_the_tree_is_the_one_of_the_definition(N, D, H, K, dtype):
    # leaf by leaf with the same kernel, each as rows of its own: exactly its sums, if cut into the same tiles
    p = problem(N, D, H, K, dtype)
    run, total = sums_of(p)
    leaves = [range_of(run, p, i, i + 1, tree.blocks(i, i + 1, 1))[0] for i in range(run.plan.n_leaves)]
    np.testing.assert_array_equal(reference.combine(np.array(leaves)), total[0])


@dtypes
@shapes
def test_updates_are_those_of_the_reference(N, D, H, K, dtype):
    p = problem(N, D, H, K, dtype)
    run, total = sums_of(p)
    model, P = run.model, run.model.padded_size
    theta = model.flatten(p.params)
    is_weight = np.arange(P) < model.n_weights
    row = np.array([*total[0, :P], total[0, P + loop.WEIGHT]])
    np.testing.assert_allclose(
        run.memory.theta[1], reference.gradient(theta, row, is_weight, REG), rtol=1e-14, atol=1e-14 * np.abs(row).max()
    )
    expected = reference.gradient_descent(theta, row, is_weight, REG, STEP_SIZE).astype(dtype)
    np.testing.assert_allclose(
        descend_once(model, theta, total, p.X), expected, rtol=np.finfo(dtype).eps, atol=1e-14 * np.abs(theta).max()
    )


def test_a_rule_with_state_of_its_own_needs_nothing_else_and_is_taken_back():
    def momentum(value, gradient, state, settings, like):
        velocity = state[0] * settings(2) - gradient * settings(1)
        return value + velocity, [velocity]

    update = Update("momentum", 1, momentum)
    p = problem(300 if JIT else 40, 2, 7, 3)
    model = Model.of(p.params)
    run = Passes(model, p.X, p.y, None, update, [REG, STEP_SIZE, 0.9], n_threads=1)
    run.memory.theta[0] = model.flatten(p.params)
    theta, velocity, losses = model.flatten(p.params), np.zeros(model.padded_size), []
    for step in range(5):
        params = model.unflatten(theta, np.float64)
        gradients = p.outputs()
        losses.append(reference.two_layer_loss_gradients(p.X, p.y, *params, REG, *gradients))
        velocity = 0.9 * velocity - STEP_SIZE * model.flatten(gradients)
        theta = theta + velocity
        assert run.run(1) == loop.OVER and run.memory.status[0] == step + 1
        np.testing.assert_allclose(run.memory.theta[(step + 1) % 3], theta, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(run.memory.state[(step + 1) % 3], velocity, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run.memory.losses[0], losses[-1], rtol=1e-11)
    before = run.memory.theta[5 % 3].copy(), run.memory.state[5 % 3].copy()
    run.memory.settings[0, 1] = np.inf  # the next step writes what is no number, the one after finds out
    run.run(3)
    assert list(run.memory.status) == [6, DIVERGED]
    np.testing.assert_array_equal(run.memory.theta[5 % 3], before[0])
    np.testing.assert_array_equal(run.memory.state[5 % 3], before[1])


# ------------------------------------------------------------------------------------------------------- blocks


@pytest.fixture
def thirteen_leaves(all_threads, monkeypatch):
    """A problem of leaves of two tiles of 8 rows, the last one short: as many rows would be cut, but few."""
    for name, value in {"TILE_BYTES": 64, "LEAF_TILES": 2, "MANY_LEAVES": 2}.items():
        monkeypatch.setattr(plan, name, value)
    passes.cached_plan.cache_clear()
    return problem(13 * 16 - 5, 2, 7, 3)


@pytest.mark.parametrize("most", [1, 2, 3, 8])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_blocks_of_many_leaves_change_no_bit(most, n_threads, thirteen_leaves, monkeypatch):
    p = thirteen_leaves
    _, expected = sums_of(p)
    monkeypatch.setattr(passes, "BLOCKS", most)
    monkeypatch.setattr(passes, "BLOCKS_PER_THREAD", 1)
    run, total = sums_of(p, n_threads=n_threads)
    assert run.plan == (8, 16, 13) and len(run.memory.leaves) < 13
    np.testing.assert_array_equal(total, expected)
    # and where the caller comes back after every tile, in the middle of a leaf and of a block
    run._tiles, looks = 1, []
    participate = run._loop

    def counted(*arguments):
        looks.append(participate(*arguments))
        run._tiles = 1
        return looks[-1]

    run._loop = counted
    run.memory.status[:] = 0, RUNNING
    assert run.run(1) == loop.OVER
    assert n_threads > 1 or looks.count(loop.BUSY) >= 12
    np.testing.assert_array_equal(run.memory.sums[:1], expected)


def test_roots_of_any_range_of_leaves_make_the_same_total(thirteen_leaves):
    # what another process would send: each range with data and blocks of its own
    p = thirteen_leaves
    whole, expected = sums_of(p)
    n = whole.plan.n_leaves
    random = np.random.default_rng(0)
    for _ in range(10 if JIT else 2):
        cuts = np.sort(random.integers(0, n + 1, 3)).tolist()
        nodes, roots = [], []
        for first, last in zip([0, *cuts], [*cuts, n], strict=True):
            if first == last:
                continue
            blocks = tree.blocks(first, last, int(random.integers(1, 6)))
            sums = range_of(whole, p, first, last, blocks)
            nodes += tree.maximal_subtrees(first, last)
            roots += [sums[i].copy() for i in blocks.roots]
        pairs, rest = tree.additions(nodes)
        for to, place in pairs + tree.loose_ends([place for place, _ in rest]):
            roots[to] += roots[place]
        np.testing.assert_array_equal(roots[0], expected[0])


# ------------------------------------------------------------------------------------------------------- threads


def helpers():
    return [t for t in threading.enumerate() if t.name.startswith("spiralnn-")]


def wait_until(holds, seconds=30):
    """For what comes by itself; the limit is for what never does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(1e-3)


needs_jit = pytest.mark.skipif(not JIT, reason="compiled threads")


@needs_jit
def test_helpers_stay_for_the_next_call_and_end_by_themselves(all_threads):
    p = problem(3000, 2, 20, 3)
    evaluation = Evaluation(Model.of(p.params), p.X, p.y, None, REG, n_threads=2, calls=10**6)
    theta, slope = np.zeros(evaluation._passes.model.size), np.empty(evaluation._passes.model.size)
    evaluation(theta, slope)
    seen = set()
    for _ in range(2000):
        evaluation(theta, slope)
        seen |= {t.ident for t in helpers()}
    # the calls follow each other within microseconds; a busy machine may part them by more than a helper stays
    assert 1 <= len(seen) < 500
    wait_until(lambda: not helpers())
    assert evaluation._passes.team.sync[HELPERS] == 0
    evaluation(theta, slope)  # and others come
    wait_until(lambda: not helpers())


@needs_jit
def test_a_fork_finds_no_helpers_and_both_sides_go_on(all_threads):
    p = problem(3000, 2, 20, 3)
    model = Model.of(p.params)
    evaluation = Evaluation(model, p.X, p.y, None, REG, n_threads=2, calls=10**6)
    theta, slope, expected = np.full(model.size, 0.1), np.empty(model.size), np.empty(model.size)
    loss = evaluation(theta, expected)
    for _ in range(20):
        evaluation(theta, slope)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if not helpers() and evaluation(theta, slope) == loss and (slope == expected).all():
                    status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert evaluation(theta, slope) == loss and (slope == expected).all()


def test_a_fork_does_not_mind_teams_that_come_and_go_in_another_thread():
    done = threading.Event()

    def keep_making():
        kept = []
        while not done.is_set():
            kept = [Team(2, print, 1) for _ in range(50)]
        del kept

    other = threading.Thread(target=keep_making)
    other.start()
    try:
        for _ in range(2000):
            threads._before_fork()
            threads._after_fork_in_parent()
    finally:
        done.set()
        other.join()


@needs_jit
def test_a_thread_that_cannot_be_started_costs_speed_alone(all_threads, monkeypatch):
    p = problem(3000, 2, 20, 3)
    one = Descent(p.X, p.y, p.params, step_size=STEP_SIZE, reg=REG, n_threads=1)
    one.run(20)

    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    several = Descent(p.X, p.y, p.params, step_size=STEP_SIZE, reg=REG, n_threads=4)
    assert several.n_threads == 4
    several.run(20)
    np.testing.assert_array_equal(several.losses, one.losses)


@needs_jit
def test_a_thread_that_never_runs_costs_speed_alone(all_threads, monkeypatch):
    # as those of libraries that put something else in the place of the system's threads
    p = problem(3000, 2, 20, 3)
    one = Descent(p.X, p.y, p.params, step_size=STEP_SIZE, reg=REG, n_threads=1)
    one.run(20)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    several = Descent(p.X, p.y, p.params, step_size=STEP_SIZE, reg=REG, n_threads=2)
    several.run(20)
    np.testing.assert_array_equal(several.losses, one.losses)


def test_a_helper_without_memory_costs_speed_alone_and_any_other_failure_is_raised(all_threads):
    p = problem(300 if JIT else 40, 2, 5, 3)
    for error in (MemoryError(), ZeroDivisionError("in a thread")):
        run = Passes(Model.of(p.params), p.X, p.y, None, GRADIENT_DESCENT, [REG, STEP_SIZE], n_threads=2)
        arguments = run._arguments

        def fail(i, error=error, arguments=arguments):
            if i:
                raise error
            return arguments(i)

        run._arguments = fail
        run.memory.theta[0] = run.model.flatten(p.params)
        raised = []
        for _ in range(2):
            try:
                assert run.run(1) == loop.OVER
            except ZeroDivisionError as failure:
                raised.append(failure)
            for thread in run.team._threads[1:]:
                thread.join()
        assert bool(raised) == isinstance(error, ZeroDivisionError) and set(raised) <= {error}
        assert run.memory.status[0] >= 1


def test_what_is_left_of_a_call_that_was_torn_is_cleared_before_the_next(all_threads):
    p = problem(300 if JIT else 40, 2, 5, 3)
    run, expected = sums_of(p, n_threads=2)
    expected = expected.copy()
    run.memory.status[:] = 0, RUNNING
    team = run.team
    team.is_whole = False  # as Ctrl-C within the handling of Ctrl-C would leave it
    team.sync[TICKETS] = 5 << 20 | 1
    team.cursors[0] = 1
    assert run.run(1) == loop.OVER
    np.testing.assert_array_equal(run.memory.sums[:1], expected)
    assert team.is_whole and team.sync[TICKETS] & CLOSED


@needs_jit
def test_many_threads_on_few_parts_twenty_times(all_threads):
    p = problem(2100, 2, 9, 3)
    _, expected = sums_of(p)
    for _ in range(20):
        run, total = sums_of(p, n_threads=4)
        for _ in range(20):
            run.memory.status[:] = 0, RUNNING
            run.run(1)
            np.testing.assert_array_equal(total, expected)


def test_two_python_threads_may_evaluate_one_objective(all_threads):
    from spiralnn import Objective

    p = problem(700 if JIT else 40, 2, 5, 3)
    objective = Objective(p.X, p.y, hidden_size=5, n_classes=3, n_threads=2)
    theta = objective.pack(p.params)
    expected, wrong = objective(theta), []

    def work():
        for _ in range(50 if JIT else 3):
            loss, slope = objective(theta)
            if loss != expected[0] or (slope != expected[1]).any():
                wrong.append(loss)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


# ---------------------------------------------------------------------------------------------------------- pace


def quiet():
    """CPUs that are idle, of a machine that does nothing else."""
    return 1


def simulate(cost, seconds=5.0, flops_model=(2, 100, 3), N=300, idle=quiet):
    """(steps on 1 thread and on 2, the longest run of each) for so many seconds; cost(n_threads) is a step's."""
    p = Pace(Model(*flops_model), N, 2, idle)
    spent, done, longest = 0.0, {1: 0, 2: 0}, {1: 0, 2: 0}
    while spent < seconds:
        n, steps = p.choose()
        took = steps * cost(n)
        p.record(n, steps, took)
        spent += took
        done[n] += steps
        longest[n] = max(longest[n], steps)
    return done, longest


def test_one_thread_is_tried_first_and_the_faster_way_taken():
    assert Pace(Model(2, 100, 3), 300, 2, quiet).choose()[0] == 1
    done, _ = simulate(lambda n: {1: 14e-6, 2: 8e-6}[n])
    assert done[1] < 0.01 * done[2]
    done, longest = simulate(lambda n: {1: 8e-6, 2: 14e-6}[n])
    assert done[2] < 0.01 * done[1]
    assert longest[2] <= pace.TRIAL_STEPS


def test_a_step_of_two_threads_that_takes_a_thousand_times_as_long_costs_little():
    # counted in seconds of the simulation: no clock is asked
    done, _ = simulate(lambda n: {1: 14e-6, 2: 14e-3}[n], seconds=5.0)
    assert done[2] * 14e-3 < 0.05 * done[1] * 14e-6


def test_short_steps_stay_on_one_thread_where_no_cpu_is_idle():
    # of two threads one would wait for a core with half of a step in its hands, a thousand times as long
    done, _ = simulate(lambda n: {1: 14e-6, 2: 14e-3}[n], idle=lambda: 0)
    assert done[2] == 0
    assert done[1] > 300_000


def test_two_threads_are_tried_once_a_cpu_is_idle():
    looks = []

    def busy_at_first():
        looks.append(None)
        return int(len(looks) > 2)

    done, _ = simulate(lambda n: {1: 14e-6, 2: 8e-6}[n], idle=busy_at_first)
    # at once, and after 32 and 128 ms of steps
    assert len(looks) == 3
    assert done[1] < 0.2 / 14e-6 + 0.01 * done[2]


def test_a_system_that_does_not_say_what_is_idle_has_two_threads_tried():
    done, _ = simulate(lambda n: {1: 14e-6, 2: 8e-6}[n], idle=lambda: None)
    assert done[1] < 0.01 * done[2]


def test_a_trial_of_one_thread_does_not_wait_for_an_idle_cpu():
    looks = iter([1, 1])  # asked more often: StopIteration
    done, longest = simulate(lambda n: {1: 14e-6, 2: 8e-6}[n], idle=lambda: next(looks))
    assert done[1] > 2 * pace.TRIAL_STEPS
    assert longest[1] <= pace.TRIAL_STEPS


def test_it_is_found_out_when_the_machine_becomes_quiet():
    p, spent, last = Pace(Model(2, 100, 3), 300, 2, quiet), 0.0, None
    while spent < 6.0:
        n, steps = p.choose()
        took = steps * (14e-6 if n == 1 else 14e-3 if spent < 2.0 else 8e-6)
        p.record(n, steps, took)
        spent, last = spent + took, n if steps > pace.TRIAL_STEPS else last
    assert last == 2


def test_long_steps_take_all_threads_at_once():
    assert Pace(Model(28, 128, 2), 100_000, 2, lambda: 0).choose() == (2, 1)
    done, _ = simulate(lambda n: 15e-3, flops_model=(28, 128, 2), N=100_000)
    assert done[1] == 0


def test_threads_must_be_worth_it():
    assert pace.threads_for(1e5, 100, 8, 10**6) == 1
    assert pace.threads_for(1e9, 100, 8, 10**6) == 8
    assert pace.threads_for(1e9, 3, 8, 10**6) == 3
    assert pace.threads_for(1e6, 100, 8, 1) == 1


# -------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("n", [1, 1000, LARGE // 8 - 100, LARGE // 8 + 1, LARGE_PAGE // 8, LARGE_PAGE // 4 + 5])
def test_arrays_are_zeros_on_cache_lines_and_do_not_overlap(n):
    a, b, c = aligned(np.float64, [(1, n), (3, 8), (2, 5)])
    for array in (a, b, c):
        assert not array.any() and array.flags.writeable and array.flags.c_contiguous
        assert array.__array_interface__["data"][0] % 64 == 0
    a[...], b[...], c[...] = 1, 2, 3
    assert (a == 1).all() and (b == 2).all() and (c == 3).all()


def test_many_bytes_begin_at_a_large_page_where_the_system_has_them():
    (a,) = aligned(np.float64, [(1, LARGE // 8)])
    import mmap

    if hasattr(mmap, "MADV_HUGEPAGE"):
        assert a.__array_interface__["data"][0] % LARGE_PAGE == 0


# --------------------------------------------------------------------------------------------------------- model


@shapes
def test_the_layout_holds_every_parameter_once(N, D, H, K):
    p = problem(1, D, H, K)
    model = Model.of(p.params)
    assert model == (D, H, K) and model.size == sum(a.size for a in p.params)
    theta = model.flatten(p.params)
    for a, b in zip(model.unflatten(theta, np.float64), p.params, strict=True):
        np.testing.assert_array_equal(a, b)
    flat = np.concatenate([a.reshape(-1) for a in p.params])
    np.testing.assert_array_equal(theta[model.places()], flat)
    assert np.count_nonzero(theta) == np.count_nonzero(flat)
    parts = [part for part in model.layout.parts if part.name.startswith("W")]
    weights = {place for part in parts for place in range(part.first, part.end)}
    assert weights == set(range(model.n_weights))


def test_kernels_have_names_that_tell_them_apart():
    names = {Model(D, H, K).kernels().name for D in (1, 2, 5, 40) for H in (0, 7) for K in (2, 3, 10)}
    assert {"linear", "two_layer", "linear_2_inputs_3_classes", "two_layer_2_inputs_3_classes"} <= names
    assert models.Model(2, 0, 3).kernels().name != models.Model(2, 0, 2).kernels().name
