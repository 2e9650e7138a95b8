"""The headline ratios, each measured in turns: everybody once, then everybody again, so that a slow minute of
the machine hits all alike. Then whole processes (import, training, memory), in turns as well.

    python bench/compare.py --json bench/results/latest.json    renews these parts of the file
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report
from implementations import IMPLEMENTATIONS
from problems import check, problem

# model, N, dtype, steps a turn (10 ms of work or more), turns
CASES = [
    ("linear", 300, "float64", 3_000, 30),
    ("linear", 1_000_000, "float64", 2, 15),
    ("two_layer", 300, "float64", 600, 30),
    ("two_layer", 300, "float32", 1_000, 30),
    ("two_layer", 1_000_000, "float64", 1, 7),
    ("two_layer", 1_000_000, "float32", 1, 9),
]
QUICK_LARGEST, QUICK_TURNS = 30_000, 5


def measure(quick):
    """The parts of the results that this file is responsible for."""
    return {"interleaved": full_steps(quick), "processes": processes(quick), "memory": memory(quick)}


def full_steps(quick):
    """A full step inside the descent loop, as rows like those of the suite."""
    rows = []
    for model, N, dtype, steps, turns in CASES:
        if quick and N > QUICK_LARGEST:
            continue
        given = problem(model, N, dtype)
        for implementation in IMPLEMENTATIONS:  # compiles and warms, too
            losses = implementation.losses(implementation.step(given, 2)())
            check(losses, given.truth.losses, implementation.tolerance[dtype])
        calls = {implementation.name: implementation.step(given, steps) for implementation in IMPLEMENTATIONS}
        seconds = in_turns(calls, QUICK_TURNS if quick else turns)
        N, D, H, K = given.shape
        for implementation in IMPLEMENTATIONS:
            row = {"operation": "step", "model": model, "implementation": implementation.name}
            row |= {"threads": implementation.threads, "N": N, "D": D, "H": H, "K": K, "dtype": dtype}
            row |= {"steps": steps, "flops": given.flops("step"), **summary(seconds[implementation.name])}
            rows.append(row)
    return rows


def processes(quick):
    """Whole processes: what importing adds to `import numba`, and the case study as a command."""
    imports = [float(_python("-c", IMPORT).stdout) for _ in range(3 if quick else 7)]
    with tempfile.TemporaryDirectory() as folder:

        def train(cache, *options):
            environment = {"NUMBA_CACHE_DIR": str(cache)}
            return lambda: _python("-m", "spiralnn", "train", "--out", f"{folder}/figures", *options, **environment)

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
    """Peak memory of a fit beside its X and y; Linux only, elsewhere no rows."""
    if not Path("/proc/self/clear_refs").exists():
        return []
    N = QUICK_LARGEST if quick else 1_000_000
    rows = []
    for model in ("linear", "two_layer"):
        for backend in ("fused", "reference"):
            peak = int(_python("-c", PEAK, model, backend, str(N)).stdout)
            rows.append({"model": model, "implementation": backend, "N": N, "dtype": "float64", "bytes": peak})
    return rows


def in_turns(calls, turns):
    """Seconds of every call, {name: list}, one after the other, again and again."""
    seconds = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            time.sleep(0.05)  # threads of the BLAS and of OpenMP spin for some 25 ms after their last work
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds):
    return {"min": min(seconds), "median": statistics.median(seconds), "rounds": len(seconds)}


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

# A fit of 30 000 rows first, for what a process pays once (compiler, machine code, thread stacks): enough rows
# to run the same kernels, threaded ones too. Writing 5 to clear_refs sets the peak back to what is held now.
PEAK = """
import sys
import spiralnn
model, backend, N = sys.argv[1], sys.argv[2], int(sys.argv[3])

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

def fit(X, y):
    Estimator = {"linear": spiralnn.SoftmaxClassifier, "two_layer": spiralnn.TwoLayerNet}[model]
    Estimator(max_iter=3, random_state=0, backend=backend).fit(X, y)

X, y = spiralnn.make_spiral(-(-N // 3), random_state=0)
few = slice(None, None, max(1, N // 30_000))
fit(X[few].copy(), y[few].copy())
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
fit(X, y)
print(max(0, status("VmHWM") - before))
"""


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--json", type=Path, required=True, help="results to renew")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)
    results = report.load(args.json)
    results.update(measure(args.quick))
    report.save(results, args.json)


if __name__ == "__main__":
    main()
