"""Whole processes: what importing costs, how long the case study takes as a command, and the peak memory of a fit."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from turns import in_turns, summary

HERE = Path(__file__).resolve().parent
# model, backends, N, D, H, K
MEMORY = [
    ("linear", ("fused", "reference"), 1_000_000, 2, None, 3),
    ("two_layer", ("fused", "reference"), 1_000_000, 2, 100, 3),
    ("two_layer", ("fused",), 100_000, 54, 128, 7),
    ("two_layer", ("fused",), 20_000, 784, 128, 10),
]
QUICK_ROWS = 30_000


def processes(quick):
    """The rows "processes" of the results: what importing adds to `import numba`, and `spiralnn train`."""
    imports = [float(_python("-c", IMPORT).stdout) for _ in range(3 if quick else 7)]
    with tempfile.TemporaryDirectory() as folder:

        def train(cache, *options):
            environment = {"NUMBA_CACHE_DIR": str(cache)}
            return lambda: _seconds("-m", "spiralnn", "train", "--out", f"{folder}/figures", *options, **environment)

        warm, empty = Path(folder, "warm"), Path(folder, "empty")
        train(warm)()

        def cold():
            fresh = empty / str(time.monotonic_ns())
            return train(fresh)()

        calls = {"fused, warm cache": train(warm), "fused, empty cache": cold}
        calls["reference"] = train(warm, "--backend", "reference")
        seconds = in_turns(calls, 1 if quick else 3)
    rows = [{"job": "import spiralnn, beyond numba", "implementation": "fused", **summary(imports)}]
    return rows + [{"job": "spiralnn train", "implementation": name, **summary(s)} for name, s in seconds.items()]


def memory(quick):
    """The rows "memory" of the results: the peak of a fit beside its X and y. Linux only, elsewhere no rows."""
    if not Path("/proc/self/clear_refs").exists():
        return []
    rows = []
    for model, backends, N, D, H, K in MEMORY:
        if quick:
            N = min(N, QUICK_ROWS)
        for backend in backends:
            peak = int(_python("-c", PEAK, str(HERE), model, backend, *map(repr, (N, D, H, K))).stdout)
            row = {"model": model, "implementation": backend, "N": N, "D": D, "H": H, "K": K}
            rows.append({**row, "dtype": "float64", "bytes": peak})
    return rows


def _seconds(*arguments, **environment):
    start = time.perf_counter()
    _python(*arguments, **environment)
    return time.perf_counter() - start


def _python(*arguments, **environment):
    command = [sys.executable, *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, text=True)


IMPORT = """
import time
import numba
start = time.perf_counter()
import spiralnn
print(time.perf_counter() - start)
"""

# A fit of 30 000 rows first, for what a process pays once (compiler, machine code, thread stacks): enough rows to run
# the same kernels, threaded ones too. What it freed goes back to the system, or the second fit would get it for
# nothing. Writing 5 to clear_refs sets the peak back to what is held now.
PEAK = """
import ast, ctypes, gc, sys
sys.path.insert(0, sys.argv[1])
import spiralnn
from problems import problem
model, backend = sys.argv[2:4]
N, D, H, K = map(ast.literal_eval, sys.argv[4:])

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

def fit(X, y):
    options = {"solver": "gd", "step_size": 1.0, "reg": 1e-3, "init_scale": 0.01, "max_iter": 3, "random_state": 0}
    options["backend"] = backend
    if model == "linear":
        spiralnn.SoftmaxClassifier(**options).fit(X, y)
    else:
        spiralnn.TwoLayerNet(hidden_size=H, **options).fit(X, y)

given = problem(model, N, "float64", D, H, K)
few = slice(None, None, max(1, N // 30_000))
fit(given.X[few].copy(), given.y[few].copy())
gc.collect()
libc = ctypes.CDLL(None)
if hasattr(libc, "malloc_trim"):
    libc.malloc_trim(0)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
fit(given.X, given.y)
print(max(0, status("VmHWM") - before))
"""
