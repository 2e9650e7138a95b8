"""Where the threads of one descent meet, inside compiled code: less than half a microsecond on two cores.

Each thread owns a slot of the int64 array `sync` (a cache line each) and writes into it the number of the meeting
it has come to; then it waits until all slots have that number. sync[0] is the stop flag: not 0, and everybody leaves.
A thread that waits long gives its core away, for the one it waits for may have none.
"""

from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

ir = cgutils.ir

LINE = 8  # int64 in a cache line
SPINS = 4000  # about 4 microseconds of looking before the core is given away


def sync_size(n_threads):
    """Length of the sync array for this many threads."""
    return (1 + n_threads) * LINE


if config.DISABLE_JIT:

    def read(a, i):
        """a[i] as another thread wrote it, and what that thread wrote before."""
        return a[i]

    def write(a, i, value):
        """a[i] = value, after everything written before."""
        a[i] = value

    def give_way():
        """Let another thread have the core: the interpreter sees to it."""

else:

    @intrinsic
    def read(typingctx, a, i):
        """a[i] as another thread wrote it, and what that thread wrote before."""

        def emit(context, builder, sig, args):
            array = context.make_array(sig.args[0])(context, builder, args[0])
            pointer = cgutils.get_item_pointer(context, builder, sig.args[0], array, [args[1]])
            return builder.load_atomic(pointer, "acquire", 8)

        return types.int64(a, types.intp), emit

    @intrinsic
    def write(typingctx, a, i, value):
        """a[i] = value, after everything written before."""

        def emit(context, builder, sig, args):
            array = context.make_array(sig.args[0])(context, builder, args[0])
            pointer = cgutils.get_item_pointer(context, builder, sig.args[0], array, [args[1]])
            builder.store_atomic(args[2], pointer, "release", 8)
            return context.get_dummy_value()

        return types.void(a, types.intp, types.int64), emit

    @intrinsic
    def give_way(typingctx):
        """Let another thread have the core."""

        def emit(context, builder, sig, args):
            if not config.IS_WIN32:
                kind = ir.FunctionType(ir.IntType(32), ())
                builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), ())
            return context.get_dummy_value()

        return types.void(), emit


@njit(error_model="numpy", inline="always")
def meet(sync, thread, n_threads, meeting):
    """Wait until all threads have come to this meeting; False when told to stop instead. meeting must grow."""
    write(sync, (1 + thread) * LINE, meeting)
    for other in range(n_threads):
        spins = 0
        while read(sync, (1 + other) * LINE) < meeting:
            if read(sync, 0) != 0:
                return False
            spins += 1
            if spins > SPINS:
                give_way()
    return True
