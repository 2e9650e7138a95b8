"""Ranks of MPI that fit together: each does its own leaves of a pass, and all fold the same tree.

Every rank is given the same rows, and reads those of its own leaves; or, of `rows.is_part`, a part of them, in the
order of the ranks. A pass is one message a rank: the roots of its maximal subtrees. What follows from the total, all
work out for themselves, to the same bits.
"""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..engine.folding import Collector, Threads, Work
from ..kernels.tree import Forest, Node, maximal_subtrees
from ..rows.rows import Rows
from ..rows.source import Memory, Source
from .communicator import Communicator
from .cuts import even_ranges
from .errors import Told, raise_first
from .parts import Parts

HEAD = 8  # numbers before the sums in a message: whether it failed, and the digest of the state; a cache line
FAILED, DIGEST = 0, 1
KEPT = 4  # works whose shares are remembered
SAMPLE = 64  # rows of X in memory that are looked at for whether ranks hold the same


class Ranks(Collector):
    """Rows of all ranks of a communicator, of mpi4py or our own. n_threads=None: a rank's share of its CPUs."""

    def __init__(self, rows: Rows, communicator: Any, n_threads: int | None = None) -> None:
        self._communicator = member = Communicator.of(communicator)
        self.is_first = member.rank == 0
        member.agree({"whether its rows are a part (open_rows with part=True)": rows.is_part})
        self._parts = None
        if rows.is_part:
            self._parts = Parts(rows, member)
            rows = self._parts.rows
        else:
            member.agree(_facts(rows))
        self.rows = rows
        self._threads = _Threads(rows, member, n_threads)
        self.n_threads = 1
        self._shares: list[_Share] = []

    def total(self, work: Work, state: Any = None) -> Any:
        share = self._share(work)
        first, last = share.ranges[self._communicator.rank]
        roots: list[tuple[Node, Any]] = []
        own = None
        try:
            self._communicator.begin()
            if first < last:
                roots = self._threads.forest(work, state, first, last).roots()
                self.n_threads = self._threads.n_threads
        except (Exception, KeyboardInterrupt) as error:
            own = error
        parts = share.exchange(roots, own is not None, _digest(state))
        if any(part.has_failed for part in parts):
            raise_first(self._communicator.gather(None if own is None else Told.of(own)), own)
        digests = [part.digest for part in parts]
        if digests.count(digests[0]) < len(digests):
            usual = max(digests, key=digests.count)
            rank = next(rank for rank, digest in enumerate(digests) if digest != usual)
            raise RuntimeError(f"rank {rank} came to other parameters than the others, expected the same bits on all")
        forest = Forest(work.merge)
        for part in parts:
            for node, value in part.roots:
                forest.add(node, value)
        total = forest.total()
        return total.copy() if isinstance(total, np.ndarray) else total

    def once(self, function: Callable[[], Any]) -> Any:
        return self._communicator.once(function)

    def any(self, value: object) -> bool:
        return self._communicator.any(value)

    def _share(self, work: Work) -> "_Share":
        for share in self._shares:
            if share.work is work:
                return share
        plan = work.plan
        if self._parts is None:
            ranges = even_ranges(plan.n_leaves, self._communicator.size)
        else:
            ranges = self._parts.ranges(plan.leaf_rows)
            self._parts.bring(plan.leaf_rows, with_features=not getattr(work, "targets_only", False))
        self._shares = [*self._shares[1 - KEPT :], _Share(work, ranges, self._communicator)]
        return self._shares[-1]


def joined(communicator: Any, settings: dict[str, Any]) -> Communicator:
    """All ranks are here, to do the same: ValueError, on all of them, that names one with other settings."""
    member = Communicator.of(communicator)
    member.agree(settings)
    return member


class _Threads(Threads):
    """Threads of one rank."""

    def __init__(self, rows: Rows, communicator: Communicator, n_threads: int | None) -> None:
        super().__init__(rows, communicator.threads(n_threads))
        self._communicator = communicator

    def pulse(self) -> None:
        self._communicator.pulse()


class _Part(NamedTuple):
    """What one rank has to say of a pass. digest: of the state that it began with."""

    has_failed: bool
    digest: int
    roots: list[tuple[Node, Any]]


class _Share:
    """Who does which leaves of a work, and how the roots come to all.

    The first time anything goes, pickled; where all values then are float64 vectors of one length, the next ones are
    one message of a layout that all know.
    """

    def __init__(self, work: Work, ranges: list[tuple[int, int]], communicator: Communicator) -> None:
        self.work, self.ranges, self._communicator = work, ranges, communicator
        self._nodes = [maximal_subtrees(*leaves) for leaves in ranges]
        self._message: _Message | None = None

    def exchange(self, roots: list[tuple[Node, Any]], has_failed: bool, digest: int) -> list[_Part]:
        """The part of each rank. The caller's until the next exchange."""
        if self._message is not None:
            return self._message.exchange(roots, has_failed, digest)
        parts: list[_Part] = self._communicator.gather(_Part(has_failed, digest, roots))
        values = [value for part in parts for _, value in part.roots]
        if not any(part.has_failed for part in parts) and _are_vectors(values):
            self._message = _Message(self._nodes, len(values[0]), self._communicator)
        return parts


class _Message:
    """Of each rank HEAD numbers, and behind them the sums of its roots."""

    def __init__(self, nodes: list[list[Node]], length: int, communicator: Communicator) -> None:
        self._communicator = communicator
        self._counts = [HEAD + len(own) * length for own in nodes]
        self._places = np.cumsum([0, *self._counts])[:-1].tolist()
        self._received = np.zeros(sum(self._counts))
        own = np.zeros(self._counts[communicator.rank])
        self._own, self._own_sums = own, own[HEAD:].reshape(-1, length)
        blocks = [self._received[a : a + n] for a, n in zip(self._places, self._counts, strict=True)]
        self._heads = [block[:HEAD] for block in blocks]
        sums = [block[HEAD:].reshape(-1, length) for block in blocks]
        self._roots = [list(zip(own, rows, strict=True)) for own, rows in zip(nodes, sums, strict=True)]

    def exchange(self, roots: list[tuple[Node, Any]], has_failed: bool, digest: int) -> list[_Part]:
        self._own[FAILED], self._own[DIGEST] = has_failed, digest
        for row, (_, value) in zip(self._own_sums, roots, strict=False):
            row[:] = value
        self._communicator.gather_numbers(self._own, self._received, self._counts, self._places)
        return [
            _Part(head[FAILED] != 0.0, int(head[DIGEST]), rows)
            for head, rows in zip(self._heads, self._roots, strict=True)
        ]


def _are_vectors(values: list[Any]) -> bool:
    """Whether they are float64 vectors of one length."""
    if not all(isinstance(value, np.ndarray) and value.dtype == np.float64 and value.ndim == 1 for value in values):
        return False
    return len({len(value) for value in values}) == 1


def _digest(state: Any) -> int:
    """Of the numbers that a pass depends on."""
    digest = 0
    for part in state if isinstance(state, tuple) else [] if state is None else [state]:
        digest = zlib.crc32(np.ascontiguousarray(part).data, digest)
    return digest


def _facts(rows: Rows) -> dict[str, Any]:
    """What must be the same on all ranks, by the names that an error calls it."""
    facts: dict[str, Any] = {
        "the number of features": rows.D,
        "the number of rows": rows.N,
        "the dtype that X is computed in": rows.dtype.name,
        "the names of columns": None if rows.names is None else list(rows.names),
    }
    for name, source in (("X", rows.X), ("y", rows.y), ("sample_weight", rows.weights)):
        facts[name] = None if source is None else [*source.identity(), *_checksum(source)]
    return facts


def _checksum(source: Source) -> list[str]:
    """Of labels and weights, or some rows of a matrix, where these are in memory."""
    if not isinstance(source, Memory) or source.dtype == object:
        return []
    rows = source.array if len(source.shape) == 1 else source.array[:: max(1, len(source) // SAMPLE)]
    return [f"CRC {zlib.crc32(np.ascontiguousarray(rows).view(np.uint8).data):08x}"]
