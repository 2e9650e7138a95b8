"""The unit of work: a tile of rows in cache, one vector of rows at a time.

A tile holds its rows transposed, x (D, T): one contiguous run of rows per input, so that a vector holds the same
input of neighbouring rows and a weight is one number for all of them. Rows are padded to whole vectors with rows
that get no loss and no gradient: no loop has a tail, and a row's result does not depend on its place in a tile.
Inputs, hidden units and classes are padded to the register blocks of the loops, with zeros that stay zeros.
"""

import numpy as np

from .simd import (
    add_to,
    counting,
    every,
    gather,
    get,
    lanes,
    load,
    load_pairs,
    minimum,
    number,
    put,
    span,
    store,
    sum_each,
    sum_lanes,
    var,
    vectors,
    when,
    where,
    zeros,
)

INPUTS = 64  # inputs held at a time: 64 x 256 float64 are 128 KiB, an eighth of a 1 MiB second-level cache
PANEL = 8  # hidden units (or classes) whose sums stay in registers: enough to hide the latency of a multiply-add
BLOCK = 4  # inputs by hidden units in add_products: 16 sums and 5 operands fit the 32 registers


def padded(n, unit):
    """n rounded up to a multiple of unit."""
    return -(-n // unit) * unit


def aligned(dtype, *shapes):
    """Arrays of zeros (rows, columns), each on a 64-byte boundary: a vector across two cache lines costs two loads.

    One allocation for all: a call on few rows takes no longer than a few allocations.
    """
    dtype = np.dtype(dtype)
    unit = 64 // dtype.itemsize
    memory = np.zeros(sum(padded(rows * columns, unit) for rows, columns in shapes) + unit, dtype)
    first = -memory.__array_interface__["data"][0] % 64 // dtype.itemsize
    arrays = []
    for rows, columns in shapes:
        arrays.append(memory[first : first + rows * columns].reshape(rows, columns))
        first += padded(rows * columns, unit)
    return arrays


def load_labels(y, start, rows, labels):
    """Labels of rows [start, start + rows) as floats into labels (1, T); -1 in padding rows."""
    for t in span(0, rows, lanes(labels)):
        label = gather(y, start + t, labels, last=start + rows - 1)
        store(labels, 0, t, where(counting(labels) < number(labels, rows - t), label, -1.0))


def load_gradients(dscores, start, rows, s):
    """Rows [start, start + rows) of dscores (N, K), transposed, into s (K, T); zeros in padding rows."""
    for t in span(0, rows, lanes(s)):
        for k in span(0, dscores.shape[1]):
            value = gather(dscores, start + t, s, k, last=start + rows - 1)
            store(s, k, t, where(counting(s) < number(s, rows - t), value, 0.0))


def load_inputs(X, start, rows, first, last, x):
    """Inputs [first, last) of rows [start, start + rows) of X (N, D), transposed, into x; padding repeats a row."""
    L = lanes(x)
    whole = rows // L * L
    for _ in when(X.shape[1] == 2):  # two loads and two shuffles instead of a load for every number
        for t in span(0, whole, L):
            for d, value in enumerate(load_pairs(X, start + t)):
                store(x, d, t, value)
    for _ in when(X.shape[1] != 2):
        for t in span(0, whole, L):  # rows outside, inputs inside: a row's cache lines are used up before they go
            for d in span(first, last):
                store(x, d - first, t, gather(X, start + t, x, d))
    for t in span(whole, rows, L):
        for d in span(first, last):
            store(x, d - first, t, gather(X, start + t, x, d, last=start + rows - 1))


def affine(X, start, rows, w, bias, x, z, run=1, n_z=PANEL):
    """z (H, T) = bias + w X^T, INPUTS inputs at a time, of w (H/n D, n): panels of (D, n). x holds the last inputs.

    run: vectors of rows that share a weight while it is in a register; 2 pays where there are many inputs.
    """
    L, D = lanes(x), X.shape[1]
    for first in span(0, D, INPUTS):
        inputs = minimum(INPUTS, D - first)
        load_inputs(X, start, rows, first, first + inputs, x)
        for t, n in vectors(rows, L, run):
            for panel in span(0, z.shape[0] // n_z):
                h, row = panel * n_z, panel * D + first
                sums = [
                    [var(where(first > 0, load(z, h + i, t + j * L), every(bias, 0, h + i))) for j in range(n)]
                    for i in range(n_z)
                ]
                for d in span(0, inputs):
                    values = [load(x, d, t + j * L) for j in range(n)]
                    for i in range(n_z):
                        weight = every(w, row + d, i)
                        for j in range(n):
                            sums[i][j] += weight * values[j]
                for i in range(n_z):
                    for j in range(n):
                        store(z, h + i, t + j * L, sums[i][j])


def add_input_products(X, start, rows, x, dz, dW, n_x=BLOCK):
    """dW (D, H) += X^T dz^T, INPUTS inputs at a time, beginning with the last ones, which x still holds."""
    D = X.shape[1]
    chunks = (D + INPUTS - 1) // INPUTS
    for i in span(0, chunks):
        first = (chunks - 1 - i) * INPUTS
        inputs = minimum(INPUTS, D - first)
        for _ in when(i > 0):
            load_inputs(X, start, rows, first, first + inputs, x)
        add_products(x, dz, rows, first, inputs, dW, n_x, BLOCK)


def add_products(x, dz, rows, first, inputs, dW, n_x, n_z, activation=lambda z: z):
    """dW[first + d, h] += sum over rows of x[d] activation(dz[h]), in register blocks of n_x by n_z; dW float64."""
    for h in span(0, dz.shape[0], n_z):
        for d in span(0, inputs, n_x):
            sums = [[var(zeros(x)) for _ in range(n_z)] for _ in range(n_x)]
            for t in span(0, rows, lanes(x)):
                factors = [activation(load(dz, h + j, t)) for j in range(n_z)]
                for i in range(n_x):
                    value = load(x, d + i, t)
                    for j in range(n_z):
                        sums[i][j] += value * factors[j]
            for i in range(n_x):
                add_to(dW, first + d + i, h, sum_each(sums[i]))


def add_row_sums(s, K, rows, db):
    """db (1, K) += sums of s (K, T) over rows: the gradient of the bias that was added to the scores."""
    for k in span(0, K):
        total = var(zeros(s))
        for t in span(0, rows, lanes(s)):
            total += load(s, k, t)
        add_to(db, 0, k, sum_lanes(total))


def put_rows(s, start, rows, out, factor=1.0):
    """out[start + t, k] = factor s[k, t] for out (N, K)."""
    for t in span(0, rows):
        for k in span(0, out.shape[1]):
            put(out, start + t, k, get(s, k, t) * factor)


def clear(a):
    """a (1, n) = 0, n a multiple of 16."""
    for i in span(0, a.shape[1], lanes(a)):
        store(a, 0, i, zeros(a))
