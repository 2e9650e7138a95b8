"""A table in memory, the kinds of files it comes from, and the columns that are asked for."""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .fields import is_integer

TEXT_KINDS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
KINDS = (".npy", *TEXT_KINDS, ".parquet")


class TableError(ValueError):
    """What is wrong with a file, in one line that says where."""


class Table:
    """A matrix (N, D), with the names of its columns if the file has them: to an estimator what a DataFrame is.

    is_finite: whether all numbers are known to be finite, as in every table that is read.
    """

    def __init__(self, matrix: np.ndarray, columns: Sequence[str] | None = None, is_finite: bool = False) -> None:
        self.matrix, self.columns, self.is_finite = matrix, columns, is_finite
        self.shape = matrix.shape

    def __len__(self) -> int:
        return len(self.matrix)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.matrix, dtype) if copy else np.asarray(self.matrix, dtype)

    def rows(self, places: np.ndarray) -> "Table":
        return Table(self.matrix[places], self.columns, self.is_finite)

    def astype(self, dtype: Any) -> "Table":
        with np.errstate(over="ignore"):
            matrix = self.matrix.astype(dtype, copy=False)
        return Table(matrix, self.columns, self.is_finite and np.can_cast(self.matrix.dtype, dtype))


def table_path(text: str) -> Path:
    """Parser of an option's value: a file of one of KINDS, or a folder of Parquet files."""
    path = Path(text)
    if not (path.name.lower().endswith(KINDS) or path.is_dir()):
        raise argparse.ArgumentTypeError(f"{text!r} given, expected a file ending in {', '.join(KINDS)}")
    return path


def kind_of(path: Path) -> str:
    """Which of KINDS the file is, by its name; a folder of any name is Parquet."""
    for kind in KINDS:
        if path.name.lower().endswith(kind):
            return kind
    if path.is_dir():
        return ".parquet"
    raise ValueError(f"expected a file ending in {', '.join(KINDS)}")


def is_npy(path: Path) -> bool:
    return kind_of(path) == ".npy"


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """What goes wrong with a file as a TableError that names the file."""
    try:
        yield
    except OSError as error:
        raise TableError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except (ValueError, TypeError, NotImplementedError) as error:  # of ours, and pyarrow's
        raise TableError(f"{path}: {error}") from error


def choose_columns(
    target: str | None, ignore: Sequence[str], columns: Sequence[str] | None, width: int
) -> tuple[int | None, list[int]]:
    """Places of the labels and of the inputs: all columns but the labels and those to leave out."""
    place = None if target is None else find_column(target, columns, width)
    ignored = {find_column(name, columns, width) for name in ignore}
    if place in ignored:
        raise ValueError(f"column {target!r} holds the labels and is to be left out")
    inputs = [j for j in range(width) if j != place and j not in ignored]
    if not inputs:
        raise ValueError(f"holds no column beside {'the labels' if target is not None else 'those to leave out'}")
    return place, inputs


def find_column(wanted: str, columns: Sequence[str] | None, width: int) -> int:
    """The place of a column called so; or with this number, from 0 or, negative, from the end."""
    named = [] if columns is None else [j for j, name in enumerate(columns) if name == wanted]
    if len(named) == 1:
        return named[0]
    if len(named) > 1:
        raise ValueError(f"{len(named)} columns are called {wanted!r}")
    if is_integer(wanted):
        if -width <= int(wanted) < width:
            return int(wanted) % width
        raise ValueError(f"has no column {wanted}: expected 0 to {width - 1}, or -1 for the last")
    known = "they have no names" if columns is None else some(columns, 20)
    raise ValueError(f"has no column {wanted!r}: {known}")


def some(texts: Sequence[str], most: int) -> str:
    return ", ".join(map(repr, texts[:most])) + ", ..." * (len(texts) > most)
