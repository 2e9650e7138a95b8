"""Strong and weak scaling: what more threads or ranks bring, divided by what really ran."""

from collections.abc import Sequence
from typing import NamedTuple

from .cases import Case, weak_sizes
from .results import Row


class Gain(NamedTuple):
    """row, compared with `base`, of the fewest workers. efficiency: its speed a worker that ran, over that of base;
    None where no more ran than there."""

    row: Row
    base: Row
    times: float  # as fast: rows a second over those of base
    efficiency: float | None

    @property
    def ran(self) -> str:
        """How many of those that were asked for."""
        return f"{self.row.ran}" if self.row.ran == self.row.case.workers else f"{self.row.ran} of {asked(self.row)}"


def asked(row: Row) -> int:
    return row.case.workers


def _family(case: Case) -> tuple[object, ...]:
    """Of cases that differ in rows and workers alone."""
    return (case.model, case.dtype, case.solver, case.place, case.ranks > 0)


def _gain(row: Row, base: Row) -> Gain:
    times = (row.N / row.median) / (base.N / base.median)
    more = row.ran / base.ran
    return Gain(row, base, times, times / more if row.ran > base.ran else None)


def _families(rows: Sequence[Row]) -> list[list[Row]]:
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if row.threads:
            found.setdefault(_family(row.case), []).append(row)
    return [found[key] for key in sorted(found, key=repr)]


def strong(rows: Sequence[Row]) -> list[Gain]:
    """The same rows, by more workers: one for each row that has a base."""
    gains = []
    for family in _families(rows):
        for N in sorted({row.N for row in family}):
            same = sorted((row for row in family if row.N == N), key=asked)
            gains += [_gain(row, same[0]) for row in same[1:] if asked(row) > asked(same[0])]
    return gains


def weak(rows: Sequence[Row], sizes: Sequence[int]) -> list[Gain]:
    """As many rows a worker, by more workers, where that was measured. sizes: those that were asked for."""
    gains = []
    for family in _families(rows):
        wanted = weak_sizes(sizes, sorted({asked(row) for row in family}))
        same = sorted((row for row in family if wanted.get(asked(row)) == row.N), key=asked)
        gains += [_gain(row, same[0]) for row in same[1:]]
    return gains
