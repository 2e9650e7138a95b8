"""Vectors as values: kernels in Python that are traced into the LLVM code of a Numba function.

Numba has no vector type: it hands LLVM a loop of scalars and hopes. Where the hope fails (a libm call, arrays that
might overlap, a division that may raise, a tail) it fails silently, and where it holds it costs seconds of compile
time. Here a vector is a value and a kernel states the registers it wants:

    @traced
    def row_sums(a, T, total):
        s = var(zeros(a))
        for t in loop(0, T, lanes(a)):          # a loop in the kernel: the body is traced once
            for i in range(4):                  # a loop of Python: unrolled
                s += load(a, i, t)
        store(total, 0, 0, s)

`@traced` makes it callable from jitted code. With the JIT its Python body runs once, at compile time, and every
operation appends LLVM instructions. Without (NUMBA_DISABLE_JIT=1) the same body runs on NumPy arrays of one
vector's length: one source, so the twin cannot differ. With NUMBA_BOUNDSCHECK=1 every load and store is checked.

| file | what |
| --- | --- |
| entry.py | traced, body_of, ENTRY: from Python bodies to functions that jitted code calls |
| values.py | vectors, floats, integers, variables and their operators; lanes, var, fma, minimum; what the target has |
| control.py | loop, if_, while_, vector_runs |
| memory.py | load, store, add_to; load_scalar, broadcast, gather, load_deinterleaved, ...; view, prefetch |
| lanes.py | zeros, full, iota, broadcast_int, as_float; select, relu, maximum; half, transpose, reduce_add, ... |
| elementary.py | exp_of_negative, log |
| atomics.py | load_acquire, store_release, fetch_add; pause, futex_wait, futex_wake |
| backend.py | every use of an internal of Numba or llvmlite |
"""

from .atomics import (
    fetch_add,
    futex_wait,
    futex_wake,
    load_acquire,
    pause,
    store_release,
)
from .control import if_, loop, vector_runs, while_
from .elementary import exp_of_negative, log
from .entry import ENTRY, body_of, traced
from .lanes import (
    as_float,
    broadcast_int,
    everywhere,
    full,
    half,
    iota,
    joined,
    maximum,
    reduce_add,
    reduce_add_each,
    reduce_max,
    relu,
    round_to,
    select,
    sqrt,
    transpose,
    zeros,
)
from .memory import (
    add_to,
    broadcast,
    first_aligned,
    gather,
    load,
    load_as,
    load_contiguous,
    load_deinterleaved,
    load_index,
    load_scalar,
    load_strided_bytes,
    prefetch,
    store,
    store_element,
    store_int,
    store_scalar,
    stride,
    view,
)
from .values import VECTOR_BYTES, choose, fma, fma_is_fused, lanes, minimum, var

__all__ = [
    "ENTRY",
    "VECTOR_BYTES",
    "add_to",
    "as_float",
    "body_of",
    "broadcast",
    "broadcast_int",
    "choose",
    "everywhere",
    "exp_of_negative",
    "fetch_add",
    "first_aligned",
    "fma",
    "fma_is_fused",
    "full",
    "futex_wait",
    "futex_wake",
    "gather",
    "half",
    "if_",
    "iota",
    "joined",
    "lanes",
    "load",
    "load_acquire",
    "load_as",
    "load_contiguous",
    "load_deinterleaved",
    "load_index",
    "load_scalar",
    "load_strided_bytes",
    "log",
    "loop",
    "maximum",
    "minimum",
    "pause",
    "prefetch",
    "reduce_add",
    "reduce_add_each",
    "reduce_max",
    "relu",
    "round_to",
    "select",
    "sqrt",
    "store",
    "store_element",
    "store_int",
    "store_release",
    "store_scalar",
    "stride",
    "traced",
    "transpose",
    "var",
    "vector_runs",
    "view",
    "while_",
    "zeros",
]
