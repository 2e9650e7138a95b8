"""CSV: numbers and labels between separators, one grammar for every reader.

`_read_exactly` defines it. A fast reader goes first over each piece of the file, and where it is in doubt, the piece is
read again exactly: that finds the rows, or says what is wrong.
"""

import contextlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from .fast import fast_reader
from .fields import WORDS, Labels, number
from .layout import Layout, layout_of
from .lines import Lines, opened
from .table import Table, kind_of

Record = tuple[int, list[str]]  # its line, and the fields
Part = tuple[np.ndarray, np.ndarray]  # inputs (n, D), codes of the labels (n,) or none


def read(
    path: Path,
    target: str | None,
    header: bool | None,
    separator: str | None,
    ignore: Sequence[str],
    classes: np.ndarray | None,
) -> tuple[Table, np.ndarray | None]:
    with _table(path, target, header, separator, ignore) as (layout, labels, parts):
        matrices, codes = zip(*parts, strict=True)
    table = Table(np.concatenate(matrices), layout.columns, is_finite=True)
    return table, None if target is None else labels.array(np.concatenate(codes), classes)


def blocks(
    path: Path, rows: int, target: str | None, header: bool | None, separator: str | None, ignore: Sequence[str]
) -> Iterator[Table]:
    left_out = [*ignore, *([] if target is None else [target])]
    with _table(path, None, header, separator, left_out) as (layout, _, parts):
        for matrix in _rebatched((matrix for matrix, _ in parts), rows):
            yield Table(matrix, layout.columns, is_finite=True)


def _rebatched(matrices: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    held: list[np.ndarray] = []
    n = 0
    for matrix in matrices:
        while len(matrix):
            held.append(matrix[: rows - n])
            matrix = matrix[rows - n :]
            n += len(held[-1])
            if n == rows:
                yield held[0] if len(held) == 1 else np.concatenate(held)
                held, n = [], 0
    if held:
        yield np.concatenate(held)


def column(
    path: Path, N: int, header: bool | None, separator: str | None, kind: str, classes: np.ndarray | None
) -> np.ndarray:
    """Header None: the first line is a name when the file has a line more than rows; when it has neither so many nor N,
    if it alone is no number, and the caller will refuse what it gets.
    """
    is_label = kind == "labels"
    with _opened(path, separator) as lines:
        line, row = _first_record(lines)
        layout = Layout(lines.separator, [""], False, 0 if is_label else None, [] if is_label else [0])
        layout.check_width(line, row)
        labels = Labels()
        first = labels.code(line, row[0]) if is_label else number(row[0])
        rest = [codes if is_label else matrix[:, 0] for matrix, codes in _parts(lines, layout, labels, None)]
    values = np.concatenate([[np.nan if first is None else first], *rest])
    N_lines = len(values)
    if header is None:
        header = N_lines == N + 1
        if not header and N_lines != N and number(row[0]) is None:
            header = not is_label or all(number(text) is not None for text in labels.texts(values[1:]))
    if not header:
        layout.check_numbers(line, row)
    values = values[int(header) :]
    return labels.array(values.astype(np.int64), classes) if is_label else values


@contextlib.contextmanager
def _opened(path: Path, separator: str | None) -> Iterator[Lines]:
    separator = separator or ("\t" if kind_of(path).startswith(".tsv") else ",")
    if len(separator) != 1 or separator.isalnum() or separator in '"+-._\r\n\0':
        raise ValueError(f"separator is {separator!r}, expected one character that no number holds, and no quote")
    with opened(path, separator) as lines:
        yield lines


@contextlib.contextmanager
def _table(
    path: Path, target: str | None, header: bool | None, separator: str | None, ignore: Sequence[str]
) -> Iterator[tuple[Layout, Labels, Iterator[Part]]]:
    with _opened(path, separator) as lines:
        line, first = _first_record(lines)
        layout = layout_of(line, first, lines.separator, target, header, ignore)
        labels = Labels("" if layout.target is None else layout.name(layout.target))
        begin = lines.record() if layout.has_names else (line, first)
        if begin is None:
            raise ValueError("holds a header and no rows")
        yield layout, labels, _parts(lines, layout, labels, begin)


def _first_record(lines: Lines) -> Record:
    first = lines.record()
    if first is None:
        raise ValueError("the file is empty")
    return first


def _parts(lines: Lines, layout: Layout, labels: Labels, begin: Record | None) -> Iterator[Part]:
    """All rows, some at a time; begin: the first of them, which has been taken from the lines already."""
    words: list[int] = []
    if begin is not None:
        yield _read_exactly([begin], layout, labels)
        words = [j for j in layout.inputs if begin[1][j].strip() in WORDS]
    read_fast = fast_reader(layout, words, lines.size)
    while piece := lines.piece():
        found = read_fast(piece)
        codes = None if found is None else labels.try_codes(found.texts)
        if found is None or codes is None:
            lines.put_back(piece)
            yield _read_exactly(lines.records(), layout, labels)
        else:
            lines.line += int(np.count_nonzero(np.frombuffer(piece, np.uint8) == ord("\n")))
            yield found.matrix, codes[found.places]


def _read_exactly(records: Iterable[Record], layout: Layout, labels: Labels) -> Part:
    values, codes = array("d"), array("q")
    n = 0
    for line, row in records:
        layout.check_width(line, row)
        if layout.target is not None:
            codes.append(labels.code(line, row[layout.target]))
        numbers = [number(row[j]) for j in layout.inputs]
        if None in numbers:
            layout.check_numbers(line, row)
        values.extend(numbers)  # type: ignore[arg-type]
        n += 1
    return np.array(values, np.float64).reshape(n, len(layout.inputs)), np.array(codes, np.int64)
