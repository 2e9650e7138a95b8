"""What `open_rows` is given, as sources: paths, folders, arrays, or lists of them."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checks.frames import columns_of
from ..checks.values import as_array
from .npy import RawRows, of_memmap, open_npy
from .shards import joined
from .source import Memory, Source

NPY, PARQUET = ".npy", ".parquet"


class Part(NamedTuple):
    """value: the path of a file, or an array. called: so, in messages."""

    value: str | np.ndarray
    called: str

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.value)[1].lower() if isinstance(self.value, str) else ""


def is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def parts_of(name: str, value: Any) -> list[Part]:
    """Files or arrays, from an argument that holds one or several; folders as the files in them."""
    is_list = isinstance(value, list | tuple) and any(is_path(one) or _is_array(one) for one in value)
    parts: list[Part] = []
    for i, one in enumerate(value if is_list else [value]):
        if is_path(one):
            path = os.fsdecode(one)
            files = files_in(path) if os.path.isdir(path) else [path]
            parts += (Part(file, repr(file)) for file in files)
        else:
            table = columns_of(one) if name == "X" else None
            array = as_array(name, one) if table is None else table.matrix()
            parts.append(Part(array, f"array {i} of {name}" if is_list else name))
    for part in parts:
        if isinstance(part.value, str) and part.suffix not in (NPY, PARQUET):
            raise ValueError(f"{name}: rows cannot be read from {part.called}, expected a {NPY} or {PARQUET} file")
    return parts


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and np.ndim(value) > 0


def files_in(folder: str) -> list[str]:
    """Part files, in the order of their names; marks of other programs begin with a dot or an underscore.

    ValueError where there are folders in it: who left them out would leave out rows.
    """
    names = [name for name in sorted(os.listdir(folder)) if not name.startswith((".", "_"))]
    for name in names:
        if os.path.isdir(os.path.join(folder, name)):
            raise ValueError(f"the folder {folder!r} holds the folder {name!r}, expected part files alone")
    files = [os.path.join(folder, name) for name in names if name.lower().endswith((NPY, PARQUET))]
    if not files:
        raise ValueError(f"the folder {folder!r} holds no {NPY} or {PARQUET} files, expected one at least")
    return files


def all_parquet(name: str, parts: Sequence[Part]) -> bool:
    """Whether these are Parquet files; ValueError where only some are."""
    first = parts[0]
    for part in parts:
        if (part.suffix == PARQUET) != (first.suffix == PARQUET):
            raise ValueError(f"{name}: {part.called} is of another kind than {first.called}, expected one kind")
    return first.suffix == PARQUET


def matrix_of(parts: Sequence[Part]) -> Source:
    """X, of .npy files and arrays."""
    sources = [_source(part) for part in parts]
    for part, source in zip(parts, sources, strict=True):
        if source.dtype.kind not in "fiub":
            raise TypeError(f"{part.called} has dtype {source.dtype}, expected real numbers")
        if len(source.shape) != 2 or source.shape[1] == 0:
            raise ValueError(f"{part.called} has shape {source.shape}, expected (N, D): samples, features")
    return joined("X", sources, [part.called for part in parts])


def vector_of(name: str, parts: Sequence[Part], kinds: str, expected: str) -> Source:
    """y or weights, of .npy files and arrays: (N,), or (N, 1)."""
    sources = [_flat(_source(part)) for part in parts]
    for part, source in zip(parts, sources, strict=True):
        if source.dtype.kind not in kinds:
            raise TypeError(f"{part.called} has dtype {source.dtype}, expected {expected}")
        if len(source.shape) != 1:
            raise ValueError(f"{part.called} has shape {source.shape}, expected (N,): one value a row")
    return joined(name, sources, [part.called for part in parts])


def _source(part: Part) -> Source:
    value = part.value
    if isinstance(value, str):
        return open_npy(value)
    try:
        found = of_memmap(value)
    except ValueError as error:
        raise ValueError(f"{part.called}: {error}") from None
    if found is not None:
        return found
    if value.dtype.kind == "O" and all(isinstance(one, str) for one in value.flat):
        value = value.astype(str)
    return Memory(value)


def _flat(source: Source) -> Source:
    """A column (N, 1) as (N,)."""
    if len(source.shape) != 2 or source.shape[1] != 1:
        return source
    if isinstance(source, RawRows):
        return source.flat()
    assert isinstance(source, Memory)
    return Memory(source.array[:, 0])
