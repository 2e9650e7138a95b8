"""Rows of .npy files, and of files that are mapped into memory: bytes of one row after the other."""

import mmap
from typing import Any, BinaryIO

import numpy as np

from .disk import SteadyFile
from .source import Room, RowsError, Stored

OBJECTS = (
    "holds pickled Python objects, which are never read: save an array of numbers or of strings of fixed width, "
    "numpy.save(path, y.astype(str))"
)


class RawRows(Stored):
    """Rows of one dtype that lie in a file from byte `offset` on; RowsError unless all are there.

    shape: (N, D) or (N,). origin: the source whose decoded rows they are, which tells what they are called.
    """

    def __init__(
        self, file: SteadyFile, shape: tuple[int, ...], dtype: Any, offset: int, origin: Stored | None = None
    ) -> None:
        self._file, self.shape, self.dtype, self._offset, self._origin = file, shape, np.dtype(dtype), offset, origin
        self._row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * self.dtype.itemsize
        expected = offset + shape[0] * self._row_bytes
        if file.size < expected:
            raise RowsError(
                f"{file.name!r} is cut: {shape} numbers of {self.dtype} end at byte {expected}, but it has {file.size}"
            )

    def flat(self) -> "RawRows":
        """Rows of one number each, as (N,)."""
        return RawRows(self._file, self.shape[:1], self.dtype, self._offset, self._origin)

    def fill(self, start: int, stop: int, out: np.ndarray, room: Room) -> None:
        # strings may be wanted wider than they are here, as another file has them
        rows = out if out.dtype == self.dtype else np.empty((stop - start, *self.shape[1:]), self.dtype)
        self._file.read(self._offset + start * self._row_bytes, rows, start)
        if rows is not out:
            out[...] = rows

    def place(self, row: int) -> str:
        return self._origin.place(row) if self._origin is not None else f"row {row} of {self._file.name!r}"

    def identity(self) -> list[Any]:
        return self._origin.identity() if self._origin is not None else [*super().identity(), self._file.size]


def open_npy(path: Any, origin: Stored | None = None) -> RawRows:
    """Rows of a .npy file. ValueError where it is none, holds objects, or columns one after the other."""
    file = SteadyFile(path)
    with open(file.path, "rb") as opened:
        try:
            shape, is_fortran, dtype = _read_header(opened)
        except ValueError as error:
            raise ValueError(f"{file.name!r} is no whole .npy file: {error}") from None
        offset = opened.tell()
    if dtype.hasobject:
        raise ValueError(f"{file.name!r} {OBJECTS}")
    if not shape:
        raise ValueError(f"{file.name!r} holds a single value, expected rows")
    if is_fortran and shape[0] > 1 and len(shape) > 1 and shape[1] != 1:
        raise ValueError(
            f"{file.name!r} holds column after column (Fortran order), expected row after row: "
            "numpy.save(path, numpy.ascontiguousarray(numpy.load(path))) converts it"
        )
    return RawRows(file, shape, dtype, offset, origin)


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, is_fortran, dtype)."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version not in ((2, 0), (3, 0)):
        raise ValueError(f"its version is {version[0]}.{version[1]}, expected 1.0, 2.0 or 3.0")
    # version 3 differs in how it writes the names of fields, which no rows of numbers have
    return np.lib.format.read_array_header_2_0(file)


def of_memmap(array: np.ndarray) -> RawRows | None:
    """An array in a mapped file as rows of that file; None for any other. ValueError where they are no such rows."""
    owner: Any = array
    while owner is not None and not isinstance(owner, np.memmap):
        owner = getattr(owner, "base", None)
    mapping = getattr(owner, "_mmap", None)
    if owner is None or mapping is None:
        return None
    if owner.filename is None:
        raise ValueError("the memmap's file has no name by which it could be read, expected one opened by name")
    if owner.mode == "c":
        raise ValueError("the memmap has mode 'c', so that its file lacks what was written to it: expected mode 'r'")
    if not array.flags.c_contiguous:
        raise ValueError(
            "the memmap's rows do not lie one after the other, expected a C-contiguous run of rows: columns= of "
            "open_rows chooses columns"
        )
    if array.dtype.hasobject:
        raise ValueError(f"the memmap {OBJECTS}")
    if owner.mode != "r":
        mapping.flush()  # lest the system, once it does so, takes the file for changed
    first = owner.offset - owner.offset % mmap.ALLOCATIONGRANULARITY  # byte of the file that the mapping begins with
    offset = first + _address(array) - _address(np.frombuffer(mapping, np.uint8))
    return RawRows(SteadyFile(owner.filename), array.shape, array.dtype, offset)


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
