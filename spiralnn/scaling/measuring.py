"""One case measured: its step's time, and whether its losses are what they must be."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..solvers.descent import Descent
from . import memory
from .hardware import Limits
from .planning import KEPT_LOSSES, MIN_ROUNDS, Case, ScalingError, data_bytes, flops
from .results import Row
from .rows import REG, STEP_SIZE

MAX_ROUNDS = 10

# Losses of the first two steps against float64 NumPy, relative. float64: 1e-16 times the square root of 10^8 terms and
# a margin. float32: 1e-7 times a few roundings on the way to a score, and NumPy's own sums over rows in the reference.
TOLERANCES = {"float64": 1e-10, "float32": 2e-5}


def measure(
    case: Case,
    X: np.ndarray,
    y: np.ndarray,
    params: Sequence[np.ndarray],
    hidden: int,
    limit: Limits,
    seconds: float,
    tick: Callable[[float], object],
) -> Row:
    """Time steps of a descent that really descends; tick is told the share that every round is of the whole."""
    options: dict[str, Any] = {"step_size": STEP_SIZE, "reg": REG, "n_threads": case.threads or None}
    options["backend"] = "fused" if case.threads else "reference"
    before = memory.reset_peak()
    descent = Descent(X[: case.N], y[: case.N], params, **options)
    descent.run(1)
    times = [_seconds(descent, 1)]
    steps = max(1, int(seconds / MAX_ROUNDS / times[0]))
    rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, int(seconds / (steps * times[0]))))
    if steps > 1:
        times = []
    else:
        tick(1 / rounds)
    while len(times) < rounds:
        times.append(_seconds(descent, steps) / steps)
        tick(1 / rounds)
    peak = memory.peak()
    median = statistics.median(times)
    return Row(
        *case, case.implementation, median, min(times), rounds, steps,
        ns_per_row=1e9 * median / case.N,
        efficiency=flops(case, hidden) / median / limit.flops,
        bandwidth_share=data_bytes(case.N, case.dtype) / median / limit.bandwidth,
        peak_bytes=None if before is None or peak is None else max(0, peak - before),
        losses=descent.losses[:KEPT_LOSSES].tolist(),
    )  # fmt: skip


def _seconds(descent: Descent, steps: int) -> float:
    start = time.perf_counter()
    done = descent.run(steps)
    seconds = time.perf_counter() - start
    if done != steps:
        raise ScalingError(f"wrong result: the descent over {len(descent.X):,} rows diverged at step {descent.n_steps}")
    return seconds


def check(row: Row, expected: Sequence[float], rows: Sequence[Row]) -> None:
    """ScalingError unless the losses are those of the reference, and the same bits for any number of threads."""
    name = f"{row.model}, {row.dtype}, {row.N:,} rows, {row.implementation}"
    if not np.allclose(row.losses[: len(expected)], expected, rtol=TOLERANCES[row.dtype], atol=0):
        raise ScalingError(f"wrong result: {name}: losses {row.losses[: len(expected)]}, expected {list(expected)}")
    for other in rows:
        if other.threads and row.threads and other.case[:3] == row.case[:3] and other.losses != row.losses:
            raise ScalingError(f"wrong result: {name}: losses {row.losses}, {other.implementation}: {other.losses}")
