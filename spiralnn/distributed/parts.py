"""Rows of which each rank holds a part, cut anywhere, as one whole.

A leaf is that of the rank that holds its first row; what it lacks of the leaf's rows lies with the next ranks, and is
sent once for each size of leaf: less than a leaf, from rank to rank.
"""

from typing import Any, NamedTuple

import numpy as np

from ..rows.rows import Rows
from ..rows.source import Source
from .communicator import Communicator
from .cuts import held_ranges, rows_needed

X, Y, WEIGHTS = "X", "y", "sample_weight"


class Facts(NamedTuple):
    """What one rank holds. types: the dtypes of its sources by name."""

    N: int
    D: int
    dtype: str
    types: dict[str, np.dtype]
    names: tuple[str, ...] | None


class More(NamedTuple):
    """Rows from others: their values, and where each lies."""

    values: np.ndarray
    places: list[str]


class Spread(Source):
    """A source of all ranks, of which this one can read its own rows, from number `first` on, and some behind them."""

    def __init__(self, own: Source | None, rank: int, first: int, n_own: int, shape: tuple[int, ...], dtype: Any):
        self._own, self._rank, self._first, self._last = own, rank, first, first + n_own
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._more = More(np.empty((0, *shape[1:]), dtype), [])

    def add(self, more: More) -> None:
        """Rows that follow the last it can read."""
        known = self._more
        values = np.concatenate([known.values, more.values]) if len(known.values) else more.values
        self._more = More(values, known.places + more.places)

    def buffer(self, n: int) -> Any:
        return None if self._own is None else self._own.buffer(n)

    def read(self, start: int, stop: int, buffer: Any = None) -> np.ndarray:
        parts = []
        if start < self._last:
            assert self._own is not None and start >= self._first
            parts.append(self._own.read(start - self._first, min(stop, self._last) - self._first, buffer))
        if stop > self._last:
            parts.append(self._more.values[max(start - self._last, 0) : stop - self._last])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def place(self, row: int) -> str:
        if self._first <= row < self._last:
            assert self._own is not None
            return f"{self._own.place(row - self._first)} of rank {self._rank}"
        if 0 <= row - self._last < len(self._more.places):
            return self._more.places[row - self._last]
        return super().place(row)


class Parts:
    """The parts of all ranks. rows: the whole, with `firsts` (size + 1,) the number of each rank's first row."""

    def __init__(self, own: Rows, communicator: Communicator) -> None:
        self._own, self._communicator = own, communicator
        sources = {X: own.X, Y: own.y, WEIGHTS: own.weights}
        types = {name: source.dtype for name, source in sources.items() if source is not None}
        names = None if own.names is None else tuple(own.names)
        facts: list[Facts] = communicator.gather(Facts(own.N, own.D, own.dtype.str, types, names))
        self.firsts = np.cumsum([0, *(fact.N for fact in facts)]).tolist()
        common = _common(facts, communicator.rank)
        rank, N, first = communicator.rank, self.firsts[-1], self.firsts[communicator.rank]
        self._spread = {
            name: Spread(
                sources.get(name) if own.N else None, rank, first, own.N, (N, common.D) if name == X else (N,), dtype
            )
            for name, dtype in common.types.items()
        }
        y, weights = self._spread.get(Y), self._spread.get(WEIGHTS)
        self.rows = Rows(self._spread[X], y, weights, names=common.names).astype(common.dtype)
        self._own = own.astype(common.dtype) if own.N else own
        self._known = {name: self.firsts[1:] for name in self._spread}  # rows that each rank can read up to

    def ranges(self, leaf_rows: int) -> list[tuple[int, int]]:
        """Leaves of each rank."""
        return held_ranges(self.firsts, leaf_rows)

    def bring(self, leaf_rows: int, with_features: bool) -> None:
        """Have each rank hold all rows of its leaves, where they are this large; features only where they are read."""
        needed = rows_needed(self.firsts, leaf_rows)
        names = [name for name in self._spread if with_features or name != X]
        me, firsts = self._communicator.rank, self.firsts
        gaps = []  # (holder, taker, source, first row, last row), in order of rows for each taker
        for name in names:
            for taker, (start, stop) in enumerate(zip(self._known[name], needed, strict=True)):
                for holder in range(taker + 1, len(needed)):
                    a, b = max(start, firsts[holder]), min(stop, firsts[holder + 1])
                    if a < b:
                        gaps.append((holder, taker, name, a, b))
            self._known[name] = [max(pair) for pair in zip(self._known[name], needed, strict=True)]
        if not gaps:
            return

        def parts() -> dict[int, list[tuple[str, More]]]:
            found: dict[int, list[tuple[str, More]]] = {}
            for holder, taker, name, a, b in gaps:
                if holder == me:
                    found.setdefault(taker, []).append((name, self._take(name, a - firsts[me], b - firsts[me])))
            return found

        sent = self._communicator.each(parts)
        holders = sorted({holder for holder, taker, *_ in gaps if taker == me})
        came = self._communicator.pass_on(sent, holders)
        for holder in holders:
            for name, more in came[holder]:
                self._spread[name].add(more)

    def _take(self, name: str, start: int, stop: int) -> More:
        """Own rows, by their own numbers."""
        own = self._own
        buffers = own.buffers(stop - start) if name == X else own.target_buffers(stop - start)
        source = {X: own.X, Y: own.y, WEIGHTS: own.weights}[name]
        assert source is not None
        if name == X:
            values = own.features(start, stop, buffers)
        else:
            values = source.read(start, stop, buffers.y if name == Y else buffers.weights)
        rank = self._communicator.rank
        return More(np.array(values), [f"{source.place(row)} of rank {rank}" for row in range(start, stop)])


def _common(facts: list[Facts], rank: int) -> Facts:
    """What all ranks that hold rows agree on; ValueError that names one that differs."""
    holders = [rank for rank, fact in enumerate(facts) if fact.N]
    if not holders:
        raise ValueError(f"there are no rows on any of {len(facts)} ranks, expected some")
    checked = {
        "the number of features": [str(facts[r].D) for r in holders],
        "the dtype that X is computed in": [np.dtype(facts[r].dtype).name for r in holders],
        "the names of columns": [str(facts[r].names) for r in holders],
        "the labels' kind": [_kind(facts[r].types.get(Y)) for r in holders],
        "sample_weight": ["given" if WEIGHTS in facts[r].types else "missing" for r in holders],
    }
    for what, values in checked.items():
        usual = max(values, key=values.count)
        for r, value in zip(holders, values, strict=True):
            if value != usual:
                raise ValueError(f"rank {r} differs from others: {what} is {value}, expected {usual}")
    first = facts[holders[0]]
    types = {name: np.result_type(*(facts[r].types[name] for r in holders)) for name in first.types}
    # a rank reads its own rows as they lie, and rows of others as they are computed with
    types[X] = facts[rank].types[X] if facts[rank].N else np.dtype(first.dtype)
    return first._replace(N=sum(fact.N for fact in facts), types=types)


def _kind(dtype: np.dtype | None) -> str:
    if dtype is None:
        return "missing"
    return {"i": "integers", "u": "integers", "b": "truth values", "f": "real numbers"}.get(dtype.kind, dtype.name[:3])
