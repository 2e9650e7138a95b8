"""Fast readers of plain pieces of a CSV file. Whatever they doubt is read again, exactly.

Each takes less than the exact reader does, and finds the same bits.
"""

import contextlib
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .fields import FALSE, TRUE, number
from .layout import Layout
from .lines import MARK

# Bytes from which on a file is worth the import of pyarrow.csv: that takes 30 to 70 ms, more from a cold disk, and then
# a MiB takes 5 ms on two cores, where numpy.loadtxt takes 22.
ARROW_SIZE = 1 << 22
ARROW_WIDTH = 2000  # columns up to which it is worth that: 20 000 take it six times as long as numpy.loadtxt
ARROW_BLOCK = 1 << 20  # bytes a task of pyarrow: a third slower at a quarter of that, a tenth at four times
FIELD = 64  # bytes, which the fields of a row hardly take on average: pyarrow reads no row longer than a block
LONGEST_FIELD = 1 << 16  # bytes; of the csv module's limit, half


class Found(NamedTuple):
    """The inputs (n, D) of a piece; its distinct labels, and for each row which it has."""

    matrix: np.ndarray
    texts: list[str]
    places: np.ndarray


Reader = Callable[[bytes], Found | None]
NO_PLACES = np.empty(0, np.int64)


def fast_reader(layout: Layout, words: Sequence[int], size: int) -> Reader:
    """The faster one for a file of at least so many bytes; it returns None for a piece that it is in doubt about.

    words: inputs whose first value is a truth value.
    """
    if size >= ARROW_SIZE and layout.width <= ARROW_WIDTH and layout.separator.isascii():
        with contextlib.suppress(ImportError):
            return _arrow_reader(layout, words)
    return _numpy_reader(layout, words)


def _arrow_reader(layout: Layout, words: Sequence[int]) -> Reader:
    import pyarrow
    import pyarrow.csv

    names = [str(j) for j in range(layout.width)]
    types = {names[j]: pyarrow.bool_() if j in words else pyarrow.float64() for j in layout.inputs}
    if layout.target is not None:
        types[names[layout.target]] = pyarrow.string()
    reading = pyarrow.csv.ReadOptions(column_names=names, block_size=max(ARROW_BLOCK, FIELD * layout.width))
    parsing = pyarrow.csv.ParseOptions(delimiter=layout.separator)
    converting = pyarrow.csv.ConvertOptions(
        column_types=types, include_columns=list(types), null_values=[], true_values=TRUE, false_values=FALSE
    )
    is_plain = _plain_piece(layout.separator)

    def read(piece: bytes) -> Found | None:
        if not is_plain(piece):
            return None
        try:
            table = pyarrow.csv.read_csv(pyarrow.BufferReader(piece), reading, parsing, converting)
        except pyarrow.ArrowInvalid:
            return None
        matrix = np.empty((len(table), len(layout.inputs)))
        start = 0
        for batch in table.to_batches():  # whose columns each lie together
            rows = matrix[start : start + len(batch)]
            for i in range(len(layout.inputs)):
                rows[:, i] = batch.column(i).to_numpy(zero_copy_only=False)
            start += len(batch)
        if not np.isfinite(matrix).all():
            return None
        if layout.target is None:
            return Found(matrix, [], NO_PLACES)
        labels = table.column(len(layout.inputs)).combine_chunks().dictionary_encode()
        return Found(matrix, labels.dictionary.to_pylist(), labels.indices.to_numpy())

    return read


def _numpy_reader(layout: Layout, words: Sequence[int]) -> Reader:
    dtype: Any = []
    numbers = []
    for is_input, run in itertools.groupby(range(layout.width), set(layout.inputs).__contains__):
        places = list(run)
        if is_input:
            numbers.append(f"from {places[0]}")
            dtype.append((numbers[-1], np.float64, (len(places),)))
        else:
            dtype.extend((str(j), object) for j in places)
    converters: Any = dict.fromkeys(words, number)
    is_plain = _plain_piece(layout.separator)

    def read(piece: bytes) -> Found | None:
        if not is_plain(piece):
            return None
        try:
            rows = np.loadtxt(
                piece.decode().split("\n"), dtype, delimiter=layout.separator, comments=None, quotechar='"',
                converters=converters, encoding=None, ndmin=1,
            )  # fmt: skip
        except (ValueError, TypeError):
            return None
        matrix = np.concatenate([np.empty((len(rows), 0)), *(rows[name] for name in numbers)], axis=1)
        if not np.isfinite(matrix).all():
            return None
        if layout.target is None:
            return Found(matrix, [], NO_PLACES)
        codes: dict[str, int] = {}
        places = [codes.setdefault(text, len(codes)) for text in rows[str(layout.target)]]
        return Found(matrix, list(codes), np.array(places, np.int64))

    return read


def _plain_piece(separator: str) -> Callable[[bytes], bool]:
    """Whether a piece holds something, no very long field, no line end but \\n or \\r\\n, no quote but around a field,
    and no mark of byte order before it.

    Only on such do all readers agree on where fields begin and end.
    """
    mark = separator.encode()
    quoted = re.compile(
        rb'(?:(?<![^\n])|(?<=%b))"[^"\r\n]{0,%d}"(?=%b|\r?\n|\Z)' % (re.escape(mark), LONGEST_FIELD, re.escape(mark))
    )

    def is_plain(piece: bytes) -> bool:
        if piece.isspace() or piece.startswith(MARK):  # which pyarrow would take off, within a file, too
            return False
        if b"\r" in piece and piece.count(b"\r") != piece.count(b"\r\n"):
            return False
        if b'"' in piece and piece.count(b'"') != 2 * sum(1 for _ in quoted.finditer(piece)):
            return False
        # of a field twice as long, one part holds nothing else
        starts = range(0, len(piece) - LONGEST_FIELD + 1, LONGEST_FIELD)
        return all(any(piece.find(end, i, i + LONGEST_FIELD) >= 0 for end in (b"\n", mark)) for i in starts)

    return is_plain
