"""Passes timed: in this process or in ranks, wherever rows lie."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..engine.cache import attach
from ..engine.run import RUNNING
from ..engine.streaming import Stream
from ..kernels import lbfgs
from ..rows.coded import Coding
from ..solvers.quasi_newton import Lbfgs
from .cases import Case, ScalingError
from .estimates import fewest_rounds, first_steps
from .rows import KEPT_LOSSES, begin

MAX_ROUNDS = 10
LAUNCH_ROWS, LAUNCH_ROUNDS, LAUNCH_SECONDS = 64, 5, 2e-3
VECTOR_ROUNDS = 20

_advance = attach(lbfgs.advance)


class Times(NamedTuple):
    """Of passes, in seconds."""

    median: float
    fastest: float
    rounds: int
    steps: int  # in a round


class Passes:
    """Passes of a case's solver, one run after the other where one comes to its end.

    collector: of the rows of X and y, where they are read piece by piece, instead of these.
    """

    def __init__(
        self,
        case: Case,
        X: np.ndarray | None,
        y: np.ndarray | None,
        params: Sequence[np.ndarray],
        collector: Any = None,
    ) -> None:
        rows: Any = X if collector is None else Stream(collector, Coding(np.arange(case.K)))
        labels = y if collector is None else None
        backend = "fused" if case.threads else "reference"
        self._case = case
        self._make = lambda: begin(case.solver, rows, labels, params, n_threads=case.threads or None, backend=backend)
        self.run: Any = self._make()
        self.losses: list[float] = []

    def do(self, steps: int) -> tuple[float, float]:
        """So many steps, or fewer where a run ends: (seconds, passes)."""
        if self.run.status != RUNNING:
            self.run = self._make()
        before, start = self.run.n_passes, time.perf_counter()
        self.run.run(steps)
        seconds = time.perf_counter() - start
        if not np.isfinite(self.run.loss) or self.run.n_passes == before:
            raise ScalingError(f"wrong result: {self._case.name}: no finite loss after step {self.run.n_steps}")
        if len(self.losses) < KEPT_LOSSES:
            self.losses = self.run.losses[:KEPT_LOSSES].tolist()
        return seconds, self.run.n_passes - before

    @property
    def threads_that_ran(self) -> int:
        """In most steps: few rows are not worth several threads, and several are not always faster."""
        passes = self.run.passes
        taken: dict[int, int] = getattr(passes, "pace", passes).__dict__.get("taken", {})
        return max(taken, key=taken.__getitem__) if taken else int(passes.n_threads)


def time_passes(
    passes: Passes,
    seconds: float,
    *,
    most: float = np.inf,
    agreed: Callable[[float], float] = float,
    tick: Callable[[float], object] = lambda share: None,
    before_step: Callable[[], object] | None = None,
) -> Times:
    """Time them for about so many seconds, `most` at most where one step takes less; one step before is not timed.

    agreed: what all processes that take part make of a number. tick is told the share that every round is of the whole.
    before_step: done before each step, of which there is one in a round then.
    """

    def a_round(steps: int) -> float:
        if before_step is not None:
            before_step()
        took, n_passes = passes.do(steps)
        return agreed(took / n_passes)

    first = a_round(1)
    if first_steps(first) > 1:
        first = a_round(1)
    steps = 1 if before_step is not None else max(1, int(seconds / MAX_ROUNDS / first))
    fewest = fewest_rounds(first) if fewest_rounds(first) * first < most else 1
    rounds = min(MAX_ROUNDS, max(fewest, int(seconds / (steps * first))))
    times: list[float] = []
    while len(times) < rounds:
        times.append(a_round(steps))
        tick(1 / rounds)
    while len(passes.losses) < KEPT_LOSSES:
        a_round(1)
    return Times(statistics.median(times), min(times), rounds, steps)


class Overhead(NamedTuple):
    """Seconds of a pass beside its rows: launching it, and what L-BFGS does between two of them, None of others."""

    launch: float
    vectors: float | None


def overhead(passes: Passes, agreed: Callable[[float], float] = float) -> Overhead:
    """Of passes over hardly any rows."""
    passes.do(lbfgs.PAIRS + 2)  # all pairs are there
    vectors = vector_seconds(passes.run)
    steps = max(1, min(200, int(agreed(LAUNCH_SECONDS * 4 / passes.do(4)[0]))))
    found = [passes.do(steps) for _ in range(LAUNCH_ROUNDS)]
    whole = min(seconds / n_passes for seconds, n_passes in found)
    if vectors is None:
        return Overhead(whole, None)
    vectors = min(vectors, whole)  # calling them from Python takes its time, too
    return Overhead(whole - vectors, vectors)


def vector_seconds(run: Any) -> float | None:
    """What L-BFGS does between two passes, once it has all its pairs; None of other solvers."""
    if not isinstance(run, Lbfgs):
        return None
    memory = run.passes.memory
    state, numbers, theta = memory.state.copy(), memory.numbers.copy(), memory.theta.copy()
    losses, like = np.empty(1), np.zeros((1, 1), run.dtype)
    then = int(numbers[0, lbfgs.EVALUATIONS]) % 3
    times = []
    for _ in range(VECTOR_ROUNDS):
        state[...], numbers[...] = memory.state, memory.numbers
        theta[then] = 0.9 * state[lbfgs.GRADIENT]
        n = numbers[0]
        n[lbfgs.GOAL], n[lbfgs.FIRST_ITERATION] = np.inf, n[lbfgs.ITERATION]
        n[lbfgs.STAGE] = lbfgs.LAST_TRIAL  # any lower loss is accepted then, which is what takes most
        start = time.perf_counter()
        _advance(theta, then, state, numbers, 0.99 * n[lbfgs.LOSS], *memory.solver, like, losses)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def best_seconds(function: Callable[[], object], rounds: int = 20) -> float:
    """The fastest of some calls."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
