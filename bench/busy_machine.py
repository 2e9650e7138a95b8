"""A busy machine: fits beside processes that do nothing but compute, and many fits at once.

Fits with default threads and with n_threads=1 take turns under the same load: the first must cost no more than its
share, whatever else runs.
"""

import contextlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from problems import problem
from records import DEFAULT, SINGLE
from turns import in_turns

import spiralnn

BUSY = (0, 1, 2, 8)  # processes beside a fit
# N, D, H, K: steps of gradient descent; a fit with the default solver takes as many as it wants
SHAPES = {(300, 2, 100, 3): 4000, (30_000, 2, 100, 3): 60, (1_797, 64, 100, 10): 60, (100_000, 28, 128, 2): 8}
QUICK_SHAPES = ((300, 2, 100, 3),)
AT_ONCE, FITS = 8, 64  # children or threads, and fits that they share
SECONDS, FEWEST, MOST = 10.0, 3, 31  # for one row and its twin, and how often each is done
THREADS = {DEFAULT: None, SINGLE: 1}
ALONE, CHILDREN, PYTHON_THREADS = "one fit", "8 forked processes", "8 Python threads"


def measure(quick):
    """The rows "load" of the results."""
    rows = []
    for n_busy in BUSY:
        with busy(n_busy):
            for shape in QUICK_SHAPES if quick else SHAPES:
                for solver in ("auto", "gd"):
                    print(f"beside {n_busy} busy processes: {shape}, {solver}", file=sys.stderr)
                    rows += _compared(ALONE, n_busy, shape, solver, _alone, quick)
    jobs = {PYTHON_THREADS: _in_threads}
    if hasattr(os, "fork"):
        jobs[CHILDREN] = _in_processes
    for job, run in jobs.items():
        print(f"at once: {job}", file=sys.stderr)
        rows += _compared(job, 0, QUICK_SHAPES[0], "auto", run, quick)
    return rows


@contextlib.contextmanager
def busy(n):
    """So many processes that compute, all of them started."""
    code = "import sys\nsys.stdout.write('.')\nsys.stdout.flush()\nwhile True:\n    pass"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(n)]
    try:
        for process in processes:
            process.stdout.read(1)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()


def _compared(job, n_busy, shape, solver, run, quick):
    """Rows of a job with default threads and with one, in turns."""
    fits = {name: _fit(shape, solver, n_threads) for name, n_threads in THREADS.items()}
    calls = {name: _timed(run, fit) for name, fit in fits.items()}
    for call in calls.values():
        call()
    slowest = max(call() for call in calls.values())
    turns = FEWEST if quick else max(FEWEST, min(MOST, int(SECONDS / (2.0 * slowest))))
    N, D, H, K = shape
    known = {"job": job, "busy": n_busy, "solver": solver, "N": N, "D": D, "H": H, "K": K}
    measured = in_turns(calls, turns)
    return [
        {**known, "threads": name, "median": statistics.median(s), "mean": statistics.fmean(s), "rounds": len(s)}
        for name, s in measured.items()
    ]


def _fit(shape, solver, n_threads):
    N, D, H, K = shape
    given = problem("two_layer", N, "float64", D, H, K)
    options = {"hidden_size": H, "solver": solver, "n_threads": n_threads, "random_state": 0}
    if solver == "gd":
        options |= {"step_size": given.step_size, "max_iter": SHAPES[shape]}
    return lambda: spiralnn.TwoLayerNet(**options).fit(given.X, given.y)


def _timed(run, fit):
    def call():
        start = time.perf_counter()
        run(fit)
        return time.perf_counter() - start

    return call


def _alone(fit):
    fit()


def _in_threads(fit):
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(fit) for _ in range(FITS)]:
            done.result()


def _in_processes(fit):
    """By children that are forked, as those of a pool: an even part each."""

    def several():
        for _ in range(FITS // AT_ONCE):
            fit()

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=several) for _ in range(AT_ONCE)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    failed = [child.exitcode for child in children if child.exitcode]
    if failed:
        raise RuntimeError(f"a child that was to fit ended with exit code {failed[0]}")
