"""Constants, selection, shuffles and reductions: what moves numbers between the lanes of vectors."""

import numpy as np

from . import backend
from .values import Array, Mask, Scalar, Vector, converted, index_value, lanes, pattern, plain

# ------------------------------------------------------------------------------------------- the same in every lane


def zeros(a):
    """A vector of zeros of the dtype of the array a."""
    return full(a, 0.0)


def full(a, number):
    """A vector with the constant number in every lane, of the dtype of the array a."""
    if isinstance(a, Array):
        return Vector(a.builder, backend.constant(backend.vector_type(a.element, lanes(a)), float(number)))
    return np.full(lanes(a), number, a.dtype)


def everywhere(a, value):
    """The float `value` in every lane, in the dtype of the array a."""
    if isinstance(a, Array):
        return Vector(a.builder, backend.splat(a.builder, converted(plain(value), a.element).value, lanes(a)))
    return np.full(lanes(a), value, a.dtype)


def iota(a):
    """The vector 0, 1, 2, ... of the dtype of the array a."""
    if isinstance(a, Array):
        numbers = [float(i) for i in range(lanes(a))]
        return Vector(a.builder, backend.constant(backend.vector_type(a.element, lanes(a)), numbers))
    return np.arange(lanes(a), dtype=a.dtype)


def broadcast_int(a, i):
    """The integer i as a float of the dtype of the array a in every lane."""
    if isinstance(a, Array):
        return Vector(a.builder, backend.splat(a.builder, a.builder.sitofp(index_value(i), a.element), lanes(a)))
    return np.full(lanes(a), i, a.dtype)


def as_float(a, i):
    """The integer i as one float of the dtype of the array a."""
    if isinstance(a, Array):
        return Scalar(a.builder, a.builder.sitofp(index_value(i), a.element))
    return a.dtype.type(i)


# ------------------------------------------------------------------------------------------- lane by lane


def select(condition, a, b):
    """a where the condition holds, else b: lane by lane, or all of it when the condition is one truth value."""
    a, b = plain(a), plain(b)
    if isinstance(condition, Mask):
        like = pattern(a, b)
        return like.like(condition.builder.select(condition.value, like.operand(a), like.operand(b)))
    return np.where(condition, a, b)


def relu(x):
    """max(0, x), and NaN for NaN: a network with NaN weights must not look healthy."""
    return select(x < 0.0, 0.0, x)


def maximum(a, b):
    """The larger one; b where either is NaN."""
    return select(a > b, a, b)


def sqrt(x):
    """The square root, rounded once."""
    x = plain(x)
    if isinstance(x, (Vector, Scalar)):
        return x.like(backend.square_root(x.builder, x.value))
    return np.sqrt(x)


def round_to(vector, a):
    """The vector rounded to the dtype of the array a, in its own dtype."""
    vector = plain(vector)
    if isinstance(a, Array):
        return converted(converted(vector, a.element), backend.element_of(vector.value.type))
    return vector.astype(a.dtype).astype(vector.dtype)


# ------------------------------------------------------------------------------------------- between lanes


def half(vector, i):
    """The first half of the lanes (i = 0) or the second (i = 1), as a vector."""
    vector = plain(vector)
    if not isinstance(vector, Vector):
        return vector[i * len(vector) // 2 : (i + 1) * len(vector) // 2]
    n = backend.lanes_of(vector.value.type) // 2
    return Vector(vector.builder, backend.shuffle(vector.builder, vector.value, None, range(i * n, (i + 1) * n)))


def joined(low, high):
    """The vector of two halves."""
    low, high = plain(low), plain(high)
    if not isinstance(low, Vector):
        return np.concatenate([low, high])
    numbers = range(2 * backend.lanes_of(low.value.type))
    return Vector(low.builder, backend.shuffle(low.builder, low.value, high.value, numbers))


def transpose(rows):
    """From n vectors, n a power of two: as many vectors of n as they have lanes, the first of all first lanes, ...

    Lanes are swapped between pairs of vectors 1, 2, 4, ... apart: a shuffle a vector and power of two.
    """
    if not isinstance(rows[0], Vector):
        return list(np.ascontiguousarray(np.array(rows).T))
    builder, values, n = rows[0].builder, [row.value for row in rows], len(rows)
    count, width = backend.lanes_of(values[0].type), 1
    while width < n:
        low = [lane if lane & width == 0 else count + lane - width for lane in range(count)]
        high = [lane + width if lane & width == 0 else count + lane for lane in range(count)]
        swapped = list(values)
        for j in range(n):
            if j & width == 0:
                swapped[j] = backend.shuffle(builder, values[j], values[j + width], low)
                swapped[j + width] = backend.shuffle(builder, values[j], values[j + width], high)
        values = swapped
        width *= 2
    if n < count:
        parts = [range(c // n * n, c // n * n + n) for c in range(count)]
        values = [backend.shuffle(builder, values[c % n], None, parts[c]) for c in range(count)]
    return [Vector(builder, value) for value in values]


def reduce_add(vector):
    """The sum over the lanes as a float: halves onto halves, a fixed tree."""
    vector = plain(vector)
    if not isinstance(vector, Vector):
        return vector.sum()
    return Scalar(vector.builder, backend.first_lane(vector.builder, _fold(vector.builder, vector.value, 1)))


def reduce_max(vector):
    """The largest lane as a float."""
    vector = plain(vector)
    if not isinstance(vector, Vector):
        return vector.max()
    while backend.lanes_of(vector.value.type) > 1:
        half = backend.lanes_of(vector.value.type) // 2
        parts = [backend.shuffle(vector.builder, vector.value, None, range(i, i + half)) for i in (0, half)]
        vector = maximum(*(Vector(vector.builder, part) for part in parts))
    return Scalar(vector.builder, backend.first_lane(vector.builder, vector.value))


def reduce_add_each(vectors):
    """The vector of the lane sums of 2, 4, ... vectors, at most as many as one has lanes.

    Pairs of vectors are interleaved and added, then pairs of those: 3 instructions a vector instead of 8.
    """
    vectors = [plain(v) for v in vectors]
    if not isinstance(vectors[0], Vector):
        return np.array([v.sum() for v in vectors], vectors[0].dtype)
    builder, values, width = vectors[0].builder, [v.value for v in vectors], 1
    count = backend.lanes_of(values[0].type)
    while len(values) > 1:
        # groups of `width` lanes: the first of each pair of groups of both vectors, then the second
        low = [
            group + offset + lane
            for group in range(0, count, 2 * width)
            for offset in (0, count)
            for lane in range(width)
        ]
        high = [lane + width for lane in low]
        values = [
            builder.fadd(backend.shuffle(builder, p, q, low), backend.shuffle(builder, p, q, high))
            for p, q in zip(values[::2], values[1::2], strict=True)
        ]
        width *= 2
    return Vector(builder, _fold(builder, values[0], len(vectors)))


def _fold(builder, value, count):
    """Add the upper half of a vector onto the lower until `count` lanes are left."""
    while backend.lanes_of(value.type) > count:
        half = backend.lanes_of(value.type) // 2
        low, high = range(half), range(half, 2 * half)
        value = builder.fadd(backend.shuffle(builder, value, None, low), backend.shuffle(builder, value, None, high))
    return value
