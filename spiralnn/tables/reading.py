"""Every kind of file, read whole, in blocks of rows, or as the one column that goes with the rows of another."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from . import csv, npy, parquet, parts
from .table import Table, kind_of, told


def read_table(
    path: Path,
    target: str | None = None,
    header: bool | None = None,
    *,
    separator: str | None = None,
    ignore: Sequence[str] = (),
    classes: np.ndarray | None = None,
) -> tuple[Table, np.ndarray | None]:
    """The whole file: finite numbers, and the labels (N,) in the column target, None when none is named.

    target and ignore, which are left out, are a column's name or its number, counted from 0 or, negative, from the end.
    For text, header says whether the first line holds names; None: decided where only one answer is possible. A
    separator of None is a comma, in .tsv a tab. Labels are integers if each is written as one, else strings; beside
    classes, the distinct labels of another table, they are of the same kind if all can be.
    """
    with told(path):
        kind = kind_of(path)
        if kind == ".npy":
            _refuse_columns(target, ignore)
            return npy.read(path), None
        if kind == ".parquet":
            return parquet.read(path, target, ignore)
        return csv.read(path, target, header, separator, ignore, classes)


def can_stay(path: Path) -> bool:
    """Whether the file can be read a run of rows at a time, wherever these are."""
    return kind_of(path) in (".npy", ".parquet")


def named_columns(path: Path, target: str | None, ignore: Sequence[str]) -> tuple[str | None, list[str] | None]:
    """Of a file that can stay, names of the column target and of the inputs: None for .npy, which has none."""
    with told(path):
        if kind_of(path) == ".npy":
            _refuse_columns(target, ignore)
            return None, None
        return parquet.names(path, target, ignore)


def shape_of(path: Path) -> tuple[int, int]:
    """Rows and columns of a file that can stay."""
    with told(path):
        return npy.shape(path) if kind_of(path) == ".npy" else parquet.shape(path)


def blocks(
    path: Path,
    rows: int,
    target: str | None = None,
    header: bool | None = None,
    *,
    separator: str | None = None,
    ignore: Sequence[str] = (),
) -> Iterator[Table]:
    """The file's features in blocks of so many rows, without the column target; see `read_table`."""
    with told(path):
        kind = kind_of(path)
        if kind == ".npy":
            _refuse_columns(target, ignore)
            yield from npy.blocks(path, rows)
        elif kind == ".parquet":
            yield from parquet.blocks(path, rows, target, ignore)
        else:
            yield from csv.blocks(path, rows, target, header, separator, ignore)


def read_column(
    path: Path,
    N: int,
    header: bool | None = None,
    *,
    separator: str | None = None,
    kind: str = "labels",
    classes: np.ndarray | None = None,
) -> np.ndarray:
    """The one column of a file, which goes with N rows of another; see `read_table`.

    kind: what text is read as, "labels" or finite "numbers". Whether there are N is for the caller to check.
    """
    with told(path):
        if kind_of(path) == ".npy":
            return npy.column(path)
        if kind_of(path) == ".parquet":
            return parquet.column(path)
        return csv.column(path, N, header, separator, kind, classes)


def check_installed(path: Path) -> None:
    """TableError unless what it takes to read and write such a file is installed."""
    with told(path):
        if kind_of(path) == ".parquet":
            parts.module()


def _refuse_columns(target: str | None, ignore: Sequence[str]) -> None:
    if target is not None or ignore:
        raise ValueError("an array has no columns to choose from; expected text or Parquet")
