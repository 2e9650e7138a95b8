"""One digest of the weights: from any number of threads, any of Numba's threading layers, process and repetition.

The package brings its own threads. That Numba's layers, loaded beside them, and the seed of Python's hashes change
nothing is what the processes here are for.
"""

import importlib
import json
import os
import subprocess
import sys

import pytest
from places import ROOT
from problems import JIT

pytestmark = pytest.mark.skipif(not JIT, reason="compiled threads")


# three sizes, two dtypes, with and without weights, two models, by gradient descent; and by default, for either dtype
# with weights or without
PROBLEMS = 36

# Each problem fitted by 1, 2 and 4 threads, so many times, and a line with the digest of each fit.
PROGRAM = """
import hashlib
import sys
import numba
import numpy as np
from numba.np.ufunc.parallel import _launch_threads
from all_threads import count_threads, started, want_all_threads
from spiralnn import SoftmaxClassifier, TwoLayerNet, make_spiral

repetitions = int(sys.argv[1])
_launch_threads()  # Numba's own, which a program may have for its own kernels
print(numba.threading_layer())

want_all_threads()
count_threads()

def problems():
    for N, D, K, hidden_size in ((300, 2, 3, 100), (3001, 5, 4, 30), (20_000, 2, 3, 16)):
        random = np.random.RandomState(N)
        X, y = random.randn(N, D), random.randint(0, K, N)
        for dtype in (np.float64, np.float32):
            for weights in (None, random.rand(N)):
                by_default = [("auto", 2)] if (weights is None) == (dtype is np.float64) else []
                for solver, steps in [("gd", 8), *by_default]:
                    options = {"solver": solver, "max_iter": steps, "random_state": 0}
                    for model in SoftmaxClassifier(**options), TwoLayerNet(hidden_size=hidden_size, **options):
                        yield model, X.astype(dtype), y, weights

for number, (model, X, y, weights) in enumerate(problems()):
    for n_threads in (1, 2, 4):
        for _ in range(repetitions):
            model.set_params(n_threads=n_threads).fit(X, y, sample_weight=weights)
            digest = hashlib.sha256()
            for array in (*model.coefs_, *model.intercepts_, np.array(model.loss_curve_), model.predict_proba(X)):
                digest.update(array.tobytes())
            print(number, digest.hexdigest()[:32])
print(*sorted(started))
"""


def layers():
    """Numba's threading layers that are installed."""
    installed = ["workqueue"]
    for name, module in (("omp", "omppool"), ("tbb", "tbbpool")):
        try:
            importlib.import_module(f"numba.np.ufunc.{module}")
        except ImportError:
            continue
        installed.append(name)
    return installed


@pytest.mark.parametrize("repetitions", [1, pytest.param(20, marks=pytest.mark.long)], ids=["short", "long"])
def test_one_digest_from_threads_layers_processes_and_repetitions(repetitions):
    paths = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    digests = {}
    for seed, layer in enumerate(layers()):
        variables = {"NUMBA_THREADING_LAYER": layer, "PYTHONHASHSEED": str(seed), "PYTHONPATH": paths}
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(repetitions)],
            env={**os.environ, **variables, "NUMBA_NUM_THREADS": "2"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert run.returncode == 0, run.stderr
        loaded, *lines, threads = run.stdout.splitlines()
        assert (loaded, threads) == (layer, "1 2 4")
        assert len(lines) == PROBLEMS * 3 * repetitions
        for line in lines:
            number, digest = line.split()
            digests.setdefault(number, set()).add(digest)
    assert {number: len(found) for number, found in digests.items()} == {str(i): 1 for i in range(PROBLEMS)}
    assert len(set.union(*digests.values())) == PROBLEMS


# A fit of each kind of kernel, or several, and the sum of all digests; the arguments: shapes with their solver, and how
# many bytes of registers there are.
BLOCKS = """
import hashlib
import json
import sys
import numpy as np
from spiralnn import SoftmaxClassifier, TwoLayerNet
from spiralnn.kernels.vectors import backend

shapes, registers = json.loads(sys.argv[1]), sys.argv[2]
if registers != "as there are":
    backend.register_bytes = lambda: int(registers)
digest = hashlib.sha256()
for D, H, K, dtype, solver in shapes:
    random = np.random.default_rng([D, H, K])
    X, y = random.standard_normal((777, D)), random.integers(0, K, 777)
    options = {"solver": solver, "max_iter": 5, "random_state": 0}
    model = TwoLayerNet(hidden_size=H, **options) if H else SoftmaxClassifier(**options)
    X = X.astype(dtype)
    model.fit(X, y)
    for array in (*model.coefs_, *model.intercepts_, np.array(model.loss_curve_), model.predict_proba(X)):
        digest.update(array.tobytes())
print(digest.hexdigest())
"""


SOME = [(40, 0, 5, "f4", "gd"), (5, 9, 4, "f8", "adam")]
SHAPES = [(2, 0, 3), (5, 0, 4), (40, 0, 5), (2, 11, 3), (2, 9, 2), (3, 17, 5), (37, 21, 4)]
ALL = [(*shape, dtype, solver) for shape in SHAPES for dtype in ("f8", "f4") for solver in ("gd", "lbfgs", "adam")]


@pytest.mark.parametrize("shapes", [SOME, pytest.param(ALL, marks=pytest.mark.long)], ids=["some", "all"])
def test_register_blocks_of_any_size_give_the_same_bits(shapes, tmp_path):
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

    def start(registers):
        environment = {**os.environ, "PYTHONPATH": paths}
        if registers != "as there are":  # compiled at a lower level, which is sooner done
            environment |= {"NUMBA_CACHE_DIR": str(tmp_path / registers), "NUMBA_OPT": "1"}
        command = [sys.executable, "-c", BLOCKS, json.dumps(shapes), registers]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    running = [start(registers) for registers in (str(32 * 64), str(16 * 32), "as there are")]
    digests = [process.communicate()[0] for process in running]
    assert len(set(digests)) == 1 and len(digests[0].strip()) == 64
