"""Loads and stores. Arrays have two axes where an index is (i, t) or (i, d); a vector lies along the last."""

import numpy as np

from . import backend
from .values import Array, Index, Scalar, Vector, converted, index_value, lanes, plain

# ------------------------------------------------------------------------------------------- one run of memory


def load(a, i, t):
    """The vector a[i, t:t + lanes]."""
    if isinstance(a, Array):
        return _load_vector(a, a.address([i, t], lanes(a)))
    _check_vector(a, t, lanes(a))
    return a[i, t : t + lanes(a)].copy()


def load_as(a, i, t, like):
    """The vector a[i, t:t + lanes of `like`] in the dtype of the array `like`."""
    if isinstance(a, Array):
        kind = backend.vector_type(a.element, lanes(like))
        return converted(Vector(a.builder, backend.load(a.builder, a.address([i, t], lanes(like)), kind)), like.element)
    _check_vector(a, t, lanes(like))
    return a[i, t : t + lanes(like)].astype(like.dtype)


def store(a, i, t, vector):
    """a[i, t:t + lanes] = vector, converted to the dtype of a."""
    vector = plain(vector)
    if isinstance(a, Array):
        value = converted(vector, a.element).value
        backend.store(a.builder, value, a.address([i, t], backend.lanes_of(value.type)))
    else:
        _check_vector(a, t, len(vector))
        a[i, t : t + len(vector)] = vector


def add_to(a, i, t, vector):
    """a[i, t:t + lanes] += vector, or a[i, t] += a float, converted to the dtype of a first."""
    vector = plain(vector)
    if isinstance(a, Array):
        value, builder = converted(vector, a.element).value, a.builder
        address = a.address([i, t], max(backend.lanes_of(value.type), 1))
        backend.store(builder, builder.fadd(backend.load(builder, address, value.type), value), address)
    elif np.ndim(vector) == 0:
        a[i, t] += vector
    else:
        _check_vector(a, t, len(vector))
        a[i, t : t + len(vector)] += vector


def load_contiguous(a, i, d):
    """The vector of a's memory from a[i, d] on, a C-contiguous: beyond the end of a row it goes on in the next one."""
    if isinstance(a, Array):
        return _load_run(a, i, d, 0)
    start = i * a.shape[1] + d
    if start < 0 or start + lanes(a) > a.size:
        raise IndexError(f"vector [{start}, {start + lanes(a)}) outside an array of {a.size} elements")
    return a.reshape(-1)[start : start + lanes(a)].copy()


def prefetch(a, i, d):
    """Ask for the cache line of a[i, d], C-contiguous, ahead of its use; a may have ended before."""
    if isinstance(a, Array):
        builder = a.builder
        place = builder.add(builder.mul(index_value(i), a.sizes[1]), index_value(d))
        backend.prefetch(builder, backend.address(builder, a.data, a.element, place))


# ------------------------------------------------------------------------------------------- one element


def load_scalar(a, *index):
    """The float a[index]."""
    return Scalar(a.builder, backend.load(a.builder, a.address(index), a.element)) if isinstance(a, Array) else a[index]


def store_scalar(a, i, j, value):
    """a[i, j] = value, converted to the dtype of a."""
    value = plain(value)
    if isinstance(a, Array):
        backend.store(a.builder, converted(value, a.element).value, a.address([i, j]))
    else:
        a[i, j] = value


def store_element(a, value, *index):
    """a[index] = value, of the dtype of a, whatever that is."""
    if isinstance(a, Array):
        backend.store(a.builder, value.value, a.address(index))
    else:
        a[index] = value


def load_index(a, i):
    """The unsigned integer a[i] as an integer of the kernel."""
    if isinstance(a, Array):
        value = backend.load(a.builder, a.address([i]), a.element)
        return Index(a.builder, a.builder.zext(value, backend.I64))
    return int(a[i])


def broadcast(a, *index):
    """The float a[index] in every lane."""
    if isinstance(a, Array):
        return Vector(a.builder, backend.splat(a.builder, load_scalar(a, *index).value, lanes(a)))
    return np.full(lanes(a), a[index], a.dtype)


def store_int(a, i, vector):
    """a[i], a[i + 1], ... = the whole numbers of a vector, or a[i] = that of one float, as integers."""
    vector = plain(vector)
    if isinstance(a, Array):
        count = backend.lanes_of(vector.value.type)
        value = a.builder.fptosi(vector.value, backend.with_element(vector.value.type, a.element))
        backend.store(a.builder, value, a.address([i], max(count, 1)))
    else:
        a[i : i + np.size(vector)] = vector


# ------------------------------------------------------------------------------------------- spread over memory


def load_deinterleaved(a, i, columns):
    """Vectors a[i:i + lanes, 0], a[i:i + lanes, 1], ... of an array of so few columns, its rows one run of memory.

    As many loads as columns, and each column is picked from them with one shuffle less.
    """
    if not isinstance(a, Array):
        _check_vector(a.T, i, lanes(a))
        return [np.ascontiguousarray(a[i : i + lanes(a), column]) for column in range(columns)]
    count, builder = lanes(a), a.builder
    run = [_load_run(a, i, 0, v * count) for v in range(columns)]
    if columns == 1:
        return run
    picked = []
    for column in range(columns):
        value = run[0].value
        for v in range(1, columns):
            # lanes whose number lies in run v come from there, at first also those of run 0
            places = [lane * columns + column - v * count for lane in range(count)]
            early = [lane * columns + column if v == 1 else lane for lane in range(count)]
            mask = [count + at if 0 <= at < count else min(e, count - 1) for at, e in zip(places, early, strict=True)]
            value = backend.shuffle(builder, value, run[v].value, mask)
        picked.append(Vector(builder, value))
    return picked


def gather(a, i, like, *rest, last=None):
    """The vector a[i, *rest], a[i + 1, *rest], ... in the dtype of the array `like`; from `last` on, a[last, *rest]."""
    count = lanes(like)
    if not isinstance(a, Array):
        return np.array([a[(i + j if last is None else min(i + j, last), *rest)] for j in range(count)], like.dtype)
    builder, vector = a.builder, backend.undefined(backend.vector_type(a.element, count))
    for j in range(count):
        row = i + j
        if last is not None:
            before = builder.icmp_signed("<", row.value, last.value)
            row = Index(builder, builder.select(before, row.value, last.value))
        vector = backend.insert_lane(builder, vector, backend.load(builder, a.address([row, *rest]), a.element), j)
    if backend.is_integer(a.element):
        return _from_unsigned(builder, vector, like)
    return converted(Vector(builder, vector), like.element)


def load_strided_bytes(a, i, like, *rest, spacing):
    """The vector a[i, *rest], a[i + 1, *rest], ... of bytes so far apart, in the dtype of the array `like`.

    Reads that many bytes from the last of them on.
    """
    count = lanes(like)
    if not isinstance(a, Array):
        return a[(slice(i, i + count), *rest)].astype(like.dtype)
    builder, first = a.builder, a.address([i, *rest])
    if backend.bounds_checked():
        a.address([i + count - (1 if spacing == 1 else 0), *rest])
    vector = backend.load_wide_bytes(builder, first, spacing, count)
    return _from_unsigned(builder, vector, like)


# ------------------------------------------------------------------------------------------- where arrays lie


def stride(a):
    """Bytes from one row of an array to the next."""
    return Index(a.builder, a.strides[0]) if isinstance(a, Array) else a.strides[0]


def view(a, i, first, rows, columns):
    """The elements of a[i] from `first` on as an array (rows, columns), sharing memory."""
    if isinstance(a, Array):
        return a.view(a.address([i, first], rows * columns), (rows, columns))
    return a[i, first : first + rows * columns].reshape(rows, columns)


def first_aligned(a):
    """The smallest i for which a[0, i] lies at the beginning of a cache line."""
    if not isinstance(a, Array):
        return -a.__array_interface__["data"][0] % 64 // a.itemsize
    builder, i64 = a.builder, backend.I64
    to_line = builder.and_(builder.neg(backend.address_bits(builder, a.data)), i64(63))
    return Index(builder, builder.udiv(to_line, i64(a.itemsize)))


def _load_vector(a, address):
    return Vector(a.builder, backend.load(a.builder, address, backend.vector_type(a.element, lanes(a))))


def _load_run(a, i, d, offset):
    """The vector of a's memory that begins `offset` elements behind a[i, d] and may go on into the next rows."""
    builder = a.builder
    first = builder.add(builder.mul(index_value(i), a.sizes[1]), index_value(d))
    first = builder.add(first, index_value(offset))
    if backend.bounds_checked():
        size = builder.mul(a.sizes[0], a.sizes[1])
        for element in (first, builder.add(first, index_value(lanes(a) - 1))):
            backend.check_index(a.context, builder, element, size, 0)
    return _load_vector(a, backend.address(builder, a.data, a.element, first))


def _from_unsigned(builder, vector, like):
    return Vector(builder, builder.uitofp(vector, backend.vector_type(like.element, lanes(like))))


def _check_vector(a, t, count):
    if t < 0 or t + count > a.shape[1]:
        raise IndexError(f"vector [{t}, {t + count}) outside an array of {a.shape[1]} columns")
