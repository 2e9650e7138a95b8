"""Predictions, written block by block to a file that takes its place once it is whole, or to stdout."""

import contextlib
import csv
import gzip
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ..files.whole_file import replacing
from .table import TableError, kind_of

LINES = 1 << 12  # to stdout at once: of a large piece, an unbuffered one may lose the rest without an error
Write = Callable[[np.ndarray], None]


@contextlib.contextmanager
def writer(path: Path | None, columns: Sequence[str]) -> Iterator[Write]:
    """A function that writes blocks of rows, (n,) or (n, len(columns)); the file is there once all are written.

    path None: to stdout, as CSV, and a single column without its name.
    """
    if path is None:
        if len(columns) > 1:
            csv.writer(sys.stdout, lineterminator="\n").writerow(columns)
        yield _write_lines
        return
    make = {".npy": _npy_writer, ".parquet": _parquet_writer}.get(kind_of(path), partial(_text_writer, kind_of(path)))
    try:
        with replacing(path) as file, make(file, columns) as write:
            yield write
    except OSError as error:
        raise TableError(f"cannot write predictions to {str(path)!r}: {error.strerror or error}") from error


def _write_lines(block: np.ndarray) -> None:
    for start in range(0, len(block), LINES):
        values = block[start : start + LINES].tolist()
        if block.ndim == 1:
            sys.stdout.write("".join(f"{value}\n" for value in values))
        else:
            csv.writer(sys.stdout, lineterminator="\n").writerows(values)


@contextlib.contextmanager
def _npy_writer(file: BinaryIO, columns: Sequence[str]) -> Iterator[Write]:
    N = 0
    header: dict[str, Any] = {}

    def write(block: np.ndarray) -> None:
        nonlocal N
        if not header:
            describe = np.lib.format.dtype_to_descr(block.dtype)
            header.update(descr=describe, fortran_order=False, shape=(0, *block.shape[1:]))
            np.lib.format.write_array_header_1_0(file, header)
        file.write(block.tobytes())
        N += len(block)

    yield write
    file.seek(0)  # NumPy leaves room in a header for a larger number of rows
    np.lib.format.write_array_header_1_0(file, {**header, "shape": (N, *header["shape"][1:])})


@contextlib.contextmanager
def _text_writer(kind: str, file: BinaryIO, columns: Sequence[str]) -> Iterator[Write]:
    with contextlib.ExitStack() as stack:
        if kind.endswith(".gz"):
            zipped = gzip.GzipFile("", "wb", fileobj=file, mtime=0)  # the same bytes for the same predictions
            file = cast(BinaryIO, stack.enter_context(zipped))
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        stack.callback(text.detach)  # which flushes, and leaves closing to whoever opened
        rows = csv.writer(text, delimiter="\t" if kind.startswith(".tsv") else ",", lineterminator="\n")
        rows.writerow(columns)
        yield lambda block: rows.writerows(block.reshape(len(block), -1).tolist())


@contextlib.contextmanager
def _parquet_writer(file: BinaryIO, columns: Sequence[str]) -> Iterator[Write]:
    import pyarrow
    import pyarrow.parquet

    output = None

    def write(block: np.ndarray) -> None:
        nonlocal output
        parts = [block] if block.ndim == 1 else list(block.T)
        table = pyarrow.Table.from_arrays([pyarrow.array(part) for part in parts], names=list(columns))
        output = output or pyarrow.parquet.ParquetWriter(file, table.schema)
        output.write_table(table)

    yield write
    if output is not None:
        output.close()
