"""Vectors: exp and log against a high-precision library, fma against fractions, everything else against NumPy."""

import os
import re
import subprocess
import sys
import threading
import time
from fractions import Fraction
from typing import NamedTuple

import mpmath
import numpy as np
import pytest
from numba import njit
from places import ROOT
from problems import JIT

from spiralnn.kernels.tile import carve
from spiralnn.kernels.vectors import (
    add_to,
    backend,
    broadcast,
    broadcast_int,
    exp_of_negative,
    fetch_add,
    fma,
    full,
    futex_wait,
    futex_wake,
    gather,
    half,
    if_,
    iota,
    joined,
    lanes,
    load,
    load_acquire,
    load_contiguous,
    load_deinterleaved,
    load_scalar,
    load_strided_bytes,
    log,
    loop,
    maximum,
    minimum,
    pause,
    prefetch,
    reduce_add,
    reduce_add_each,
    relu,
    round_to,
    select,
    store,
    store_int,
    store_release,
    store_scalar,
    stride,
    traced,
    transpose,
    var,
    vector_runs,
    view,
    while_,
    zeros,
)

pytestmark = pytest.mark.kernels


dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def jitted(body):
    """A traced body as a function that tests can call."""
    operation = traced(body)
    n = body.__code__.co_argcount
    call = {
        1: lambda a: operation(a),
        2: lambda a, b: operation(a, b),
        3: lambda a, b, c: operation(a, b, c),
        4: lambda a, b, c, d: operation(a, b, c, d),
    }[n]
    return njit(nogil=True)(call)


def elementwise(function):
    """function of a vector as a function of an array of any length."""

    @traced
    def apply(a, out):
        for t in loop(0, a.shape[1], lanes(a)):
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


EXP_OF_NEGATIVE, LOG, RELU = elementwise(exp_of_negative), elementwise(log), elementwise(relu)


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


NORMAL = {np.float64: -708.39, np.float32: -87.33}  # from here on exp(x) is a normal number


@dtypes
@pytest.mark.parametrize("part", ["softmax", "near zero", "all", "halfway"])
def test_exp_of_negative_within_two_ulp(dtype, part):
    normal = NORMAL[dtype]
    random = np.random.default_rng(1)
    x = {
        "softmax": random.uniform(-30, 0, 4000),
        "near zero": random.uniform(-1, 0, 1000) * 10.0 ** random.uniform(-20, 0, 1000),
        "all": np.append(random.uniform(normal, 0, 4000), [normal, 0.0, -0.0, -1.0]),
        # halfway between two multiples of log 2, where the reduced argument is largest and its sign changes
        "halfway": (np.arange(int(normal / np.log(2)) + 1, 0) - 0.5) * np.log(2) * (1 + 1e-9),
    }[part].astype(dtype)
    # below 1 ulp with fused multiply-adds; without them (JIT off, older CPUs) the reduction rounds once more
    assert ulps(mpmath.exp, x[x >= dtype(normal)], EXP_OF_NEGATIVE(x[x >= dtype(normal)])) <= 2.0


@dtypes
def test_exp_of_negative_special_values(dtype):
    values = EXP_OF_NEGATIVE(np.array([np.nan, -1e4, -1e30, -np.inf, 0, NORMAL[dtype] - 0.1], dtype))
    np.testing.assert_array_equal(values, [np.nan, 0, 0, 0, 1, 0])


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
        "select": (lambda a: select(a > 10.0, a, 0.0), np.where(x > 10, x, 0)),
        "select constant first": (lambda a: select(a == 3.0, 1.0, a), np.where(x == 3, 1, x)),
        "maximum": (lambda a: maximum(a, 20.0 - a), np.maximum(x, 20 - x)),
    }
    for name, (function, expected) in calls.items():
        np.testing.assert_array_equal(elementwise(function)(x), expected, err_msg=name)


@dtypes
def test_comparisons_with_nan_are_false(dtype):
    x = np.array([np.nan, 1.0, -1.0], dtype)
    for condition in (lambda a: a < 0.5, lambda a: a > 0.5, lambda a: a == a):
        assert elementwise(lambda a, condition=condition: select(condition(a), a, 0.0))(x)[0] == 0


@dtypes
@pytest.mark.parametrize("count", [2, 4, 8])
def test_reduce_add_each(dtype, count):
    def body(a, out):
        store(out, 0, 0, reduce_add_each([load(a, i, 0) for i in range(count)]))

    a = np.random.default_rng(3).integers(-1000, 1000, (count, 64 // np.dtype(dtype).itemsize)).astype(dtype)
    out = np.full((1, count), 7, dtype)
    jitted(body)(a, out)
    np.testing.assert_array_equal(out[0], a.sum(axis=1))


@dtypes
def test_reduce_add(dtype):
    def body(a, out) -> float:
        return reduce_add(load(a, 0, 3))

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
def test_load_deinterleaved(dtype, D):
    def body(a, start, out):
        for d, value in enumerate(load_deinterleaved(a, start, D)):
            store(out, d, 0, value)

    n = 64 // np.dtype(dtype).itemsize
    a = np.arange((n + 2) * D, dtype=dtype).reshape(-1, D)
    out = np.full((D, n), -1, dtype)
    jitted(body)(a, 2, out)
    np.testing.assert_array_equal(out, a[2:].T)


@dtypes
def test_halves_and_what_they_are_joined_to(dtype):
    n = 64 // np.dtype(dtype).itemsize

    def body(a, out):
        value = load(a, 0, 0)
        low, high = half(value, 0), half(value, 1)
        store(out, 0, 0, joined(high * 2.0, low))
        store(out, 1, 0, joined(select(low > 1.0, low, 0.0), high))

    a, out = np.arange(n, dtype=dtype)[np.newaxis], np.zeros((2, n), dtype)
    jitted(body)(a, out)
    low, high = a[0, : n // 2], a[0, n // 2 :]
    np.testing.assert_array_equal(out[0], [*(2 * high), *low])
    np.testing.assert_array_equal(out[1], [*(low * (low > 1)), *high])


@dtypes
def test_transpose(dtype):
    n = 64 // np.dtype(dtype).itemsize

    def all_rows(a, start, out):
        for c, value in enumerate(transpose([load_contiguous(a, start + i, 1) for i in range(n)])):
            store(out, c, 0, value)

    def four_rows(a, start, out):
        for c, value in enumerate(transpose([load_contiguous(a, start + i, 1) for i in range(4)])):
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
        store(out, 0, 0, load_contiguous(a, 1, 2))

    n = 64 // np.dtype(dtype).itemsize
    a = np.arange(3 * n, dtype=dtype).reshape(-1, 3)
    out = np.zeros((1, n), dtype)
    jitted(body)(a, out)
    np.testing.assert_array_equal(out[0], np.arange(5, 5 + n))


@dtypes
@pytest.mark.parametrize("spacing", [1, 2, 4, 8])
def test_load_strided_bytes(dtype, spacing):
    def body(y, start, out):
        store(out, 0, 0, load_strided_bytes(y, start, out, spacing=spacing))
        add_to(out, 1, 0, broadcast_int(out, stride(y)))

    n = 64 // np.dtype(dtype).itemsize
    bytes_ = np.random.default_rng(6).integers(0, 256, spacing * (n + 4), np.uint8)
    out = np.zeros((2, n), dtype)
    jitted(body)(bytes_[::spacing], 3, out)
    np.testing.assert_array_equal(out, [bytes_[::spacing][3 : 3 + n], np.full(n, spacing)])


@dtypes
def test_store_int(dtype):
    def body(a, out):
        store_int(out, 1, load(a, 0, 0))
        store_int(out, 0, load_scalar(a, 0, 2))

    n = 64 // np.dtype(dtype).itemsize
    a = np.random.default_rng(7).integers(-100, 100, (1, n)).astype(dtype)
    out = np.full(n + 2, 7, np.intp)
    jitted(body)(a, out)
    np.testing.assert_array_equal(out, [a[0, 2], *a[0], 7])


@dtypes
def test_view_and_carve(dtype):
    def body(a, first, out):
        part = view(a, 1, first, 2, 3)
        store_scalar(part, 1, 2, load_scalar(a, 0, 5))
        store_scalar(out, 0, 0, load_scalar(part, 0, 1))

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
def test_constants_and_broadcast(dtype):
    def body(a, i, out):
        store(out, 0, 0, iota(a))
        store(out, 1, 0, broadcast_int(a, i))
        store(out, 2, 0, broadcast(a, i, 2))
        store(out, 3, 0, full(a, 2.5) + zeros(a))

    n = 64 // np.dtype(dtype).itemsize
    a = np.arange(20 * n, dtype=dtype).reshape(20, n)
    out = np.full((4, n), -1, dtype)
    jitted(body)(a, 17, out)
    np.testing.assert_array_equal(out, [np.arange(n), [17] * n, [a[17, 2]] * n, [2.5] * n])


@pytest.mark.parametrize("start,stop,step", [(0, 7, 1), (3, 3, 1), (5, 2, 1), (1, 20, 6), (1, 19, 6)])
def test_loop(start, stop, step):
    def body(start, stop, out):
        for i in loop(start, stop, step):
            add_to(out, 0, i, full(out, 1.0))
            store(out, 1, 0, broadcast_int(out, i * 2 + 1 - i // 2))

    out = np.zeros((2, 40))
    jitted(body)(start, stop, out)
    expected = np.zeros((2, 40))
    for i in range(start, stop, step):
        expected[0, i : i + 8] += 1
        expected[1, :8] = i * 2 + 1 - i // 2
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("rows", [0, 1, 8, 9, 31, 32, 33, 40, 64, 100])
def test_vector_runs_cover_all_rows_once(rows):
    def body(rows, a, out):
        for t, n in vector_runs(rows, lanes(a), 4):
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
        for i in loop(0, minimum(rows, most)):
            total += broadcast_int(out, i)
            total -= 1.0
            last.set(broadcast_int(out, i))
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
        add_to(wide, 0, 0, reduce_add(load(a, 0, 0)))

    a = np.arange(1, 17, dtype=np.float32)[None]
    wide = np.zeros((1, 17))
    jitted(body)(a, wide)
    expected = np.append(a[0], 0.0)
    expected[1:] += a[0]
    expected[0] += a.sum()
    np.testing.assert_array_equal(wide[0], expected)


def test_if_and_while():
    def body(n, out):
        """Steps of the Collatz sequence from n to 1, and whether it is even or odd."""
        value, steps = var(n), var(n - n)
        for _ in while_(lambda: value.value > 1):
            half = value.value // 2
            rest = value.value - half * 2
            for _ in if_(rest == 0):
                value.set(half)
            for _ in if_(rest > 0):
                value.set(3 * value.value + 1)
            steps += 1
        store(out, 0, 0, broadcast_int(out, steps.value))

    for n, steps in ((1, 0), (2, 1), (3, 7), (6, 8), (27, 111)):
        out = np.full((1, 8), -1.0)
        jitted(body)(n, out)
        np.testing.assert_array_equal(out[0], [steps] * 8)


def test_round_to():
    def body(a, like, out):
        store(out, 0, 0, round_to(load(a, 0, 0), like))

    a, out = np.random.default_rng(8).standard_normal((1, 8)), np.zeros((1, 8))
    jitted(body)(a, np.zeros(1, np.float32), out)
    np.testing.assert_array_equal(out, a.astype(np.float32).astype(np.float64))
    jitted(body)(a, np.zeros(1), out)
    np.testing.assert_array_equal(out, a)


def test_prefetch_changes_nothing_and_may_point_beyond_the_end():
    def body(a, i):
        prefetch(a, i, 0)

    a = np.arange(16.0).reshape(2, 8)
    for i in (0, 1, 2, 1 << 40):
        jitted(body)(a, i)
    np.testing.assert_array_equal(a, np.arange(16.0).reshape(2, 8))


class Sizes(NamedTuple):
    rows: int
    factor: float
    parts: tuple


def test_tuples_of_arguments():
    def body(sizes, arrays) -> float:
        a, (b, i) = arrays
        for t in loop(0, sizes.rows):
            store_scalar(a, t, 0, load_scalar(a, t, i) * sizes.factor + load_scalar(sizes.parts[1], 0, 0))
        store_scalar(b, 0, 0, load_scalar(a, 0, 0))
        return load_scalar(sizes.parts[0], 0, 0) + 1.0

    a, b, c = np.ones((3, 2)), np.zeros((1, 1)), np.full((1, 1), 5.0)
    assert jitted(body)(Sizes(2, 3.0, (c, np.full((1, 1), 0.5))), (a, (b, 1))) == 6.0
    np.testing.assert_array_equal(a, [[3.5, 1], [3.5, 1], [1, 1]])
    assert b[0, 0] == 3.5


def test_answers_are_integers_or_floats():
    def whole(n) -> int:
        return n * 2 - 1

    def half(n) -> float:
        total = var(load_scalar(n, 0, 0))
        total += 0.5
        return total.value

    assert jitted(whole)(21) == 41 and isinstance(jitted(whole)(21), int)
    assert jitted(half)(np.ones((1, 1), np.float32)) == 1.5


@dtypes
def test_any_layout(dtype):
    def body(a, i, j, out):
        store_scalar(out, 0, 0, load_scalar(a, i, j))
        store(out, 1, 0, gather(a, i, out, j))

    n = 64 // np.dtype(dtype).itemsize
    a = np.arange((3 * n) * 10, dtype=dtype).reshape(3 * n, 10)
    for view_of in (a, np.asfortranarray(a), a[::2, ::3], a[::-1], a[:, ::-2]):
        out = np.zeros((2, n), dtype)
        jitted(body)(view_of, 1, 2, out)
        assert out[0, 0] == view_of[1, 2]
        np.testing.assert_array_equal(out[1], view_of[1 : 1 + n, 2])


# ------------------------------------------------------------------------------------------ fma


def nearest(exact, dtype):
    """The number of this dtype that is nearest to a fraction."""
    guess = dtype(float(exact))
    near = [np.nextafter(guess, dtype(-np.inf)), guess, np.nextafter(guess, dtype(np.inf))]
    return min(near, key=lambda value: abs(Fraction(float(value)) - exact))


@dtypes
@pytest.mark.parametrize("scalar", [False, True], ids=["vector", "scalar"])
def test_fma_rounds_once_where_the_target_can(dtype, scalar):
    def of_vectors(a, b, c, out):
        for t in loop(0, out.shape[1], lanes(out)):
            store(out, 0, t, fma(load(a, 0, t), load(b, 0, t), load(c, 0, t)))

    def of_scalars(a, b, c, out):
        for t in loop(0, out.shape[1]):
            store_scalar(out, 0, t, fma(load_scalar(a, 0, t), load_scalar(b, 0, t), load_scalar(c, 0, t)))

    random = np.random.default_rng(9)
    a, b = (random.uniform(1, 2, (1, 64)).astype(dtype) for _ in range(2))
    c = -(a * b)  # what is left is the rounding error of the product: 0 where that was rounded first
    c[:, ::2] += random.uniform(-0.1, 0.1, (1, 32)).astype(dtype)
    call, out = jitted(of_scalars if scalar else of_vectors), np.zeros((1, 64), dtype)
    call(a, b, c, out)
    exact = [
        Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a[0], b[0], c[0], strict=True)
    ]
    once, twice = [nearest(value, dtype) for value in exact], a[0] * b[0] + c[0]
    assert sum(once != twice) > 40
    fused = JIT and any(
        re.search(r"\t(?:vfn?m(?:add|sub)|fn?m(?:add|sub|l[as])\b)", asm) for asm in call.inspect_asm().values()
    )
    np.testing.assert_array_equal(out[0], once if fused else twice)


@dtypes
def test_fma_of_mixed_operands(dtype):
    def body(a, out):
        x, y = load(a, 0, 0), load_scalar(a, 0, 1)
        s = var(x)
        s.set(fma(s, 2.0, s))
        store(out, 0, 0, s)
        store(out, 1, 0, fma(y, x, 1.0))
        store(out, 2, 0, fma(3.0, y, x))
        store_scalar(out, 3, 0, fma(y, 0.5, y))

    n = 64 // np.dtype(dtype).itemsize
    a = np.arange(1, n + 1, dtype=dtype)[None]
    out = np.zeros((4, n), dtype)
    jitted(body)(a, out)
    np.testing.assert_array_equal(out[:3], [3 * a[0], 2 * a[0] + 1, 6 + a[0]])
    assert out[3, 0] == 3


@dtypes
def test_nothing_else_is_fused(dtype):
    def body(a, b, c, out):
        x, y, z = load(a, 0, 0), load(b, 0, 0), load(c, 0, 0)
        store(out, 0, 0, x * y + z)
        store(out, 1, 0, z - x * y)
        store(out, 2, 0, x * y + y * z)
        total = var(z)
        total += x * y
        store(out, 3, 0, total)

    n = 64 // np.dtype(dtype).itemsize
    a, b, c = np.random.default_rng(10).standard_normal((3, 1, n)).astype(dtype)
    out = np.zeros((4, n), dtype)
    jitted(body)(a, b, c, out)
    np.testing.assert_array_equal(out, np.concatenate([a * b + c, c - a * b, a * b + b * c, a * b + c]))


# ------------------------------------------------------------------------------------------ atomics
#
# What is waited for must come; how long it takes says nothing on a busy machine. A wait that was not ended by its waker
# is seen by its timeout of a minute.

LONG, MINUTE = 30.0, 60_000_000
# elsewhere a sleeper is woken by a clock, and may wake before
SLEEPS = JIT and sys.platform == "linux" and backend.MACHINE in ("x86_64", "aarch64", "riscv64", "ppc64le", "s390x")


def fetch_add_of(a, i, n) -> int:
    return fetch_add(a, i, n)


def load_acquire_of(a, i) -> int:
    return load_acquire(a, i)


def store_release_of(a, i, value):
    store_release(a, i, value)


def futex_wait_of(a, i, expected, microseconds):
    futex_wait(a, i, expected, microseconds)


def futex_wake_of(a, i):
    futex_wake(a, i)


FETCH_ADD = jitted(fetch_add_of)
LOAD_ACQUIRE, STORE_RELEASE = jitted(load_acquire_of), jitted(store_release_of)
FUTEX_WAIT, FUTEX_WAKE = jitted(futex_wait_of), jitted(futex_wake_of)


def together(*calls):
    """Run them at the same time, each in a thread; returns when all are done."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * LONG)
        assert not thread.is_alive()


def test_atomic_operations():
    a = np.array([5, -1, 7])
    assert FETCH_ADD(a, 1, 3) == -1 and FETCH_ADD(a, 1, -4) == 2
    STORE_RELEASE(a, 0, -(1 << 60))
    assert LOAD_ACQUIRE(a, 0) == -(1 << 60)
    np.testing.assert_array_equal(a, [-(1 << 60), -2, 7])


def test_atomics_of_every_second_word():
    a = np.arange(10)
    assert FETCH_ADD(a[1::2], 2, 10) == 5 and LOAD_ACQUIRE(a[::-1], 0) == 9
    np.testing.assert_array_equal(a, [0, 1, 2, 3, 4, 15, 6, 7, 8, 9])


def test_two_threads_add_up():
    def body(a, times):
        for _ in loop(0, times):
            fetch_add(a, 3, 1)

    add, a, times = jitted(body), np.zeros(8, np.int64), 100_000
    add(a, 0)
    together(*[lambda: add(a, times)] * 2)
    assert a[3] == 2 * times and a.sum() == 2 * times


def test_what_was_written_before_is_seen():
    def send(a, b, times):
        for i in loop(1, times + 1):
            store_scalar(b, 0, 0, load_scalar(b, 0, 0) + 1.0)
            store_release(a, 0, i)
            for _ in while_(lambda i=i: load_acquire(a, 1) < i):
                pause(a)
                futex_wait(a, 1, i - 1, 100)

    def receive(a, b, times):
        for i in loop(1, times + 1):
            for _ in while_(lambda i=i: load_acquire(a, 0) < i):
                pause(a)
                futex_wait(a, 0, i - 1, 100)
            store_scalar(b, 0, 1, load_scalar(b, 0, 1) + load_scalar(b, 0, 0))
            store_release(a, 1, i)

    send, receive = jitted(send), jitted(receive)
    a, b, times = np.zeros(2, np.int64), np.zeros((1, 2)), 500
    send(a, b, 0)
    receive(a, b, 0)
    together(lambda: send(a, b, times), lambda: receive(a, b, times))
    assert b[0, 1] == times * (times + 1) / 2


def test_a_sleeper_is_woken():
    a, ends = np.zeros(4, np.int64), []

    def sleep():
        while LOAD_ACQUIRE(a, 2) == 0:
            FUTEX_WAIT(a, 2, 0, MINUTE)
        ends.append(time.monotonic())

    def wake():
        time.sleep(0.1)  # long enough for both to sleep on most machines; if not, there is nobody to wake
        STORE_RELEASE(a, 2, 1)
        FUTEX_WAKE(a, 2)

    FUTEX_WAIT(a, 2, 1, 1)
    start = time.monotonic()
    together(sleep, sleep, wake)
    assert len(ends) == 2 and max(ends) - start < LONG


def test_a_sleeper_wakes_by_itself():
    a = np.array([0, 7, 0])
    FUTEX_WAIT(a, 1, 8, 1)
    for expected in (7, 7 + (1 << 32), 7 - (1 << 40)):  # the upper half is not looked at
        start = time.monotonic()
        FUTEX_WAIT(a, 1, expected, 20_000)
        assert time.monotonic() - start >= (0.02 if SLEEPS else 0)
    a[1] = -1
    start = time.monotonic()
    FUTEX_WAIT(a, 1, (1 << 32) - 1, 1_020_000)  # more than a second
    assert time.monotonic() - start >= (1.02 if SLEEPS else 0)


def test_nobody_sleeps_where_the_number_is_another():
    a = np.array([0, 7 + (1 << 32), 0])
    FUTEX_WAIT(a, 1, 7, 1)
    start = time.monotonic()
    FUTEX_WAIT(a, 1, 8, MINUTE)
    assert time.monotonic() - start < LONG


def test_waking_nobody():
    a = np.zeros(3, np.int64)
    for i in range(3):
        FUTEX_WAKE(a, i)
    np.testing.assert_array_equal(a, 0)


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
from spiralnn.kernels.vectors import *

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
    store(out, 0, 0, broadcast(a, i, t))

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


@pytest.mark.parametrize("operation", ["load_acquire(a, i)", "fetch_add(a, i, 1)"])
def test_bounds_of_atomics_are_checked_on_demand(tmp_path, operation):
    code = f"""
import numpy as np
from numba import njit
from spiralnn.kernels.vectors import *
@traced
def operation(a, i) -> int:
    return {operation}
call = njit(lambda a, i: operation(a, i))
call(np.zeros(3, np.int64), 2)
for i in (3, -1):
    try:
        call(np.zeros(3, np.int64), i)
    except IndexError:
        continue
    raise SystemExit("went through")
print("checked")
"""
    assert fresh(code, tmp_path, NUMBA_BOUNDSCHECK="1") == "checked\n"


# Compiled for a processor that need not be this one, and not run
ASSEMBLY = """
import numpy as np
from numba import njit, typeof
from spiralnn.kernels import few_inputs
from spiralnn.kernels.vectors import ENTRY
tile, shapes = few_inputs.two_layer(2, 2).tile, few_inputs.two_layer(2, 2).shapes(2, 100, 3, 64, 8)

@njit(**ENTRY)
def call(X, y, row, rows, H, K, workspace, sums, chunk):
    tile(X, y, row, rows, H, K, workspace, sums, chunk)

X, y, sums = np.zeros((64, 2), {dtype}), np.zeros((64, 2), np.uint8), np.zeros((1, 1000))
call.compile(tuple(typeof(a) for a in (X, y, 0, 64, 100, 3, tuple(np.zeros(s, {dtype}) for s in shapes), sums, 0)))
print(*call.inspect_asm().values())
"""
x86 = pytest.mark.skipif(not JIT or backend.MACHINE != "x86_64", reason="the instructions looked for are of x86-64")
# any call of libm, under whatever name
LIBM = r"\b(?:_?_?(?:exp|log|fma)f?(?:_finite)?|npy_(?:exp|log)f?|numba_(?:exp|log)f?)\b"


def assembly(dtype, target, cache):
    return fresh(
        ASSEMBLY.format(dtype=dtype),
        cache,
        NUMBA_BOUNDSCHECK="0",
        NUMBA_OPT="3",
        NUMBA_CPU_NAME=target,
        NUMBA_CPU_FEATURES="",
    )


@x86
@pytest.mark.parametrize("target", ["haswell", "skylake-avx512"])
@pytest.mark.parametrize("dtype,kind", [("np.float64", "pd"), ("np.float32", "ps")])
def test_a_tile_compiles_to_wide_multiply_adds_without_libm(tmp_path, dtype, kind, target):
    code = assembly(dtype, target, tmp_path)
    wide = re.findall(rf"\tvf(?:n?)m(?:add|sub)\d+{kind}\t.*%[yz]mm", code)
    assert len(wide) > 24  # 16 for the scores of four units, 4 for those of two units backward, 5 at least for exp
    assert re.findall(LIBM, code) == []


@x86
@pytest.mark.parametrize("dtype", ["np.float64", "np.float32"])
def test_without_multiply_add_a_tile_multiplies_and_adds(tmp_path, dtype):
    code = assembly(dtype, "x86-64", tmp_path)
    assert re.findall(r"\tvf", code) == [] and re.findall(r"\tmulp[sd]\t", code) != []
    assert re.findall(LIBM, code) == []
