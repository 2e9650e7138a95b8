"""What a kernel computes with: vectors, floats, integers, truth values and variables, whose operators append LLVM code.

No operator lets the compiler fuse, reorder or drop anything: each rounds once, as NumPy's does, and the bits are those
of the text. Where a product and a sum are to be rounded together, `fma` says so.
"""

import copy

from . import backend

VECTOR_BYTES = 64  # one AVX-512 register; LLVM splits it into two or four where registers are shorter


class Index:
    """An integer of the kernel."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _new(self, operation, a, b):
        return Index(self.builder, operation(a, index_value(b)))

    def __add__(self, other):
        return self._new(self.builder.add, self.value, other)

    def __sub__(self, other):
        return self._new(self.builder.sub, self.value, other)

    def __rsub__(self, other):
        return self._new(self.builder.sub, index_value(other), self)

    def __mul__(self, other):
        return self._new(self.builder.mul, self.value, other)

    def __floordiv__(self, other):  # of numbers that are not negative
        return self._new(self.builder.udiv, self.value, other)

    __radd__, __rmul__ = __add__, __mul__

    def _compare(self, sign, other):
        return Mask(self.builder, self.builder.icmp_signed(sign, self.value, index_value(other)))

    def __gt__(self, other):
        return self._compare(">", other)

    def __lt__(self, other):
        return self._compare("<", other)

    def __eq__(self, other):
        return self._compare("==", other)

    __hash__ = None  # type: ignore[assignment]


class Mask:
    """A truth value, or one in every lane."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value


class _Lanes:
    """Values of one LLVM type, and of this class."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def like(self, value):
        return type(self)(self.builder, value)

    def operand(self, other):
        """other as a value of this type: a constant, or a single float, goes into every lane."""
        kind, other = self.value.type, plain(other)
        if not isinstance(other, _Lanes):
            return backend.constant(kind, other)
        if isinstance(self, Vector) and isinstance(other, Scalar):
            return backend.splat(self.builder, other.value, backend.lanes_of(kind))
        return other.value


class _Float(_Lanes):
    def __add__(self, other):
        return self.like(self.builder.fadd(self.value, self.operand(other)))

    def __sub__(self, other):
        return self.like(self.builder.fsub(self.value, self.operand(other)))

    def __rsub__(self, other):
        return self.like(self.builder.fsub(self.operand(other), self.value))

    def __mul__(self, other):
        return self.like(self.builder.fmul(self.value, self.operand(other)))

    def __truediv__(self, other):
        return self.like(self.builder.fdiv(self.value, self.operand(other)))

    def __rtruediv__(self, other):
        return self.like(self.builder.fdiv(self.operand(other), self.value))

    __radd__, __rmul__ = __add__, __mul__

    def _compare(self, sign, other):  # false of NaN
        return Mask(self.builder, self.builder.fcmp_ordered(sign, self.value, self.operand(other)))

    def __lt__(self, other):
        return self._compare("<", other)

    def __gt__(self, other):
        return self._compare(">", other)

    def __eq__(self, other):
        return self._compare("==", other)

    __hash__ = None  # type: ignore[assignment]


class Vector(_Float):
    """A float in every lane."""


class Scalar(_Float):
    """One float."""


class Bits(_Lanes):
    """A signed integer in every lane, as wide as the float whose bits it holds or will be."""

    def __add__(self, other):
        return self.like(self.builder.add(self.value, self.operand(other)))

    def __sub__(self, other):
        return self.like(self.builder.sub(self.value, self.operand(other)))

    def __lshift__(self, bits):
        return self.like(self.builder.shl(self.value, self.operand(bits)))

    def __rshift__(self, bits):
        return self.like(self.builder.ashr(self.value, self.operand(bits)))


class Variable:
    """A value that a loop changes: `s += x`, `s -= x`, `s.set(x)`; read as `s.value`."""

    def __init__(self, value):
        self._kind = type(value) if isinstance(value, (_Lanes, Index)) else None
        if self._kind:
            self._builder, self._type = value.builder, value.value.type
            self._slot = backend.new_slot(value.builder, self._type)
        self.set(value)

    def set(self, value):
        value = plain(value)
        if self._kind:
            backend.store(self._builder, value.value, self._slot)
        else:
            self._slot = value

    @property
    def value(self):
        if self._kind:
            return self._kind(self._builder, backend.load(self._builder, self._slot, self._type))
        return self._slot

    def __iadd__(self, other):
        self.set(self.value + plain(other))
        return self

    def __isub__(self, other):
        self.set(self.value - plain(other))
        return self


class Array:
    """An array argument."""

    def __init__(self, context, builder, data, sizes, strides, element, contiguous):
        self.context, self.builder, self.data, self.sizes, self.strides = context, builder, data, sizes, strides
        self.element, self.contiguous = element, contiguous
        self.itemsize = backend.bytes_of(element)

    @property
    def shape(self):
        return tuple(Index(self.builder, size) for size in self.sizes)

    def address(self, index, count=1):
        """The address of an element, checked to have `count` elements from there on under NUMBA_BOUNDSCHECK."""
        builder, index = self.builder, [index_value(i) for i in index]
        if backend.bounds_checked():
            last = [*index, builder.add(index[-1], index_value(count - 1))]
            for axis, i in zip([*range(len(index)), len(index) - 1], last, strict=True):
                backend.check_index(self.context, builder, i, self.sizes[axis], axis)
        if self.contiguous:
            place = index[0]
            for size, i in zip(self.sizes[1:], index[1:], strict=True):
                place = builder.add(builder.mul(place, size), i)
            return backend.address(builder, self.data, self.element, place)
        offsets = [builder.mul(stride, i) for stride, i in zip(self.strides, index, strict=True)]
        offset = offsets[0]
        for further in offsets[1:]:
            offset = builder.add(offset, further)
        return backend.address(builder, self.data, backend.I8, offset)

    def view(self, first, shape):
        """C-contiguous array of this shape from an address on."""
        other = copy.copy(self)
        other.data, other.sizes, other.contiguous = first, [index_value(n) for n in shape], True
        return other


def lanes(a):
    """Lanes of a vector of the dtype of the array a: neighbouring rows, columns or inputs."""
    return VECTOR_BYTES // a.itemsize


def choose(many, few):
    """Of two ways to cut work into register blocks: `many` where 32 vectors fit the registers (AVX-512), else `few`.

    It decides how often a number is read again, never the order of a sum.
    """
    if backend.jit_disabled():
        return many
    return many if backend.register_bytes() >= 32 * VECTOR_BYTES else few


def var(value):
    """A value that a loop changes."""
    return Variable(plain(value))


def plain(value):
    """What a variable holds now, or the value itself."""
    return value.value if isinstance(value, Variable) else value


def index_value(i):
    """An integer, of the kernel or of Python, in LLVM."""
    return i.value if isinstance(i, Index) else backend.constant(backend.I64, i)


def converted(value, element):
    """A float or vector of floats with elements of this LLVM type."""
    kind = backend.with_element(value.value.type, element)
    if kind == value.value.type:
        return value
    cast = value.builder.fpext if element == backend.F64 else value.builder.fptrunc
    return value.like(cast(value.value, kind))


def pattern(*values):
    """The value whose type the others are to take: a vector if there is one, else a float; None without the JIT."""
    for kind in (Vector, Scalar):
        for value in values:
            if isinstance(value, kind):
                return value
    return None


def fma(a, b, c):
    """a b + c, rounded once where the target has such an instruction; else the product is rounded, too."""
    a, b, c = plain(a), plain(b), plain(c)
    like = pattern(a, b, c)
    if like is None:
        return a * b + c
    return like.like(backend.fmuladd(like.builder, like.operand(a), like.operand(b), like.operand(c)))


def fma_is_fused():
    """Whether `fma` rounds once, on the processor that Numba compiles for; never without the JIT."""
    return not backend.jit_disabled() and backend.has_fma()


def minimum(i, j):
    """The smaller of two integers of the kernel."""
    like = next((n for n in (i, j) if isinstance(n, Index)), None)
    if like is None:
        return min(i, j)
    a, b, builder = index_value(i), index_value(j), like.builder
    return Index(builder, builder.select(builder.icmp_signed("<", a, b), a, b))
