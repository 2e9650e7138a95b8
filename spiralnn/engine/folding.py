"""Whatever is summed over rows that come piece by piece: leaf by leaf, over threads, along the one tree.

A `Work` says what is made of a leaf and how two neighbours become one; a `Collector` has it done for all rows, whoever
holds them: `Threads` for rows that this process can read, from memory or files. Others are in `spiralnn.distributed`.
What a Work comes to never depends on who did which part of it.
"""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from ..kernels.tree import Forest, Node, maximal_subtrees
from ..rows.source import RowError
from .pace import threads_for
from .plan import Plan
from .threads import run_threads

PIECE_BYTES = 4 << 20  # that are read and computed with at a time: 0.25 MiB cost 4 % of the speed, 16 MiB gain nothing
UNITS_PER_THREAD = 8  # subtrees that threads take one by one, at least, where there are so many leaves


class Readable(Protocol):
    """Rows that can be read piece by piece, see `spiralnn.rows`, with whatever the Work needs of them."""

    N: int
    D: int
    dtype: np.dtype


class Adder(Protocol):
    """One thread's part of a Work: subtree after subtree, each of them piece after piece."""

    def open(self, state: Any) -> None:
        """A pass begins, with what its Work depends on."""

    def begin(self, node: Node) -> None: ...

    def add(self, start: int, stop: int) -> None:
        """Rows [start, stop), which begin where the last ones ended: whole tiles, but for the end of a leaf."""

    def end(self) -> Any:
        """The value of the node, all of whose rows have come. The caller's from then on."""


class Work(Protocol):
    """What is made of rows. Works are pickled where rows lie elsewhere."""

    @property
    def plan(self) -> Plan: ...

    def flops(self, N: int) -> float:
        """Work of N rows, about."""

    def row_bytes(self, rows: Any) -> int:
        """That are read of a row."""

    def adder(self, rows: Any, depth: int, most: int) -> Adder:
        """For subtrees of up to 2^depth leaves, in pieces of up to `most` rows."""

    def merge(self, left: Any, right: Any) -> Any: ...


class LeafByLeaf:
    """An Adder of leaves that are made one by one: a subclass says what their rows come to."""

    def __init__(self, work: Work, rows: Readable) -> None:
        self._work, self._leaf_rows, self._N = work, work.plan.leaf_rows, rows.N
        self._forest = Forest(work.merge)

    def open(self, state: Any) -> None:
        pass

    def begin(self, node: Node) -> None:
        self._forest = Forest(self._work.merge)

    def add(self, start: int, stop: int) -> None:
        whole = self.read(start, stop)
        first = start
        while first < stop:
            leaf = first // self._leaf_rows
            end = min((leaf + 1) * self._leaf_rows, self._N)
            last = min(end, stop)
            self.take(whole, first - start, last - start)
            if last == end:
                self._forest.add(Node(0, leaf), self.close())
            first = last

    def end(self) -> Any:
        return self._forest.total()

    def read(self, start: int, stop: int) -> Any:
        """What is needed of a piece."""
        raise NotImplementedError

    def take(self, piece: Any, first: int, last: int) -> None:
        """These rows of the piece belong to the leaf at hand."""
        raise NotImplementedError

    def close(self) -> Any:
        """The value of the leaf, all of whose rows have come."""
        raise NotImplementedError


class LooseAdder:
    """An Adder of what does not depend on leaves: a subclass makes one `value` of a node's rows, from a dict on."""

    value: dict[Any, Any]

    def open(self, state: Any) -> None:
        pass

    def begin(self, node: Node) -> None:
        self.value = {}

    def add(self, start: int, stop: int) -> None:
        raise NotImplementedError

    def end(self) -> Any:
        return self.value


class Collector:
    """Has a Work done for all rows. n_threads: that this process takes part with, at most."""

    rows: Any
    n_threads: int

    def total(self, work: Work, state: Any = None) -> Any:
        """What the rows come to; all that is raised for a row is raised here, for the first of them."""
        raise NotImplementedError

    # where several processes go the same way, each with a part of the rows

    is_first = True  # whether this is the one that tells, draws and keeps

    def once(self, function: Callable[[], Any]) -> Any:
        """What the first process makes of it, or raises, in all of them."""
        return function()

    def any(self, value: object) -> bool:
        """Whether it is true in one of them."""
        return bool(value)


class Threads(Collector):
    """Rows that this process can read. n_threads=None: all that it may use."""

    def __init__(self, rows: Readable, n_threads: int | None = None) -> None:
        self.rows = rows
        self._wanted = n_threads
        self.n_threads = 1  # of the last pass
        self._work: Work | None = None
        self._adders: list[Adder] = []  # idle ones, kept from pass to pass

    def total(self, work: Work, state: Any = None) -> Any:
        return self.forest(work, state, 0, work.plan.n_leaves).total()

    def pulse(self) -> None:
        """A piece of rows is done, by one of the threads: for a subclass that tells others."""

    def forest(self, work: Work, state: Any, first: int, last: int) -> Forest:
        """Of leaves [first, last)."""
        return self.forest_of(work, state, [(first, last)])

    def forest_of(self, work: Work, state: Any, runs: Sequence[tuple[int, int]]) -> Forest:
        """Of several runs of leaves [first, last), in one go: the same runs whenever the Work is the same."""
        rows, plan = self.rows, work.plan
        row_bytes = work.row_bytes(rows)
        n_leaves = sum(last - first for first, last in runs)
        n_rows = sum(min(last * plan.leaf_rows, rows.N) - min(first * plan.leaf_rows, rows.N) for first, last in runs)
        n_threads = threads_for(work.flops(n_rows), n_leaves, self._wanted)
        level, most = unit_level(n_leaves, plan, row_bytes, n_threads), piece_rows(plan, row_bytes)
        if self._work is not work:
            self._work, self._adders = work, []
        self.n_threads = n_threads
        forest, lock, stop = Forest(work.merge), threading.Lock(), np.zeros(1, np.int64)
        nodes, errors = (node for run in runs for node in units(*run, level)), list[RowError]()

        def enter(nodes: Iterator[Node]) -> None:
            with lock:
                adder = self._adders.pop() if self._adders else None
            if adder is None:
                adder = work.adder(rows, level, most)
            adder.open(state)
            while not stop[0] and not errors:
                with lock:
                    node = next(nodes, None)
                if node is None:
                    break
                adder.begin(node)
                try:
                    for part in pieces(node.first, node.last, plan, rows.N, most):
                        adder.add(*part)
                        self.pulse()
                        if stop[0]:
                            return
                except RowError as error:  # others go on with what they have: an earlier row may be wrong, too
                    errors.append(error)
                    return
                value = adder.end()
                with lock:
                    forest.add(node, value)
            with lock:
                self._adders.append(adder)

        if n_threads == 1:
            enter(nodes)
        else:
            if not self._adders:  # whatever a new Work compiles is compiled here: threads may have little stack
                enter(itertools.islice(nodes, 1))
            run_threads(lambda _: enter(nodes), n_threads, stop)
        if errors:
            raise min(errors, key=lambda error: error.row)
        return forest


def piece_rows(plan: Plan, row_bytes: int) -> int:
    """Rows of a piece: whole leaves, or whole tiles of one."""
    most = PIECE_BYTES // row_bytes
    unit = plan.leaf_rows if plan.leaf_rows <= most else plan.tile_rows
    return max(unit, most // unit * unit)


def pieces(first: int, last: int, plan: Plan, N: int, most: int) -> Iterator[tuple[int, int]]:
    """Leaves [first, last) of N rows as runs (start, stop) of rows, of up to `most`."""
    stretch = 1 if most < plan.leaf_rows else most // plan.leaf_rows
    for leaf in range(first, last, stretch):
        end = min(min(leaf + stretch, last) * plan.leaf_rows, N)
        for start in range(leaf * plan.leaf_rows, end, most):
            yield start, min(start + most, end)


def unit_level(n_leaves: int, plan: Plan, row_bytes: int, n_threads: int) -> int:
    """Levels of the subtrees that threads take: a piece or so each, and enough of them for all threads."""
    leaves = min(PIECE_BYTES // (plan.leaf_rows * row_bytes), n_leaves // (UNITS_PER_THREAD * n_threads))
    return max(leaves, 1).bit_length() - 1


def units(first: int, last: int, level: int) -> Iterator[Node]:
    """Leaves [first, last) as nodes of this level, or less at the ends."""
    for node in maximal_subtrees(first, last):
        below = max(node.level - level, 0)
        for j in range(1 << below):
            yield Node(node.level - below, (node.i << below) + j)

