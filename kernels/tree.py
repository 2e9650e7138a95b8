"""Chunk sums along one fixed binary tree, and the step of gradient descent from them.

Which thread computed a chunk does not change the tree, so the result is the same to the last bit for any number
of threads. All arrays but the gradient are float64; row lengths are multiples of 8.
"""

from .simd import add_to, lanes, load, rounded, span, store, sum_lanes, traced, var, zeros


@traced
def clear_row(a, i):
    """a[i] = 0."""
    for t in span(0, a.shape[1], lanes(a)):
        store(a, i, t, zeros(a))


@traced
def add_row(a, i, j, first, last):
    """a[j] += a[i] in columns [first, last)."""
    for t in span(first, last, lanes(a)):
        add_to(a, j, t, load(a, i, t))


@traced
def sum_of_squares(a, i, last) -> float:
    """Sum of a[i, :last]^2."""
    total = var(zeros(a))
    for t in span(0, last, lanes(a)):
        value = load(a, i, t)
        total += value * value
    return sum_lanes(total)


@traced
def descend(theta, now, then, sums, gradient, first, last, share, reg, step_size):
    """In columns [first, last): gradient = share sums + reg theta, and theta[then] = theta[now] - step_size gradient.

    share is 1 / N, or one over the sum of weights: dividing takes as long as all the rest. gradient is of the model's
    dtype; parameters are rounded to it, so that what is kept is what was computed with.
    """
    for t in span(first, last, lanes(theta)):
        value = load(theta, now, t)
        slope = load(sums, 0, t) * share + value * reg
        store(gradient, 0, t, slope)
        store(theta, then, t, rounded(value - slope * step_size, gradient))
