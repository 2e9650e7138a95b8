"""Rows made of other rows: shards one after the other, some of the columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .source import Room, RowError, Source, Stored

BLOCK_BYTES = 1 << 20  # of whole rows that are read at a time where only some columns are wanted


class Shards(Stored):
    """Sources one after the other: of one width and one dtype, or strings, of which the widest counts."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.shape = int(self._ends[-1]), *parts[0].shape[1:]
        self.dtype = max((part.dtype for part in parts if len(part)), key=lambda dtype: dtype.itemsize)

    def fill(self, start: int, stop: int, out: np.ndarray, room: Room) -> None:
        first = start
        while first < stop:
            part, before = self._part(first)
            last = min(stop, before + len(part))
            rows = out[first - start : last - start]
            if isinstance(part, Stored):
                try:
                    part.fill(first - before, last - before, rows, room)
                except RowError as error:
                    raise RowError(str(error), error.row + before) from None
            else:
                rows[...] = part.read(first - before, last - before)
            first = last

    def place(self, row: int) -> str:
        part, before = self._part(row)
        return part.place(row - before)

    def identity(self) -> list[Any]:
        return [*super().identity(), [part.identity() for part in self.parts]]

    def _part(self, row: int) -> tuple[Source, int]:
        """(the part that a row lies in, rows before it)."""
        i = int(np.searchsorted(self._ends, row, side="right"))
        return self.parts[i], int(self._ends[i]) - len(self.parts[i])


def joined(name: str, parts: Sequence[Source], called: Sequence[str]) -> Source:
    """One source of all parts. called: what each is in messages. ValueError where one differs from the first.

    Those without rows need to have the right width only.
    """
    if len(parts) == 1:
        return parts[0]
    whole = [i for i, part in enumerate(parts) if len(part)]
    like = whole[0] if whole else 0
    for part, own in zip(parts, called, strict=True):
        wanted = parts[like]
        if part.shape[1:] != wanted.shape[1:]:
            raise ValueError(
                f"{own} has {_width(part)}, but {called[like]} has {_width(wanted)}: expected the same in all of {name}"
            )
        is_string = part.dtype.kind in "SU" and part.dtype.kind == wanted.dtype.kind
        if len(part) and part.dtype != wanted.dtype and not is_string:
            raise ValueError(
                f"{own} has dtype {_dtype(part)}, but {called[like]} has {_dtype(wanted)}: "
                f"expected the same in all of {name}"
            )
    return Shards(parts) if whole else parts[0]


def _width(part: Source) -> str:
    if len(part.shape) == 1:
        return "one value a row"
    return f"{part.shape[1]} column{'s' * (part.shape[1] != 1)}"


def _dtype(part: Source) -> str:
    return str(part.dtype) if part.dtype.isnative else part.dtype.str


class SomeColumns(Stored):
    """Columns of a source, in the order given."""

    def __init__(self, source: Source, columns: Sequence[int]) -> None:
        self._source, self._columns = source, np.array(columns)
        self.shape, self.dtype = (len(source), len(columns)), source.dtype
        self._most = max(1, BLOCK_BYTES // (source.shape[1] * source.dtype.itemsize))  # rows read at a time

    def fill(self, start: int, stop: int, out: np.ndarray, room: Room) -> None:
        if room.kept is None:
            room.kept = self._source.buffer(min(self._most, len(room.rows)))
        for first in range(start, stop, self._most):
            last = min(first + self._most, stop)
            rows = self._source.read(first, last, room.kept)
            np.take(rows, self._columns, axis=1, out=out[first - start : last - start], mode="clip")

    def place(self, row: int) -> str:
        return self._source.place(row)

    def identity(self) -> list[Any]:
        return [*super().identity(), self._columns.tolist(), self._source.identity()]
