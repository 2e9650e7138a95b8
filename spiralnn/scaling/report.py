"""What a scaling run prints: its plan beforehand, a line for every measurement, and the table."""

from collections.abc import Iterable, Mapping, Sequence

from ..resources import available_threads
from .hardware import Limits
from .planning import CLASSES, INPUTS, Case, Schedule, Settings, data_bytes, size
from .results import Row


def schedule_text(
    settings: Settings, limits: Mapping[tuple[str, int], Limits], schedule: Schedule, n_done: int
) -> str:
    models = " and ".join(settings.models)
    hidden = f", {settings.hidden} hidden units" if "two-layer" in settings.models else ""
    lines = [f"one step of gradient descent, {models}: {INPUTS} inputs{hidden}, {CLASSES} classes"]
    for (dtype, threads), limit in limits.items():
        if dtype in settings.dtypes and threads in settings.threads:
            rates = f"{limit.flops / 1e9:.1f} Gflop/s, {limit.bandwidth / 1e9:.1f} GB/s"
            lines.append(f"limit of this machine, {dtype}, {_threads(threads)}: {rates}")
    if max(settings.threads) > available_threads():
        lines.append(f"this process may use {_threads(available_threads())}: more will have to share")
    held = max((data_bytes(case.N, case.dtype) for case in schedule.cases), default=0)
    lines.append(f"memory: {size(settings.memory)} may be used; the largest data take {size(held)}")
    lines.append(f"time: about {sum(schedule.cases.values()):.0f} s of a budget of {settings.budget:g} s")
    if n_done:
        lines.append(f"measured before: {n_done} cases")
    lines.append(f"to measure: {len(schedule.cases)} cases")
    lines += _sizes(schedule.cases)
    for reason, cases in (("memory", schedule.too_large), ("time", schedule.too_long)):
        if cases:
            lines.append(f"left out for lack of {reason}:")
            lines += _sizes(cases)
    return "\n".join(lines)


def _sizes(cases: Iterable[Case]) -> list[str]:
    """A line for each kind of case with its sizes."""
    kinds: dict[str, list[str]] = {}
    for case in cases:
        kinds.setdefault(f"{case.model}, {case.dtype}, {case.implementation}", []).append(f"{case.N:,}")
    return [f"  {kind}: {'  '.join(sizes)} rows" for kind, sizes in kinds.items()]


def _threads(n: int) -> str:
    return f"{n} thread{'s' * (n > 1)}"


def case_name(case: Case) -> str:
    return f"{case.model}, {case.dtype}, {case.N:,} rows, {case.implementation}"


def line(row: Row) -> str:
    return f"{case_name(row.case)}: {duration(row.median)} a step, {three_digits(row.ns_per_row)} ns a row"


def table(rows: Sequence[Row]) -> str:
    """One line a case, the median of its rounds; how many times faster than the reference where that was measured."""
    reference = {row.case[:3]: row.median for row in rows if not row.threads}
    heads = ("model", "dtype", "rows", "implementation", "a step", "fastest", "ns a row", "of FMA", "of memory",
             "peak memory", "times NumPy")  # fmt: skip
    cells = []
    for row in sorted(rows, key=lambda row: (row.model, row.dtype, row.N, not row.threads, row.threads)):
        gain = reference[row.case[:3]] / row.median if row.threads and row.case[:3] in reference else None
        cells.append((
            row.model, row.dtype, f"{row.N:,}", row.implementation, duration(row.median), duration(row.fastest),
            three_digits(row.ns_per_row), f"{row.efficiency:.1%}", f"{row.bandwidth_share:.1%}",
            "-" if row.peak_bytes is None else size(row.peak_bytes),
            "-" if gain is None else three_digits(gain),
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    left = ("model", "dtype", "implementation")
    return "\n".join(
        "  ".join(f"{text:<{width}}" if head in left else f"{text:>{width}}"
                  for head, text, width in zip(heads, cell, widths, strict=True)).rstrip()
        for cell in (heads, *cells)
    )  # fmt: skip


def duration(seconds: float) -> str:
    """Three digits and a unit: 0.0000161 is 16.1 µs."""
    units = ("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)
    unit, size = next((pair for pair in units if seconds >= 0.9995 * pair[1]), units[-1])
    return f"{three_digits(seconds / size)} {unit}"


def three_digits(value: float) -> str:
    return f"{value:,.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}"
