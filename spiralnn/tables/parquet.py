"""Parquet files, decoded in batches of rows by pyarrow."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checks.arrays import check_finite
from .parts import Part, key_labels, key_numbers, parts_of
from .table import Table, choose_columns

BATCH_ROWS = 1 << 16  # decoded at a time
KINDS = {"i": "integers", "u": "integers", "f": "floats", "b": "truth values", "U": "strings"}


def read(path: Path, target: str | None, ignore: Sequence[str]) -> tuple[Table, np.ndarray | None]:
    parts = parts_of(path)
    labels: list[Any] = []
    first = 0
    for block, some in _blocks(parts, BATCH_ROWS, target, ignore):
        if first == 0:
            matrix = np.empty((_rows(parts), block.shape[1]), block.matrix.dtype)
        matrix[first : first + len(block)] = block.matrix
        labels.append(some)
        first += len(block)
    return Table(matrix, block.columns, is_finite=True), None if target is None else _joined(labels, target)


def names(path: Path, target: str | None, ignore: Sequence[str]) -> tuple[str | None, list[str]]:
    """Of the column that holds the labels, and of the inputs."""
    columns = parts_of(path)[0].columns
    place, inputs = choose_columns(target, ignore, columns, len(columns))
    return None if place is None else columns[place], [columns[i] for i in inputs]


def shape(path: Path) -> tuple[int, int]:
    parts = parts_of(path)
    return _rows(parts), len(parts[0].columns)


def blocks(path: Path, rows: int, target: str | None, ignore: Sequence[str]) -> Iterator[Table]:
    left_out = [*ignore, *([] if target is None else [target])]
    for block, _ in _blocks(parts_of(path), rows, None, left_out):
        yield block


def column(path: Path) -> np.ndarray:
    parts = parts_of(path)
    names = parts[0].columns
    if len(names) != 1:
        raise ValueError(f"holds {len(names)} columns, expected 1")
    if not _rows(parts):
        raise ValueError("holds no rows")
    labels, found = _labels(parts, names[0], 0), []
    for i, part in enumerate(parts):
        first = 0
        for batch in part.batches(BATCH_ROWS):
            with part.told():
                found.append(labels(i, batch, first))
            first += len(batch)
    return _joined(found, names[0])


def _rows(parts: Sequence[Part]) -> int:
    return sum(part.num_rows for part in parts)


def _blocks(
    parts: Sequence[Part], rows: int, target: str | None, ignore: Sequence[str]
) -> Iterator[tuple[Table, np.ndarray | None]]:
    columns = parts[0].columns
    place, inputs = choose_columns(target, ignore, columns, len(columns))
    if not _rows(parts):
        raise ValueError("holds no rows")
    names = [columns[j] for j in inputs]
    dtype = _number_dtype(parts, inputs)
    keys = {name: key_numbers(parts, name) for name in names if name in parts[0].keys}
    labels = None if place is None else _labels(parts, columns[place], place)
    for i, part in enumerate(parts):
        first = 0
        for batch in part.batches(rows):
            matrix = np.empty((len(batch), len(inputs)), dtype)
            with part.told():
                for column, (j, name) in enumerate(zip(inputs, names, strict=True)):
                    array = part.column(batch, name, j)
                    matrix[:, column] = keys[name][i] if array is None else _values(array, name, first)
                check_finite("X", matrix, first_row=first)
                found = None if labels is None else labels(i, batch, first)
            yield Table(matrix, names, is_finite=True), found
            first += len(batch)


def _number_dtype(parts: Sequence[Part], inputs: Sequence[int]) -> Any:
    """float32 where all columns are; ValueError where one holds no numbers."""
    import pyarrow.types as types

    is_single = True
    numeric = types.is_integer, types.is_floating, types.is_boolean, types.is_decimal
    for part in parts:
        for j in inputs if part.num_rows else ():
            name = parts[0].columns[j]
            if name in part.keys:
                is_single = False
                continue
            kind = part.type(name, j)
            if not any(is_kind(_plain(kind)) for is_kind in numeric):
                with part.told():
                    raise ValueError(f"column {name!r} holds {kind}, expected numbers")
            is_single = is_single and types.is_float32(kind)
    return np.float32 if is_single else np.float64


def _labels(parts: Sequence[Part], name: str, j: int) -> Callable[[int, Any, int], np.ndarray]:
    """A function (number of a part, batch, its first row) of the column's labels."""
    if name in parts[0].keys:
        by_part = key_labels(parts, name)
        return lambda i, batch, first: np.repeat(by_part[i : i + 1], len(batch))
    return lambda i, batch, first: _label_values(parts[i].column(batch, name, j), name, first)


def _joined(labels: Sequence[np.ndarray], name: str) -> np.ndarray:
    """Labels of all parts; ValueError where they are of several kinds, and 1, 1.0 and '1' would be one class."""
    found = np.concatenate(labels)
    kinds = {KINDS[part.dtype.kind] for part in labels}
    if len(kinds) > 1 or KINDS[found.dtype.kind] not in kinds:
        dtypes = ", ".join(sorted({str(part.dtype) for part in labels}))
        raise ValueError(f"column {name!r} holds labels of different kinds in its parts ({dtypes})")
    return found


def _plain(kind: Any) -> Any:
    """The type of what a column holds, a dictionary or not."""
    import pyarrow.types as types

    return kind.value_type if types.is_dictionary(kind) else kind


def _values(column: Any, name: str, first_row: int) -> np.ndarray:
    if column.null_count:
        row = first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"row {row}, column {name!r}: a missing value")
    if hasattr(column, "dictionary_decode"):
        column = column.dictionary_decode()
    if str(column.type).startswith("decimal"):
        column = column.cast("string").cast("float64")  # the nearest number, which a cast of its own may miss
    return column.to_numpy(zero_copy_only=False)


def _label_values(column: Any, name: str, first_row: int) -> np.ndarray:
    values = _values(column, name, first_row)
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values):
        for row, value in enumerate(values):
            if value.endswith("\0"):  # which arrays of strings would leave out
                raise ValueError(f"row {first_row + row}, column {name!r}: {value!r}, a label that ends in a NUL")
        return values.astype(str)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"column {name!r} holds {column.type}, expected labels: integers or strings")
    return values
