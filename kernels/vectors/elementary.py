"""exp and log of vectors: math.exp is a call into libm, one number at a time, and takes a quarter of a step.

Range reduction to |r| <= ln(2)/2 (exp) or m in [sqrt(1/2), sqrt(2)) (log), a minimax polynomial (Remez, weighted for
relative error), and the power of two put together from exponent bits. Error below 1 ulp (exp) and 2 ulp (log).
"""

from typing import NamedTuple

import numpy as np

from . import backend
from .lanes import select
from .values import Bits, Vector, fma, plain


class _Constants(NamedTuple):
    """What depends on the dtype. Coefficients begin with that of the highest power."""

    log2_e: float
    rounder: float  # 1.5 2^mantissa: adding it rounds to whole numbers, which then are the low bits
    rounder_bits: int
    ln2: float  # ln 2 in two parts, the first with so many zeros at its end that multiples of it are exact
    ln2_rest: float
    mantissa: int
    bias: int
    sqrt_half_bits: int
    exp: tuple[float, ...]
    log: tuple[float, ...]


_CONSTANTS = {
    8: _Constants(
        log2_e=1.4426950408889634,
        rounder=1.5 * 2.0**52,
        rounder_bits=0x4338000000000000,
        ln2=0.6931471803691238,
        ln2_rest=1.9082149292705877e-10,
        mantissa=52,
        bias=1023,
        sqrt_half_bits=0x3FE6A09E667F3BCD,
        exp=(
            2.5000018833187374e-08,
            2.76303062502936e-07,
            2.7557586803895326e-06,
            2.480149294963387e-05,
            0.00019841269505773776,
            0.0013888888943759965,
            0.008333333333494976,
            0.041666666666529725,
            0.1666666666666641,
            0.5000000000000011,
        ),
        log=(
            0.1479594966046113,
            0.1531405055641216,
            0.18183564325937301,
            0.22222198573188398,
            0.2857142874238758,
            0.39999999999414676,
            0.6666666666666734,
        ),
    ),
    4: _Constants(
        log2_e=1.4426950408889634,
        rounder=1.5 * 2.0**23,
        rounder_bits=0x4B400000,
        ln2=0.693145751953125,
        ln2_rest=1.4286068203094172e-06,
        mantissa=23,
        bias=127,
        sqrt_half_bits=0x3F3504F3,
        exp=(0.0013814540176801306, 0.008368745108942591, 0.041668390783547914, 0.1666652039904253, 0.4999999343212929),
        log=(0.29871727731953984, 0.39977541576741427, 0.6666677638160917),
    ),
}


def exp_of_negative(x):
    """e**x for x <= 0, and 0 where that is no normal number; NaN for NaN."""
    x = plain(x)
    c = _CONSTANTS[_itemsize(x)]
    shifted = fma(x, c.log2_e, c.rounder)  # its low bits are n = round(x / ln 2)
    n = shifted - c.rounder
    r = fma(n, -c.ln2_rest, fma(n, -c.ln2, x))
    p = fma(r * r, _polynomial(r, c.exp), r) + 1.0
    power = _from_bits((_bits(shifted) + (c.bias - c.rounder_bits)) << c.mantissa)
    return select(x < (1 - c.bias) * 0.6931471805599453, 0.0, p * power)


def log(x):
    """Natural logarithm of normal x > 0; NaN for NaN and infinity."""
    x = plain(x)
    c = _CONSTANTS[_itemsize(x)]
    bits = _bits(x)
    e = (bits - c.sqrt_half_bits) >> c.mantissa
    m = _from_bits(bits - (e << c.mantissa))
    s = (m - 1.0) / (m + 1.0)  # log m = 2 artanh s
    u = s * s
    g = _polynomial(u, c.log)
    n = _to_float(e)
    y = fma(n, c.ln2, fma(s, 2.0, fma(n, c.ln2_rest, s * u * g)))
    return y + (x - x)  # 0, and NaN where the bits of NaN or infinity went through the steps above as a number


def _polynomial(x, coefficients):
    value = fma(x, coefficients[0], coefficients[1])
    for coefficient in coefficients[2:]:
        value = fma(value, x, coefficient)
    return value


def _itemsize(x):
    return backend.bytes_of(x.value.type) if isinstance(x, Vector) else x.dtype.itemsize


def _bits(x):
    """The bits of floats as signed integers of the same width."""
    if isinstance(x, Vector):
        return Bits(x.builder, x.builder.bitcast(x.value, backend.integers_like(x.value.type)))
    return x.view(np.dtype(f"i{x.dtype.itemsize}"))


def _from_bits(bits):
    """The floats that have these bits."""
    if isinstance(bits, Bits):
        return Vector(bits.builder, bits.builder.bitcast(bits.value, backend.floats_like(bits.value.type)))
    return bits.view(np.dtype(f"f{bits.dtype.itemsize}"))


def _to_float(bits):
    """Integers as floats of the same width."""
    if isinstance(bits, Bits):
        return Vector(bits.builder, bits.builder.sitofp(bits.value, backend.floats_like(bits.value.type)))
    return bits.astype(np.dtype(f"f{bits.dtype.itemsize}"))
