"""What is done once with rows before a fit, and what it takes: checks, the statistics of columns, the digest."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..engine.statistics import column_statistics, stream_statistics
from ..engine.streaming import Stream
from ..estimators import SoftmaxClassifier, TwoLayerNet
from ..estimators.material import gather
from ..solvers.choice import LBFGS
from .cases import MEMORY, Case, shape_name

MAKING, WRITING, CHECKS, STATISTICS, DIGEST = "making", "writing", "checks", "statistics", "digest"
BEFORE_A_FIT = CHECKS, STATISTICS, DIGEST  # the digest only where there is a checkpoint, statistics for L-BFGS


class Cost(NamedTuple):
    """Seconds of what is done once with N rows of D inputs. threads: that may take part."""

    what: str
    dtype: str
    D: int
    N: int
    place: str
    threads: int
    seconds: float


def measure(X: Any, y: np.ndarray | None, place: str, n_threads: int) -> list[Cost]:
    """What fit does before its first step: with arrays, or with `Rows` that are read piece by piece."""
    start = time.perf_counter()
    material = gather(
        X, y, None, None, n_features=None, owner="", dtype=None, classes=None, n_threads=n_threads
    )
    times = [time.perf_counter()]
    if isinstance(material.X, Stream):
        stream_statistics(material.X)
    else:
        column_statistics(material.X, None, n_threads)
    times.append(time.perf_counter())
    material.digests()
    times.append(time.perf_counter())
    N, D = X.shape
    dtype = material.dtype.name
    return [
        Cost(what, dtype, D, N, place, n_threads, end - begun)
        for what, begun, end in zip(BEFORE_A_FIT, [start, *times], times, strict=False)
    ]


def fit(case: Case, X: np.ndarray, y: np.ndarray, iterations: int, scratch: Path) -> Cost:
    """A whole fit by L-BFGS, so many iterations or fewer, with all that comes before and a checkpoint."""
    settings: dict[str, Any] = {"solver": LBFGS, "max_iter": iterations, "n_threads": case.threads, "random_state": 0}
    model: Any = TwoLayerNet(hidden_size=case.H, **settings) if case.H else SoftmaxClassifier(**settings)
    checkpoint = scratch / "scale-fit.checkpoint"
    try:
        start = time.perf_counter()
        model.fit(X, y, checkpoint=checkpoint)
        seconds = time.perf_counter() - start
    finally:
        checkpoint.unlink(missing_ok=True)
    what = f"whole fit, {shape_name(case)} lbfgs, {model.n_passes_:.0f} passes"
    return Cost(what, case.dtype, case.D, case.N, MEMORY, case.threads, seconds)


def seconds_a_byte(costs: list[Cost], what: str, dtype: str, D: int, place: str = MEMORY) -> float | None:
    """Of X on one thread, from the most rows of those most like it; None where nothing is known.

    With an array in memory one thread does the checks; all else is done by all.
    """
    known = [cost for cost in costs if (cost.what, cost.place, cost.D) == (what, place, D)]
    known = [cost for cost in known if cost.dtype == dtype] or known
    if not known:
        return None
    cost = max(known, key=lambda cost: cost.N)
    n_bytes = cost.N * cost.D * np.dtype(cost.dtype).itemsize
    return cost.seconds / n_bytes * (1 if (what, place) == (CHECKS, MEMORY) else cost.threads)
