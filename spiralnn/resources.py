"""CPUs, threads and memory that this process may use: what the machine has, and what affinity, control groups and the
limits that people set by convention leave of it."""

import contextlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numba
from numba.np.ufunc import parallel

PROCESS_GROUPS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
LOAD = Path("/proc/loadavg")
# What job schedulers, pools (joblib's) and people set for every library that computes in threads. The first number is
# that of the outermost threads.
THREAD_LIMITS = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT")
QUOTA_SECONDS = 1.0


class _Quota(NamedTuple):
    """What control groups grant, as read, and the moment until which that is taken for true."""

    until: float
    cpus: float | None


_quota = _Quota(-math.inf, None)


def available_threads() -> int:
    """Threads to use where nobody says how many: a CPU each, within OMP_NUM_THREADS, OMP_THREAD_LIMIT,
    NUMBA_NUM_THREADS and `numba.set_num_threads`."""
    limits = [available_cpus(), numba.config.NUMBA_NUM_THREADS]
    for name in THREAD_LIMITS:
        with contextlib.suppress(ValueError):  # not set, or no number: no limit
            limits.append(int(os.environ.get(name, "").split(",")[0]))
    if getattr(parallel, "_is_initialized", False):  # else nobody has set it, and asking would start Numba's threads
        limits.append(numba.get_num_threads())
    return max(1, min(limits))


def available_cpus() -> int:
    """CPUs that this process may use, by its affinity and control groups."""
    try:
        n = len(os.sched_getaffinity(0))
    except AttributeError:  # no affinity on this system
        n = os.cpu_count() or 1
    quota = _recent_quota()
    if quota is not None:
        n = min(n, math.floor(quota))
    return max(1, n)


def idle_cpus() -> int | None:
    """CPUs of this machine on which nothing runs or wants to at this moment; None where the system does not say."""
    try:  # asked in the middle of fits of milliseconds: a third of the time that `read_text` takes
        file = os.open(LOAD, os.O_RDONLY)
        try:
            fields = os.read(file, 128).split()
        finally:
            os.close(file)
        return max(0, (os.cpu_count() or 1) - int(fields[3].partition(b"/")[0]))
    except (OSError, ValueError, IndexError):
        return None


def available_memory() -> int:
    """Bytes this process may still take: of the machine, and of its control groups."""
    amounts = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        amounts.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))))
    for group in _groups("memory"):
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with contextlib.suppress(OSError, ValueError):  # "max" is no limit
                amounts.append(int((group / limit).read_text()) - int((group / usage).read_text()))
    if not amounts:  # half of the machine where it says how much it has
        with contextlib.suppress(AttributeError, OSError, ValueError):
            amounts.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return max(0, min(amounts, default=4 << 30))


def _recent_quota() -> float | None:
    """The quota, read once in QUOTA_SECONDS: it takes a tenth of a fit of milliseconds, and as it opens each of its
    files a thread lets go of the GIL, which it then waits for where many fit at once."""
    global _quota
    now = time.monotonic()
    if now >= _quota.until:
        _quota = _Quota(now + QUOTA_SECONDS, _cpu_quota())
    return _quota.cpus


def _cpu_quota() -> float | None:
    """CPUs that the control groups of this process grant; None when none sets a limit."""
    quotas = []
    for group in _groups("cpu"):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text().split()
            quotas.append(int(quota) / int(period))
        with contextlib.suppress(OSError, ValueError):
            quota_us = int((group / "cpu.cfs_quota_us").read_text())
            if quota_us > 0:
                quotas.append(quota_us / int((group / "cpu.cfs_period_us").read_text()))
    return min(quotas, default=None)


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups this process lies in, for one controller: its own first, then those around it.

    A container may see its own group as the root of the tree, under the path that it has outside.
    """
    try:
        lines = PROCESS_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        top = GROUPS / controllers  # one tree for all controllers (version 2), or one for each
        group = top / path.strip("/")
        yield from (place for place in (group, *group.parents) if place.is_relative_to(top))
