"""The suite: everybody on every problem, each result checked against the reference before it is timed.

`pytest bench` prints one table a problem, `pytest bench --benchmark-disable` runs everything once, as a test.
"""

import os
import subprocess
import sys

import pytest
from implementations import OWN, PEERS, RUNGS
from problems import check, problem

# (rows, steps of a whole training of the network): the case study's 10 000 steps, then about as much work
TRAINING_STEPS = {300: 10_000, 3_000: 1_000, 30_000: 100, 300_000: 5, 1_000_000: 2}

PEER_SIZES = (300, 30_000)  # compare.py has them at every shape

each_implementation = pytest.mark.parametrize("implementation", OWN, ids=lambda i: i.name)
each_rung = pytest.mark.parametrize("implementation", RUNGS, ids=lambda i: i.name)
each_peer = pytest.mark.parametrize("implementation", PEERS, ids=lambda i: i.name)
each_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])
each_size = pytest.mark.parametrize("N", TRAINING_STEPS)
each_model = pytest.mark.parametrize("model", ["linear", "two_layer"])


@each_implementation
@each_dtype
@each_size
@each_model
def test_forward(model, N, dtype, implementation, measure):
    given = problem(model, N, dtype)
    measure("forward", given, implementation, implementation.forward(given), given.truth.forward)


@each_implementation
@each_dtype
@each_size
def test_softmax_cross_entropy(N, dtype, implementation, measure):
    given = problem("linear", N, dtype)
    measure("softmax", given, implementation, implementation.softmax(given), given.truth.softmax)


@each_implementation
@each_dtype
@each_size
@each_model
def test_backward(model, N, dtype, implementation, measure):
    given = problem(model, N, dtype)
    measure("backward", given, implementation, implementation.backward(given), given.truth.backward)


@each_rung
@each_dtype
@each_size
@each_model
def test_step(model, N, dtype, implementation, measure):
    """Loss, gradients and update inside the descent loop; several steps a call where one is short."""
    given = problem(model, N, dtype)
    if implementation.name != "reference":
        check(implementation.loss_gradients(given)(), given.truth.loss_gradients, implementation.tolerance[dtype])
    _measure_step(given, implementation, measure)


@each_peer
@each_dtype
@pytest.mark.parametrize("N", PEER_SIZES)
@each_model
def test_step_of_a_peer(model, N, dtype, implementation, measure):
    given = problem(model, N, dtype)
    if not implementation.serves(given):
        pytest.skip(f"{implementation.name} does not do this")
    _measure_step(given, implementation, measure)


def _measure_step(given, implementation, measure):
    steps = max(2, 30_000 // given.shape[0])
    call = implementation.step(given, steps)
    measure("step", given, implementation, call, given.truth.losses, outcome=implementation.losses, steps=steps)


@each_implementation
@each_dtype
@each_size
@each_model
def test_training(model, N, dtype, implementation, measure):
    given = problem(model, N, dtype)
    steps = min(TRAINING_STEPS[N], 200) if model == "linear" else TRAINING_STEPS[N]
    call, trial = implementation.training(given, steps), implementation.training(given, 2)
    measure(
        "training", given, implementation, call, given.truth.losses, outcome=implementation.losses, steps=steps,
        trial=trial, trial_steps=2,
    )  # fmt: skip


FIRST_CALL = """
import sys, time
import spiralnn
model, dtype = sys.argv[1:]
X, y = spiralnn.make_spiral(random_state=0)
classifier = {"linear": spiralnn.SoftmaxClassifier, "two_layer": spiralnn.TwoLayerNet}[model]
estimator = classifier(solver="gd", step_size=1.0, reg=1e-3, init_scale=0.01, max_iter=1, random_state=0)
start = time.perf_counter()
loss = estimator.fit(X.astype(dtype), y).loss_
print(time.perf_counter() - start, loss)
"""


FIRST_CALL_OF_PLAIN_NUMBA = """
import sys, time
import numpy, spiralnn
from spiralnn.kernels import plain
model, dtype = sys.argv[1:]
X, y = spiralnn.make_spiral(random_state=0)
shapes = {"linear": ((2, 3), (3,)), "two_layer": ((2, 100), (100,), (100, 3), (3,))}[model]
params = [0.01 * numpy.random.RandomState(0).randn(*shape).astype(dtype) for shape in shapes]
function = {"linear": plain.linear_loss_gradients, "two_layer": plain.two_layer_loss_gradients}[model]
start = time.perf_counter()
loss = function(X.astype(dtype), y, *params, 1e-3, *map(numpy.empty_like, params))
print(time.perf_counter() - start, loss)
"""


@pytest.fixture(scope="module")
def cache_folders(tmp_path_factory):
    """A cache folder a model: empty for the row "cold", which leaves it filled for the row "warm"."""
    return {model: tmp_path_factory.mktemp(model) for model in ("linear", "two_layer")}


@each_model
@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_first_call(cache, model, cache_folders, benchmark):
    """A fresh process that imports the package and fits one step; `compile` is the time of the fit alone."""
    folder = cache_folders[model]
    if cache == "warm" and not any(folder.iterdir()):
        _first_call(FIRST_CALL, model, folder)
    _measure_first_call(benchmark, FIRST_CALL, model, folder, f"fused, {cache} cache")


@each_model
def test_first_call_of_plain_numba(model, tmp_path, benchmark):
    """The same of a step alone; nothing is kept for the next process."""
    _measure_first_call(benchmark, FIRST_CALL_OF_PLAIN_NUMBA, model, tmp_path, "plain Numba")


def _first_call(program, model, folder):
    command = [sys.executable, "-c", program, model, "float64"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return [float(number) for number in output.split()]


def _measure_first_call(benchmark, program, model, folder, implementation):
    benchmark.group = "first call"
    seconds, loss = benchmark.pedantic(_first_call, (program, model, folder), rounds=1)
    assert 1.0 < loss < 1.2  # log 3 and a little: nothing is learned yet
    benchmark.extra_info.update(
        operation="first call", model=model, implementation=implementation, N=300, D=2,
        H=100 if model == "two_layer" else None, K=3, dtype="float64", threads=None, steps=1, flops=None, traffic=None,
        loss=loss, compile=seconds,
    )  # fmt: skip
