"""Parquet files of the same columns as one table, and the columns of it that are wanted."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checks.scalars import whole_number
from .parquet import Container, label_rows, number_dtype, number_rows
from .parts import NPY, PARQUET, is_path
from .shards import joined
from .source import Source


class Table:
    """folder: for raw files, or None. ValueError where files have other columns than the first."""

    def __init__(self, containers: Sequence[Container], folder: Path | None) -> None:
        self._containers, self._folder = containers, folder
        self._called = [repr(container.file.name) for container in containers]
        self.columns = list(containers[0].types)
        for container, called in zip(containers, self._called, strict=True):
            _check_has(called, list(container.types), self._called[0], self.columns)
            _check_has(self._called[0], self.columns, called, list(container.types))

    def named(self, name: str, value: Any) -> str | None:
        """The column that an argument names; None for whatever else it is. ValueError for a name that is not there."""
        if not isinstance(value, str) or value in self.columns:
            return value if isinstance(value, str) else None
        if value.lower().endswith((NPY, PARQUET)) or Path(value).is_dir():
            return None
        raise ValueError(
            f"{name} is {value!r}, but {self._called[0]} has no such column: expected one of {_some(self.columns)}, or "
            "a file"
        )

    def only_column(self, name: str) -> str:
        if len(self.columns) != 1:
            raise ValueError(
                f"{self._called[0]} has {len(self.columns)} columns, expected 1 for {name}; a column of X is asked for "
                "by its name"
            )
        return self.columns[0]

    def chosen(self, columns: Any, taken: Mapping[str, str | None]) -> list[str]:
        """Columns by number or name; all but those that are taken by others where there is no choice."""
        if columns is None:
            found = [name for name in self.columns if name not in taken.values()]
            if not found:
                raise ValueError(f"{self._called[0]} has no columns but {_some(self.columns)}, expected some for X")
            return found
        found = []
        for one in _sequence(columns):
            if not isinstance(one, str):
                found += (self.columns[j] for j in chosen_numbers([one], len(self.columns), self._called[0]))
            elif one in self.columns:
                found.append(one)
            else:
                raise ValueError(f"{self._called[0]} has no column {one!r}, expected one of {_some(self.columns)}")
        _check_different(found)
        for name, own in taken.items():
            if own in found:
                raise ValueError(f"columns holds {own!r}, which is {name}, expected others")
        return found

    def numbers(self, name: str, columns: Sequence[str], *, flat: bool = False) -> Source:
        dtype = number_dtype(self._containers, columns, name)
        parts = [number_rows(container, columns, dtype, flat, self._folder) for container in self._containers]
        return joined(name, parts, self._called)

    def weights(self, column: str) -> Source:
        return self.numbers("sample_weight", [column], flat=True)

    def labels(self, column: str) -> Source:
        return joined("y", [label_rows(one, column, self._folder) for one in self._containers], self._called)


def _check_has(called: str, columns: Sequence[str], other: str, wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in columns:
            raise ValueError(f"{called} has no column {name!r}, but {other} has: expected the same in all files")


def chosen_numbers(columns: Any, D: int, called: str) -> list[int]:
    """Columns by number, of D."""
    found = []
    for one in _sequence(columns):
        if isinstance(one, str):
            raise TypeError(f"columns holds {one!r}, but {called} has no names, expected numbers from 0 to {D - 1}")
        if whole_number("a column's number", one, 0) >= D:
            raise ValueError(f"columns holds {one}, but {called} has columns 0 to {D - 1}")
        found.append(int(one))
    _check_different(found)
    return found


def _sequence(columns: Any) -> Iterable[Any]:
    if is_path(columns) or not np.iterable(columns):
        raise TypeError(f"columns is {columns!r}, expected a sequence of columns")
    listed = list(columns)
    if not listed:
        raise ValueError("columns is empty, expected one column at least")
    return listed


def _check_different(columns: Sequence[Any]) -> None:
    if len(set(columns)) < len(columns):
        twice = next(one for one in columns if columns.count(one) > 1)
        raise ValueError(f"columns holds {twice!r} twice, expected different ones")


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + ", ..." * (len(names) > 10)
