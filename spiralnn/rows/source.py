"""Arrays that are read a run of rows at a time, wherever they lie."""

from typing import Any

import numpy as np

from .pages import page_array


class RowsError(OSError):
    """Rows that cannot be read, or are not what they were; the message says where."""


class RowError(ValueError):
    """Something is wrong with the row of this number, which has a default for those who make it anew from a message."""

    def __init__(self, message: str, row: int = -1) -> None:
        super().__init__(message)
        self.row = row


class Source:
    """An array of `shape` (N,) or (N, D) and `dtype`, of which rows are read where they are needed.

    Several threads may read at once, each into a buffer of its own.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def buffer(self, n: int) -> Any:
        """What reads of up to n rows need to write to."""
        return None

    def read(self, start: int, stop: int, buffer: Any = None) -> np.ndarray:
        """Rows [start, stop), valid until the next read into this buffer; a new array where there is none.

        RowsError where they cannot be read, or are no longer those that were opened.
        """
        raise NotImplementedError

    def place(self, row: int) -> str:
        """Where a row lies, for a message: "row 7 of 'part-2.npy'"."""
        return f"row {row}"

    def identity(self) -> list[Any]:
        """What must be the same wherever the same rows are opened, in JSON's types."""
        return [list(self.shape), self.dtype.str]


class Memory(Source):
    """An array in memory."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def read(self, start: int, stop: int, buffer: Any = None) -> np.ndarray:
        return self.array[start:stop]


class Room:
    """The buffer of a `Stored`. rows: that are read. kept: what a source wants at hand for the next read."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.kept: Any = None


class Stored(Source):
    """An array that lies elsewhere: `fill` copies rows of it to where they are wanted."""

    def buffer(self, n: int) -> Room:
        return Room(page_array((n, *self.shape[1:]), self.dtype))

    def read(self, start: int, stop: int, buffer: Any = None) -> np.ndarray:
        room = self.buffer(stop - start) if buffer is None else buffer
        rows: np.ndarray = room.rows[: stop - start]
        self.fill(start, stop, rows, room)
        return rows

    def fill(self, start: int, stop: int, out: np.ndarray, room: Room) -> None:
        """out (stop - start, ...), C-contiguous, = rows [start, stop). room: whose `kept` is for this source."""
        raise NotImplementedError
