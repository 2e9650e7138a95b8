"""Parquet files, decoded in batches of rows by pyarrow."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checks.arrays import check_finite
from .table import Table, choose_columns

BATCH_ROWS = 1 << 16  # decoded at a time


def module() -> Any:
    """pyarrow.parquet; ValueError where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise ValueError("Parquet files need pyarrow: pip install 'spiralnn[parquet]'") from None
    return pyarrow.parquet


class _Whole:
    """A file."""

    def __init__(self, path: Path) -> None:
        self._file = module().ParquetFile(path)
        self.schema, self.num_rows = self._file.schema_arrow, self._file.metadata.num_rows

    def batches(self, rows: int) -> Iterator[Any]:
        return self._file.iter_batches(batch_size=rows)


class _Folder:
    """Part files of a folder, in the order of their names, with columns that folders within it are called after."""

    def __init__(self, path: Path) -> None:
        module()
        import pyarrow.dataset

        parts = pyarrow.dataset.dataset(path, format="parquet", partitioning="hive")
        self._parts = sorted(parts.get_fragments(), key=lambda part: part.path)
        if not self._parts:
            raise ValueError("is a folder without Parquet files")
        self.schema, self.num_rows = parts.schema, parts.count_rows()

    def batches(self, rows: int) -> Iterator[Any]:
        for part in self._parts:
            yield from filter(len, part.to_batches(schema=self.schema, batch_size=rows))


def _open(path: Path) -> _Whole | _Folder:
    return _Folder(path) if path.is_dir() else _Whole(path)


def read(path: Path, target: str | None, ignore: Sequence[str]) -> tuple[Table, np.ndarray | None]:
    file = _open(path)
    labels: list[Any] = []
    first = 0
    for block, some in _blocks(file, BATCH_ROWS, target, ignore):
        if first == 0:
            matrix = np.empty((file.num_rows, block.shape[1]), block.matrix.dtype)
        matrix[first : first + len(block)] = block.matrix
        labels.append(some)
        first += len(block)
    return Table(matrix, block.columns, is_finite=True), None if target is None else np.concatenate(labels)


def names(path: Path, target: str | None, ignore: Sequence[str]) -> tuple[str | None, list[str]]:
    """Of the column that holds the labels, and of the inputs."""
    _, columns = _columns(_open(path))
    place, inputs = choose_columns(target, ignore, columns, len(columns))
    return None if place is None else columns[place], [columns[i] for i in inputs]


def shape(path: Path) -> tuple[int, int]:
    file = _open(path)
    return file.num_rows, len(_columns(file)[0])


def blocks(path: Path, rows: int, target: str | None, ignore: Sequence[str]) -> Iterator[Table]:
    left_out = [*ignore, *([] if target is None else [target])]
    for block, _ in _blocks(_open(path), rows, None, left_out):
        yield block


def column(path: Path) -> np.ndarray:
    file = _open(path)
    kept, columns = _columns(file)
    if len(kept) != 1:
        raise ValueError(f"holds {len(kept)} columns, expected 1")
    parts, first = [], 0
    for batch in file.batches(BATCH_ROWS):
        parts.append(_label_values(batch.column(kept[0]), columns[0], first))
        first += len(batch)
    if not parts:
        raise ValueError("holds no rows")
    return np.concatenate(parts)


def _columns(file: Any) -> tuple[list[int], list[str]]:
    """Numbers and names of the columns that are not a DataFrame's index."""
    schema = file.schema
    index = {name for name in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(name, str)}
    kept = [j for j, name in enumerate(schema.names) if name not in index]
    return kept, [schema.names[j] for j in kept]


def _blocks(
    file: Any, rows: int, target: str | None, ignore: Sequence[str]
) -> Iterator[tuple[Table, np.ndarray | None]]:
    import pyarrow.types as types

    kept, columns = _columns(file)
    place, inputs = choose_columns(target, ignore, columns, len(columns))
    if not file.num_rows:
        raise ValueError("holds no rows")
    names = [columns[i] for i in inputs]
    kinds = [file.schema.types[kept[i]] for i in inputs]
    for name, kind in zip(names, kinds, strict=True):
        numeric = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
        if not any(is_kind(kind) for is_kind in numeric):
            raise ValueError(f"column {name!r} holds {kind}, expected numbers")
    dtype = np.float32 if all(map(types.is_float32, kinds)) else np.float64

    first = 0
    for batch in file.batches(rows):
        matrix = np.empty((len(batch), len(inputs)), dtype)
        for j, i in enumerate(inputs):
            matrix[:, j] = _values(batch.column(kept[i]), columns[i], first)
        check_finite("X", matrix, first_row=first)
        labels = None if place is None else _label_values(batch.column(kept[place]), columns[place], first)
        yield Table(matrix, names, is_finite=True), labels
        first += len(batch)


def _values(column: Any, name: str, first_row: int) -> np.ndarray:
    if column.null_count:
        row = first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"row {row}, column {name!r}: a missing value")
    if str(column.type).startswith("decimal"):
        column = column.cast("string").cast("float64")  # the nearest number, which a cast of its own may miss
    return column.to_numpy(zero_copy_only=False)


def _label_values(column: Any, name: str, first_row: int) -> np.ndarray:
    if hasattr(column, "dictionary_decode"):
        column = column.dictionary_decode()
    values = _values(column, name, first_row)
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values):
        return values.astype(str)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"column {name!r} holds {column.type}, expected labels: integers or strings")
    return values
