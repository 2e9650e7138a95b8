"""What threads tell each other, through int64 arrays of one axis: atomic loads, stores and updates, and how to wait.

Stores and updates of all threads are in one order that all agree on (sequentially consistent); a load may come before
an earlier store of its own thread, but after no later one. So whoever stores, then asks, asks by an update:
`fetch_add(a, i, 0)`. Without the JIT updates take turns by a lock.
"""

import sys
import threading
import time

from . import backend
from .values import Array, Index, index_value

_LOCK = threading.Lock()

# Number of the system call: Linux has it by machine, in asm/unistd.h
_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
_WAIT, _WAKE, _PRIVATE = 0, 1, 128  # linux/futex.h
_EVERYBODY = 2**31 - 1
_NAP = 50  # microseconds, where the system has no way to wake a sleeper


def load_acquire(a, i):
    """The integer a[i] as another thread wrote it, and with it whatever that thread wrote before."""
    if isinstance(a, Array):
        return Index(a.builder, backend.load_acquire(a.builder, a.address([i])))
    return a[i]


def store_release(a, i, value):
    """a[i] = value, for other threads to see after everything written before."""
    if isinstance(a, Array):
        backend.exchange(a.builder, "xchg", a.address([i]), index_value(value))
    else:
        with _LOCK:
            a[i] = value


def fetch_add(a, i, n):
    """a[i] += n; returns what a[i] was."""
    if isinstance(a, Array):
        return Index(a.builder, backend.exchange(a.builder, "add", a.address([i]), index_value(n)))
    with _LOCK:
        old = a[i]
        a[i] = old + n
    return old


def pause(a):
    """Tell the core that this is a loop that waits (a is any array of the kernel)."""
    if not isinstance(a, Array):
        time.sleep(0)
    elif backend.MACHINE == "x86_64":
        backend.call(a.builder, "llvm.x86.sse2.pause", None, [])
    elif backend.MACHINE == "aarch64":
        backend.call(a.builder, "llvm.aarch64.hint", None, [backend.I32(1)])  # yield


def futex_wait(a, i, expected, microseconds):
    """Sleep while the low 32 bits of a[i] are those of `expected`, at most so long, or until `futex_wake`.

    May return early. Where the system cannot wake a sleeper: a nap.
    """
    if not isinstance(a, Array):
        if (a[i] ^ expected) & 0xFFFFFFFF == 0:
            time.sleep(min(microseconds, _NAP) * 1e-6)
        return
    builder, duration = a.builder, index_value(microseconds)
    if _has_futex():
        timeout = backend.new_timespec(builder, duration)
        low = builder.and_(index_value(expected), backend.I64(0xFFFFFFFF))
        _futex(a, i, _WAIT, low, timeout)
    elif sys.platform == "win32":
        backend.call(builder, "Sleep", None, [backend.I32(1)])
    else:
        shorter = builder.icmp_signed("<", duration, backend.I64(_NAP))
        nap = builder.trunc(builder.select(shorter, duration, backend.I64(_NAP)), backend.I32)
        backend.call(builder, "usleep", backend.I32, [nap])


def futex_wake(a, i):
    """Wake all that sleep at a[i]."""
    if isinstance(a, Array) and _has_futex():
        _futex(a, i, _WAKE, backend.I64(_EVERYBODY), None)


def _has_futex():
    return sys.platform == "linux" and backend.MACHINE in _FUTEX


def _futex(a, i, operation, number, timeout):
    """System call over the half of a[i] that has the low bits. libc's `syscall` is variadic, and takes longs."""
    builder, i64 = a.builder, backend.I64
    half = backend.address(builder, a.address([i]), backend.I32, i64(0 if sys.byteorder == "little" else 1))
    arguments = [i64(_FUTEX[backend.MACHINE]), half, i64(operation | _PRIVATE), number]
    backend.call(builder, "syscall", i64, [*arguments, *([] if timeout is None else [timeout])], variadic=True)
