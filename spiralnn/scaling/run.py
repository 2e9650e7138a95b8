"""A scaling run: plan, measure, write, print and draw.

Every measurement is checked against the reference before it counts, and written to the results file at once.
"""

import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..engine.display import Bar
from ..files.whole_file import unwritable
from ..solvers.descent import Descent
from . import hardware, report
from .measuring import check, measure
from .planning import Case, ScalingError, Schedule, Settings, hidden_units, largest_sizes, make_schedule
from .results import Results, Row
from .rows import REG, STEP_SIZE, expected_losses, make_rows, start

LIMIT_SECONDS = 0.2  # for each limit of each number of threads


def run(settings: Settings, tell: Callable[[str], object]) -> bool:
    """Do it all; tell is called with what there is to say in between. Whether it was not interrupted."""
    results = Results(settings.out / "scale.json", settings.hidden)
    if settings.resume:
        results.load()
    largest_sizes(settings)  # tells now what cannot be, not after measuring the limits
    whole = True
    try:
        _measure_limits(settings, results)
        schedule = make_schedule(settings, results.limits, [row.case for row in results.rows])
        print(report.schedule_text(settings, results.limits, schedule, len(results.rows)), flush=True)
        _load_kernels(settings, schedule)
        _measure_all(settings, schedule, results, tell)
    except KeyboardInterrupt:
        whole = False
        if results.rows:
            results.save()  # the signal may have come while a row was being written
        tell("interrupted; --resume goes on with what is missing")
    if results.rows:
        print(report.table(results.rows))
        if settings.figures and importlib.util.find_spec("matplotlib") is None:
            tell("no figures without matplotlib: pip install spiralnn[plot]")
        elif settings.figures:
            _draw(settings.out, results)
    return whole


def _measure_limits(settings: Settings, results: Results) -> None:
    for dtype in settings.dtypes:
        for n_threads in settings.threads:
            if (dtype, n_threads) not in results.limits:
                try:
                    results.limits[dtype, n_threads] = hardware.measure(dtype, n_threads, LIMIT_SECONDS)
                except RuntimeError as error:
                    raise ScalingError(str(error)) from error


def _load_kernels(settings: Settings, schedule: Schedule) -> None:
    """Compile them where they are not on disk: neither the budget nor a measurement shall pay for it."""
    for dtype, model in sorted({(case.dtype, case.model) for case in schedule.cases if case.threads}):
        X, y = make_rows(100, dtype)
        Descent(X, y, start(hidden_units(model, settings.hidden), dtype), step_size=STEP_SIZE, reg=REG).run(1)


def _measure_all(
    settings: Settings, schedule: Schedule, results: Results, tell: Callable[[str], object]
) -> None:
    cases = schedule.cases
    deadline = time.perf_counter() + settings.budget
    expected: dict[tuple[str, int, str], list[float]] = {}
    X = y = np.empty(0)
    with contextlib.closing(_Display(cases)) as display:
        for i, (case, planned) in enumerate(cases.items()):
            if time.perf_counter() > deadline:
                tell(f"the budget is used up; --resume measures the {len(cases) - i} cases left")
                return
            display.advance(case, 0.0)
            if X.dtype != case.dtype or len(X) == 0:
                X = y = np.empty(0)  # given back first
                X, y = make_rows(max(c.N for c in cases if c.dtype == case.dtype), case.dtype)
            params = start(hidden_units(case.model, settings.hidden), case.dtype)
            key = case[:3]
            if key not in expected:
                expected[key] = expected_losses(X, y, params, case.N)
            limit = results.limits[case.dtype, case.threads or max(settings.threads)]

            def tick(share: float, case: Case = case, planned: float = planned) -> None:
                display.advance(case, share * planned)

            row = measure(case, X, y, params, settings.hidden, limit, schedule.case_seconds, tick)
            check(row, expected[key], results.rows)
            results.rows.append(row)
            results.save()
            display.end(row)


class _Display:
    """How far the schedule is: a bar in seconds of it, or where there can be none a line for every case, on stderr."""

    def __init__(self, cases: dict[Case, float]) -> None:
        self._n_cases, self._n_done = len(cases), 0
        self._total, self._seconds = sum(cases.values()), 0.0
        self._began = time.perf_counter()
        self._bar = None
        if sys.stderr.isatty() and importlib.util.find_spec("tqdm"):
            layout = "{percentage:3.0f}% |{bar}| {elapsed}, {remaining} left{postfix}"
            self._bar = Bar(self._total, layout=layout, leave=False)

    def advance(self, case: Case, seconds: float) -> None:
        """So many seconds of the schedule are over."""
        self._seconds += seconds
        if self._bar is not None:
            self._bar.show(self._seconds, report.case_name(case))

    def end(self, row: Row) -> None:
        self._n_done += 1
        if self._bar is None:
            pace = (time.perf_counter() - self._began) / self._seconds
            left = max(0.0, self._total - self._seconds) * pace
            print(f"{self._n_done}/{self._n_cases} {report.line(row)}; {left:.0f} s left", file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _draw(folder: Path, results: Results) -> None:
    from . import figures

    try:
        figures.draw(folder, results.rows, results.limits, results.model["hidden"], results.machine["cpu"])
    except OSError as error:
        raise ScalingError(unwritable(folder, "figures", error)) from error
