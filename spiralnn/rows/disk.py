"""Files that are read bit by bit for hours, and must stay as they are meanwhile."""

import os
import stat
from typing import Any

import numpy as np

from .source import RowsError


class SteadyFile:
    """A file that is opened for each read, so that thousands of them hold no descriptor, and is told from another one.

    Never mapped into memory: a mapped file that is cut ends the process. name: as messages call it. size: in bytes.
    FileNotFoundError or another OSError where there is no such file.
    """

    def __init__(self, path: Any) -> None:
        self.name = os.fsdecode(path)
        self.path = os.path.abspath(self.name)
        status = os.stat(self.path)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{self.name!r} is no regular file, expected one that can be read at any place")
        self.size, self.modified = status.st_size, status.st_mtime_ns
        self._node: tuple[int, int] | None = (status.st_dev, status.st_ino)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_node": None}  # another machine may number the file otherwise

    def read(self, first: int, out: np.ndarray, row: int) -> None:
        """Fill out, rows, C-contiguous, with the bytes from `first` on. row: the number of out[0], for messages."""
        view = out.reshape(-1).view(np.uint8).data
        done = 0

        def failure(reason: str) -> RowsError:
            return self.failure(reason, row + done * len(out) // len(view), first + done)

        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            try:
                while done < len(view) and (n := _read_at(descriptor, view[done:], first + done)):
                    done += n
                status = os.fstat(descriptor)  # after the bytes: they are those of the file as it is now
            finally:
                os.close(descriptor)
        except OSError as error:
            raise failure(error.strerror or str(error)) from error
        reason = self.change(status)
        if done < len(view):
            raise failure(reason or f"{len(view) - done} more bytes are expected there, but none came")
        if reason is not None:
            raise self.failure(reason, row, first)

    def check(self, row: int) -> None:
        """RowsError unless the file is there, as it was. row: as of read."""
        try:
            reason = self.change(os.stat(self.path))
        except OSError as error:
            raise self.failure(error.strerror or str(error), row) from error
        if reason is not None:
            raise self.failure(reason, row)

    def change(self, status: os.stat_result) -> str | None:
        """What is no longer as it was when the file was opened."""
        node = status.st_dev, status.st_ino
        if self._node is None:
            self._node = node
        if status.st_size != self.size:
            return f"the file has {status.st_size} bytes, but had {self.size} when it was opened"
        if node != self._node:
            return "another file has taken its place since it was opened"
        if status.st_mtime_ns != self.modified:
            return "the file was written to since it was opened"
        return None

    def failure(self, reason: str, row: int, byte: int | None = None) -> RowsError:
        where = "" if byte is None else f"byte {byte}, "
        return RowsError(f"cannot read {self.name!r} at {where}row {row}: {reason}")


def _read_at(descriptor: int, view: memoryview, first: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], first)
    os.lseek(descriptor, first, os.SEEK_SET)
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        return file.readinto(view) or 0
