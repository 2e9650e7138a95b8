"""Arrays that are read a run of rows at a time, wherever they lie."""

from typing import Any

import numpy as np


class RowsError(OSError):
    """Rows that cannot be read, or are not what they were; the message says where."""


class RowError(ValueError):
    """Something is wrong with the row of this number."""

    def __init__(self, message: str, row: int) -> None:
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
