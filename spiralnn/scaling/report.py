"""What a scaling run prints: its plan beforehand, a line for every measurement, and the tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from ..resources import available_threads
from .cases import Case, Settings, shape_name
from .costs import Cost
from .efficiency import Gain, strong, weak
from .hardware import Limits
from .planning import Schedule
from .results import Results, Row
from .units import aligned_table, count, duration, size, three_digits

PEAK_ROWS = 100_000  # of fewer the peak of memory is what the allocator keeps

Table = Callable[[tuple[str, ...], list[tuple[str, ...]]], str]


def plain(heads: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    return aligned_table(heads, lines, {"shape", "dtype", "solver", "implementation", "limit", "what", "rows are in"})


def schedule_text(
    settings: Settings, limits: Mapping[tuple[str, int], Limits], schedule: Schedule, n_done: int
) -> str:
    plan = schedule.plan()
    shapes = " ".join(shape_name(shape) for shape in settings.shapes)
    lines = [f"a pass over the rows by {' and '.join(settings.solvers)}, (inputs, hidden units, classes) {shapes}"]
    lines += limit_lines(limits, settings)
    if max(settings.threads) > available_threads():
        lines.append(f"this process may use {count(available_threads(), 'thread')}: more will have to share")
    held = max((case.data_bytes for case, _ in plan.cases), default=0)
    lines.append(f"memory: {size(settings.memory)} may be used; the largest data take {size(held)}")
    lines.append(f"time: about {plan.seconds:.0f} s of a budget of {settings.budget:g} s, by guesses that will improve")
    if n_done:
        lines.append(f"measured before: {n_done} cases")
    lines.append(f"to measure: {len(plan.cases)} cases")
    lines += _sizes(case for case, _ in plan.cases)
    for reason, cases in (("memory", schedule.too_large), ("time", plan.too_long)):
        if cases:
            lines.append(f"left out for lack of {reason}:")
            lines += _sizes(cases)
    return "\n".join(lines)


def limit_lines(limits: Mapping[tuple[str, int], Limits], settings: Settings | None = None) -> list[str]:
    lines = []
    for (dtype, threads), limit in limits.items():
        if settings is None or dtype in settings.dtypes:
            rates = f"{limit.flops / 1e9:.1f} Gflop/s, {limit.bandwidth / 1e9:.1f} GB/s"
            lines.append(f"limit of this machine, {dtype}, {count(threads, 'thread')}: {rates}")
    return lines


def _sizes(cases: Iterable[Case]) -> list[str]:
    """A line for each kind of case with its sizes."""
    kinds: dict[str, list[int]] = {}
    for case in cases:
        kind = f"{shape_name(case)} {case.dtype}, {case.solver}, {case.implementation}"
        kinds.setdefault(kind, []).append(case.N)
    return [f"  {kind}: {'  '.join(f'{N:,}' for N in sorted(sizes))} rows" for kind, sizes in kinds.items()]


def line(row: Row) -> str:
    cost = f"{duration(row.median)} a pass, {three_digits(row.ns_per_row)} ns a row"
    return f"{row.case.name}: {cost}, {row.share:.0%} of it {row.limit}"


def order(row: Row) -> tuple[object, ...]:
    return (row.D, row.H, row.K, row.dtype, row.solver, row.N, row.threads > 0, row.place, row.ranks, row.threads)


def ran_text(row: Row) -> str:
    """Threads that ran: "2", or "1 of 2"."""
    if not row.threads:
        return "-"
    return f"{row.ran}" if row.ran == row.case.workers else f"{row.ran} of {row.case.workers}"


def measured(rows: Sequence[Row], table: Table = plain) -> str:
    """One line a case, the median of its rounds; how many times faster than the reference where that was measured."""
    reference = {row.case: row.median for row in rows if not row.threads}
    heads = ("shape", "dtype", "rows", "solver", "implementation", "ran", "a pass", "fastest", "ns a row", "vectors",
             "of the limit", "limit", "peak memory", "times NumPy")  # fmt: skip
    cells: list[tuple[str, ...]] = []
    for row in sorted(rows, key=order):
        base = row.case._replace(place="memory", ranks=0, threads=0)
        gain = reference[base] / row.median if row.threads and base in reference else None
        told = row.peak_bytes is not None and row.N >= PEAK_ROWS
        cells.append((
            shape_name(row.case), row.dtype, f"{row.N:,}", row.solver, row.implementation, ran_text(row),
            duration(row.median), duration(row.fastest), three_digits(row.ns_per_row),
            "-" if row.vectors is None else duration(row.vectors),
            f"{row.share:.1%}" if row.threads else "-", row.limit if row.threads else "-",
            size(row.peak_bytes or 0) if told else "-",
            "-" if gain is None else three_digits(gain),
        ))  # fmt: skip
    return table(heads, cells)


def gains(gains: Sequence[Gain], table: Table = plain) -> str:
    heads = ("shape", "dtype", "rows", "solver", "implementation", "ran", "against", "times as fast", "efficiency")
    cells: list[tuple[str, ...]] = [
        (
            shape_name(row.case), row.dtype, f"{row.N:,}", row.solver, row.implementation, ran_text(row),
            f"{base.N:,} rows, {base.implementation}" if base.N != row.N else base.implementation,
            three_digits(times), "-" if efficiency is None else f"{efficiency:.1%}",
        )
        for row, base, times, efficiency in gains
    ]  # fmt: skip
    return table(heads, cells)


def costs(found: Sequence[Cost], table: Table = plain) -> str:
    """Of each kind the one of the most rows."""
    last: dict[tuple[object, ...], Cost] = {}
    for cost in sorted(found, key=lambda cost: cost.N):
        last[cost.dtype, cost.D, cost.place, cost.what] = cost
    cells: list[tuple[str, ...]] = [
        (cost.what, f"{cost.N:,}", str(cost.D), cost.dtype, cost.place, str(cost.threads), duration(cost.seconds),
         three_digits(1e9 * cost.seconds / cost.N))
        for cost in sorted(last.values(), key=lambda cost: (cost.D, cost.dtype, cost.place))
    ]  # fmt: skip
    return table(("what", "rows", "inputs", "dtype", "rows are in", "threads", "seconds", "ns a row"), cells)


def some_sizes(rows: Sequence[Row]) -> list[Row]:
    """Powers of ten, and of each kind the most rows."""
    last: dict[Case, int] = {}
    for row in rows:
        last[row.case.kind] = max(row.N, last.get(row.case.kind, 0))
    return [row for row in rows if row.N in (_power_of_ten(row.N), last[row.case.kind])]


def _power_of_ten(N: int) -> int:
    """The largest up to N."""
    return int(10 ** (len(str(N)) - 1))


def sections(
    results: Results, sizes: Sequence[int], table: Table = plain, is_short: bool = False
) -> list[tuple[str, str]]:
    """(title, table) of all that there is to show, or of some sizes."""
    rows = some_sizes(results.rows) if is_short else results.rows
    parts = [("a pass", measured(rows, table))]
    for title, found in (("strong scaling: the same rows", strong(rows)),
                         ("weak scaling: as many rows a worker", weak(results.rows, sizes))):  # fmt: skip
        if found:
            parts.append((title, gains(found, table)))
    if results.costs:
        parts.append(("once before a fit", costs(results.costs, table)))
    return parts
