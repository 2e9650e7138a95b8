"""`spiralnn scale`: how a step's time, its share of the hardware's limit and its memory go with rows and threads.

Every measurement is checked against the reference before it counts, and written to the results file at once.
"""

import ctypes
import datetime
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import __version__, limits, scaling_report
from .console import INTERRUPTED, tell, unwritable
from .data import make_spiral
from .engine.descent import Descent
from .kernels import reference
from .limits import Limits
from .scaling_plan import (
    CLASSES,
    INPUTS,
    MIN_ROUNDS,
    PERIOD,
    Case,
    Plan,
    ScalingError,
    Settings,
    data_bytes,
    flops,
    hidden_units,
    largest_sizes,
    make_plan,
)
from .whole_file import write_atomically

LIMIT_SECONDS = 0.2  # for each limit of each number of threads
MAX_ROUNDS = 10
KEPT_LOSSES = 4  # of every case; so many steps are always done

PART_PER_CLASS = 10_000  # rows are made in parts of so many a class, shuffled
STEP_SIZE, REG = 0.1, 1e-3

# Losses of the first two steps against float64 NumPy, relative. float64: 1e-16 times the square root of 10^8 terms and
# a margin. float32: 1e-7 times a few roundings on the way to a score, and NumPy's own sums over rows in the reference.
TOLERANCES = {"float64": 1e-10, "float32": 2e-5}


class Row(NamedTuple):
    """What was measured of a case: a line of the results file."""

    dtype: str
    N: int
    model: str
    threads: int
    implementation: str
    median: float  # seconds a step
    fastest: float
    rounds: int
    steps: int  # in a round
    ns_per_row: float
    efficiency: float  # share of the multiply-add rate of as many threads (the reference: of the most threads)
    bandwidth_share: float  # share of the memory bandwidth
    peak_bytes: int | None  # beside X and y; None where the system does not tell
    losses: list[float]  # before the first steps

    @property
    def case(self) -> Case:
        return Case(self.dtype, self.N, self.model, self.threads)


class Results:
    """What the results file holds."""

    def __init__(self, path: Path, hidden: int) -> None:
        self.path = path
        versions = {"spiralnn": __version__, "Python": ".".join(map(str, sys.version_info[:3]))}
        versions |= {name: sys.modules[name.lower()].__version__ for name in ("NumPy", "Numba")}
        self.machine: dict[str, Any] = {"cpu": limits.cpu_name(), "cores": os.cpu_count(), **versions}
        self.model = {"inputs": INPUTS, "hidden": hidden, "classes": CLASSES}
        self.limits: dict[tuple[str, int], Limits] = {}
        self.rows: list[Row] = []

    def load(self) -> None:
        """Take over what the file holds, if it was measured on such a machine with such a model."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise ScalingError(f"cannot resume from {str(self.path)!r}: {error}") from error
        try:
            then = {**content["machine"], **content["model"]}
            loaded_limits = {
                (str(row["dtype"]), int(row["threads"])): Limits(float(row["flops"]), float(row["bandwidth"]))
                for row in content["limits"]
            }
            rows = [Row(**row) for row in content["rows"]]
            for row in rows:
                known = not row.threads or (row.dtype, row.threads) in loaded_limits
                if not known or len(row.losses) != KEPT_LOSSES or not row.median >= row.fastest > 0 < row.N:
                    raise ValueError(f"{row.case} is incomplete")
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no results of a scaling run ({error})"
            raise ScalingError(f"cannot resume from {str(self.path)!r}: {reason}") from error
        for key, value in {**self.machine, **self.model}.items():
            if then.get(key) != value:
                raise ScalingError(
                    f"cannot resume from {str(self.path)!r}: measured with {key} {then.get(key)}, now it is {value}"
                )
        self.limits, self.rows = loaded_limits, rows

    def save(self) -> None:
        """One row a line: compact, and a diff shows what changed."""

        def lines(rows: Sequence[dict[str, Any]]) -> str:
            return "[\n  " + ",\n  ".join(map(json.dumps, rows)) + "\n ]"

        parts = {
            "machine": json.dumps(self.machine),
            "model": json.dumps(self.model),
            "command": json.dumps(" ".join(["spiralnn", *sys.argv[1:]])),
            "date": json.dumps(datetime.date.today().isoformat()),
            "limits": lines([{"dtype": d, "threads": n, **rate._asdict()} for (d, n), rate in self.limits.items()]),
            "rows": lines([row._asdict() for row in self.rows]),
        }
        text = "{\n " + ",\n ".join(f'"{key}": {value}' for key, value in parts.items()) + "\n}\n"
        try:
            write_atomically(self.path, text.encode())
        except OSError as error:
            raise ScalingError(f"cannot write {str(self.path)!r}: {error.strerror or error}") from error


def run(settings: Settings) -> int:
    """Plan, measure, write, print and draw; returns the exit code."""
    results = Results(settings.out / "scale.json", settings.hidden)
    if settings.resume:
        results.load()
    largest_sizes(settings)  # tells now what cannot be, not after measuring the limits
    code = 0
    try:
        _measure_limits(settings, results)
        plan = make_plan(settings, results.limits, [row.case for row in results.rows])
        print(scaling_report.plan_text(settings, results.limits, plan, len(results.rows)), flush=True)
        _load_kernels(settings, plan)
        _measure_all(settings, plan, results)
    except KeyboardInterrupt:
        code = INTERRUPTED
        if results.rows:
            results.save()  # the signal may have come while a row was being written
        tell("scale", "interrupted; --resume goes on with what is missing")
    if results.rows:
        print(scaling_report.table(results.rows))
        if settings.figures:
            _draw(settings.out, results)
    return code


def _measure_limits(settings: Settings, results: Results) -> None:
    for dtype in settings.dtypes:
        for n_threads in settings.threads:
            if (dtype, n_threads) not in results.limits:
                try:
                    results.limits[dtype, n_threads] = limits.measure(dtype, n_threads, LIMIT_SECONDS)
                except RuntimeError as error:
                    raise ScalingError(str(error)) from error


def _load_kernels(settings: Settings, plan: Plan) -> None:
    """Compile them where they are not on disk: neither the budget nor a measurement shall pay for it."""
    for dtype, model in sorted({(case.dtype, case.model) for case in plan.cases if case.threads}):
        X, y = make_rows(100, dtype)
        Descent(X, y, _parameters(hidden_units(model, settings.hidden), dtype), step_size=STEP_SIZE, reg=REG).run(1)


def _measure_all(settings: Settings, plan: Plan, results: Results) -> None:
    cases = plan.cases
    deadline = time.perf_counter() + settings.budget
    expected: dict[tuple[str, int, str], list[float]] = {}
    X = y = np.empty(0)
    with _progress(cases) as progress:
        for i, (case, planned) in enumerate(cases.items()):
            if time.perf_counter() > deadline:
                left = len(cases) - i
                tell("scale", f"the budget is used up; --resume measures the {left} cases left")
                return
            progress.begin(case)
            if X.dtype != case.dtype or len(X) == 0:
                X = y = np.empty(0)  # given back first
                X, y = make_rows(max(c.N for c in cases if c.dtype == case.dtype), case.dtype)
            params = _parameters(hidden_units(case.model, settings.hidden), case.dtype)
            key = case[:3]
            if key not in expected:
                expected[key] = expected_losses(X, y, params, case.N)
            limit = results.limits[case.dtype, case.threads or max(settings.threads)]
            tick = partial(progress.advance, planned)
            row = _measure(case, X, y, params, settings.hidden, limit, plan.case_seconds, tick)
            _check(row, expected[key], results.rows)
            results.rows.append(row)
            results.save()
            progress.end(row)


def _measure(
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
    before = _reset_peak_memory()
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
    peak = _peak_memory()
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


def _check(row: Row, expected: Sequence[float], rows: Sequence[Row]) -> None:
    """ScalingError unless the losses are those of the reference, and the same bits for any number of threads."""
    name = f"{row.model}, {row.dtype}, {row.N:,} rows, {row.implementation}"
    if not np.allclose(row.losses[: len(expected)], expected, rtol=TOLERANCES[row.dtype], atol=0):
        raise ScalingError(f"wrong result: {name}: losses {row.losses[: len(expected)]}, expected {list(expected)}")
    for other in rows:
        if other.threads and row.threads and other.case[:3] == row.case[:3] and other.losses != row.losses:
            raise ScalingError(f"wrong result: {name}: losses {row.losses}, {other.implementation}: {other.losses}")


# data


def make_rows(N: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """X (N, 2) and labels (N,) uint8: shuffled parts of the spiral, repeated every PERIOD rows.

    Drawing 10^8 rows one by one would take longer than measuring them, and the loss of any N would not be known.
    """
    X, y = np.empty((N, INPUTS), dtype), np.empty(N, np.uint8)
    part = PART_PER_CLASS * CLASSES
    for i, start in enumerate(range(0, min(N, PERIOD), part)):
        some_X, some_y = make_spiral(PART_PER_CLASS, CLASSES, random_state=i)
        order = np.random.RandomState(i).permutation(part)[: N - start]
        X[start : start + part], y[start : start + part] = some_X[order], some_y[order]
    for start in range(PERIOD, N, PERIOD):
        count = min(PERIOD, N - start)
        X[start : start + count], y[start : start + count] = X[:count], y[:count]
    return X, y


def _parameters(H: int, dtype: str) -> tuple[np.ndarray, ...]:
    random = np.random.RandomState(0)
    sizes = (INPUTS, H, CLASSES) if H else (INPUTS, CLASSES)
    return tuple(
        (0.1 * random.randn(*shape)).astype(dtype)
        for n, m in zip(sizes, sizes[1:], strict=False)
        for shape in ((n, m), (m,))
    )


def expected_losses(X: np.ndarray, y: np.ndarray, params: Sequence[np.ndarray], N: int) -> list[float]:
    """Losses before the first two steps on N rows of make_rows, by the reference in float64.

    The second depends on every gradient. Rows are taken a part at a time, and those that repeat only once.
    """
    kernel = reference.two_layer_loss_gradients if len(params) == 4 else reference.linear_loss_gradients
    params = [p.astype(np.float64) for p in params]
    part_gradients = [np.empty_like(p) for p in params]
    periods, rest = divmod(N, PERIOD)
    parts = [  # first row, row after the last, how often they come
        (start, min(start + PART_PER_CLASS, last), times)
        for first, last, times in ((0, rest, periods + 1), (rest, min(N, PERIOD), periods))
        for start in range(first, last, PART_PER_CLASS)
    ]
    losses = []
    for _ in range(2):
        loss = 0.5 * REG * sum(float(np.sum(W * W)) for W in params[::2])
        gradients = [REG * p * (i % 2 == 0) for i, p in enumerate(params)]
        for start, stop, times in parts:
            some = X[start:stop].astype(np.float64), y[start:stop].astype(np.intp)
            share = times * (stop - start) / N
            loss += share * kernel(*some, *params, 0.0, *part_gradients)
            for total, part in zip(gradients, part_gradients, strict=True):
                total += share * part
        losses.append(loss)
        for p, dp in zip(params, gradients, strict=True):
            p -= STEP_SIZE * dp
    return losses


# memory


def _reset_peak_memory() -> int | None:
    """Set the peak back to what is held now; returns that, or None where there is no such thing."""
    with suppress(OSError, AttributeError):  # what earlier cases freed goes back to the system, where it is glibc's
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS:")


def _peak_memory() -> int | None:
    return _status("VmHWM:")


def _status(key: str) -> int | None:
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith(key)))
    return None


# what is shown meanwhile


class _Lines:
    """A line for every case on stderr."""

    def __init__(self, cases: dict[Case, float]) -> None:
        self.n_cases, self.n_done = len(cases), 0
        self.total, self.seconds = sum(cases.values()), 0.0
        self.start = time.perf_counter()

    def begin(self, case: Case) -> None:
        pass

    def advance(self, planned: float, share: float) -> None:
        """A share of a case that was planned to take so many seconds is done."""
        self.seconds += share * planned

    def end(self, row: Row) -> None:
        self.n_done += 1
        pace = (time.perf_counter() - self.start) / self.seconds
        left = max(0.0, self.total - self.seconds) * pace
        print(f"{self.n_done}/{self.n_cases} {scaling_report.line(row)}; {left:.0f} s left", file=sys.stderr)


class _Bar:
    """tqdm, in seconds of the plan: what it shows as left is the rest of the plan at the pace so far."""

    def __init__(self, cases: dict[Case, float]) -> None:
        from tqdm import tqdm

        layout = "{percentage:3.0f}% |{bar}| {elapsed}, {remaining} left: {desc}"
        self.bar = tqdm(total=sum(cases.values()), bar_format=layout, smoothing=0, leave=False)

    def begin(self, case: Case) -> None:
        self.bar.set_description_str(f"{case.model}, {case.dtype}, {case.N:,} rows, {case.implementation}")

    def advance(self, planned: float, share: float) -> None:
        self.bar.update(share * planned)

    def end(self, row: Row) -> None:
        pass


@contextmanager
def _progress(cases: dict[Case, float]) -> Iterator[_Lines | _Bar]:
    if not (sys.stderr.isatty() and importlib.util.find_spec("tqdm")):
        yield _Lines(cases)
        return
    bar = _Bar(cases)
    try:
        yield bar
    finally:
        bar.bar.close()


def _draw(folder: Path, results: Results) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        tell("scale", "no figures without matplotlib: pip install spiralnn[plot]")
        return
    from . import scaling_plots

    try:
        scaling_plots.draw(folder, results.rows, results.limits, results.model["hidden"], results.machine["cpu"])
    except OSError as error:
        raise unwritable(folder, "figures", error) from error
