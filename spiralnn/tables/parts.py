"""Parquet as files of the same columns: one, or all those of a folder and of the folders in it."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from .fields import number, typed

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # what others call a folder of rows without a value


def module() -> Any:
    """pyarrow.parquet; ValueError where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise ValueError("Parquet files need pyarrow: pip install 'spiralnn[parquet]'") from None
    return pyarrow.parquet


class Part:
    """A file. called: in messages; keys: values of columns, which the folders that it lies in are called after.

    names, types: of its own columns but a DataFrame's index.
    """

    def __init__(self, path: Path, called: str = "", keys: dict[str, str] | None = None) -> None:
        self.path, self.keys = path, keys or {}
        self.called = called
        with self.told(), module().ParquetFile(path) as file:
            schema, self.num_rows = file.schema_arrow, int(file.metadata.num_rows)
        index = {name for name in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(name, str)}
        self._kept = [j for j, name in enumerate(schema.names) if name not in index]
        self.names = [schema.names[j] for j in self._kept]
        self.types = [schema.types[j] for j in self._kept]
        for key in self.keys:
            if key in self.names:
                raise ValueError(f"{called}: holds a column {key!r}, which its folder is called after, too")

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """What is wrong with the file, told with its name."""
        try:
            yield
        except ValueError as error:  # of ours, and pyarrow's
            raise ValueError(f"{self.called}: {error}" if self.called else str(error)) from None

    @property
    def columns(self) -> list[str]:
        return [*self.names, *self.keys]

    def type(self, name: str, j: int) -> Any:
        """Of the column called so, which in the first part is column j; None for a key."""
        return None if name in self.keys else self.types[self._place(name, j)]

    def batches(self, rows: int) -> Iterator[Any]:
        with module().ParquetFile(self.path) as file:
            yield from filter(len, file.iter_batches(batch_size=rows))

    def column(self, batch: Any, name: str, j: int) -> Any:
        return None if name in self.keys else batch.column(self._kept[self._place(name, j)])

    def _place(self, name: str, j: int) -> int:
        is_there = j < len(self.names) and self.names[j] == name
        return j if is_there else self.names.index(name)


def parts_of(path: Path) -> list[Part]:
    """The file, or those in a folder in the order of their names; ValueError where one has other columns."""
    if not path.is_dir():
        return [Part(path)]
    module()
    files = sorted(_files(path))
    parquet = [name for name in files if name.lower().endswith(".parquet")] or files
    if not parquet:
        raise ValueError("is a folder without Parquet files")
    parts = [Part(path / name, name, _keys(name)) for name in parquet]
    first = parts[0]
    for part in parts:
        for one, other in ((part, first), (first, part)):
            for name in other.columns:
                if name not in one.columns:
                    raise ValueError(f"{one.called}: has no column {name!r}, but {other.called} has")
    return parts


def _files(folder: Path) -> Iterator[str]:
    """Those in it and in its folders, relative to it; marks of other programs begin with a dot or an underscore."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        where = Path(root).relative_to(folder)
        yield from ((where / name).as_posix() for name in names if not name.startswith((".", "_")))


def _keys(name: str) -> dict[str, str]:
    """Of the folders called column=value."""
    pairs = (folder.split("=", 1) for folder in name.split("/")[:-1] if "=" in folder)
    return {unquote(key): unquote(value) for key, value in pairs}


def key_numbers(parts: Sequence[Part], name: str) -> list[float]:
    """A column that folders are called after, a number for each part."""
    found = []
    for part in parts:
        value = number(part.keys[name])
        if value is None:
            missing = " a missing value;" * (part.keys[name] in ("", NO_VALUE))
            raise ValueError(f"{part.called}: column {name!r} is {part.keys[name]!r},{missing} expected numbers")
        found.append(value)
    return found


def key_labels(parts: Sequence[Part], name: str) -> np.ndarray:
    """The same as labels: integers where all are plain ones, else strings, as in text."""
    texts = [part.keys[name] for part in parts]
    for part, text in zip(parts, texts, strict=True):
        if text in ("", NO_VALUE):
            raise ValueError(f"{part.called}: column {name!r} is {text!r}, a missing label")
    return typed(texts, "i")
