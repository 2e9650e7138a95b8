"""Digests of the rows that a run is trained on: of leaves, and along the tree of what follows from two of them.

So they take all threads, or ranks, and are the same wherever the rows lie and however they are cut.
"""

import hashlib
from typing import Any, NamedTuple

import numpy as np

from ..rows.coded import Coded, Coding
from ..rows.rows import Rows
from .folding import Collector, LeafByLeaf
from .plan import Plan

TILE_ROWS, LEAF_ROWS = 64, 4096
FLOPS = 40.0  # of arithmetic's time that digesting a byte takes, about


class Digests(NamedTuple):
    """Work: SHA-256 of X, of the labels' places, and of the weights as they are computed with."""

    N: int
    D: int
    itemsize: int
    coding: Coding

    @property
    def plan(self) -> Plan:
        return Plan(TILE_ROWS, LEAF_ROWS, -(-self.N // LEAF_ROWS))  # labels do not know of the columns of X

    def flops(self, N: int) -> float:
        return FLOPS * N * self.D * self.itemsize

    def row_bytes(self, rows: Rows) -> int:
        return rows.D * self.itemsize

    def adder(self, rows: Rows, depth: int, most: int) -> "_Digester":
        return _Digester(self, Coded(rows, self.coding), most)

    def merge(self, left: list[bytes], right: list[bytes]) -> list[bytes]:
        return [hashlib.sha256(a + b).digest() for a, b in zip(left, right, strict=True)]


class _Digester(LeafByLeaf):
    def __init__(self, work: Digests, rows: Coded, most: int) -> None:
        super().__init__(work, rows)
        self._rows, self._buffers = rows, rows.buffers(most)
        self._hashes = self._new()

    def _new(self) -> list[Any]:
        return [hashlib.sha256() for _ in range(2 + self._rows.is_weighted)]

    def read(self, start: int, stop: int) -> Any:
        X, y = self._rows.piece(start, stop, self._buffers)
        y, *weights = y if isinstance(y, tuple) else (y,)
        return [X, np.ascontiguousarray(y), *weights]

    def take(self, piece: Any, first: int, last: int) -> None:
        for sha, part in zip(self._hashes, piece, strict=True):
            sha.update(np.ascontiguousarray(part[first:last]).view(np.uint8).data)

    def close(self) -> list[bytes]:
        hashes, self._hashes = self._hashes, self._new()
        return [sha.digest() for sha in hashes]


def digests(collector: Collector, coding: Coding) -> dict[str, str]:
    """Of a collector's rows, by the names that an error calls them."""
    rows: Rows = collector.rows
    found = collector.total(Digests(rows.N, rows.D, rows.dtype.itemsize, coding))
    forms = {
        "X": f"{rows.dtype.str} {rows.N} {rows.D}",
        "y": f"{rows.N}",
        "sample_weight or class_weight": f"{rows.dtype.str} {rows.N}",
    }
    return {
        name: hashlib.sha256(form.encode() + part).hexdigest()
        for (name, form), part in zip(forms.items(), found, strict=False)
    }
