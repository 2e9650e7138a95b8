"""Shared by the suite: how much of it to run, and `measure`, which checks a result, warms up, then times.

A short run: `pytest bench --largest 30000 --budget 0.1`.
"""

import time

import pytest
from problems import check


def pytest_addoption(parser):
    group = parser.getgroup("spiralnn")
    group.addoption("--largest", type=int, default=1_000_000, help="leave out problems of more rows")
    group.addoption("--budget", type=float, default=0.25, help="seconds of rounds a row")


def pytest_collection_modifyitems(config, items):
    largest = config.getoption("--largest", 1_000_000)
    too_large = [item for item in items if hasattr(item, "callspec") and item.callspec.params.get("N", 0) > largest]
    config.hook.pytest_deselected(items=too_large)
    items[:] = [item for item in items if item not in too_large]


@pytest.fixture
def measure(benchmark, request):
    """measure(operation, problem, implementation, call, truth): time call, once its result is the truth.

    outcome turns what a call returns into what truth holds, or more of it. For a training `trial` is the same
    call with fewer steps, checked and warmed in its place. With --benchmark-disable the call runs once and is
    checked afterwards.
    """
    budget = request.config.getoption("--budget", 0.25)

    def run(operation, problem, implementation, call, truth, *, outcome=tuple, steps=1, trial=None, trial_steps=None):
        rounds = iterations = 1
        tolerance = implementation.tolerance[problem.dtype]
        if benchmark.enabled:
            trial, trial_steps = trial or call, trial_steps or steps
            seconds, result = _timed(trial)
            check(outcome(result)[: len(truth)], truth, tolerance)
            if implementation.compiles:
                seconds, _ = _timed(trial)
            seconds *= steps / trial_steps
            iterations = max(1, round(1e-4 / seconds))  # a round of 0.1 ms drowns the timer's own cost
            rounds = 1 if seconds > 2 else min(max(round(budget / (seconds * iterations)), 3), 1000)

        N, D, H, K = problem.shape
        model = "either" if operation == "softmax" else problem.model
        benchmark.group = f"{operation}, {model}, N = {N}, {problem.dtype}"
        result = benchmark.pedantic(call, rounds=rounds, iterations=iterations)
        check(outcome(result)[: len(truth)], truth, tolerance)
        benchmark.extra_info.update(
            operation=operation, model=model, implementation=implementation.name, threads=implementation.threads,
            N=N, D=D, H=H, K=K, dtype=problem.dtype, steps=steps,
            flops=problem.flops(operation), traffic=problem.traffic(operation),
            loss=None if operation in ("forward", "backward") else float(outcome(result)[0]),
        )  # fmt: skip

    return run


def _timed(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result
