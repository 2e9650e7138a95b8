"""What the other files need of the insides of Numba and llvmlite: nothing else in the kernels touches these.

Neither promises much about what is used here. Tried with Numba 0.61 to 0.68 and llvmlite 0.44 to 0.50.
"""

import functools
import platform

import llvmlite
from llvmlite import binding, ir
from numba import config, types
from numba.core import cgutils, utils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.extending import intrinsic

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()

# Compiled for the processor of this process; "AMD64" and "arm64" are what Windows and macOS say
MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())


def jit_disabled():
    """Whether kernels run as plain Python (NUMBA_DISABLE_JIT=1)."""
    return bool(config.DISABLE_JIT)


def bounds_checked():
    """Whether every load and store is checked (NUMBA_BOUNDSCHECK=1)."""
    return bool(config.BOUNDSCHECK)


# ------------------------------------------------------------------------------------------- types and constants


def vector_type(element, count):
    return ir.VectorType(element, count)


def lanes_of(kind):
    """Lanes of an LLVM type, 0 if it is not a vector."""
    return kind.count if isinstance(kind, ir.VectorType) else 0


def element_of(kind):
    """Type of a lane of a vector, or the type itself."""
    return kind.element if isinstance(kind, ir.VectorType) else kind


def with_element(kind, element):
    """The type with as many lanes, of this element."""
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def integers_like(kind):
    """The type of integers as wide as these floats."""
    return with_element(kind, ir.IntType(8 * bytes_of(kind)))


def floats_like(kind):
    """The type of floats as wide as these integers."""
    return with_element(kind, F64 if bytes_of(kind) == 8 else F32)


def is_integer(kind):
    return isinstance(element_of(kind), ir.IntType)


def bytes_of(kind):
    """Size of a lane."""
    element = element_of(kind)
    return element.width // 8 if isinstance(element, ir.IntType) else 8 if element == F64 else 4


def constant(kind, number):
    """A number in every lane, or one for each lane."""
    if isinstance(kind, ir.VectorType) and not isinstance(number, list):
        number = [number] * kind.count
    return ir.Constant(kind, number)


def undefined(kind):
    return ir.Constant(kind, ir.Undefined)


def shuffle(builder, a, b, numbers):
    """The vector of lanes with these numbers, those of b counted on from those of a. b may be None."""
    mask = ir.Constant(ir.VectorType(I32, len(numbers)), list(numbers))
    return builder.shuffle_vector(a, undefined(a.type) if b is None else b, mask)


def splat(builder, scalar, count):
    """A scalar in every lane."""
    one = builder.insert_element(undefined(ir.VectorType(scalar.type, count)), scalar, I32(0))
    return shuffle(builder, one, None, [0] * count)


def insert_lane(builder, vector, scalar, lane):
    return builder.insert_element(vector, scalar, I32(lane))


def first_lane(builder, vector):
    return builder.extract_element(vector, I32(0))


# ------------------------------------------------------------------------------------------- memory

# Since LLVM 15 a pointer does not say what it points to; llvmlite 0.44 still writes it down unless told otherwise.
_TYPED = not getattr(llvmlite, "opaque_pointers_enabled", True)
_POINTER = ir.PointerType(I8) if _TYPED else ir.PointerType()


def _untyped(builder, pointer):
    """One of Numba's pointers without the type it may have.

    It goes through an aggregate, for llvmlite takes both types for equal and makes no cast of them.
    """
    if _TYPED:
        return builder.bitcast(pointer, _POINTER)
    holder = undefined(ir.LiteralStructType([_POINTER]))
    return builder.extract_value(builder.insert_value(holder, pointer, 0), 0)


def _pointing_to(builder, pointer, kind):
    return builder.bitcast(pointer, ir.PointerType(kind)) if _TYPED else pointer


def address(builder, pointer, kind, index):
    """The address of element `index` of this type from `pointer` on."""
    return builder.gep(_pointing_to(builder, pointer, kind), [index], source_etype=kind)


def address_bits(builder, pointer):
    return builder.ptrtoint(pointer, I64)


def load(builder, pointer, kind, align=None):
    return builder.load(_pointing_to(builder, pointer, kind), align=align or bytes_of(kind), typ=kind)


def store(builder, value, pointer, align=None):
    builder.store(value, _pointing_to(builder, pointer, value.type), align=align or bytes_of(value.type))


def _assembly(kind, write):
    """What the compiler makes of a function of this type.

    It compiles for the processor that it was told by NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, or for this one.
    write(builder, arguments) appends the instructions, and returns what the function is to return.
    """
    with global_compiler_lock:
        codegen = cpu_target.target_context.codegen()
        module = codegen._create_empty_module("asked")
        function = ir.Function(module, kind, "asked")
        builder = ir.IRBuilder(function.append_basic_block())
        answer = write(builder, function.args)
        builder.ret_void() if answer is None else builder.ret(answer)
        return codegen._tm.emit_assembly(binding.parse_assembly(str(module)))


@functools.cache
def register_bytes():
    """Bytes of all vector registers of the processor that Numba compiles for, together: asked of the compiler, by the
    registers that it takes to add vectors of 64 bytes."""

    def add(builder, arguments):
        vector = load(builder, arguments[0], ir.VectorType(F64, 8))
        store(builder, builder.fadd(vector, vector), arguments[0])

    assembly = _assembly(ir.FunctionType(ir.VoidType(), [_POINTER]), add)
    for name, n_bytes in (("zmm", 32 * 64), ("ymm", 16 * 32), ("xmm", 16 * 16)):
        if name in assembly:
            return n_bytes
    return 32 * 16  # of 64-bit ARM, and others


@functools.cache
def has_fma():
    """Whether the processor that Numba compiles for has a fused multiply-add: without, the compiler multiplies."""
    if "+fma" in cpu_target.target_context.codegen().magic_tuple()[2].split(","):
        return True  # of this x86-64: no need to ask, which takes as long as a small fit
    kind = ir.FunctionType(F64, [F64, F64, F64])
    return "mul" not in _assembly(kind, lambda builder, arguments: fmuladd(builder, *arguments))


def load_wide_bytes(builder, pointer, spacing, count):
    """A vector of bytes so far apart (1, 2, 4 or 8): the low ones of integers that wide."""
    wide = load(builder, pointer, ir.VectorType(ir.IntType(8 * spacing), count), align=1)
    return builder.trunc(wide, ir.VectorType(I8, count))  # nothing where they are that already


def prefetch(builder, pointer):
    """Ask for a cache line, to be read, into the second-level cache."""
    pointer = _pointing_to(builder, pointer, I8)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, I32(0), I32(2), I32(1)])


def new_slot(builder, kind):
    """A place on the stack, of which LLVM makes a register where it can."""
    with builder.goto_entry_block():
        return builder.alloca(kind)


def new_timespec(builder, microseconds):
    """The address of a duration as the system takes it: seconds and nanoseconds."""
    kind = ir.LiteralStructType([I64, I64])
    seconds = builder.sdiv(microseconds, I64(1_000_000))
    rest = builder.mul(builder.srem(microseconds, I64(1_000_000)), I64(1000))
    slot = new_slot(builder, kind)
    pair = builder.insert_value(builder.insert_value(undefined(kind), seconds, 0), rest, 1)
    builder.store(pair, slot)
    return slot


def load_acquire(builder, pointer):
    """An int64, and with it whatever was written before it was."""
    return builder.load_atomic(_pointing_to(builder, pointer, I64), "acquire", 8, typ=I64)


def exchange(builder, operation, pointer, value):
    """The int64 as it was before "xchg" or "add", in one order with all others of all threads."""
    return builder.atomic_rmw(operation, _pointing_to(builder, pointer, I64), value, "seq_cst")


def call(builder, name, result, arguments, variadic=False):
    """Call an LLVM intrinsic, or a function of the C library. result: its type, None for void."""
    kinds = [] if variadic else [argument.type for argument in arguments]
    if variadic:
        kinds = [arguments[0].type]
    kind = ir.FunctionType(ir.VoidType() if result is None else result, kinds, var_arg=variadic)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _intrinsic(name, kind):
    size = 8 * bytes_of(kind)
    return f"llvm.{name}.v{kind.count}f{size}" if isinstance(kind, ir.VectorType) else f"llvm.{name}.f{size}"


def fmuladd(builder, a, b, c):
    """a b + c: fused where the target has such an instruction, else multiply and add; never a call of libm's fma."""
    return call(builder, _intrinsic("fmuladd", a.type), a.type, [a, b, c])


def square_root(builder, a):
    return call(builder, _intrinsic("sqrt", a.type), a.type, [a])


# ------------------------------------------------------------------------------------------- control


def mark_as_written(module, branch):
    """Loop metadata: do not unroll or vectorise what is unrolled and in vectors already; it halves compile time."""
    hints = [
        module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")]),
        module.add_metadata([ir.MetaDataString(module, "llvm.loop.vectorize.enable"), I1(0)]),
    ]
    loop = type(hints[0])(module, hints, name=str(len(module.metadata)))
    loop.operands = (loop, *hints)  # LLVM knows a loop's node by its pointing to itself
    branch.set_metadata("llvm.loop", loop)


def check_index(context, builder, i, size, axis):
    """Raise IndexError unless 0 <= i < size."""
    cgutils.do_boundscheck(context, builder, i, size, axis)


# ------------------------------------------------------------------------------------------- arguments


def array_parts(context, builder, kind, value):
    """(data, sizes, strides, type of an element, whether it is C-contiguous) of an array argument."""
    field = context.data_model_manager[kind].get_field_position
    # taken from the value itself: Numba's own proxy would copy it into memory, for LLVM to take apart again
    data = _untyped(builder, builder.extract_value(value, field("data")))
    sizes = [builder.extract_value(value, [field("shape"), axis]) for axis in range(kind.ndim)]
    strides = [builder.extract_value(value, [field("strides"), axis]) for axis in range(kind.ndim)]
    return data, sizes, strides, context.get_data_type(kind.dtype), kind.layout == "C"


def _argument(context, builder, kind, value, make):
    """An argument as the body gets it; make: constructors of an array, an integer and a float."""
    make_array, make_integer, make_float = make
    if isinstance(kind, types.Array):
        return make_array(context, builder, *array_parts(context, builder, kind, value))
    if isinstance(kind, types.BaseTuple):
        parts = [_argument(context, builder, k, builder.extract_value(value, i), make) for i, k in enumerate(kind)]
        return kind.instance_class(*parts) if isinstance(kind, types.BaseNamedTuple) else tuple(parts)
    if isinstance(kind, types.Integer):
        widen = builder.sext if kind.signed else builder.zext
        return make_integer(builder, value if value.type == I64 else widen(value, I64))
    if isinstance(kind, types.Float):
        return make_float(builder, value)
    raise TypeError(f"a traced function takes arrays, integers, floats and tuples of these, not {kind}")


def as_intrinsic(body, make, convert):
    """A Python body that appends instructions as a function for jitted code.

    convert(builder, answer, kind) makes the LLVM value to return, of type F64 or I64, from what the body returned.
    """

    def typing(typingctx, *kinds):
        result = {float: types.float64, int: types.intp}.get(body.__annotations__.get("return"), types.void)

        def emit(context, builder, sig, args):
            values = [_argument(context, builder, k, v, make) for k, v in zip(sig.args, args, strict=True)]
            answer = body(*values)
            if result is types.void:
                return context.get_dummy_value()
            return convert(builder, answer, F64 if result is types.float64 else I64)

        return result(*(types.intp if isinstance(kind, types.Integer) else kind for kind in kinds)), emit

    # Numba reads the number of arguments off the signature
    own = utils.pysignature(body)
    parameters = list(own.parameters.values())
    typing.__signature__ = own.replace(parameters=[parameters[0].replace(name="typingctx"), *parameters])
    typing.__name__, typing.__doc__ = body.__name__, body.__doc__
    return intrinsic(typing)
