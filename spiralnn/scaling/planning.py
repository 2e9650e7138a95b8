"""What a scaling run will measure: bounded by memory and by a time budget, both estimated beforehand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..kernels.models import Model
from .hardware import Limits

INPUTS, CLASSES = 2, 3

KEPT_LOSSES = 4  # of every case; so many steps are always done
MIN_ROUNDS = 3  # of a case, each of one step at least, after one step that is not timed
CASE_SECONDS = 0.5  # a case is measured for so long, if the budget allows and steps are short

PERIOD = 300_000  # rows of the data, see rows.py; the losses to expect are worked out from no more

# For the estimates. A step of the fused kernels reaches this share of the limit or more, NumPy on one core about this
# share (10^6 rows, float64: 1 Gflop/s of 57); rows are made at this rate.
FUSED_SHARE, REFERENCE_SHARE = 0.6, 1 / 60
MADE_BYTES = 0.5e9
STEP_OVERHEAD = 20e-6
MEMORY_SHARE = 0.75  # of what is available, taken by default


class ScalingError(Exception):
    """A measurement that cannot be made, or that is wrong; the message is one line."""


class Settings(NamedTuple):
    """What was asked for."""

    models: Sequence[str]  # of "linear", "two-layer"
    dtypes: Sequence[str]  # of "float64", "float32"
    sizes: Sequence[int]  # rows
    explicit: bool  # whether these very sizes were asked for: then one too large is an error
    threads: Sequence[int]
    hidden: int
    budget: float  # seconds
    memory: int  # bytes
    out: Path
    resume: bool
    reference: bool
    figures: bool


class Case(NamedTuple):
    """One thing to measure."""

    dtype: str
    N: int
    model: str
    threads: int  # 0 for the reference: NumPy takes what it likes

    @property
    def implementation(self) -> str:
        if not self.threads:
            return "reference"
        return f"fused, {self.threads} thread{'s' * (self.threads > 1)}"


class Schedule(NamedTuple):
    """Cases with the seconds that each may take, and what does not fit, by reason."""

    cases: dict[Case, float]
    case_seconds: float  # to measure a case for, where steps are short
    too_large: list[Case]
    too_long: list[Case]


def default_sizes(max_rows: int) -> list[int]:
    """1000, 3000, 10 000, ... up to max_rows."""
    return [n * 10**k for k in range(3, len(str(max_rows))) for n in (1, 3) if n * 10**k <= max_rows]


def default_threads(available: int) -> list[int]:
    """1, 2, 4, ... and all."""
    return sorted({available, *(2**k for k in range(available.bit_length()) if 2**k <= available)})


def hidden_units(model: str, hidden: int) -> int:
    """As kernels count them: none in the linear model."""
    return hidden if model == "two-layer" else 0


def flops(case: Case, hidden: int) -> float:
    """Multiplications and additions of a step."""
    return Model(INPUTS, hidden_units(case.model, hidden), CLASSES).flops(case.N)


def data_bytes(N: int, dtype: str) -> int:
    """X and labels of one byte: what a step reads from memory, and what is held."""
    return N * (INPUTS * np.dtype(dtype).itemsize + 1)


def limit_seconds(case: Case, hidden: int, limit: Limits) -> float:
    """The least that a step can take: for its arithmetic, or for reading its data, whichever is longer."""
    return max(flops(case, hidden) / limit.flops, data_bytes(case.N, case.dtype) / limit.bandwidth)


def reference_bytes(case: Case, hidden: int) -> int:
    """What a step of the reference holds at most: N x H floats twice and truth values once, N x K floats eight times,
    integer labels twice. Measured at 10^6 rows, 100 hidden units: 0.92 of it."""
    H, itemsize = hidden_units(case.model, hidden), np.dtype(case.dtype).itemsize
    return case.N * ((2 * H + 8 * CLASSES) * itemsize + H + 16)


def largest_sizes(settings: Settings) -> dict[str, int]:
    """By dtype, the most rows of which there is room for the data, 0 if none; ScalingError if that was to be more."""
    largest = {}
    for dtype in settings.dtypes:
        fits = [N for N in settings.sizes if data_bytes(N, dtype) <= settings.memory]
        if settings.explicit and len(fits) < len(settings.sizes):
            N = max(settings.sizes)
            needed = f"{N:,} rows of {dtype} need {size(data_bytes(N, dtype))}"
            raise ScalingError(f"{needed}, but {size(settings.memory)} of memory may be used")
        largest[dtype] = max(fits, default=0)
    return largest


def make_schedule(settings: Settings, limits: Mapping[tuple[str, int], Limits], done: Sequence[Case]) -> Schedule:
    """Smallest sizes first; the fused kernels at every size come before the reference at any."""
    largest = largest_sizes(settings)
    fused = [
        Case(dtype, N, model, threads)
        for N in sorted(settings.sizes)
        for dtype in settings.dtypes
        for model in settings.models
        for threads in settings.threads
    ]
    reference = [case._replace(threads=0) for case in fused if case.threads == settings.threads[0]]
    wanted = [case for case in fused + reference * settings.reference if case not in done]

    def too_large(case: Case) -> bool:
        needed = data_bytes(max(case.N, largest[case.dtype]), case.dtype)
        return needed + (0 if case.threads else reference_bytes(case, settings.hidden)) > settings.memory

    cases: dict[Case, float] = {}
    too_long = []
    prepared = set()
    left = settings.budget
    case_seconds = min(CASE_SECONDS, settings.budget / 2 / max(1, len(wanted)))
    for case in wanted:
        if too_large(case):
            continue
        one_thread = limits[case.dtype, min(settings.threads)]
        if case.threads:
            step = limit_seconds(case, settings.hidden, limits[case.dtype, case.threads]) / FUSED_SHARE + STEP_OVERHEAD
        else:
            step = limit_seconds(case, settings.hidden, one_thread) / REFERENCE_SHARE
        seconds = max(case_seconds, MIN_ROUNDS * step) + step
        if case[:3] not in prepared:  # rows are made, and two steps of the reference say which losses to expect
            some = case._replace(N=min(case.N, PERIOD))
            seconds += data_bytes(case.N, case.dtype) / MADE_BYTES
            seconds += 2 * limit_seconds(some, settings.hidden, one_thread) / REFERENCE_SHARE
        if seconds > left:
            too_long.append(case)
            continue
        prepared.add(case[:3])
        cases[case] = seconds
        left -= seconds
    # one data set after the other, and the reference beside the kernels it is compared with
    in_order = sorted(cases, key=lambda case: (settings.dtypes.index(case.dtype), case.N, case.model, not case.threads))
    return Schedule({c: cases[c] for c in in_order}, case_seconds, [c for c in wanted if too_large(c)], too_long)


def size(n_bytes: float) -> str:
    unit, bytes_each = next((u for u in (("GiB", 2**30), ("MiB", 2**20)) if n_bytes >= u[1]), ("KiB", 2**10))
    return f"{n_bytes / bytes_each:.{3 if n_bytes < 1000 * bytes_each else 4}g} {unit}"
