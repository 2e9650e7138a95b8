"""Tables in files: features and labels read from .npy, .csv and .parquet, predictions written to the same.

What is wrong with a file is one CommandError that says where. An array that would take much of the memory stays on
disk, and what is only passed through is read in blocks of rows. Nothing is ever unpickled.
"""

import argparse
import contextlib
import csv
import io
import itertools
import math
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .console import CommandError, unwritable
from .resources import available_memory
from .validation import check_finite, feature_matrix
from .whole_file import replacing

KINDS = (".npy", ".csv", ".parquet")
MAPPED_SHARE = 0.25  # of the memory available, from which on an array stays on disk
LINES = 1 << 12  # to stdout at once: of a large piece, an unbuffered one may lose the rest without an error
BATCH_ROWS = 1 << 16  # of a Parquet file, decoded at a time

# How others write that there is nothing; beside numbers no label is meant by it.
_MISSING = {"", "na", "n/a", "nan", "null", "none", "<na>", "?"}


def table_path(text: str) -> Path:
    """Parser of an option's value: a file of one of KINDS."""
    path = Path(text)
    if path.suffix.lower() not in KINDS:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected a file ending in {', '.join(KINDS)}")
    return path


def is_npy(path: Path) -> bool:
    return path.suffix.lower() == ".npy"


class Table:
    """A matrix (N, D), with the names of its columns if the file has them: to an estimator what a DataFrame is."""

    def __init__(self, matrix: np.ndarray, columns: Sequence[str] | None = None) -> None:
        self.matrix, self.columns = matrix, columns
        self.shape = matrix.shape

    def __len__(self) -> int:
        return len(self.matrix)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.matrix, dtype) if copy else np.asarray(self.matrix, dtype)

    def rows(self, places: np.ndarray) -> "Table":
        return Table(self.matrix[places], self.columns)

    def astype(self, dtype: Any) -> "Table":
        with np.errstate(over="ignore"):
            return Table(self.matrix.astype(dtype, copy=False), self.columns)


def read_table(path: Path, target: str | None = None, header: bool | None = None) -> tuple[Table, Any]:
    """The whole file: finite numbers, and the labels (N,) in the column target, None when none is named.

    target is a column's name or its number, counted from 0 or, negative, from the end. header says whether the first
    line of a CSV file holds names; None: when it holds no numbers.
    """
    with _told(path):
        if is_npy(path):
            matrix = _open_matrix(path)
            if matrix.nbytes < MAPPED_SHARE * available_memory():
                matrix = np.array(matrix)  # a mapped file that is cut while in use would end the process
            check_finite("X", matrix)
            return Table(matrix), None
        if path.suffix.lower() == ".csv":
            return next(_csv_blocks(path, target, header, sys.maxsize))
        return _read_parquet(_open_parquet(path), target)


def blocks(path: Path, rows: int, target: str | None = None, header: bool | None = None) -> Iterator[Table]:
    """The file's features in blocks of so many rows, without the column target."""
    with _told(path):
        if is_npy(path):
            matrix = _open_matrix(path)
            for start in range(0, len(matrix), rows):
                block = matrix[start : start + rows]
                check_finite("X", block, first_row=start)
                yield Table(block)
            return
        if path.suffix.lower() == ".csv":
            read = _csv_blocks(path, target, header, rows)
        else:
            read = _parquet_blocks(_open_parquet(path), target, rows)
        for table, _ in read:
            yield table


def read_column(path: Path, N: int, header: bool | None = None) -> np.ndarray:
    """The one column of a file, which goes with N rows of another: labels, or weights."""
    with _told(path):
        if is_npy(path):
            values = _open_npy(path)
            if values.dtype.kind not in "biufSU":
                raise ValueError(f"holds {values.dtype}, expected numbers or strings")
            values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
            return values.astype(str) if values.dtype.kind == "S" else np.array(values)
        if path.suffix.lower() == ".csv":
            return _csv_column(path, N, header)
        return _parquet_column(_open_parquet(path))


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What goes wrong with a file as a CommandError that names the file."""
    try:
        yield
    except OSError as error:
        raise CommandError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except (ValueError, TypeError, NotImplementedError) as error:  # of ours, and pyarrow's
        raise CommandError(f"{path}: {error}") from error


# .npy


def _open_npy(path: Path) -> np.ndarray:
    """The array, on disk. ValueError when it is none, when the file is cut, and for Python objects."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        if "Python objects" in str(error):
            raise ValueError(
                "holds pickled Python objects, which are never read; save an array of numbers or of "
                "strings instead: numpy.save(path, y.astype(str))"
            ) from None
        raise ValueError(f"no whole .npy file ({error})") from None


def _open_matrix(path: Path) -> np.ndarray:
    matrix = _open_npy(path)
    feature_matrix(matrix[:1] if matrix.ndim else matrix, finite=False)  # says what is wrong with dtype or shape
    return matrix


# .csv


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every record; empty lines are none."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"no text in UTF-8 ({error})") from None


def _csv_blocks(
    path: Path, target: str | None, header: bool | None, rows: int
) -> Iterator[tuple[Table, np.ndarray | None]]:
    lines = _csv_rows(path)
    try:
        first_line, first = next(lines)
    except StopIteration:
        raise ValueError("the file is empty") from None
    width = len(first)
    columns = first if _is_header(first, target, header) else None
    place = None if target is None else _find_column(target, columns, width)
    names = columns or [f"{j} (counted from 0)" for j in range(width)]
    if columns is None:
        lines = itertools.chain([(first_line, first)], lines)
    elif "" in columns:
        raise ValueError(f"line {first_line}: field {columns.index('') + 1} of the header is empty: a table's index?")
    inputs = [name for j, name in enumerate(names) if j != place]
    D = len(inputs)
    if D == 0:
        raise ValueError("holds no column beside the labels")

    N = 0
    while True:
        values, labels = array("d"), _Labels()
        for line, row in itertools.islice(lines, rows):
            if len(row) != width:
                raise ValueError(f"line {line}: {len(row)} field{'s' * (len(row) != 1)}, expected {width}")
            if place is not None:
                labels.add(line, row.pop(place), names[place])
            try:
                numbers = list(map(float, row))
            except ValueError:
                _refuse_field(line, row, inputs)
            if not math.isfinite(sum(numbers)):  # or the sum overflows, which is no fault
                _refuse_field(line, row, inputs)
            values.fromlist(numbers)
        if not values:
            break
        matrix = np.frombuffer(values).reshape(-1, D)
        N += len(matrix)
        yield Table(matrix, None if columns is None else inputs), None if place is None else labels.array()
    if N == 0:
        raise ValueError("holds a header and no rows")


def _is_header(first: list[str], target: str | None, header: bool | None) -> bool:
    """Whether the first line holds names: as told, or when it holds no numbers."""
    if header is not None:
        return header
    if target is not None and not _is_integer(target):
        return True  # a column is called so
    place = int(target) % len(first) if target is not None and -len(first) <= int(target) < len(first) else None
    are_numbers = {_is_number(field) for j, field in enumerate(first) if j != place}
    if are_numbers == {True} and (len(first) == 1 or first != [str(j) for j in range(len(first))]):
        return False
    if are_numbers == {False}:
        return True
    raise ValueError(f"are these names or numbers: {','.join(first[:5])}? Say --header or --no-header")


def _find_column(target: str, columns: Sequence[str] | None, width: int) -> int:
    named = [] if columns is None else [j for j, name in enumerate(columns) if name == target]
    if len(named) == 1:
        return named[0]
    if len(named) > 1:
        raise ValueError(f"{len(named)} columns are called {target!r}")
    if _is_integer(target):
        if -width <= int(target) < width:
            return int(target) % width
        raise ValueError(f"has no column {target}: expected 0 to {width - 1}, or -1 for the last")
    known = "they have no names" if columns is None else ", ".join(columns[:20]) + ", ..." * (len(columns) > 20)
    raise ValueError(f"has no column {target!r}: {known}")


def _refuse_field(line: int, row: list[str], names: Sequence[str]) -> None:
    """ValueError for the first field that is not a finite number, if there is one."""
    for field, name in zip(row, names, strict=True):
        if field.strip().lower() in _MISSING:
            raise ValueError(f"line {line}, column {name}: {field!r}, a missing value; expected a finite number")
        if not (_is_number(field) and math.isfinite(float(field))):
            raise ValueError(f"line {line}, column {name}: {field!r}, expected a finite number")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_integer(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


class _Labels:
    """A column of labels as it is read: every distinct text once, and for each row which it is."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.lines: list[int] = []  # where each was first
        self.rows = array("q")

    def add(self, line: int, text: str, name: str | None = None) -> None:
        code = self.codes.get(text)
        if code is None:
            if not text.strip():
                raise ValueError(f"line {line}{f', column {name}' if name else ''}: a missing label")
            code = self.codes[text] = len(self.codes)
            self.lines.append(line)
        self.rows.append(code)

    def texts(self, first_row: int = 0) -> list[str]:
        """The distinct ones from a row on."""
        known = list(self.codes)
        return [known[code] for code in np.unique(np.frombuffer(self.rows, np.int64)[first_row:])]

    def array(self, first_row: int = 0) -> np.ndarray:
        """One value a row: integers if all are, else floats if all are, else strings."""
        used, places = np.unique(np.frombuffer(self.rows, np.int64)[first_row:], return_inverse=True)
        known = list(self.codes)
        return self._values([known[code] for code in used], [self.lines[code] for code in used])[places]

    @staticmethod
    def _values(texts: list[str], lines: list[int]) -> np.ndarray:
        try:
            return np.array([int(text) for text in texts], np.int64)
        except OverflowError:  # identifiers of more than 64 bits
            return np.array(texts)
        except ValueError:
            pass
        words = [(line, text) for line, text in zip(lines, texts, strict=True) if not _is_number(text)]
        if not words:
            for line, text in zip(lines, texts, strict=True):
                if not math.isfinite(float(text)):
                    raise ValueError(f"line {line}: {text!r} is no label")
            return np.array([float(text) for text in texts])
        if len(words) < len(texts) and all(text.strip().lower() in _MISSING for _, text in words):
            raise ValueError(f"line {words[0][0]}: {words[0][1]!r} beside numbers, a missing label")
        return np.array(texts)


def _csv_column(path: Path, N: int, header: bool | None) -> np.ndarray:
    """The first line is a name when told so, or when it alone is no number, or when it is one line more than N."""
    labels = _Labels()
    for line, row in _csv_rows(path):
        if len(row) != 1:
            raise ValueError(f"line {line}: {len(row)} fields, expected 1")
        labels.add(line, row[0])
    if not labels.rows:
        raise ValueError("the file is empty")
    if header is None:
        header = not _is_number(next(iter(labels.codes))) and (
            len(labels.rows) == N + 1 or all(map(_is_number, labels.texts(1)))
        )
    return labels.array(int(header))


# .parquet


def _open_parquet(path: Path) -> Any:
    parquet = _import_parquet(path)
    return parquet.ParquetFile(path)


def _import_parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise CommandError(f"{path}: Parquet files need pyarrow: pip install 'spiralnn[parquet]'") from None
    return pyarrow.parquet


def check_installed(path: Path) -> None:
    """CommandError unless what it takes to read and write such a file is installed."""
    if path.suffix.lower() == ".parquet":
        _import_parquet(path)


def _columns(file: Any) -> tuple[list[int], list[str]]:
    """Numbers and names of the columns that are not a DataFrame's index."""
    schema = file.schema_arrow
    index = {name for name in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(name, str)}
    kept = [j for j, name in enumerate(schema.names) if name not in index]
    return kept, [schema.names[j] for j in kept]


def _parquet_blocks(file: Any, target: str | None, rows: int) -> Iterator[tuple[Table, np.ndarray | None]]:
    import pyarrow.types as types

    kept, columns = _columns(file)
    place = None if target is None else _find_column(target, columns, len(columns))
    inputs = [(j, name) for i, (j, name) in enumerate(zip(kept, columns, strict=True)) if i != place]
    if not inputs or not file.metadata.num_rows:
        raise ValueError(f"holds {file.metadata.num_rows} rows of {len(inputs)} columns beside any labels")
    kinds = [file.schema_arrow.types[j] for j, _ in inputs]
    for (_, name), kind in zip(inputs, kinds, strict=True):
        if not any(is_kind(kind) for is_kind in (types.is_integer, types.is_floating, types.is_boolean)):
            raise ValueError(f"column {name} holds {kind}, expected numbers")
    dtype = np.float32 if all(map(types.is_float32, kinds)) else np.float64

    first = 0
    for batch in file.iter_batches(batch_size=rows):
        matrix = np.empty((len(batch), len(inputs)), dtype)
        for i, (j, name) in enumerate(inputs):
            matrix[:, i] = _values(batch.column(j), name, first)
        check_finite("X", matrix, first_row=first)
        labels = None if place is None else _label_values(batch.column(kept[place]), columns[place], first)
        yield Table(matrix, [name for _, name in inputs]), labels
        first += len(batch)


def _read_parquet(file: Any, target: str | None) -> tuple[Table, Any]:
    labels: list[Any] = []
    first = 0
    for block, some in _parquet_blocks(file, target, BATCH_ROWS):
        if first == 0:
            matrix = np.empty((file.metadata.num_rows, block.shape[1]), block.matrix.dtype)
        matrix[first : first + len(block)] = block.matrix
        labels.append(some)
        first += len(block)
    return Table(matrix, block.columns), None if target is None else np.concatenate(labels)


def _parquet_column(file: Any) -> np.ndarray:
    kept, columns = _columns(file)
    if len(kept) != 1:
        raise ValueError(f"holds {len(kept)} columns, expected 1")
    parts, first = [], 0
    for batch in file.iter_batches(batch_size=BATCH_ROWS):
        parts.append(_label_values(batch.column(kept[0]), columns[0], first))
        first += len(batch)
    if not parts:
        raise ValueError("holds no rows")
    return np.concatenate(parts)


def _values(column: Any, name: str, first_row: int) -> np.ndarray:
    if column.null_count:
        row = first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"row {row}, column {name}: a missing value")
    return column.to_numpy(zero_copy_only=False)


def _label_values(column: Any, name: str, first_row: int) -> np.ndarray:
    if hasattr(column, "dictionary_decode"):
        column = column.dictionary_decode()
    values = _values(column, name, first_row)
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values):
        return values.astype(str)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"column {name} holds {column.type}, expected labels: integers or strings")
    return values


# writing


@contextlib.contextmanager
def writer(path: Path | None, columns: Sequence[str]) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that writes blocks of rows, (n,) or (n, len(columns)); the file is there once all are written.

    path None: to stdout, as CSV, and a single column without its name.
    """
    if path is None:
        if len(columns) > 1:
            csv.writer(sys.stdout, lineterminator="\n").writerow(columns)
        yield _write_lines
        return
    make = {".npy": _npy_writer, ".csv": _csv_writer, ".parquet": _parquet_writer}[path.suffix.lower()]
    try:
        with replacing(path) as file, make(file, columns) as write:
            yield write
    except OSError as error:
        raise unwritable(path, "predictions", error) from error


def _write_lines(block: np.ndarray) -> None:
    for start in range(0, len(block), LINES):
        values = block[start : start + LINES].tolist()
        if block.ndim == 1:
            sys.stdout.write("".join(f"{value}\n" for value in values))
        else:
            csv.writer(sys.stdout, lineterminator="\n").writerows(values)


@contextlib.contextmanager
def _npy_writer(file: BinaryIO, columns: Sequence[str]) -> Iterator[Callable[[np.ndarray], None]]:
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
def _csv_writer(file: BinaryIO, columns: Sequence[str]) -> Iterator[Callable[[np.ndarray], None]]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    yield lambda block: rows.writerows(block.reshape(len(block), -1).tolist())
    text.flush()
    text.detach()


@contextlib.contextmanager
def _parquet_writer(file: BinaryIO, columns: Sequence[str]) -> Iterator[Callable[[np.ndarray], None]]:
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
