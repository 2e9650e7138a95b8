"""Rows that workers of Dask hold: one task a worker a pass, whose roots are folded here along the tree."""

import math
import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import __version__
from ..engine.folding import Collector, Work
from ..kernels.tree import Forest
from ..rows.rows import Rows
from ..rows.source import RowError, RowsError, Source

try:
    import distributed
except ImportError as error:
    raise ImportError(f"rows of Dask need its workers: pip install spiralnn[dask] ({error})") from error
from .dask_arrays import Arrays, checked_arrays
from .dask_cluster import Cluster
from .dask_worker import Done, Job, Run, Spec, WorkerError, borrow, lend, take_part


class Elsewhere(Source):
    """An array whose rows workers hold."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype

    def read(self, start: int, stop: int, buffer: Any = None) -> np.ndarray:
        raise RowsError(f"rows {start} to {stop} lie with workers of Dask, where they cannot be read from here")


class Share(NamedTuple):
    """What a Work with leaves of one size asks of one holding: runs of leaves, and rows of others that they end in."""

    holding: int
    leaves: list[Run]
    loan: Any


def collector_of(
    X: Any, y: Any, sample_weight: Any, *, n_features: int | None, owner: str, dtype: Any, n_threads: int | None
) -> "DaskCollector":
    """Arrays of Dask as rows to train on, held by the workers of the client at hand.

    n_features: what D must be, of whom (owner). dtype: that is computed with, None for that of X. n_threads: of a
    worker, at most; None: all that it has. ValueError or TypeError for arrays that cannot be trained on; WorkerError
    where partitions cannot be computed.
    """
    arrays = checked_arrays(X, y, sample_weight, n_features=n_features, owner=owner)
    try:
        client = distributed.get_client()
    except ValueError:
        raise ValueError(
            "X is an array of Dask, but there is no client: make one before, client = distributed.Client(...)"
        ) from None
    if client.asynchronous:
        raise ValueError("the client of Dask is asynchronous, expected distributed.Client(..., asynchronous=False)")
    return DaskCollector(client, arrays, dtype, n_threads)


class DaskCollector(Collector):
    """Has a Work done by workers of Dask. n_threads: of all workers, in the last pass."""

    def __init__(self, client: Any, arrays: Arrays, dtype: Any, n_threads: int | None = None) -> None:
        self._cluster = Cluster(client)
        self._wanted, self.n_threads = n_threads, 1
        lengths, futures = self._cluster.placed(arrays)
        N, D = sum(lengths), arrays.X.shape[1]
        X, y, weights = (
            None if array is None else Elsewhere((N, D) if i == 0 else (N,), array.dtype)
            for i, array in enumerate(arrays)
        )
        assert X is not None
        self.rows = Rows(X, y, weights)
        if dtype is not None:
            self.rows = self.rows.astype(dtype)
        spec = Spec((N, D), tuple(None if array is None else array.dtype for array in arrays), self.rows.dtype)
        self._owned, self._holdings = self._cluster.held(spec, lengths, futures)
        self._shares: dict[tuple[int, bool], list[Share]] = {}
        self._pickled: tuple[Work | None, bytes] = None, b""

    def total(self, work: Work, state: Any = None) -> Any:
        if self._pickled[0] is not work:
            self._pickled = work, pickle.dumps(work)
        leaf_rows, targets_only = work.plan.leaf_rows, bool(getattr(work, "targets_only", False))
        shares = self._shares_of(leaf_rows, targets_only)
        job = Job(self._pickled[1], pickle.dumps(state), leaf_rows, targets_only, self._wanted)
        holdings = [self._holdings[share.holding] for share in shares]
        parts: list[Done] = self._cluster.results(
            "a pass", take_part, holdings, [share.loan for share in shares], [share.leaves for share in shares], job=job
        )
        self._check(parts)
        self.n_threads = sum(part.n_threads for part in parts)
        forest = Forest(work.merge)
        for part in parts:
            for node, value in part.roots:
                forest.add(node, value)
        return forest.total()

    @staticmethod
    def _check(parts: Sequence[Done]) -> None:
        """Raise what is wrong with the first of the rows, or with a worker."""
        wrong = [part.row_error for part in parts if part.row_error is not None]
        if wrong:
            raise RowError(*min(wrong, key=lambda error: error[1]))
        for part in parts:
            if part.failure is not None:
                raise WorkerError(f"worker {part.worker} failed in a pass: {part.failure}")
            if part.version != __version__:
                raise WorkerError(f"worker {part.worker} has spiralnn {part.version}, expected {__version__} as here")

    def _shares_of(self, leaf_rows: int, targets_only: bool) -> list[Share]:
        """Who does which leaves; what lies across the end of a run is lent once."""
        kind = leaf_rows, targets_only
        if kind not in self._shares:
            leaves: dict[int, list[Run]] = {}
            wanted: dict[tuple[int, int], list[Run]] = {}
            for k, (start, stop, owner) in enumerate(self._owned):
                first, last = math.ceil(start / leaf_rows), math.ceil(stop / leaf_rows)
                if first == last:  # its rows all belong to a leaf that began before
                    continue
                leaves.setdefault(owner, []).append((first, last))
                end = last * leaf_rows
                for other in self._owned[k + 1 :]:
                    if other.start >= end:
                        break
                    if other.owner != owner:
                        wanted.setdefault((other.owner, owner), []).append((other.start, min(other.stop, end)))
            loans = self._loans(wanted, targets_only)
            self._shares[kind] = [Share(owner, runs, loans.get(owner, [])) for owner, runs in sorted(leaves.items())]
        return self._shares[kind]

    def _loans(self, wanted: dict[tuple[int, int], list[Run]], targets_only: bool) -> dict[int, Any]:
        """By borrower what it borrows of others. wanted: runs of rows by (lender, borrower)."""
        if not wanted:
            return {}
        pairs = sorted(wanted)
        lent = self._cluster.tasks(
            lend, [self._holdings[lender] for lender, _ in pairs], [wanted[pair] for pair in pairs],
            targets_only=targets_only,
        )  # fmt: skip
        by_borrower: dict[int, list[Any]] = {}
        for (_, borrower), future in zip(pairs, lent, strict=True):
            by_borrower.setdefault(borrower, []).append(future)
        borrowers = sorted(by_borrower)
        loans = self._cluster.tasks(borrow, [self._holdings[i] for i in borrowers], [by_borrower[i] for i in borrowers])
        self._cluster.wait("leaves that partitions share", loans)
        return dict(zip(borrowers, loans, strict=True))
