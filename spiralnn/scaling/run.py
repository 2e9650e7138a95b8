"""A scaling run: plan, measure, write, print and draw.

Every measurement is checked against the reference before it counts, and written to the results file at once.
"""

import contextlib
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..files.whole_file import unwritable
from ..rows.opening import open_rows
from . import cases, costs, hardware, page, ranks, report
from .cases import DISK, FILES, MEMORY, Case, ScalingError, Settings
from .costs import MAKING, WRITING, Cost
from .measuring import check, measure
from .planning import Once, Schedule, check_sizes
from .progress import Display
from .results import Results
from .rows import Files, begin, expected_losses, make_rows, start, write_rows
from .units import printable

LIMIT_SECONDS = 0.2  # for each limit of each number of threads
SETTLED = 3  # cases after which the time left is known, about


def run(settings: Settings, tell: Callable[[str], object]) -> bool:
    """Do it all; tell is called with what there is to say in between. Whether it was not interrupted."""
    results = Results(settings.out / "scale.json")
    if settings.resume:
        results.load()
    check_sizes(settings)  # tells now what cannot be, not after measuring the limits
    if settings.ranks and (reason := ranks.missing(settings.mpiexec)):
        tell(f"no ranks are measured: {reason}")
        settings = settings._replace(ranks=())
    whole = True
    try:
        _measure_limits(settings, results)
        schedule = Schedule(settings, results.limits, {row.case for row in results.rows})
        print(printable(report.schedule_text(settings, results.limits, schedule, len(results.rows))), flush=True)
        _load_kernels(settings)
        with contextlib.closing(_Run(settings, schedule, results)) as job:
            left = job.measure_all()
        if left:
            tell(f"the budget is used up; --resume measures the {left} cases left")
    except KeyboardInterrupt:
        whole = False
        if results.rows:
            results.save()  # the signal may have come while a row was being written
        tell("interrupted; --resume goes on with what is missing")
    if results.rows:
        for title, table in report.sections(results, settings.sizes):
            print(printable(f"\n{title}\n{table}"))
        has_matplotlib = importlib.util.find_spec("matplotlib") is not None
        if settings.figures and not has_matplotlib:
            tell("no figures without matplotlib: pip install spiralnn[plot]")
        failure = _draw(settings, results) if settings.figures and has_matplotlib else None
        if settings.page:
            page.write(settings, results)
        if failure is not None:
            raise failure
    return whole


def all_threads(settings: Settings) -> list[int]:
    """Numbers of threads whose limits must be known: of one process, and of all ranks together."""
    of_ranks = [n * settings.threads_per_rank for n in settings.ranks]
    return sorted({1, *settings.threads, *of_ranks})


def _measure_limits(settings: Settings, results: Results) -> None:
    for dtype in settings.dtypes:
        for n_threads in all_threads(settings):
            if (dtype, n_threads) not in results.limits:
                try:
                    results.limits[dtype, n_threads] = hardware.measure(dtype, n_threads, LIMIT_SECONDS)
                except RuntimeError as error:
                    raise ScalingError(str(error)) from error


def _load_kernels(settings: Settings) -> None:
    """Compile them where they are not on disk: neither the budget nor a measurement shall pay for it."""
    for shape in settings.shapes:
        for dtype in settings.dtypes:
            X, y = make_rows(100, shape.D, shape.K, dtype)
            for solver in settings.solvers:
                begin(solver, X, y, start(shape, dtype), n_threads=1).run(1)


class _Run:
    """What is held while cases are measured: rows of one data set, in memory and in files."""

    def __init__(self, settings: Settings, schedule: Schedule, results: Results) -> None:
        self._settings, self._schedule, self._results = settings, schedule, results
        self._X = self._y = np.empty(0)
        self._files: Files | None = None
        self._data: tuple[str, int, int] | None = None
        self._expected: dict[tuple[object, ...], list[float]] = {}
        self._threads = max(settings.threads)
        self._fitted: set[tuple[object, ...]] = set()
        self._display = Display()

    def measure_all(self) -> int:
        """What fits the budget; how many cases are left for lack of it."""
        schedule, results = self._schedule, self._results
        n_done, spent, told, settled = 0, 0.0, 0.0, 0.0
        while (plan := schedule.plan()).cases:
            case, planned = plan.cases[0]
            schedule.begin(case)
            self._display.begin(case, plan)
            clock = time.perf_counter()
            for once in schedule.once(case):
                self._do_once(once, case)
            seconds = schedule.case_seconds
            begun = time.perf_counter()
            row = measure(
                case, self._X, self._y, self._files, self._settings, results.limits, results.rates, seconds,
                schedule.left, lambda share, planned=planned: self._display.advance(share * planned),  # type: ignore
            )  # fmt: skip
            took = time.perf_counter() - begun
            check(row, self._expected[_expected_key(case, schedule)], results.rows)
            results.rows.append(row)
            results.save()
            schedule.measured(case, row.median, row.steps * row.rounds, took)
            seconds = time.perf_counter() - clock
            schedule.spend(seconds)
            spent += seconds
            plan = schedule.plan()
            self._display.end(row, plan)
            n_done += 1
            if n_done == SETTLED:
                told, settled = plan.seconds, spent
            if self._is_to_fit(case):
                self._fit(case)
        if n_done >= SETTLED:
            took = spent - settled
            results.estimates.append({"cases": SETTLED, "told": told, "took": took})
            results.save()
            print(f"after {SETTLED} cases {told:.0f} s were said to be left: it took {took:.0f} s")
        return len(schedule.plan().too_long)

    def _do_once(self, once: Once, case: Case) -> None:
        data = (case.dtype, case.D, case.K)
        if data != self._data:
            self._forget()
            self._data = data
        begun = time.perf_counter()
        what = once.key[0]
        if what == "rows":
            self._X = self._y = np.empty(0)  # given back first
            self._X, self._y = make_rows(case.N, case.D, case.K, case.dtype)
            self._note(MAKING, case, MEMORY, time.perf_counter() - begun)
        elif what == "files":
            self._write(case)
        elif what == "look":
            self._keep(costs.measure(self._X[: case.N], self._y[: case.N], MEMORY, self._threads))
        else:
            params = start(case.model, case.dtype)
            self._expected[once.key] = expected_losses(self._X, self._y, params, case)
        self._schedule.did_once(once, time.perf_counter() - begun)

    def _write(self, case: Case) -> None:
        """Rows to files, and what reading them takes."""
        if self._files is not None:
            self._files.remove()
        begun = time.perf_counter()
        try:
            self._files = write_rows(self._settings.scratch, self._X[: case.N], self._y[: case.N])
            self._note(WRITING, case, FILES, time.perf_counter() - begun)
            if self._files.n_bytes >= cases.COLD_BYTES:  # of less it would be the rate that threads start with
                self._measure_rates(self._files)
        except OSError as error:
            raise ScalingError(unwritable(self._settings.scratch, "rows", error)) from error
        if self._settings.out_of_core:
            rows: Any = open_rows(self._files.X, self._files.y)
            self._keep(costs.measure(rows, None, FILES, self._threads))

    def _measure_rates(self, files: Files) -> None:
        rates = self._results.rates
        rates[FILES] = max(hardware.file_rate(files.X, self._threads), rates.get(FILES, 0.0))
        cold = hardware.file_rate(files.X, self._threads, files.forget, rounds=1)
        rates[DISK] = max(cold, rates.get(DISK, 0.0))

    def _is_to_fit(self, case: Case) -> bool:
        """Whether a whole fit was asked for, of the first case of its shape and dtype: that of the most rows."""
        settings, key = self._settings, (case.model, case.dtype)
        if not settings.fit or key in self._fitted or case.is_streamed or case.threads != self._threads:
            return False
        self._fitted.add(key)
        return True

    def _fit(self, case: Case) -> None:
        found = costs.fit(case, self._X[: case.N], self._y[: case.N], self._settings.fit, self._settings.scratch)
        self._keep([found])
        self._results.save()

    def _note(self, what: str, case: Case, place: str, seconds: float) -> None:
        self._keep([Cost(what, case.dtype, case.D, case.N, place, 1, seconds)])

    def _keep(self, found: list[Cost]) -> None:
        """In the place of those that a run before had of the same."""
        known = {cost[:-1] for cost in found}
        self._results.costs = [cost for cost in self._results.costs if cost[:-1] not in known] + found

    def _forget(self) -> None:
        self._X = self._y = np.empty(0)
        self._expected.clear()
        if self._files is not None:
            self._files.remove()
            self._files = None

    def close(self) -> None:
        self._forget()
        self._display.close()


def _expected_key(case: Case, schedule: Schedule) -> tuple[object, ...]:
    return next(once.key for once in schedule.once(case, {}) if once.key[0] == "expect")


def _draw(settings: Settings, results: Results) -> ScalingError | None:
    """What keeps figures from being drawn, for the end: results are told and written all the same."""
    try:
        from . import figures

        figures.draw(settings.out, results, settings.sizes)
    except OSError as error:
        return ScalingError(unwritable(settings.out, "figures", error))
    except Exception as error:  # of matplotlib, which has its ways to fail
        return ScalingError(f"no figures, for matplotlib fails: {type(error).__name__}: {error}")
    return None
