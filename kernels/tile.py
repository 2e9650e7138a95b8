"""The unit of work: a tile of rows in cache, one vector of rows at a time.

A tile holds its rows transposed, x (D, T): one contiguous run of rows per input, so that a vector holds the same
input of neighbouring rows and a weight is one number for all of them. Rows are padded to whole vectors with rows
that get no loss and no gradient: no loop has a tail, and a row's result does not depend on its place in a tile.
Hidden units and classes are padded to the register blocks of the loops, with zeros that stay zeros; of inputs that come
two at a time an odd one's neighbour is computed with, and its sums are dropped.
"""

from .vectors import (
    add_to,
    as_float,
    broadcast_int,
    choose,
    first_aligned,
    fma,
    gather,
    if_,
    iota,
    lanes,
    load,
    load_contiguous,
    load_deinterleaved,
    load_scalar,
    load_strided_bytes,
    loop,
    minimum,
    prefetch,
    reduce_add,
    reduce_add_each,
    select,
    store,
    store_int,
    store_scalar,
    stride,
    transpose,
    var,
    view,
    zeros,
)

INPUTS = 128  # inputs held at a time: 128 x 384 float64 are 384 KiB, under half of a 1 MiB second-level cache
# Rows of so few inputs are picked apart by as many loads and a shuffle or three each, instead of a transposed square of
# which most is thrown away: a step of (10 000, 4, 32, 4) float32 takes 278 us instead of 293 (AVX2).
FEW_COLUMNS = 4
PANEL = 8  # hidden units whose sums stay in registers: enough to hide the latency of a multiply-add


def padded(n, unit):
    """n rounded up to a multiple of unit."""
    return (n + (unit - 1)) // unit * unit


def pitch(T, unit):
    """Row length of a tile's arrays: T rounded up to an odd number of cache lines, of `unit` elements.

    Rows a power of two apart share a few sets of the first-level cache and drive each other out.
    """
    return ((T + (unit - 1)) // unit // 2 * 2 + 1) * unit


def scratch_size(shapes, unit):
    """Elements of memory that `carve` needs, `unit` of them a cache line."""
    return sum(padded(rows * length, unit) for rows, length in shapes) + unit


def carve(memory, shapes):
    """Arrays (rows, columns) out of memory (1, n), each on a cache line: a vector across two costs two loads."""
    arrays, first = [], first_aligned(memory)
    for rows, length in shapes:
        arrays.append(view(memory, 0, first, rows, length))
        first = first + padded(rows * length, lanes(memory))
    return arrays


def chunks(D, backwards=False):
    """(first input, inputs) of equal chunks of at most INPUTS inputs, whole groups of 16 but the last."""
    count = (D + (INPUTS - 1)) // INPUTS
    size = ((D + count - 1) // count + 15) // 16 * 16
    for i in loop(0, count):
        first = (count - 1 - i if backwards else i) * size
        yield first, minimum(size, D - first)


def load_targets(y, start, rows, targets, sums=None):
    """What rows [start, start + rows) are to become, as floats into targets (2, T).

    Labels into its first row, -1 in padding rows. Where y is a pair (labels, weights) the weights go into the second,
    0 in padding rows. Returns whether it is such a pair, which is known while tracing. The weight of the rows, their
    number where there are no weights, is added to sums[0, 1].
    """
    weighted = isinstance(y, tuple | list)
    if weighted:
        y, weights = y
        total = var(zeros(targets))
        for t in loop(0, rows, lanes(targets)):
            weight = gather(weights, start + t, targets, last=start + rows - 1)
            weight = select(iota(targets) < broadcast_int(targets, rows - t), weight, 0.0)
            store(targets, 1, t, weight)
            total += weight
        if sums is not None:
            add_to(sums, 0, 1, reduce_add(total))
    elif sums is not None:
        add_to(sums, 0, 1, as_float(sums, rows))
    _load_labels(y, start, rows, targets)
    return weighted


def _load_labels(y, start, rows, labels):
    """y (N, bytes): the lowest byte of each label twice, or all from the highest to the lowest."""
    L = lanes(labels)
    whole = var(rows - rows)
    for _ in if_(y.shape[1] == 2):
        for spacing in (1, 8):  # of 64-bit integers the last may be the end of memory
            for _ in if_(stride(y) == spacing):
                whole.set(minimum(rows, y.shape[0] - (1 if spacing > 1 else 0) - start) // L * L)
                for t in loop(0, whole.value, L):
                    store(labels, 0, t, load_strided_bytes(y, start + t, labels, 0, spacing=spacing))
    for t in loop(whole.value, rows, L):
        label = var(gather(y, start + t, labels, 0, last=start + rows - 1))
        for _ in if_(y.shape[1] > 2):
            for byte in loop(1, y.shape[1]):
                further = gather(y, start + t, labels, byte, last=start + rows - 1)
                label.set(fma(label, 256.0, further))
        store(labels, 0, t, select(iota(labels) < broadcast_int(labels, rows - t), label.value, -1.0))


def load_gradients(dscores, start, rows, s):
    """Rows [start, start + rows) of dscores (N, K), transposed, into s (K, T); zeros in padding rows."""
    for t in loop(0, rows, lanes(s)):
        for k in loop(0, dscores.shape[1]):
            value = gather(dscores, start + t, s, k, last=start + rows - 1)
            store(s, k, t, select(iota(s) < broadcast_int(s, rows - t), value, 0.0))


def load_inputs(X, start, rows, first, inputs, x, watch=None, reach=1.0):
    """Inputs [first, first + inputs) of `rows` rows of X (N, D) from start on, transposed, into x.

    Padding rows hold what follows in X, or repeat the last row. watch: a vector that becomes NaN if an input times
    `reach` is not finite.
    """
    D = X.shape[1]
    for columns in range(1, FEW_COLUMNS + 1):
        for _ in if_(columns == D):
            load_few_inputs(X, start, rows, x, columns, watch, reach)
    for _ in if_(D > FEW_COLUMNS):
        _load_many_inputs(X, start, rows, first, inputs, x, watch, reach)


def _load_many_inputs(X, start, rows, first, inputs, x, watch, reach):
    L = lanes(x)
    N, D = X.shape
    groups = (inputs + (L - 1)) // L * L
    for t in loop(0, rows, L):
        # a transposed load reads whole vectors, beyond the end of a row: not where X ends
        end = (start + t + (L - 1)) * D + first + groups
        for _ in if_(end < N * D + 1):
            for d in loop(0, inputs, L):
                values = transpose([load_contiguous(X, start + t + i, first + d) for i in range(L)])
                for c in reversed(range(L)):  # what lies beyond the last input goes to its place, for it to overwrite
                    store(x, minimum(d + c, inputs - 1), t, values[c])
                    if watch is not None:
                        watch.set(fma(values[c] * reach, 0.0, watch))
        for _ in if_(end > N * D):
            for d in loop(0, inputs):
                value = gather(X, start + t, x, first + d, last=start + rows - 1)
                store(x, d, t, value)
                if watch is not None:
                    watch.set(fma(value * reach, 0.0, watch))


def prefetch_rows(X, row, rows, first, inputs):
    """Ask for inputs [first, first + inputs) of some rows from `row` on ahead of their use."""
    for i in loop(0, rows):
        for d in loop(0, inputs, lanes(X)):
            prefetch(X, row + i, first + d)


def load_few_inputs(X, start, rows, x, D, watch=None, reach=1.0):
    """load_inputs for X (N, D) with D known while tracing."""
    L = lanes(x)
    whole = rows // L * L

    def keep(d, t, value):
        store(x, d, t, value)
        if watch is not None:
            watch.set(fma(value * reach, 0.0, watch))

    for t in loop(0, whole, L):
        for d, value in enumerate(load_deinterleaved(X, start + t, D)):
            keep(d, t, value)
    for t in loop(whole, rows, L):
        for d in range(D):
            keep(d, t, gather(X, start + t, x, d, last=start + rows - 1))


def add_products(x, z, rows, first, inputs, h, dW, n_x, n_z, activation=lambda z: z):
    """dW[first + d, h + j] += sum over rows of x[d] activation(z[h + j]), all d, n_z of j; n_x by n_z at a time.

    16 sums and the operands fit 32 registers of 64 bytes; where registers are fewer or shorter, 2 of j are done at a
    time. dW is float64.
    """
    at_a_time = choose(n_z, 2)
    for d in loop(0, inputs, n_x):
        sums = [[var(zeros(x)) for _ in range(n_z)] for _ in range(n_x)]
        for some in (range(j, j + at_a_time) for j in range(0, n_z, at_a_time)):
            for t in loop(0, rows, lanes(x)):
                factors = {j: activation(load(z, h + j, t)) for j in some}
                for i in range(n_x):
                    value = load(x, d + i, t)
                    for j in some:
                        sums[i][j].set(fma(value, factors[j], sums[i][j]))
        for i in range(n_x):
            for _ in if_(inputs > d + i):
                add_to(dW, first + d + i, h, reduce_add_each(sums[i]))


def add_row_sums(s, K, rows, db):
    """db (1, K) += sums of s (K, T) over rows: the gradient of the bias that was added to the scores."""
    for k in loop(0, K):
        total = var(zeros(s))
        for t in loop(0, rows, lanes(s)):
            total += load(s, k, t)
        add_to(db, 0, k, reduce_add(total))


def put_rows(s, start, rows, out, factor=1.0):
    """out[start + t, k] = factor s[k, t] for out (N, K)."""
    for t in loop(0, rows):
        for k in loop(0, out.shape[1]):
            store_scalar(out, start + t, k, load_scalar(s, k, t) * factor)


def watch_scores(s, K, rows, watch):
    """watch: a vector that becomes NaN if a score of s (K, T) is not finite."""
    for t in loop(0, rows, lanes(s)):
        for k in loop(0, K):
            watch.set(fma(load(s, k, t), 0.0, watch))


def put_best(s, K, start, rows, out, watch):
    """out[start + t] = the first class k with the largest s[k, t]. watch: as in watch_scores."""
    L = lanes(s)
    whole = rows // L * L
    for t in loop(0, rows, L):
        top, best, number = var(load(s, 0, t)), var(zeros(s)), var(zeros(s))
        watch.set(fma(top, 0.0, watch))
        for k in loop(1, K):
            number += 1.0
            value = load(s, k, t)
            watch.set(fma(value, 0.0, watch))
            better = value > top.value
            top.set(select(better, value, top.value))
            best.set(select(better, number.value, best.value))
        store(s, 0, t, best)
    for t in loop(0, whole, L):
        store_int(out, start + t, load(s, 0, t))
    for t in loop(whole, rows):
        store_int(out, start + t, load_scalar(s, 0, t))
