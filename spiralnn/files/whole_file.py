"""Files that are whole whenever they can be seen: temporary file, fsync, rename."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file, or leave what is there as it is. mode: permissions, less what the umask takes away."""
    with replacing(path, mode) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """The same for a file that is written bit by bit: it takes its place once it is whole."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of writers of this file that were killed."""
    for leftover in path.parent.glob(f"{escape(path.name)}.{'[0-9a-f]' * 12}.tmp"):
        with suppress(OSError):
            leftover.unlink()


def unwritable(path: Path, what: str, error: OSError) -> str:
    """What to say where something could not be written."""
    return f"cannot write {what} to {str(path)!r}: {error.strerror or error}"
