"""Files of named arrays under a JSON header, which model files and checkpoints are: .npz without pickle.

An .npz alone misses some damage (6 of 2 000 single-bit flips changed a number unnoticed), so the header carries a
SHA-256 over itself and every array's name, dtype, shape and bytes. Files are written atomically, and read as bounded
data: nothing is executed, and nothing is allocated that is larger than the file.
"""

import hashlib
import io
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .whole_file import write_atomically

MAX_BYTES = 1 << 34  # of a file, 16 GiB
MAX_HEADER = 1 << 22  # bytes; JSON takes up to 6 times as much once it is read
MAX_DIRECTORY = 1 << 16  # bytes of the zip directory, some 800 arrays; zipfile reads all of it before anybody can look
BLOCK = 1 << 22  # bytes that are digested at a time: what lies apart is copied, and Ctrl-C is heard in between
DTYPE_KINDS = "biufSUmM"  # all whose values are their bytes

END_SIZE, LOCATOR_SIZE, END_64_SIZE = 22, 20, 56  # the last records of a zip file, by the standard


class ModelFileError(ValueError):
    """The file is not a whole, unchanged model file or checkpoint that this version can read."""


class Format(NamedTuple):
    """What files of a kind say of themselves, the newest version of them, and what messages call them."""

    name: str
    version: int
    noun: str


def write(path: Any, form: Format, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write a file that is whole whenever it can be seen; one that was there stays until then.

    OSError when it cannot be written; TypeError for arrays of objects, ValueError for a header beyond MAX_HEADER.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in DTYPE_KINDS:
            raise TypeError(f"{name} has dtype {array.dtype}, which a {form.noun} cannot keep without pickle")
    header = {"format": form.name, "version": form.version, **header}
    header["digest"] = digest(header, arrays)
    text = np.array(json.dumps(header))
    if text.nbytes > MAX_HEADER // 2:  # with room for what surrounds it
        raise ValueError(f"the header would take {text.nbytes} bytes, a {form.noun} keeps at most {MAX_HEADER // 2}")
    buffer = io.BytesIO()
    members: dict[str, Any] = {"header": text, **arrays}
    np.savez(buffer, **members)
    write_atomically(Path(path), buffer.getvalue())


def read(path: Any, form: Format) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(header, arrays) as they were written.

    ModelFileError when the file is damaged, of another kind or of a newer version; OSError when it cannot be opened.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        try:
            return _read(file, form)
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from None
        except MemoryError:
            raise
        except Exception as error:  # of zipfile, zlib, struct, json: whatever damage does to the layers below
            raise ModelFileError(f"{path}: not a whole {form.noun} ({type(error).__name__}: {error})") from None


def _read(file: Any, form: Format) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        raise ModelFileError(f"holds {size} bytes, at most {MAX_BYTES} are read")
    _check_directory(file, size, form)
    with zipfile.ZipFile(file) as archive:
        members: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name == member.filename or not name.isidentifier() or name in members:
                raise ModelFileError(f"unexpected member {member.filename!r}")
            members[name] = member
        if "header" not in members:
            raise ModelFileError(f"no {form.noun}: it has no header")
        header = _header(archive, members.pop("header"), form)
        _check_stored(members.values(), size, form)
        arrays = {name: _array(archive.read(member)) for name, member in members.items()}
    if header.get("digest") != digest(header, arrays):
        raise ModelFileError("its digest does not match its content: the file was changed or damaged")
    return header, arrays


def _check_directory(file: Any, size: int, form: Format) -> None:
    """A zip file ends with the size of its directory, or of two, the second for files beyond 4 GiB."""
    file.seek(max(0, size - END_SIZE - LOCATOR_SIZE - END_64_SIZE))
    tail = file.read()
    end = tail[-END_SIZE:]
    if len(end) < END_SIZE or not end.startswith(b"PK\5\6"):
        raise ModelFileError(f"not a whole {form.noun}: it does not end as one")
    directory = int.from_bytes(end[12:16], "little")
    if tail[-END_SIZE - LOCATOR_SIZE :].startswith(b"PK\6\7"):
        directory = max(directory, int.from_bytes(tail[40:48], "little"))
    if directory > MAX_DIRECTORY:
        raise ModelFileError(f"its directory takes {directory} bytes, a {form.noun} needs at most {MAX_DIRECTORY}")


def _check_stored(members: Any, limit: int, form: Format) -> None:
    """Uncompressed, and not larger than limit in all: what a member says it holds then lies in the file."""
    stored = all(m.compress_type == zipfile.ZIP_STORED and m.compress_size == m.file_size for m in members)
    if not stored or sum(m.file_size for m in members) > limit:
        raise ModelFileError(f"a {form.noun} holds its arrays uncompressed, and each in a place of its own")


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, form: Format) -> dict[str, Any]:
    """The header, whose version is checked before anything else of the file is read."""
    _check_stored([member], MAX_HEADER, form)
    header = json.loads(str(_array(archive.read(member))[()]))
    if not isinstance(header, dict) or header.get("format") != form.name:
        found = header.get("format") if isinstance(header, dict) else header
        raise ModelFileError(f"no {form.noun}: its header says {str(found)[:80]!r}, expected {form.name!r}")
    if header.get("version") != form.version:
        raise ModelFileError(
            f"format version {str(header.get('version'))[:80]}, this spiralnn reads {form.version}: "
            "read it with the spiralnn that wrote it"
        )
    return header


def _array(content: bytes) -> np.ndarray:
    """The array in the bytes of an .npy file. NumPy's own reader would allocate whatever shape the file claims."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of an unknown .npy version")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    start = stream.tell()
    if dtype.kind not in DTYPE_KINDS:
        raise ValueError(f"an array of dtype {dtype}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError(f"an array of {len(content) - start} bytes that claims shape {shape}")
    return np.ndarray(shape, dtype, content, start, order="F" if fortran_order else "C").copy()


def digest(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the header (without its digest) and every array's name, dtype, shape and bytes."""
    sha = hashlib.sha256(json.dumps({k: v for k, v in header.items() if k != "digest"}, sort_keys=True).encode())
    for name in sorted(arrays):
        sha.update(f"{name}:".encode())
        _feed(sha, arrays[name])
    return sha.hexdigest()


def digest_of(*arrays: np.ndarray) -> str:
    """SHA-256 over the dtype, shape and bytes of arrays, in constant memory."""
    sha = hashlib.sha256()
    for array in arrays:
        _feed(sha, array)
    return sha.hexdigest()


def _feed(sha: Any, array: np.ndarray) -> None:
    sha.update(f"{array.dtype.str}:{array.shape}:".encode())
    rows = np.atleast_1d(array)
    step = max(1, BLOCK // max(1, rows[:1].nbytes))
    for start in range(0, len(rows), step):
        sha.update(rows[start : start + step].tobytes())
