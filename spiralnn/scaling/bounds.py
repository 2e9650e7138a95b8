"""What bounds a pass: the least that each of its parts takes on this machine, and the largest of them."""

from collections.abc import Mapping
from typing import NamedTuple

from .cases import DISK, FILES, Case
from .hardware import Limits

ARITHMETIC, BANDWIDTH, COPY, READING, LAUNCH, VECTORS = (
    "arithmetic", "memory bandwidth", "copying from files", "disk", "launch overhead", "L-BFGS' vectors",
)  # fmt: skip


class Bound(NamedTuple):
    """limit: what binds. share: of the measured time that it needs at least, at most 1."""

    limit: str
    share: float


def limits_of(case: Case, workers: int, limits: Mapping[tuple[str, int], Limits]) -> Limits:
    """Of so many threads: as measured, or from the next smaller number that was."""
    known = sorted(n for dtype, n in limits if dtype == case.dtype)
    nearest = max((n for n in known if n <= max(workers, 1)), default=known[0])
    found = limits[case.dtype, nearest]
    return found._replace(flops=found.flops * max(workers, 1) / nearest)


def work_seconds(case: Case, limit: Limits) -> dict[str, float]:
    """The least that a pass can take, by what it is for."""
    return {ARITHMETIC: case.flops / limit.flops, BANDWIDTH: case.data_bytes / limit.bandwidth}


def least_seconds(
    case: Case,
    ran: int,
    limits: Mapping[tuple[str, int], Limits],
    rates: Mapping[str, float],
    launch: float,
    vectors: float | None,
) -> dict[str, float]:
    """The least of each part of a pass on `ran` threads. rates: bytes a second that files are read with, by place.
    launch: seconds that a pass over hardly any rows takes, vectors: L-BFGS between two of them."""
    parts = work_seconds(case, limits_of(case, ran, limits))
    if case.place in (FILES, DISK) and case.place in rates:
        parts[COPY if case.place == FILES else READING] = case.data_bytes / rates[case.place]
    parts[LAUNCH] = launch
    if vectors is not None:
        parts[VECTORS] = vectors
    return parts


def bound(parts: Mapping[str, float], seconds: float) -> Bound:
    """What binds a pass that took so many seconds.

    A pass that is faster than a limit shows that the limit was measured too low, not that it was beaten: 100 %.
    """
    limit = max(parts, key=parts.__getitem__)
    return Bound(limit, min(1.0, parts[limit] / seconds))
