"""Rows of Parquet files: columns chosen by name, decoded row group by row group, each time or once into a raw file."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..files.whole_file import replacing, unwritable
from .disk import SteadyFile
from .npy import RawRows, open_npy
from .source import Room, RowError, RowsError, Stored

BATCH_NUMBERS = 1 << 20  # decoded at a time where rows go into a raw file
MADE = 1  # counts up when decoding comes to other numbers: raw files of before are then not found


def pyarrow() -> Any:
    """The module, with its parts; ImportError that says where it comes from."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise ImportError("Parquet files need pyarrow: pip install spiralnn[parquet]") from None
    return pyarrow


class Container(NamedTuple):
    """A Parquet file. starts: the first row of each group, and N. types: of columns by name, an index left out."""

    file: SteadyFile
    starts: np.ndarray
    types: dict[str, Any]

    @property
    def N(self) -> int:
        return int(self.starts[-1])


def open_parquet(path: Any) -> Container:
    """ValueError where it is no Parquet file."""
    pa, file = pyarrow(), SteadyFile(path)
    try:
        with pa.parquet.ParquetFile(file.path) as opened:
            schema, metadata = opened.schema_arrow, opened.metadata
            lengths = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        file.check(0)
        raise ValueError(f"{file.name!r} is no whole Parquet file: {error}") from None
    index = {name for name in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(name, str)}
    names = [name for name in schema.names if name not in index]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{file.name!r} holds two columns {twice!r}, expected names that differ")
    types = {name: schema.field(name).type for name in names}
    types = {name: kind.value_type if pa.types.is_dictionary(kind) else kind for name, kind in types.items()}
    return Container(file, np.cumsum([0, *lengths]), types)


class DecodedRows(Stored):
    """Columns of a Parquet file, whose row groups are decoded where they are read; a thread keeps its last one.

    shape (N, D) for several names, (N,) for one that is `flat`.
    """

    def __init__(self, container: Container, names: Sequence[str], dtype: Any, *, flat: bool = False) -> None:
        self._file, self._starts, _ = container
        self._names = list(names)
        self.shape = (container.N,) if flat else (container.N, len(self._names))
        self.dtype = np.dtype(dtype)

    def fill(self, start: int, stop: int, out: np.ndarray, room: Room) -> None:
        first = start
        while first < stop:
            group = int(np.searchsorted(self._starts, first, side="right")) - 1
            before, last = int(self._starts[group]), min(stop, int(self._starts[group + 1]))
            if room.kept is None or room.kept[0] != (self._file.path, group):
                room.kept = None  # two groups at once would need twice the memory
                room.kept = (self._file.path, group), *self._group(group)
            _, rows, error = room.kept
            if error is not None and error.row < last:
                raise error
            out[first - start : last - start] = rows[first - before : last - before]
            first = last

    def batches(self) -> Iterator[np.ndarray]:
        """All rows, one batch after the other; RowError for the first value that is missing."""
        first = 0
        for table in self._tables():
            rows, error = self._array(table, first)
            if error is not None:
                raise error
            yield rows
            first += len(rows)

    def digest(self) -> str:
        """Of the file, as it is, and of what is wanted of it."""
        file, dtype = self._file, "" if self.dtype.kind == "U" else self.dtype.str
        what = [MADE, file.path, file.size, file.modified, self._names, len(self.shape), dtype]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def place(self, row: int) -> str:
        return f"row {row} of {self._file.name!r}"

    def identity(self) -> list[Any]:
        return [*super().identity(), self._file.size]

    def with_room(self) -> "DecodedRows":
        """Itself, its dtype wide enough for all strings, where they are that."""
        if self.dtype == np.dtype("U"):
            compute, most = pyarrow().compute, 1
            for table in self._tables():
                column = _plain(table.column(0))
                if compute.any(compute.ends_with(column, "\0")).as_py():
                    raise ValueError(f"column {self._names[0]!r} of {self._file.name!r} holds labels that end in a NUL")
                most = max(most, compute.max(compute.utf8_length(column)).as_py() or 0)
            self.dtype = np.dtype(f"U{most}")
        return self

    @property
    def file(self) -> SteadyFile:
        return self._file

    def _tables(self) -> Iterator[Any]:
        """All of it, in batches."""
        pa, n = pyarrow(), max(1, BATCH_NUMBERS // len(self._names))

        def read(opened: Any, group: int) -> Iterator[Any]:
            return (pa.Table.from_batches([batch]) for batch in opened.iter_batches(n, [group], self._names))

        for group in range(len(self._starts) - 1):
            yield from self._decoded(group, read)

    def _group(self, group: int) -> tuple[np.ndarray, RowError | None]:
        def read(opened: Any, group: int) -> Any:
            return [opened.read_row_group(group, self._names, use_threads=False)]

        (table,) = self._decoded(group, read)
        return self._array(table, int(self._starts[group]))

    def _decoded(self, group: int, read: Any) -> Iterator[Any]:
        """Tables that are read of a row group. RowsError where that fails, or the file is no longer what it was."""
        pa, row = pyarrow(), int(self._starts[group])
        try:
            with pa.parquet.ParquetFile(self._file.path, pre_buffer=False) as opened:
                yield from read(opened, group)
        except (pa.ArrowException, OSError) as error:
            self._file.check(row)
            raise self._file.failure(str(error), row) from error
        self._file.check(row)  # after all was read: it is that of the file as it is now

    def _array(self, table: Any, first_row: int) -> tuple[np.ndarray, RowError | None]:
        """(rows, what is wrong with the first one that lacks a value) of a table."""
        rows, error = np.empty((len(table), *self.shape[1:]), self.dtype), None
        for j, name in enumerate(self._names):
            values, is_missing = _values(table.column(name))
            if is_missing is not None:
                row = first_row + int(is_missing.argmax())
                if error is None or row < error.row:
                    text = f"column {name!r} has no value in {self.place(row)}, expected one in every row"
                    error = RowError(text, row)
            if rows.ndim == 2:
                rows[:, j] = values
            else:
                rows[:] = values
        return rows, error


def _values(column: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """(values, where they are missing or None) of a column; what stands there in the place of missing ones is open."""
    pa, column, is_missing = pyarrow(), _plain(column), None
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.string()).cast(pa.float64())  # the nearest number, which a cast of its own may miss
    if column.null_count:
        is_missing = column.is_null().to_numpy()
        column = column.fill_null(pa.scalar("" if is_string(column.type) else 0).cast(column.type))
    return column.to_numpy(), is_missing


def _plain(column: Any) -> Any:
    """The column without a dictionary, its strings in the one form that all of pyarrow takes."""
    pa, kind = pyarrow(), column.type
    column = column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column
    return column.cast(pa.large_string()) if str(column.type) == "string_view" else column


def is_string(kind: Any) -> bool:
    return str(kind) in ("string", "large_string", "string_view")


def number_dtype(containers: Sequence[Container], names: Sequence[str], what: str) -> np.dtype:
    """float32 where all these columns are, else float64. TypeError where one holds no real numbers."""
    types, is_single = pyarrow().types, True
    numeric = types.is_floating, types.is_integer, types.is_boolean, types.is_decimal
    for container in containers:
        for name in names if container.N else ():
            kind = container.types[name]
            if not any(is_kind(kind) for is_kind in numeric):
                raise TypeError(
                    f"column {name!r} of {container.file.name!r} holds {kind}, expected real numbers in {what}"
                )
            is_single = is_single and types.is_float32(kind)
    return np.dtype(np.float32 if is_single else np.float64)


def number_rows(container: Container, names: Sequence[str], dtype: np.dtype, flat: bool, folder: Path | None) -> Stored:
    """Columns of a file as real numbers. folder: for raw files, or None."""
    rows = DecodedRows(container, names, dtype, flat=flat)
    return rows if folder is None else _cached(rows, folder)


def label_rows(container: Container, name: str, folder: Path | None) -> Stored:
    """A column as labels: of its own dtype, or strings as wide as the longest. TypeError for any other kind."""
    pa, kind = pyarrow(), container.types[name]
    types = pa.types
    if types.is_decimal(kind):
        kind = pa.float64()
    elif not container.N:
        kind = pa.int8()  # whatever it is called, there is nothing of it
    plain = types.is_floating, types.is_integer, types.is_boolean
    if not is_string(kind) and not any(is_kind(kind) for is_kind in plain):
        raise TypeError(
            f"column {name!r} of {container.file.name!r} holds {kind}, expected labels: whole numbers or strings"
        )
    rows = DecodedRows(container, [name], "U" if is_string(kind) else kind.to_pandas_dtype(), flat=True)
    return rows.with_room() if folder is None else _cached(rows, folder)


def _cached(rows: DecodedRows, folder: Path) -> RawRows:
    """The rows as a raw file of the folder, made where it is not there: its name tells of what."""
    path = folder / f"{rows.digest()}.npy"
    try:
        found = open_npy(path, rows)
        if found.shape == rows.shape and found.dtype.kind == rows.dtype.kind:
            rows.dtype = found.dtype
            return found
    except (OSError, ValueError):  # not there, or damaged
        pass
    rows.with_room()
    header = {"descr": rows.dtype.str, "fortran_order": False, "shape": rows.shape}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for batch in rows.batches():
                file.write(batch.reshape(-1).view(np.uint8).data)
    except RowsError:
        raise
    except OSError as error:
        raise RowsError(unwritable(path, f"the decoded rows of {rows.file.name!r}", error)) from error
    return open_npy(path, rows)
