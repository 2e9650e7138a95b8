"""What is said to outputs that may be closed, full, or a pipe that nobody reads any more."""

import contextlib
import errno
import io
import os
import sys
from typing import Any


class Lossy:
    """A stream whose failures cost what is written to it and nothing else: log lines, progress, messages."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class Closed:
    """In the place of an output that the process was started without: nothing can be written."""

    encoding, errors = "utf-8", "strict"

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "stdout is closed")

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def prepare() -> None:
    """For a process of ours: results that cannot be written are an error, messages that cannot be are left out."""
    for number in range(3):  # a file that is opened would take the place of one that is closed, and be written to
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = Closed()
    sys.stderr = Lossy(io.TextIOWrapper(io.BytesIO()) if sys.stderr is None else sys.stderr)
