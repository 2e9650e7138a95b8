"""The rates of this machine that a forecast needs: measured in a second or two, or taken from a results file."""

from pathlib import Path

import numpy as np

from ..engine.folding import Threads
from ..engine.survey import survey
from ..kernels.loop import EXTRA
from ..kernels.models import Model
from ..kernels.tree import add_rows_of_sums
from ..resources import available_threads
from ..rows.rows import Rows
from ..solvers.choice import LBFGS
from . import costs
from .cases import DISK, FILES, MEMORY, Case, ScalingError, shape_name
from .costs import BEFORE_A_FIT, CHECKS, Cost
from .forecast import SURVEY, Rates
from .results import Results, Row
from .rows import make_rows, start
from .timing import LAUNCH_ROWS, Passes, best_seconds, overhead, time_passes

SAMPLE_FLOPS = 4e9  # of a pass over the sample: tenths of a second
MOST_ROWS, MOST_BYTES = 2_000_000, 256 << 20
SURVEYED = 100_000  # rows that the checks are timed with
SECONDS = 0.3  # for each number of threads


def find(model: Model, dtype: str, solver: str, threads: int, folder: Path | None) -> Rates:
    """For one shape. folder: of a scale.json that holds it, or None: then it is measured.

    ScalingError where the file does not hold such rows of memory, or cannot be read.
    """
    if folder is not None:
        results = Results(folder / "scale.json")
        if not results.path.is_file():
            raise ScalingError(f"there is no {str(results.path)!r}: expected a folder that spiralnn scale wrote")
        results.load()
        return of_results(results, model, dtype, solver)
    return measure(model, dtype, solver, min(threads, available_threads()))


def of_results(results: Results, model: Model, dtype: str, solver: str) -> Rates:
    """From the most rows that were measured in memory."""
    found = [row for row in results.rows if row.case.model == model and row.dtype == dtype and row.solver == solver
             and row.place == MEMORY and row.threads and not row.ranks]  # fmt: skip
    alone = max((row for row in found if row.ran == 1), key=lambda row: row.N, default=None)
    if alone is None:
        raise ScalingError(
            f"{str(results.path)!r} holds no {shape_name(model)} {dtype} by {solver} on one thread, in memory: "
            "expected it, or no --out"
        )
    together = max((row for row in found if row.ran > 1), key=lambda row: (row.N, row.ran), default=alone)
    once = {what: costs.seconds_a_byte(results.costs, what, dtype, model.D) for what in BEFORE_A_FIT}
    if None in once.values():
        raise ScalingError(f"{str(results.path)!r} holds no costs of {model.D} inputs: expected them, or no --out")
    once[SURVEY] = costs.seconds_a_byte(results.costs, CHECKS, dtype, model.D, FILES) or _survey(model, dtype)
    return Rates(
        1e-9 * alone.ns_per_row, together.ran, alone.ns_per_row / together.ns_per_row, alone.vectors or 0.0,
        alone.launch, _add_seconds(model), {what: value or 0.0 for what, value in once.items()},
        results.rates.get(DISK), f"{_told(alone)}, {_told(together)}, from {results.path}",
    )  # fmt: skip


def _told(row: Row) -> str:
    threads = "1 thread" if row.ran == 1 else f"{row.ran} threads"
    return f"{row.ns_per_row:.3g} ns a row on {threads} at {row.N:,} rows"


def measure(model: Model, dtype: str, solver: str, threads: int) -> Rates:
    """On one thread and on so many, in a second or two."""
    N = int(max(10_000, min(MOST_ROWS, SAMPLE_FLOPS / model.flops(1), MOST_BYTES / (8 * model.D))))
    X, y = make_rows(N, model.D, model.K, dtype)
    params = start(model, dtype)
    case = Case(model.D, model.H, model.K, dtype, N, solver, MEMORY, 0, 1)
    found: list[tuple[int, float]] = []
    for n_threads in sorted({1, threads}):
        passes = Passes(case._replace(threads=n_threads), X, y, params)
        times = time_passes(passes, SECONDS)
        found.append((passes.threads_that_ran, times.fastest / N))
    (_, row), (ran, together) = found[0], found[-1]
    aside = overhead(Passes(case, X[:LAUNCH_ROWS], y[:LAUNCH_ROWS], params))
    known: list[Cost] = costs.measure(X, y, MEMORY, threads)
    once = {what: costs.seconds_a_byte(known, what, dtype, model.D) or 0.0 for what in BEFORE_A_FIT}
    once[SURVEY] = _survey(model, dtype)
    told = f"{1e9 * row:.3g} ns a row on 1 thread, {1e9 * together:.3g} on {ran}, measured now at {N:,} rows"
    return Rates(
        row, ran, row / together, (aside.vectors or 0.0) if solver == LBFGS else 0.0, aside.launch,
        _add_seconds(model), once, None, told,
    )  # fmt: skip


def _survey(model: Model, dtype: str) -> float:
    """Seconds a byte that the checks of rows take one thread which are read piece by piece."""
    X, y = make_rows(SURVEYED, model.D, model.K, dtype)
    return best_seconds(lambda: survey(Threads(Rows.of(X, y), 1)), 3) / X.nbytes


def _add_seconds(model: Model) -> float:
    """Of one number, as roots are added up."""
    P = model.padded_size + EXTRA
    left, right = np.zeros(P), np.ones(P)
    return best_seconds(lambda: add_rows_of_sums(left, right)) / P
