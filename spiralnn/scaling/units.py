"""Numbers as people read them, on an output that may not know all signs."""

import sys
from typing import Any


def size(n_bytes: float) -> str:
    """1536 is 1.5 KiB."""
    units = ("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)
    unit, bytes_each = next((u for u in units if n_bytes >= u[1]), ("KiB", 2**10))
    return f"{n_bytes / bytes_each:.{3 if n_bytes < 1000 * bytes_each else 4}g} {unit}"


def decimal_size(n_bytes: float) -> str:
    """As disks and networks count: 2e9 is 2 GB."""
    unit, bytes_each = next((u for u in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)) if n_bytes >= u[1]), ("KB", 1e3))
    return f"{n_bytes / bytes_each:.3g} {unit}"


def printable(text: str, stream: Any = None) -> str:
    """What a stream, stdout by default, can encode of a text: microseconds are us where it has no Greek letters."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        plain = text.replace("\N{MICRO SIGN}", "u").replace("\N{MULTIPLICATION SIGN}", "x")
        return plain.encode(encoding, "replace").decode(encoding)


def duration(seconds: float) -> str:
    """Three digits and a unit: 0.0000161 is 16.1 µs, 7200 is 2.00 h."""
    units = ("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)
    unit, length = next((pair for pair in units if seconds >= 0.9995 * pair[1] * (2 if pair[1] > 1 else 1)), units[-1])
    return f"{three_digits(seconds / length)} {unit}"


def three_digits(value: float) -> str:
    return f"{value:,.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}"


def count(n: int, what: str) -> str:
    """1 thread, 2 threads."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def aligned_table(heads: tuple[str, ...], lines: list[tuple[str, ...]], left: set[str]) -> str:
    """Columns as wide as what they hold; those named in left begin at the same place, others end there."""
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    return "\n".join(
        "  ".join(f"{text:<{width}}" if head in left else f"{text:>{width}}"
                  for head, text, width in zip(heads, cells, widths, strict=True)).rstrip()
        for cells in (heads, *lines)
    )  # fmt: skip


def markdown_table(heads: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    rule = tuple("---" for _ in heads)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *lines))
