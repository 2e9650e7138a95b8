"""Timing in turns: everybody once, then everybody again, so that a slow minute of the machine hits all alike.

The multiply-add rate of the machine takes its turn too: efficiency is against what could be had in the same minute.
"""

import math
import statistics
import time

import numpy as np
from problems import check, check_classes

from spiralnn import resources
from spiralnn.scaling import hardware

PAUSE = 0.05  # threads of BLAS and OpenMP spin for some 25 ms after their last work, in the way of whoever is next
CALL_SECONDS = 0.02  # of a call, by repetition: drowns what a call costs by itself, starting threads above all
PATIENCE = 2.0  # seconds for one implementation in all turns of a problem; three turns it gets whatever they take
FEWEST_TURNS = 3
RATE_SECONDS, RATE_STEPS = 0.01, 1 << 18


def race(problem, operation, implementations, turns, pause=PAUSE):
    """Rows of results: operation ("step" or "predict") by all who have it and serve the problem, checked and timed."""
    entrants = [i for i in implementations if hasattr(i, operation) and i.serves(problem)]
    runners = [Runner(i, problem, operation, pause) for i in entrants]
    n_threads = resources.available_threads()
    rates = {n: lambda n=n: hardware.fma_rate(problem.dtype, n, RATE_SECONDS, steps=RATE_STEPS) for n in (1, n_threads)}
    every = {runner: math.ceil(turns / max(FEWEST_TURNS, PATIENCE / runner.seconds)) for runner in runners}
    measured = in_turns({**rates, **{runner: runner.turn for runner in runners}}, turns, every)
    rates = {n: statistics.median(measured[n]) for n in rates}
    return [runner.row(measured[runner], rates[1], rates[n_threads]) for runner in runners]


class Runner:
    """One implementation on one problem: right, warm, and repeated often enough for a clock."""

    def __init__(self, implementation, problem, operation, pause):
        self.implementation, self.problem, self.operation, self.pause = implementation, problem, operation, pause
        tolerance = implementation.tolerance[problem.dtype]
        if operation == "predict":
            self.call, self.steps = implementation.predict(problem), 1
            seconds = self._timed()
            check_classes(self.result, problem.truth.forward[0], tolerance)
        else:
            self.call, self.steps = implementation.step(problem, 2), 2
            seconds = self._timed()
            check(implementation.losses(self.result)[:2], problem.truth.losses, tolerance)
        if implementation.compiles or seconds < PATIENCE:  # else it is too slow for anything to matter
            seconds = self._timed()
        self.seconds = seconds / self.steps
        self._repeat(max(1, math.ceil(CALL_SECONDS / self.seconds)))

    def _repeat(self, steps):
        """Make the call one of so many steps, and warm it: some compile once more for a number of steps."""
        self.steps, once = steps, self.call
        if self.operation == "predict":

            def call():
                for _ in range(steps):
                    result = once()
                return result

            self.call = call
        else:
            self.call = self.implementation.step(self.problem, steps)
        if self.implementation.compiles or steps > 1:
            self._timed()
        self.seconds *= steps

    def turn(self):
        time.sleep(self.pause)
        return self._timed()

    def _timed(self):
        start = time.perf_counter()
        self.result = self.call()
        return time.perf_counter() - start

    def row(self, seconds, rate, rate_all):
        """A row of results; what was timed must have stayed a descent."""
        if self.operation == "step":
            assert np.isfinite(self.implementation.losses(self.result)).all(), f"{self.implementation.name} diverged"
        N, D, H, K = self.problem.shape
        return {
            "operation": self.operation, "model": self.problem.model, "implementation": self.implementation.name,
            "threads": self.implementation.threads, "N": N, "D": D, "H": H, "K": K, "dtype": self.problem.dtype,
            "steps": self.steps, "flops": self.problem.flops(self.operation),
            "traffic": self.problem.traffic(self.operation), "fma_rate": rate, "fma_rate_all": rate_all,
            **summary(seconds),
        }  # fmt: skip


def in_turns(measurements, turns, every=None):
    """What the measurements return, {name: list}: one after the other, again and again, some only every n turns."""
    every = every or {}
    values = {name: [] for name in measurements}
    for turn in range(turns):
        for name, measure in measurements.items():
            if turn % every.get(name, 1) == 0:
                values[name].append(measure())
    return values


def summary(seconds):
    return {"min": min(seconds), "median": statistics.median(seconds), "rounds": len(seconds)}
