"""A file of text, taken in pieces of whole lines or, exactly, record by record."""

import contextlib
import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, cast

PIECE = 1 << 23  # bytes read at a time: at half of it a table takes a tenth longer to read
HEAD = 1 << 16  # bytes taken apart for one record
MARK = b"\xef\xbb\xbf"  # of byte order, before UTF-8


class Lines:
    """What is left of a file. line: how many lines have been taken. size: bytes of the first piece."""

    def __init__(self, file: BinaryIO, separator: str) -> None:
        self.file, self.separator = file, separator
        self.line = 0
        self.pending = deque([self._read().removeprefix(MARK)])
        self.size = len(self.pending[0])

    def _read(self) -> bytes:
        try:
            data = self.file.read(PIECE) + self.file.readline()
        except (EOFError, zlib.error) as error:
            raise ValueError(f"no whole gzip file ({error})") from None
        fault, reason = data.find(b"\0"), "a NUL byte"
        if fault < 0 and not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError as error:
                fault, reason = error.start, error.reason
        if fault >= 0:
            line = self.line + 1 + data.count(b"\n", 0, fault)
            raise ValueError(f"no text in UTF-8 (line {line}: {reason})")
        return data

    def piece(self) -> bytes:
        """What comes next, some megabytes of whole lines; b"" at the end."""
        while self.pending:
            if piece := self.pending.popleft():
                return piece
        return self._read()

    def put_back(self, *pieces: bytes) -> None:
        self.pending.extendleft(reversed(pieces))

    def records(self) -> Generator[tuple[int, list[str]], None, None]:
        """Line and fields of each record of the next piece, the last of which may end in the piece after that.

        Lines of blanks are no records. What is left when the caller stops comes next.
        """
        lines: deque[str] = deque()
        last = ""

        def more() -> bool:
            lines.extend(io.StringIO(self.piece().decode(), newline=""))
            return bool(lines)

        def feed() -> Iterator[str]:
            nonlocal last
            while lines or more():
                last = lines.popleft()
                self.line += 1
                yield last

        reader = csv.reader(feed(), delimiter=self.separator, strict=True)
        start = self.line + 1
        more()
        try:
            while lines:
                start = self.line + 1
                row = next(reader)
                if len(row) > 1 or last.strip():
                    yield self.line, row
        except csv.Error as error:
            where = f"line {start}" if start == self.line else f"lines {start} to {self.line}"
            raise ValueError(f"{where}: {error}") from None
        finally:
            self.put_back("".join(lines).encode())

    def record(self) -> tuple[int, list[str]] | None:
        """The next record alone; None at the end."""
        while piece := self.piece():
            cut = piece.find(b"\n", HEAD) + 1 or len(piece)
            self.put_back(piece[:cut], piece[cut:])
            with contextlib.closing(self.records()) as records:
                for record in records:
                    return record
        return None


@contextlib.contextmanager
def opened(path: Path, separator: str) -> Iterator[Lines]:
    is_zipped = path.name.lower().endswith(".gz")
    with gzip.open(path, "rb") if is_zipped else open(path, "rb") as file:
        yield Lines(cast(BinaryIO, file), separator)
