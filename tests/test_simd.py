"""Vectors: exp and log against a high-precision library, everything else against NumPy."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from llvmlite import binding
from numba import njit
from problems import JIT

from spiralnn.kernels import simd
from spiralnn.kernels.simd import (
    add_to,
    columns,
    counting,
    every,
    full,
    gather,
    get,
    lanes,
    load,
    load_columns,
    load_row,
    load_spaced,
    maximum,
    minimum,
    number,
    part,
    put,
    relu,
    span,
    store,
    store_whole,
    stride,
    sum_each,
    sum_lanes,
    traced,
    var,
    vectors,
    where,
    zeros,
)
from spiralnn.kernels.tile import carve

pytestmark = pytest.mark.kernels

ROOT = Path(__file__).resolve().parent.parent

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def jitted(body):
    """A traced body as a function that tests can call."""
    operation = traced(body)
    n = body.__code__.co_argcount
    if n == 2:
        return njit(lambda a, b: operation(a, b))
    if n == 3:
        return njit(lambda a, b, c: operation(a, b, c))
    return njit(lambda a, b, c, d: operation(a, b, c, d))


def elementwise(function):
    """function of a vector as a function of an array of any length."""

    @traced
    def apply(a, out):
        for t in span(0, a.shape[1], lanes(a)):
            store(out, 0, t, function(load(a, 0, t)))

    @njit(error_model="numpy")
    def run(a, out):
        apply(a, out)

    def call(x):
        n = 64 // x.itemsize
        a = np.ones((1, -(-x.size // n) * n), x.dtype)
        a[0, : x.size] = x
        out = np.full_like(a, 7)
        with np.errstate(all="ignore"):  # with the JIT off, NumPy would report overflow and NaN
            run(a, out)
        return out[0, : x.size]

    return call


EXP, LOG, RELU = elementwise(simd.exp), elementwise(simd.log), elementwise(relu)
EXP_OF_NEGATIVE = elementwise(simd.exp_of_negative)


def ulps(function, x, values):
    """The largest error of values against function(x), in units of the last place of the true value."""
    assert np.isfinite(values).all()
    worst = 0.0
    with mpmath.workdps(40):
        for a, value in zip(x, values, strict=True):
            exact = function(mpmath.mpf(float(a)))
            unit = mpmath.mpf(float(np.spacing(x.dtype.type(abs(exact)))))
            worst = max(worst, float(abs(mpmath.mpf(float(value)) - exact) / unit))
    return worst


# where exp underflows to 0, is subnormal, is normal, and overflows
EXP_RANGE = {np.float64: (-745.2, -708.4, 709.782), np.float32: (-103.9, -87.4, 88.722)}


@dtypes
@pytest.mark.parametrize("part", ["softmax", "near zero", "all", "subnormal", "halfway"])
def test_exp_within_two_ulp(dtype, part):
    least, normal, most = EXP_RANGE[dtype]
    random = np.random.default_rng(1)
    x = {
        "softmax": random.uniform(-30, 0, 4000),
        "near zero": random.uniform(-1, 1, 1000) * 10.0 ** random.uniform(-20, 0, 1000),
        "all": random.uniform(normal, most, 4000),
        "subnormal": random.uniform(least, normal, 2000),
        # halfway between two multiples of log 2, where the reduced argument is largest and its sign changes
        "halfway": (np.arange(int(normal) + 1, int(most)) // 1 + 0.5) * np.log(2) * (1 + random.normal(0, 1e-9)),
    }[part].astype(dtype)
    x = x[(x >= least) & (x <= most)]
    if part == "all":
        x = np.concatenate([x, np.array([normal, most, 0.0, -0.0, 1.0, -1.0], dtype)])
    # below 1 ulp with fused multiply-adds; without them (JIT off, older CPUs) the reduction rounds once more
    assert ulps(mpmath.exp, x, EXP(x)) <= 2.0


@dtypes
def test_exp_of_negative_within_two_ulp(dtype):
    _, normal, _ = EXP_RANGE[dtype]
    random = np.random.default_rng(2)
    x = np.concatenate([random.uniform(normal + 0.1, 0, 3000), random.uniform(-30, 0, 3000), [0.0, -0.0]]).astype(dtype)
    assert ulps(mpmath.exp, x, EXP_OF_NEGATIVE(x)) <= 2.0


@dtypes
def test_exp_of_negative_special_values(dtype):
    values = EXP_OF_NEGATIVE(np.array([np.nan, -1e4, -1e30, -np.inf, 0], dtype))
    np.testing.assert_array_equal(values, [np.nan, 0, 0, 0, 1])


@dtypes
def test_exp_special_values(dtype):
    low, _, high = EXP_RANGE[dtype]
    x = np.array([0, -0.0, np.nan, np.inf, -np.inf, high + 0.1, 1e30, low - 1, -1e30], dtype)
    np.testing.assert_array_equal(EXP(x), [1, 1, np.nan, np.inf, 0, np.inf, np.inf, 0, 0])


@dtypes
@pytest.mark.parametrize("low,high", [(1.0, 100.0), (0.75, 1.35), (1 - 1e-5, 1 + 1e-5), (0.6, 0.8), (1e-30, 1e30)])
def test_log_within_two_ulp(dtype, low, high):
    # softmax asks for the logarithm of a sum whose largest term is 1: [1, K]
    random = np.random.default_rng(2)
    x = np.exp(random.uniform(np.log(low), np.log(high), 4000)).astype(dtype)
    assert ulps(mpmath.log, x, LOG(x)) <= 2.0


@dtypes
def test_log_special_values(dtype):
    limits = np.finfo(dtype)
    x = np.array([1, np.nan, np.inf, limits.tiny, limits.max], dtype)
    np.testing.assert_array_equal(LOG(x)[:3], [0, np.nan, np.nan])
    assert ulps(mpmath.log, x[3:], LOG(x)[3:]) <= 2.0


@dtypes
def test_relu_keeps_nan(dtype):
    x = np.array([-1, 1, np.nan, np.inf, -np.inf, 0, -1e-30, 1e-30], dtype)
    np.testing.assert_array_equal(RELU(x), [0, 1, np.nan, np.inf, 0, 0, 0, np.array(1e-30, dtype)])


@dtypes
def test_arithmetic(dtype):
    # whole numbers, so that every result is exact, or rounded once an operation like NumPy's
    x = np.arange(1, 65).astype(dtype)
    calls = {
        "a + b": (lambda a: a + a + 1.0, x + x + 1),
        "constant first": (lambda a: 1.0 + a + (3.0 - a) + 2.0 * a, 4 + 2 * x),
        "a - b": (lambda a: a * 3.0 - a, 2 * x),
        "a / b": (lambda a: 64.0 / a - a / 3.0, 64 / x - x / 3),
        "where": (lambda a: where(a > 10.0, a, 0.0), np.where(x > 10, x, 0)),
        "where constant first": (lambda a: where(a == 3.0, 1.0, a), np.where(x == 3, 1, x)),
        "maximum": (lambda a: maximum(a, 20.0 - a), np.maximum(x, 20 - x)),
    }
    for name, (function, expected) in calls.items():
        np.testing.assert_array_equal(elementwise(function)(x), expected, err_msg=name)


@dtypes
def test_comparisons_with_nan_are_false(dtype):
    x = np.array([np.nan, 1.0, -1.0], dtype)
    for condition in (lambda a: a < 0.5, lambda a: a > 0.5, lambda a: a == a):
        assert elementwise(lambda a, condition=condition: where(condition(a), a, 0.0))(x)[0] == 0


@dtypes
@pytest.mark.parametrize("count", [2, 4, 8])
def test_sum_each(dtype, count):
    def body(a, out):
        store(out, 0, 0, sum_each([load(a, i, 0) for i in range(count)]))

    a = np.random.default_rng(3).integers(-1000, 1000, (count, 64 // np.dtype(dtype).itemsize)).astype(dtype)
    out = np.full((1, count), 7, dtype)
    jitted(body)(a, out)
    np.testing.assert_array_equal(out[0], a.sum(axis=1))


@dtypes
def test_sum_lanes(dtype):
    def body(a, out) -> float:
        return sum_lanes(load(a, 0, 3))

    a = np.random.default_rng(4).integers(-1000, 1000, (1, 40)).astype(dtype)
    assert jitted(body)(a, a) == a[0, 3 : 3 + 64 // a.itemsize].sum()


@dtypes
@pytest.mark.parametrize("source", [np.uint8, np.uint32, np.float32, np.float64])
def test_gather(dtype, source):
    def plain(a, start, last, out):
        store(out, 0, 0, gather(a, start, out, 1))

    def repeating(a, start, last, out):
        store(out, 0, 0, gather(a, start, out, 1, last=last))

    n = 64 // np.dtype(dtype).itemsize
    a = np.random.default_rng(5).integers(0, 250, (2 * n, 3)).astype(source)
    out = np.full((1, n), -1, dtype)
    jitted(plain)(a, 2, 0, out)
    np.testing.assert_array_equal(out[0], a[2 : 2 + n, 1])
    for last in (2, 5, 2 * n - 1):
        jitted(repeating)(a[: last + 1], 2, last, out)  # nothing behind the last row may be read
        np.testing.assert_array_equal(out[0], a[np.minimum(np.arange(2, 2 + n), last), 1])


@dtypes
@pytest.mark.parametrize("D", [1, 2, 3, 4])
def test_load_columns(dtype, D):
    def body(a, start, out):
        for d, value in enumerate(load_columns(a, start, D)):
            store(out, d, 0, value)

    n = 64 // np.dtype(dtype).itemsize
    a = np.arange((n + 2) * D, dtype=dtype).reshape(-1, D)
    out = np.full((D, n), -1, dtype)
    jitted(body)(a, 2, out)
    np.testing.assert_array_equal(out, a[2:].T)


@dtypes
def test_load_row_and_columns_transpose(dtype):
    n = 64 // np.dtype(dtype).itemsize

    def all_rows(a, start, out):
        for c, value in enumerate(columns([load_row(a, start + i, 1) for i in range(n)])):
            store(out, c, 0, value)

    def four_rows(a, start, out):
        for c, value in enumerate(columns([load_row(a, start + i, 1) for i in range(4)])):
            store(out, c, 0, value)

    a = np.arange((n + 5) * (n + 1), dtype=dtype).reshape(-1, n + 1)
    out = np.full((n, n), -1, dtype)
    jitted(all_rows)(a, 3, out)
    np.testing.assert_array_equal(out, a[3 : 3 + n, 1:].T)
    out = np.full((n, 4), -1, dtype)
    jitted(four_rows)(a, 3, out)
    np.testing.assert_array_equal(out, a[3:7, 1:].T)


@dtypes
def test_a_row_goes_on_in_the_next_one(dtype):
    def body(a, out):
        store(out, 0, 0, load_row(a, 1, 2))

    n = 64 // np.dtype(dtype).itemsize
    a = np.arange(3 * n, dtype=dtype).reshape(-1, 3)
    out = np.zeros((1, n), dtype)
    jitted(body)(a, out)
    np.testing.assert_array_equal(out[0], np.arange(5, 5 + n))


@dtypes
@pytest.mark.parametrize("spacing", [1, 2, 4, 8])
def test_load_spaced(dtype, spacing):
    def body(y, start, out):
        store(out, 0, 0, load_spaced(y, start, out, spacing=spacing))
        add_to(out, 1, 0, number(out, stride(y)))

    n = 64 // np.dtype(dtype).itemsize
    bytes_ = np.random.default_rng(6).integers(0, 256, spacing * (n + 4), np.uint8)
    out = np.zeros((2, n), dtype)
    jitted(body)(bytes_[::spacing], 3, out)
    np.testing.assert_array_equal(out, [bytes_[::spacing][3 : 3 + n], np.full(n, spacing)])


@dtypes
def test_store_whole(dtype):
    def body(a, out):
        store_whole(out, 1, load(a, 0, 0))
        store_whole(out, 0, get(a, 0, 2))

    n = 64 // np.dtype(dtype).itemsize
    a = np.random.default_rng(7).integers(-100, 100, (1, n)).astype(dtype)
    out = np.full(n + 2, 7, np.intp)
    jitted(body)(a, out)
    np.testing.assert_array_equal(out, [a[0, 2], *a[0], 7])


@dtypes
def test_part_and_carve(dtype):
    def body(a, first, out):
        view = part(a, 1, first, 2, 3)
        put(view, 1, 2, get(a, 0, 5))
        put(out, 0, 0, get(view, 0, 1))

    a = np.arange(40.0, dtype=dtype).reshape(2, 20)
    out = np.zeros((1, 1), dtype)
    jitted(body)(a, 4, out)
    assert out[0, 0] == 25
    assert a[1, 9] == 5 and (np.delete(a.reshape(-1), 29) == np.delete(np.arange(40), 29)).all()

    for offset in range(5):
        memory = np.zeros((1, 64), dtype)[:, offset:]
        arrays = carve(memory, [(2, 3), (1, 5)])
        assert all(array.__array_interface__["data"][0] % 64 == 0 for array in arrays)
        assert [array.shape for array in arrays] == [(2, 3), (1, 5)]


@dtypes
def test_gather_of_labels(dtype):
    def body(y, start, last, out):
        store(out, 0, 0, gather(y, start, out, last=last))

    n = 64 // np.dtype(dtype).itemsize
    y = np.arange(3 * n, dtype=np.uint32)[::2]  # labels are read in the low bytes of wider integers
    out = np.empty((1, n), dtype)
    jitted(body)(y, 1, 6, out)
    np.testing.assert_array_equal(out[0], 2 * np.minimum(np.arange(1, 1 + n), 6))


@dtypes
def test_constants_and_every(dtype):
    def body(a, i, out):
        store(out, 0, 0, counting(a))
        store(out, 1, 0, number(a, i))
        store(out, 2, 0, every(a, i, 2))
        store(out, 3, 0, full(a, 2.5) + zeros(a))

    n = 64 // np.dtype(dtype).itemsize
    a = np.arange(20 * n, dtype=dtype).reshape(20, n)
    out = np.full((4, n), -1, dtype)
    jitted(body)(a, 17, out)
    np.testing.assert_array_equal(out, [np.arange(n), [17] * n, [a[17, 2]] * n, [2.5] * n])


@pytest.mark.parametrize("start,stop,step", [(0, 7, 1), (3, 3, 1), (5, 2, 1), (1, 20, 6), (1, 19, 6)])
def test_span(start, stop, step):
    def body(start, stop, out):
        for i in span(start, stop, step):
            add_to(out, 0, i, full(out, 1.0))
            store(out, 1, 0, number(out, i * 2 + 1 - i // 2))

    out = np.zeros((2, 40))
    jitted(body)(start, stop, out)
    expected = np.zeros((2, 40))
    for i in range(start, stop, step):
        expected[0, i : i + 8] += 1
        expected[1, :8] = i * 2 + 1 - i // 2
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("rows", [0, 1, 8, 9, 31, 32, 33, 40, 64, 100])
def test_vectors_cover_all_rows_once(rows):
    def body(rows, a, out):
        for t, n in vectors(rows, lanes(a), 4):
            for j in range(n):
                add_to(out, 0, t + j * lanes(a), full(a, 1.0))
            store(out, 1, t, full(a, float(n)))

    out = np.zeros((2, 128))
    jitted(body)(rows, out, out)
    covered = -(-rows // 8) * 8
    np.testing.assert_array_equal(out[0], [1] * covered + [0] * (128 - covered))
    whole = rows // 32 * 32
    np.testing.assert_array_equal(out[1, :covered:8], [4 if t < whole and t % 32 == 0 else 0 if t < whole else 1
                                                       for t in range(0, covered, 8)])  # fmt: skip


def test_variables_and_minimum():
    def body(rows, most, out):
        total, last = var(zeros(out)), var(zeros(out))
        for i in span(0, minimum(rows, most)):
            total += number(out, i)
            total -= 1.0
            last.set(number(out, i))
        store(out, 0, 0, total)
        store(out, 1, 0, last)

    for rows, most in ((5, 9), (9, 5), (4, 4)):
        out = np.full((2, 8), -1.0)
        jitted(body)(rows, most, out)
        n = min(rows, most)
        np.testing.assert_array_equal(out, [[sum(range(n)) - n] * 8, [n - 1] * 8])


def test_store_and_add_to_convert():
    def body(a, wide):
        store(wide, 0, 0, load(a, 0, 0))
        add_to(wide, 0, 1, load(a, 0, 0))
        add_to(wide, 0, 0, sum_lanes(load(a, 0, 0)))

    a = np.arange(1, 17, dtype=np.float32)[None]
    wide = np.zeros((1, 17))
    jitted(body)(a, wide)
    expected = np.append(a[0], 0.0)
    expected[1:] += a[0]
    expected[0] += a.sum()
    np.testing.assert_array_equal(wide[0], expected)


# ------------------------------------------------------------------------------------------ in a process of its own


def fresh(code, cache, **environment):
    """What code prints in a new process with an empty cache."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(cache), "NUMBA_DISABLE_JIT": "0", **environment}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


OUT_OF_RANGE = """
import numpy as np
from numba import njit
from spiralnn.kernels.simd import *

@traced
def reads(a, i, t, out):
    store(out, 0, 0, load(a, i, t))

@traced
def writes(a, i, t, out):
    store(out, i, t, load(a, 0, 0))

@traced
def gathers(a, i, t, out):
    store(out, 0, 0, gather(a, i, out, t))

@traced
def spreads(a, i, t, out):
    store(out, 0, 0, every(a, i, t))

@traced
def adds(a, i, t, out):
    add_to(out, i, t, load(a, 0, 0))

a = np.zeros((9, 16))
for operation in (reads, writes, gathers, spreads, adds):
    call = njit(lambda a, i, t, out: operation(a, i, t, out))
    rows = 1 if operation is gathers else 8
    call(a, rows, 7, a.copy())  # within
    columns = 16 if operation in (gathers, spreads) else 9
    for i, t in ((9, 0), (0, columns), (0, 100)) if operation is not gathers else ((2, 0), (9, 0), (0, 16)):
        try:
            call(a, i, t, a.copy())
        except IndexError:
            continue
        raise SystemExit(f"{operation} at {i}, {t} went through")
print("checked")
"""


def test_bounds_are_checked_on_demand(tmp_path):
    assert fresh(OUT_OF_RANGE, tmp_path, NUMBA_BOUNDSCHECK="1") == "checked\n"


ASSEMBLY = """
import numpy as np
from spiralnn import descent, fused
X, y = np.zeros((300, 2), {dtype}), np.zeros(300, np.int64)
params = [np.zeros(s, {dtype}) for s in ((2, 100), (100,), (100, 3), (3,))]
fused.two_layer_loss_gradients(X, y, *params, 0.0, *[p.copy() for p in params], n_threads=1)
advance = descent.family_for(2, 100, 3).advance
assert len(advance.signatures) == 1
print(*advance.inspect_asm().values())
"""


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not binding.get_host_cpu_features().get("fma", False),
    reason="the instructions looked for are those of x86-64 with FMA",
)
@pytest.mark.parametrize("dtype,kind", [("np.float64", "pd"), ("np.float32", "ps")])
def test_the_descent_compiles_to_wide_multiply_adds_without_libm(tmp_path, dtype, kind):
    assembly = fresh(ASSEMBLY.format(dtype=dtype), tmp_path, NUMBA_BOUNDSCHECK="0")
    wide = re.findall(rf"\tvf(?:n?)m(?:add|sub)\d+{kind}\t.*%[yz]mm", assembly)
    assert len(wide) > 24  # 16 for the scores of four units, 4 for those of two units backward, 5 at least for exp
    names = re.findall(r"\b(?:_?_?(?:exp|log)f?(?:_finite)?|npy_(?:exp|log)f?|numba_(?:exp|log)f?)\b", assembly)
    assert names == []
