"""Loops and branches of the kernel. Python runs each body once, while tracing; a loop of Python is unrolled.

    for i in loop(0, n): ...            for i in range(0, n), in the kernel
    for _ in if_(n > 3): ...            if n > 3
    for _ in while_(lambda: ...): ...   while ..., the condition asked before every turn
"""

from . import backend
from .values import Index, Mask, index_value


def loop(start, stop, step=1):
    """start, start + step, ... below stop."""
    dynamic = [i for i in (start, stop, step) if isinstance(i, Index)]
    if not dynamic:
        yield from range(start, stop, step)
        return
    builder = dynamic[0].builder
    start, stop, step = (index_value(i) for i in (start, stop, step))
    counter = backend.new_slot(builder, backend.I64)
    backend.store(builder, start, counter)
    head, inside, after = _blocks(builder, "loop.head", "loop.body", "loop.end")
    builder.branch(head)
    builder.position_at_end(head)
    i = backend.load(builder, counter, backend.I64)
    builder.cbranch(builder.icmp_signed("<", i, stop), inside, after)
    builder.position_at_end(inside)
    yield Index(builder, i)
    backend.store(builder, builder.add(i, step), counter)
    backend.mark_as_written(builder.module, builder.branch(head))
    builder.position_at_end(after)


def if_(condition):
    """Once where the condition holds, else not at all."""
    if not isinstance(condition, Mask):
        yield from range(int(condition))
        return
    builder = condition.builder
    inside, after = _blocks(builder, "if.body", "if.end")
    builder.cbranch(condition.value, inside, after)
    builder.position_at_end(inside)
    yield 0
    builder.branch(after)
    builder.position_at_end(after)


def while_(holds):
    """As long as holds() does."""
    condition = holds()
    if not isinstance(condition, Mask):
        while condition:
            yield
            condition = holds()
        return
    builder = condition.builder
    inside, after = _blocks(builder, "while.body", "while.end")
    builder.cbranch(condition.value, inside, after)
    builder.position_at_end(inside)
    yield
    builder.cbranch(holds().value, inside, after)
    builder.position_at_end(after)


def vector_runs(rows, lanes, most):
    """Rows 0, lanes, 2 lanes, ... below `rows` as (first row, count): runs of `most` vectors, then single ones."""
    whole = rows // (most * lanes) * (most * lanes) if most > 1 else 0
    if most > 1:
        for t in loop(0, whole, most * lanes):
            yield t, most
    for t in loop(whole, rows, lanes):
        yield t, 1


def _blocks(builder, *names):
    return [builder.append_basic_block(name) for name in names]
