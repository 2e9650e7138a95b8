"""Loops over vectors of rows, traced from Python into the LLVM code of a Numba kernel.

Numba has no vector type: it hands LLVM a loop of scalars and hopes. Where the hope fails (a libm call, arrays that
might overlap, a division that may raise, a tail) it fails silently, and where it holds it costs seconds of compile
time. Here a vector is a value and a kernel states the registers it wants:

    @traced
    def row_sums(a, T, total):
        s = var(zeros(a))
        for t in span(0, T, lanes(a)):          # a loop in the kernel: the body is traced once
            for i in range(4):                  # a loop of Python: unrolled
                s += load(a, i, t)
        store(total, 0, 0, s)

`@traced` makes it callable from jitted code. With the JIT its Python body runs once, at compile time, and every
operation appends LLVM instructions. Without (NUMBA_DISABLE_JIT=1) the same body runs on NumPy arrays of one
vector's length: one source, so the twin cannot differ. With NUMBA_BOUNDSCHECK=1 every load and store is checked.
"""

import copy

import numpy as np
from numba import config, types
from numba.core import cgutils, utils
from numba.extending import intrinsic

ir = cgutils.ir  # the LLVM builder that Numba itself uses

# How functions that Python calls are compiled: no exception for a division by zero, no GIL, and no entry for C.
ENTRY = {"error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}

VECTOR_BYTES = 64  # one AVX-512 register; LLVM splits it into two or four where registers are shorter


def lanes(a):
    """Rows in a vector of the dtype of the array a."""
    return VECTOR_BYTES // (a.kind.dtype.bitwidth // 8 if isinstance(a, _Array) else a.itemsize)


# -------------------------------------------------------------------------------------------- what is traced


class _Array:
    """An array argument."""

    def __init__(self, context, builder, kind, value):
        self.context, self.builder, self.kind = context, builder, kind
        field = context.data_model_manager[kind].get_field_position
        # taken from the value itself: Numba's own proxy would copy it into memory, for LLVM to take apart again
        self.data = builder.extract_value(value, field("data"))
        self.sizes = [builder.extract_value(value, [field("shape"), axis]) for axis in range(kind.ndim)]
        self.strides = [builder.extract_value(value, [field("strides"), axis]) for axis in range(kind.ndim)]

    @property
    def shape(self):
        return tuple(_Index(self.builder, size) for size in self.sizes)

    def pointer(self, index, count=1):
        """The address of an element, checked to have `count` elements from there on under NUMBA_BOUNDSCHECK."""
        index = [_index(self.builder, i) for i in index]
        if config.BOUNDSCHECK:
            last = [*index, self.builder.add(index[-1], _index(self.builder, count - 1))]
            for axis, i in zip([*range(len(index)), len(index) - 1], last, strict=True):
                cgutils.do_boundscheck(self.context, self.builder, i, self.sizes[axis], axis)
        return cgutils.get_item_pointer2(
            self.context, self.builder, self.data, self.sizes, self.strides, self.kind.layout, index
        )

    def vector(self, index, count):
        """The address of `count` elements as of one vector."""
        return self.builder.bitcast(self.pointer(index, count), _vector_ir(self.kind.dtype, count).as_pointer())


class _Index:
    """An integer of the kernel."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def __add__(self, other):
        return _Index(self.builder, self.builder.add(self.value, _index(self.builder, other)))

    def __sub__(self, other):
        return _Index(self.builder, self.builder.sub(self.value, _index(self.builder, other)))

    def __mul__(self, other):
        return _Index(self.builder, self.builder.mul(self.value, _index(self.builder, other)))

    def __gt__(self, other):
        return _Float(self.builder, self.builder.icmp_signed(">", self.value, _index(self.builder, other)))

    def __lt__(self, other):
        return _Float(self.builder, self.builder.icmp_signed("<", self.value, _index(self.builder, other)))

    def __eq__(self, other):
        return _Float(self.builder, self.builder.icmp_signed("==", self.value, _index(self.builder, other)))

    def __ne__(self, other):
        return _Float(self.builder, self.builder.icmp_signed("!=", self.value, _index(self.builder, other)))

    __hash__ = None  # type: ignore[assignment]

    def __floordiv__(self, other):  # of numbers that are not negative
        return _Index(self.builder, self.builder.udiv(self.value, _index(self.builder, other)))

    def __rsub__(self, other):
        return _Index(self.builder, self.builder.sub(_index(self.builder, other), self.value))

    __radd__, __rmul__ = __add__, __mul__


class _Float:
    """A vector of floats, of integers, of truth values, or one float: Python operators append instructions."""

    # `contract` fuses a multiply and an add. Nothing else: reassociation would undo the rounding in exp, and
    # nnan or ninf would delete the checks for NaN and infinity.
    FLAGS = ("contract",)

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def like(self, value):
        return _Float(self.builder, value)

    def operand(self, other):
        """other as a value of this type: a constant, or a single float, goes into every lane."""
        kind = self.value.type
        if isinstance(other, Var):
            other = other.value
        if not isinstance(other, _Float):
            return ir.Constant(kind, [other] * kind.count if isinstance(kind, ir.VectorType) else other)
        if isinstance(kind, ir.VectorType) and not isinstance(other.value.type, ir.VectorType):
            return _splat(self.builder, other.value, kind.count)
        return other.value

    def _arithmetic(self, float_op, int_op, other, swap=False):
        a, b = self.value, self.operand(other)
        if swap:
            a, b = b, a
        if isinstance(getattr(a.type, "element", a.type), ir.IntType):
            return self.like(getattr(self.builder, int_op)(a, b))
        return self.like(getattr(self.builder, float_op)(a, b, flags=self.FLAGS))

    def __add__(self, other):
        return self._arithmetic("fadd", "add", other)

    def __sub__(self, other):
        return self._arithmetic("fsub", "sub", other)

    def __mul__(self, other):
        return self._arithmetic("fmul", "mul", other)

    def __truediv__(self, other):
        return self._arithmetic("fdiv", "sdiv", other)

    def __rtruediv__(self, other):
        return self._arithmetic("fdiv", "sdiv", other, swap=True)

    def __rsub__(self, other):
        return self._arithmetic("fsub", "sub", other, swap=True)

    __radd__, __rmul__ = __add__, __mul__

    def __lshift__(self, bits):
        return self.like(self.builder.shl(self.value, self.operand(bits)))

    def __rshift__(self, bits):
        return self.like(self.builder.ashr(self.value, self.operand(bits)))

    def __lt__(self, other):
        return self.like(self.builder.fcmp_ordered("<", self.value, self.operand(other)))

    def __gt__(self, other):
        return self.like(self.builder.fcmp_ordered(">", self.value, self.operand(other)))

    def __eq__(self, other):
        return self.like(self.builder.fcmp_ordered("==", self.value, self.operand(other)))

    __hash__ = None  # type: ignore[assignment]


class Var:
    """A value that a loop changes: `s += x`, `s -= x`, `s.set(x)`; read as `s.value`."""

    def __init__(self, value):
        self.kind = type(value)
        if self.kind in (_Float, _Index):
            self.builder = value.builder
            self.slot = cgutils.alloca_once(value.builder, value.value.type)  # LLVM makes a register of it
        else:
            self.builder = None
        self.set(value)

    def set(self, value):
        value = _plain(value)
        if self.builder is None:
            self.slot = value
        else:
            self.builder.store(value.value, self.slot)

    @property
    def value(self):
        return self.slot if self.builder is None else self.kind(self.builder, self.builder.load(self.slot))

    def __iadd__(self, other):
        self.set(self.value + _plain(other))
        return self

    def __isub__(self, other):
        self.set(self.value - _plain(other))
        return self


def _plain(value):
    return value.value if isinstance(value, Var) else value


def _index(builder, i):
    return i.value if isinstance(i, _Index) else ir.Constant(ir.IntType(64), i)


def _vector_ir(dtype, count):
    return ir.VectorType(ir.DoubleType() if dtype == types.float64 else ir.FloatType(), count)


def _lane_mask(numbers):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), list(numbers))


def _splat(builder, scalar, count):
    kind = ir.VectorType(scalar.type, count)
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, undefined, _lane_mask([0] * count))


def _convert(builder, value, dtype):
    """A float vector or scalar with elements of another dtype."""
    element = ir.DoubleType() if dtype == types.float64 else ir.FloatType()
    kind = ir.VectorType(element, value.type.count) if isinstance(value.type, ir.VectorType) else element
    if kind == value.type:
        return value
    return builder.fpext(value, kind) if dtype == types.float64 else builder.fptrunc(value, kind)


def traced(body):
    """A function for jitted code from a Python body over arrays, tuples of arrays, integers and floats.

    It returns None, or a float or an integer where the body is annotated so.
    """
    if config.DISABLE_JIT:
        return body

    def typing(typingctx, *kinds):
        result = {float: types.float64, int: types.intp}.get(body.__annotations__.get("return"), types.void)
        kinds = tuple(types.intp if isinstance(k, types.Integer) else k for k in kinds)

        def emit(context, builder, sig, args):
            values = []
            for kind, value in zip(sig.args, args, strict=True):
                if isinstance(kind, types.Array):
                    values.append(_Array(context, builder, kind, value))
                elif isinstance(kind, types.BaseTuple):
                    parts = [builder.extract_value(value, i) for i in range(len(kind))]
                    values.append([_Array(context, builder, k, v) for k, v in zip(kind, parts, strict=True)])
                elif isinstance(kind, types.Integer):
                    values.append(_Index(builder, value))
                else:
                    values.append(_Float(builder, value))
            answer = body(*values)
            if result is types.void:
                return context.get_dummy_value()
            return answer.value if result is types.intp else _convert(builder, _plain(answer).value, result)

        return result(*kinds), emit

    # Numba reads the number of arguments off the signature
    own = utils.pysignature(body)
    parameters = list(own.parameters.values())
    typing.__signature__ = own.replace(parameters=[parameters[0].replace(name="typingctx"), *parameters])
    typing.__name__ = body.__name__
    return intrinsic(typing)


# ---------------------------------------------------------------------------------------------- operations


def span(start, stop, step=1):
    """start, start + step, ... below stop: a loop in the kernel, whose body Python runs once while tracing."""
    dynamic = [i for i in (start, stop, step) if isinstance(i, _Index)]
    if not dynamic:
        yield from range(start, stop, step)
        return
    builder = dynamic[0].builder
    start, stop, step = (_index(builder, i) for i in (start, stop, step))
    counter = cgutils.alloca_once(builder, start.type)
    builder.store(start, counter)
    head, inside, after = (builder.append_basic_block(name) for name in ("span.head", "span.body", "span.end"))
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.load(counter)
    builder.cbranch(builder.icmp_signed("<", i, stop), inside, after)
    builder.position_at_end(inside)
    yield _Index(builder, i)
    builder.store(builder.add(i, step), counter)
    builder.branch(head).set_metadata("llvm.loop", _as_written(builder.module))
    builder.position_at_end(after)


def _as_written(module):
    """Loop metadata: do not unroll or vectorise what is unrolled and in vectors already; it halves compile time."""
    hints = [
        module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")]),
        module.add_metadata([ir.MetaDataString(module, "llvm.loop.vectorize.enable"), ir.IntType(1)(0)]),
    ]
    loop = type(hints[0])(module, hints, name=str(len(module.metadata)))
    loop.operands = (loop, *hints)  # LLVM knows a loop's node by its pointing to itself
    return loop


def when(condition):
    """`for _ in when(condition): ...` is an if in the kernel."""
    if not isinstance(condition, _Float):
        yield from range(int(condition))
        return
    builder = condition.builder
    inside, after = builder.append_basic_block("when.body"), builder.append_basic_block("when.end")
    builder.cbranch(condition.value, inside, after)
    builder.position_at_end(inside)
    yield 0
    builder.branch(after)
    builder.position_at_end(after)


def while_(holds):
    """`for _ in while_(lambda: ...): ...` is a while in the kernel: the condition is asked before every turn."""
    condition = holds()
    if not isinstance(condition, _Float):
        while condition:
            yield
            condition = holds()
        return
    builder = condition.builder
    head, inside, after = (builder.append_basic_block(name) for name in ("while.head", "while.body", "while.end"))
    builder.branch(head)  # the condition just traced stands unused before the loop, and LLVM drops it
    builder.position_at_end(head)
    builder.cbranch(holds().value, inside, after)
    builder.position_at_end(inside)
    yield
    builder.branch(head)
    builder.position_at_end(after)


def minimum(i, j):
    """The smaller of two integers of the kernel."""
    index = next((n for n in (i, j) if isinstance(n, _Index)), None)
    if index is None:
        return min(i, j)
    a, b = _index(index.builder, i), _index(index.builder, j)
    return _Index(index.builder, index.builder.select(index.builder.icmp_signed("<", a, b), a, b))


def vectors(rows, lanes, most):
    """Rows 0, lanes, 2 lanes, ... below `rows` as (first row, count): runs of `most` vectors, then single ones."""
    whole = rows // (most * lanes) * (most * lanes) if most > 1 else 0
    if most > 1:
        for t in span(0, whole, most * lanes):
            yield t, most
    for t in span(whole, rows, lanes):
        yield t, 1


def var(value):
    """A value that a loop changes."""
    return Var(_plain(value))


def zeros(a):
    """A vector of zeros of the dtype of the array a."""
    return full(a, 0.0)


def read(a, i):
    """The integer a[i] as another thread wrote it, and with it whatever that thread wrote before."""
    if isinstance(a, _Array):
        return _Index(a.builder, a.builder.load_atomic(a.pointer([i]), "acquire", 8))
    return a[i]


def write(a, i, value):
    """a[i] = value, for other threads to see after everything written before."""
    if isinstance(a, _Array):
        a.builder.store_atomic(_index(a.builder, value), a.pointer([i]), "release", 8)
    else:
        a[i] = value


def give_way(a):
    """Let another thread have the core (a is any array of the kernel)."""
    if isinstance(a, _Array) and not config.IS_WIN32:
        kind = ir.FunctionType(ir.IntType(32), ())
        a.builder.call(cgutils.get_or_insert_function(a.builder.module, kind, "sched_yield"), ())


def full(a, number):
    """A vector with the constant number in every lane, of the dtype of the array a."""
    if isinstance(a, _Array):
        return _Float(a.builder, ir.Constant(_vector_ir(a.kind.dtype, lanes(a)), [float(number)] * lanes(a)))
    return np.full(lanes(a), number, a.dtype)


def load(a, i, t):
    """The vector a[i, t:t + lanes] of an array of two axes."""
    if isinstance(a, _Array):
        return _Float(a.builder, a.builder.load(a.vector([i, t], lanes(a)), align=a.kind.dtype.bitwidth // 8))
    _check_vector(a, t, lanes(a))
    return a[i, t : t + lanes(a)].copy()


def store(a, i, t, vector):
    """a[i, t:t + lanes] = vector, converted to the dtype of a."""
    vector = _plain(vector)
    if isinstance(a, _Array):
        value = _convert(a.builder, vector.value, a.kind.dtype)
        a.builder.store(value, a.vector([i, t], value.type.count), align=a.kind.dtype.bitwidth // 8)
    else:
        _check_vector(a, t, len(vector))
        a[i, t : t + len(vector)] = vector


def add_to(a, i, t, vector):
    """a[i, t:t + lanes] += vector, or a[i, t] += a float, converted to the dtype of a first."""
    vector = _plain(vector)
    if isinstance(a, _Array):
        value = _convert(a.builder, vector.value, a.kind.dtype)
        scalar = not isinstance(value.type, ir.VectorType)
        pointer, align = a.pointer([i, t]) if scalar else a.vector([i, t], value.type.count), a.kind.dtype.bitwidth // 8
        a.builder.store(a.builder.fadd(a.builder.load(pointer, align=align), value), pointer, align=align)
    elif np.ndim(vector) == 0:
        a[i, t] += vector
    else:
        _check_vector(a, t, len(vector))
        a[i, t : t + len(vector)] += vector


def prefetch(a, i, d):
    """Ask for the cache line of a[i, d], C-contiguous, ahead of its use; a may have ended before."""
    if not isinstance(a, _Array):
        return
    builder, i32 = a.builder, ir.IntType(32)
    place = builder.gep(a.data, [builder.add(builder.mul(_index(builder, i), a.sizes[1]), _index(builder, d))])
    pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, i32(0), i32(2), i32(1)])  # to read, into the second-level cache, data


def rounded(vector, a):
    """The vector rounded to the dtype of the array a, in its own dtype."""
    vector = _plain(vector)
    if isinstance(a, _Array):
        kind = types.float64 if _itemsize(vector) == 8 else types.float32
        return vector.like(_convert(a.builder, _convert(a.builder, vector.value, a.kind.dtype), kind))
    return vector.astype(a.dtype).astype(vector.dtype)


def _check_vector(a, t, count):
    if t < 0 or t + count > a.shape[1]:
        raise IndexError(f"vector [{t}, {t + count}) outside an array of {a.shape[1]} columns")


def store_whole(a, i, vector):
    """a[i], a[i + 1], ... = the whole numbers of a vector, or a[i] = that of one float, as integers."""
    vector = _plain(vector)
    if not isinstance(a, _Array):
        a[i : i + np.size(vector)] = vector
        return
    kind = a.context.get_data_type(a.kind.dtype)
    if not isinstance(vector.value.type, ir.VectorType):
        a.builder.store(a.builder.fptosi(vector.value, kind), a.pointer([i]))
        return
    kind = ir.VectorType(kind, vector.value.type.count)
    pointer = a.builder.bitcast(a.pointer([i], kind.count), kind.as_pointer())
    a.builder.store(a.builder.fptosi(vector.value, kind), pointer, align=a.kind.dtype.bitwidth // 8)


def get(a, *index):
    """The element a[index]."""
    return _Float(a.builder, a.builder.load(a.pointer(index))) if isinstance(a, _Array) else a[index]


def put(a, i, j, value):
    """a[i, j] = value, converted to the dtype of a."""
    value = _plain(value)
    if isinstance(a, _Array):
        a.builder.store(_convert(a.builder, value.value, a.kind.dtype), a.pointer([i, j]))
    else:
        a[i, j] = value


def every(a, *index):
    """The element a[index] in every lane."""
    if isinstance(a, _Array):
        return _Float(a.builder, _splat(a.builder, a.builder.load(a.pointer(index)), lanes(a)))
    return np.full(lanes(a), a[index], a.dtype)


def part(a, i, first, rows, columns):
    """The elements of a[i] from `first` on as an array (rows, columns), sharing memory."""
    if not isinstance(a, _Array):
        return a[i, first : first + rows * columns].reshape(rows, columns)
    view = copy.copy(a)
    view.data = a.pointer([i, first], rows * columns)
    view.kind = types.Array(a.kind.dtype, 2, "C")
    view.sizes = [_index(a.builder, n) for n in (rows, columns)]
    return view


def first_aligned(a):
    """The smallest i for which a[0, i] lies at the beginning of a cache line."""
    size = (a.kind.dtype.bitwidth // 8) if isinstance(a, _Array) else a.itemsize
    if not isinstance(a, _Array):
        return -a.__array_interface__["data"][0] % 64 // size
    builder, i64 = a.builder, ir.IntType(64)
    return _Index(builder, builder.udiv(builder.and_(builder.neg(builder.ptrtoint(a.data, i64)), i64(63)), i64(size)))


def load_columns(a, i, columns):
    """Vectors a[i:i + lanes, 0], a[i:i + lanes, 1], ... of an array of so few columns, its rows one run of memory.

    As many loads as columns, and each column is picked from them with one shuffle less.
    """
    if not isinstance(a, _Array):
        _check_vector(a.T, i, lanes(a))
        return [np.ascontiguousarray(a[i : i + lanes(a), column]) for column in range(columns)]
    count, builder = lanes(a), a.builder
    run = [_run(a, i, 0, v * count) for v in range(columns)]
    if columns == 1:
        return [_Float(builder, run[0])]
    picked = []
    for column in range(columns):
        value = run[0]
        for v in range(1, columns):
            # lanes whose number lies in run v come from there, at first also those of run 0
            places = [lane * columns + column - v * count for lane in range(count)]
            early = [lane * columns + column if v == 1 else lane for lane in range(count)]
            mask = [count + at if 0 <= at < count else min(e, count - 1) for at, e in zip(places, early, strict=True)]
            value = builder.shuffle_vector(value, run[v], _lane_mask(mask))
        picked.append(_Float(builder, value))
    return picked


def load_row(a, i, d):
    """The vector of a's memory from a[i, d] on, a C-contiguous: beyond the end of a row it goes on in the next one."""
    if isinstance(a, _Array):
        return _Float(a.builder, _run(a, i, d, 0))
    start = i * a.shape[1] + d
    if start < 0 or start + lanes(a) > a.size:
        raise IndexError(f"vector [{start}, {start + lanes(a)}) outside an array of {a.size} elements")
    return a.reshape(-1)[start : start + lanes(a)].copy()


def columns(rows):
    """From n vectors, n a power of two: as many vectors of n as they have lanes, the first of all first lanes, ...

    Lanes are swapped between pairs of vectors 1, 2, 4, ... apart: a shuffle a vector and power of two.
    """
    if not isinstance(rows[0], _Float):
        return list(np.ascontiguousarray(np.array(rows).T))
    builder, values, n = rows[0].builder, [row.value for row in rows], len(rows)
    count, width = values[0].type.count, 1
    while width < n:
        low = _lane_mask([lane if lane & width == 0 else count + lane - width for lane in range(count)])
        high = _lane_mask([lane + width if lane & width == 0 else count + lane for lane in range(count)])
        swapped = list(values)
        for j in range(n):
            if j & width == 0:
                swapped[j] = builder.shuffle_vector(values[j], values[j + width], low)
                swapped[j + width] = builder.shuffle_vector(values[j], values[j + width], high)
        values = swapped
        width *= 2
    if n == count:
        return [_Float(builder, value) for value in values]
    undefined = ir.Constant(values[0].type, ir.Undefined)
    parts = [_lane_mask(range(c // n * n, c // n * n + n)) for c in range(count)]
    return [_Float(builder, builder.shuffle_vector(values[c % n], undefined, parts[c])) for c in range(count)]


def _run(a, i, d, offset):
    """The vector of a's memory that begins `offset` elements behind a[i, d] and may go on into the next rows."""
    builder, count = a.builder, lanes(a)
    first = builder.add(builder.mul(_index(builder, i), a.sizes[1]), _index(builder, d))
    first = builder.add(first, _index(builder, offset))
    if config.BOUNDSCHECK:
        size = builder.mul(a.sizes[0], a.sizes[1])
        for element in (first, builder.add(first, _index(builder, count - 1))):
            cgutils.do_boundscheck(a.context, builder, element, size, 0)
    pointer = builder.bitcast(builder.gep(a.data, [first]), _vector_ir(a.kind.dtype, count).as_pointer())
    return builder.load(pointer, align=a.kind.dtype.bitwidth // 8)


def gather(a, i, like, *rest, last=None):
    """The vector a[i, *rest], a[i + 1, *rest], ... in the dtype of the array `like`; from `last` on, a[last, *rest]."""
    count = lanes(like)
    if not isinstance(a, _Array):
        return np.array([a[(i + j if last is None else min(i + j, last), *rest)] for j in range(count)], like.dtype)
    builder, vector = a.builder, ir.Constant(ir.VectorType(a.context.get_data_type(a.kind.dtype), count), ir.Undefined)
    for j in range(count):
        row = i + j
        if last is not None:
            before = builder.icmp_signed("<", row.value, last.value)
            row = _Index(builder, builder.select(before, row.value, last.value))
        element = builder.load(a.pointer([row, *rest]))
        vector = builder.insert_element(vector, element, ir.Constant(ir.IntType(32), j))
    if isinstance(a.kind.dtype, types.Integer):
        return _Float(builder, builder.uitofp(vector, _vector_ir(like.kind.dtype, count)))
    return _Float(builder, _convert(builder, vector, like.kind.dtype))


def stride(a):
    """Bytes from one row of an array to the next."""
    return _Index(a.builder, a.strides[0]) if isinstance(a, _Array) else a.strides[0]


def load_spaced(a, i, like, *rest, spacing):
    """The vector a[i, *rest], a[i + 1, *rest], ... of bytes so far apart, in the dtype of the array `like`.

    Reads that many bytes from the last of them on.
    """
    count = lanes(like)
    if not isinstance(a, _Array):
        return a[(slice(i, i + count), *rest)].astype(like.dtype)
    builder, wide = a.builder, ir.VectorType(ir.IntType(8 * spacing), count)
    first = a.pointer([i, *rest])
    if config.BOUNDSCHECK:
        a.pointer([i + count - (1 if spacing == 1 else 0), *rest])
    vector = builder.load(builder.bitcast(first, wide.as_pointer()), align=1)
    if spacing > 1:
        vector = builder.trunc(vector, ir.VectorType(ir.IntType(8), count))
    return _Float(builder, builder.uitofp(vector, _vector_ir(like.kind.dtype, count)))


def number(a, i):
    """The integer i as a float of the dtype of the array a in every lane."""
    if isinstance(a, _Array):
        element = _vector_ir(a.kind.dtype, 1).element
        return _Float(a.builder, _splat(a.builder, a.builder.sitofp(_index(a.builder, i), element), lanes(a)))
    return np.full(lanes(a), i, a.dtype)


def counting(a):
    """The vector 0, 1, 2, ... of the dtype of the array a."""
    if isinstance(a, _Array):
        return _Float(a.builder, ir.Constant(_vector_ir(a.kind.dtype, lanes(a)), [float(i) for i in range(lanes(a))]))
    return np.arange(lanes(a), dtype=a.dtype)


def where(condition, a, b):
    """a where the condition holds, else b: lane by lane, or all of it when the condition is one truth value."""
    a, b = _plain(a), _plain(b)
    if isinstance(condition, _Float):
        pattern = a if isinstance(a, _Float) else b
        return pattern.like(condition.builder.select(condition.value, pattern.operand(a), pattern.operand(b)))
    return np.where(condition, a, b)


def relu(x):
    """max(0, x), and NaN for NaN: a network with NaN weights must not look healthy."""
    return where(x < 0.0, 0.0, x)


def maximum(a, b):
    return where(a > b, a, b)


def sum_lanes(vector):
    """The sum over the lanes as a float: halves onto halves, a fixed tree."""
    vector = _plain(vector)
    if not isinstance(vector, _Float):
        return vector.sum()
    return _Float(
        vector.builder, vector.builder.extract_element(_fold(vector.builder, vector.value, 1), ir.IntType(32)(0))
    )


def sum_each(vectors):
    """The vector of the lane sums of 2, 4, ... vectors, at most as many as one has lanes.

    Pairs of vectors are interleaved and added, then pairs of those: 3 instructions a vector instead of 8.
    """
    vectors = [_plain(v) for v in vectors]
    if not isinstance(vectors[0], _Float):
        return np.array([v.sum() for v in vectors], vectors[0].dtype)
    builder, values, width = vectors[0].builder, [v.value for v in vectors], 1
    count = values[0].type.count
    while len(values) > 1:
        # groups of `width` lanes: the first of each pair of groups of both vectors, then the second
        first = [
            group + offset + lane
            for group in range(0, count, 2 * width)
            for offset in (0, count)
            for lane in range(width)
        ]
        low, high = _lane_mask(first), _lane_mask([lane + width for lane in first])
        values = [
            builder.fadd(builder.shuffle_vector(p, q, low), builder.shuffle_vector(p, q, high))
            for p, q in zip(values[::2], values[1::2], strict=True)
        ]
        width *= 2
    return _Float(builder, _fold(builder, values[0], len(vectors)))


def _fold(builder, value, count):
    """Add the upper half of a vector onto the lower until `count` lanes are left."""
    undefined = None
    while value.type.count > count:
        half = value.type.count // 2
        undefined = ir.Constant(value.type, ir.Undefined)
        low, high = _lane_mask(range(half)), _lane_mask(range(half, 2 * half))
        value = builder.fadd(
            builder.shuffle_vector(value, undefined, low), builder.shuffle_vector(value, undefined, high)
        )
    return value


# ---------------------------------------------------------------------------------------------- exp and log
#
# Range reduction to |r| <= ln(2)/2 (exp) or m in [sqrt(1/2), sqrt(2)) (log), a minimax polynomial (Remez, weighted
# for relative error), and the power of two put together from exponent bits. Error below 1 ulp (exp) and 2 ulp
# (log), subnormal results included. math.exp is a call into libm, one number at a time: softmax then eats a
# quarter of a step.

_LOG2_E = 1.4426950408889634
# by dtype: clamp low and high, 1.5 * 2^mantissa, ln 2 in two parts, bits of the rounder, mantissa bits, bias
_EXP = {
    8: (-746.0, 710.0, 1.5 * 2.0**52, 0.6931471803691238, 1.9082149292705877e-10, 0x4338000000000000, 52, 1023),
    4: (-104.0, 89.0, 1.5 * 2.0**23, 0.693145751953125, 1.4286068203094172e-06, 0x4B400000, 23, 127),
}
_EXP_COEFFICIENTS = {
    8: (
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
    4: (0.0013814540176801306, 0.008368745108942591, 0.041668390783547914, 0.1666652039904253, 0.4999999343212929),
}
_SQRT_HALF_BITS = {8: 0x3FE6A09E667F3BCD, 4: 0x3F3504F3}
_LOG_COEFFICIENTS = {
    8: (
        0.1479594966046113,
        0.1531405055641216,
        0.18183564325937301,
        0.22222198573188398,
        0.2857142874238758,
        0.39999999999414676,
        0.6666666666666734,
    ),
    4: (0.29871727731953984, 0.39977541576741427, 0.6666677638160917),
}


def exp(x):
    """e**x; NaN for NaN."""
    x = _plain(x)
    low, high, rounder, ln2, rest, rounder_bits, mantissa, bias = _EXP[_itemsize(x)]
    x = where(x < low, low, x)  # written so that NaN survives
    x = where(x > high, high, x)
    shifted, p = _reduced_exp(x, rounder, ln2, rest)
    # 2^n in two factors, so that a result down to the last subnormal is rounded once
    k = _bits(shifted) - rounder_bits
    half = k >> 1
    return p * _from_bits((half + bias) << mantissa) * _from_bits((k - half + bias) << mantissa)


def _reduced_exp(x, rounder, ln2, rest):
    """(shifted, p) with e**x = p 2^n, where the low bits of shifted hold n = round(x / ln 2)."""
    shifted = x * _LOG2_E + rounder
    n = shifted - rounder
    r = x - n * ln2
    r = r - n * rest
    q = _polynomial(r, _EXP_COEFFICIENTS[_itemsize(x)])
    return shifted, (r + r * r * q) + 1.0


def exp_of_negative(x):
    """e**x for x <= 0, and 0 where that is no normal number: a fifth less work than exp; NaN for NaN."""
    x = _plain(x)
    _, _, rounder, ln2, rest, rounder_bits, mantissa, bias = _EXP[_itemsize(x)]
    low = (1 - bias) * 0.6931471805599453
    shifted, p = _reduced_exp(x, rounder, ln2, rest)
    return where(x < low, 0.0, p * _from_bits((_bits(shifted) + (bias - rounder_bits)) << mantissa))


def log(x):
    """Natural logarithm of normal x > 0; NaN for NaN and infinity."""
    x = _plain(x)
    ln2, rest, mantissa = (_EXP[_itemsize(x)][i] for i in (3, 4, 6))
    bits = _bits(x)
    e = (bits - _SQRT_HALF_BITS[_itemsize(x)]) >> mantissa
    m = _from_bits(bits - (e << mantissa))
    s = (m - 1.0) / (m + 1.0)  # log m = 2 artanh s
    u = s * s
    g = _polynomial(u, _LOG_COEFFICIENTS[_itemsize(x)])
    n = _to_float(e)
    y = n * ln2 + (s * 2.0 + (s * u * g + n * rest))
    return y + (x - x)  # 0, and NaN where the bits of NaN or infinity went through the steps above as a number


def _polynomial(x, coefficients):
    value = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        value = value * x + coefficient
    return value


def _itemsize(x):
    if isinstance(x, _Float):
        element = x.value.type.element
        return element.width // 8 if isinstance(element, ir.IntType) else 8 if element == ir.DoubleType() else 4
    return x.dtype.itemsize


def _recast(x, operation, kind):
    """x with elements of another kind ("i" or "f") of the same width."""
    size = _itemsize(x)
    element = ir.IntType(8 * size) if kind == "i" else ir.DoubleType() if size == 8 else ir.FloatType()
    return x.like(getattr(x.builder, operation)(x.value, ir.VectorType(element, x.value.type.count)))


def _bits(x):
    """The bits of floats as signed integers of the same width."""
    return _recast(x, "bitcast", "i") if isinstance(x, _Float) else x.view(np.dtype(f"i{x.dtype.itemsize}"))


def _from_bits(bits):
    """The floats that have these bits."""
    return _recast(bits, "bitcast", "f") if isinstance(bits, _Float) else bits.view(np.dtype(f"f{bits.dtype.itemsize}"))


def _to_float(integers):
    """Integers as floats of the same width."""
    if isinstance(integers, _Float):
        return _recast(integers, "sitofp", "f")
    return integers.astype(np.dtype(f"f{integers.dtype.itemsize}"))
