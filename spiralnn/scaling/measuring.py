"""One case measured: the time of its passes, and whether its losses are what they must be."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..engine.folding import Threads
from ..rows.rows import Rows
from ..solvers.choice import GD
from . import memory, ranks
from .bounds import bound, least_seconds
from .cases import DISK, MEMORY, Case, ScalingError, Settings
from .hardware import Limits
from .results import Row
from .rows import Files, first_rows, start
from .timing import LAUNCH_ROWS, Overhead, Passes, Times, overhead, time_passes

# Losses against float64 NumPy, relative. float64: 1e-16 times the square root of 10^8 terms and a margin. float32: 1e-7
# times a few roundings on the way to a score; L-BFGS doubles them, for its step follows from gradients.
TOLERANCES = {("float64", True): 1e-10, ("float32", True): 2e-5, ("float64", False): 1e-8, ("float32", False): 1e-3}


class Found(NamedTuple):
    """What comes of timing a case. ran: threads of all processes."""

    times: Times
    ran: int
    overhead: Overhead
    losses: list[float]
    peak_bytes: int | None


def measure(
    case: Case,
    X: np.ndarray,
    y: np.ndarray,
    files: Files | None,
    settings: Settings,
    limits: Mapping[tuple[str, int], Limits],
    rates: Mapping[str, float],
    seconds: float,
    most: float,
    tick: Callable[[float], object],
) -> Row:
    """Time passes of a run that really trains, for about so many seconds, `most` if it can be; tick is told the share
    that every round is of the whole."""
    if case.ranks:
        assert files is not None
        found = ranks.measure(case, files, settings.mpiexec, seconds, most)
        timed = Found(Times(*found["times"]), found["ran"], Overhead(*found["overhead"]), found["losses"], None)
    else:
        timed = _here(case, X, y, files, seconds, most, tick)
    median = timed.times.median
    parts = least_seconds(case, timed.ran, limits, rates, *timed.overhead)
    return Row(
        *case, timed.ran if case.threads else 0, case.implementation, *timed.times,
        ns_per_row=1e9 * median / case.N, vectors=timed.overhead.vectors, launch=timed.overhead.launch,
        **bound(parts, median)._asdict(), peak_bytes=timed.peak_bytes, losses=timed.losses,
    )  # fmt: skip


def _here(
    case: Case,
    X: np.ndarray,
    y: np.ndarray,
    files: Files | None,
    seconds: float,
    most: float,
    tick: Callable[[float], object],
) -> Found:
    """In this process."""
    params = start(case.model, case.dtype)
    few = min(LAUNCH_ROWS, case.N)
    small = _passes(case, Rows.of(X[:few], y[:few]), X[:few], y[:few], params)
    aside = overhead(small)
    before = memory.reset_peak()
    if case.place == MEMORY:
        passes = _passes(case, None, X[: case.N], y[: case.N], params)
    else:
        assert files is not None
        passes = _passes(case, first_rows(files, case.N), None, None, params)
    drop = files.forget if files is not None and case.place == DISK else None
    times = time_passes(passes, seconds, most=most, tick=tick, before_step=drop)
    peak = memory.peak()
    held = None if before is None or peak is None else max(0, peak - before)
    return Found(times, passes.threads_that_ran, aside, passes.losses, held)


def _passes(
    case: Case, rows: Rows | None, X: np.ndarray | None, y: np.ndarray | None, params: Sequence[np.ndarray]
) -> Passes:
    if case.place == MEMORY:
        return Passes(case, X, y, params)
    return Passes(case, None, None, params, Threads(rows, case.threads))  # type: ignore[arg-type]


def check(row: Row, expected: Sequence[float], rows: Sequence[Row]) -> None:
    """ScalingError unless the losses are those of the reference, and the same bits wherever rows lie, for any number of
    threads and ranks."""
    n = len(expected)
    if len(row.losses) < n or not np.allclose(
        row.losses[:n], expected, rtol=TOLERANCES[row.dtype, row.solver == GD], atol=0
    ):
        raise ScalingError(f"wrong result: {row.case.name}: losses {row.losses[:n]}, expected {list(expected)}")
    same = row.case._replace(place=MEMORY, ranks=0, threads=1)
    for other in rows:
        is_same = other.case._replace(place=MEMORY, ranks=0, threads=1) == same
        if is_same and other.threads and row.threads and other.losses != row.losses:
            raise ScalingError(
                f"wrong result: {row.case.name}: losses {row.losses}, {other.implementation}: {other.losses}"
            )
