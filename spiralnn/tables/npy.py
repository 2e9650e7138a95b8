"""Arrays in .npy files. One that would take much of the memory stays on disk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..checks.arrays import check_finite, feature_matrix
from ..resources import available_memory
from .table import Table

MAPPED_SHARE = 0.25  # of the memory available, from which on an array stays on disk


def read(path: Path) -> Table:
    matrix = _open_matrix(path)
    if matrix.nbytes < MAPPED_SHARE * available_memory():
        matrix = np.array(matrix)  # a mapped file that is cut while in use would end the process
    check_finite("X", matrix)
    return Table(matrix, is_finite=True)


def shape(path: Path) -> tuple[int, int]:
    found: tuple[int, int] = _open_matrix(path).shape
    return found


def blocks(path: Path, rows: int) -> Iterator[Table]:
    matrix = _open_matrix(path)
    for start in range(0, len(matrix), rows):
        block = matrix[start : start + rows]
        check_finite("X", block, first_row=start)
        yield Table(block, is_finite=True)


def column(path: Path) -> np.ndarray:
    """Labels or weights: a column (N, 1) is flattened, bytes become strings."""
    values = _open(path)
    if values.dtype.kind not in "biufSU":
        raise ValueError(f"holds {values.dtype}, expected numbers or strings")
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    return values.astype(str) if values.dtype.kind == "S" else np.array(values)


def _open(path: Path) -> np.ndarray:
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
    matrix = _open(path)
    feature_matrix(matrix[:1] if matrix.ndim else matrix, finite=False)  # says what is wrong with dtype or shape
    return matrix
