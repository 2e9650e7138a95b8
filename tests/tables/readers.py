"""Text through each of the readers, in pieces as small as a test likes."""

import contextlib
from pathlib import Path
from unittest import mock

from spiralnn import tables
from spiralnn.tables import csv, fast, lines

READERS = ("exact", "numpy", "pyarrow")


@contextlib.contextmanager
def reading(reader, piece=None):
    """Within, files of text are read by one of READERS only, in pieces of so many bytes and the rest of a line."""
    with contextlib.ExitStack() as stack:
        if reader == "exact":
            stack.enter_context(mock.patch.object(csv, "fast_reader", lambda *given: lambda piece: None))
        else:
            stack.enter_context(mock.patch.object(fast, "ARROW_SIZE", 0 if reader == "pyarrow" else float("inf")))
        if piece is not None:
            stack.enter_context(mock.patch.object(lines, "PIECE", piece))
            stack.enter_context(mock.patch.object(lines, "HEAD", 1))
        yield


def write(name, text, encoding="utf-8"):
    """A file of these characters or bytes, as they are; its path."""
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return Path(name)


def outcome(read):
    """What a reader finds, in a form that can be compared, bits and all; or the message of its TableError."""
    try:
        table, labels = read()
    except tables.TableError as error:
        return str(error)
    known = None if labels is None else (labels.dtype, labels.tolist())
    return table.matrix.shape, table.matrix.dtype, table.matrix.tobytes(), table.columns, known
