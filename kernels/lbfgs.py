"""Limited-memory BFGS, one evaluation after the other: what comes after a pass, told by the loss and gradient of it.

    d = -H g,  x <- x + a d,  H from the last PAIRS pairs s = x_{i+1} - x_i, y = g_{i+1} - g_i

(Nocedal and Wright, Numerical Optimization, 2006: the two-loop recursion, algorithm 7.4, strong Wolfe conditions, 3.7.)
`advance` takes the gradient at a trial point and puts the next trial point in its place. So who makes the passes, a
compiled loop or Python, and over which rows, is nothing that this file knows.

All vectors are P padded columns of float64. The two-loop recursion runs over numbers only: it needs nothing but the
products S^T g, Y^T g, S^T Y and Y^T Y, which one pass over the pairs keeps up to date; a second one puts d together.
Sums run in one fixed order.

The first layer is that of centred and scaled columns, W' = W / factor and b' = b + shift W: an affine change of
variables, in which unscaled columns take no more iterations than standardised ones. theta is W, b; x is W', b'.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from .vectors import (
    ENTRY,
    add_to,
    broadcast,
    fma,
    lanes,
    load,
    load_scalar,
    loop,
    maximum,
    reduce_add,
    reduce_max,
    round_to,
    store,
    store_scalar,
    traced,
    var,
    zeros,
)

PAIRS = 10
C1, C2 = 1e-4, 0.9  # of the Wolfe conditions, as usual for quasi-Newton directions
MOST_TRIALS = 20  # of a search
# A gradient g gains g^2 over the curvature: where that is less than the loss is known to, a search fails for rounding.
# So many times the root of the rounding is what such a gradient may be; a larger one leads to a kink.
FEW = 10.0
NARROW = 0.66  # an interval that a trial has not made smaller than this share of it is halved next

# rows of vectors: the point, its gradient, the direction, the gradient at the trial point, then the pairs
POINT, GRADIENT, DIRECTION, TRIAL, FIRST_PAIR = range(5)
ROWS = FIRST_PAIR + 2 * PAIRS

# what a search came to. SETTLED: a lower loss, without the curvature that the conditions ask for
AGAIN, ACCEPTED, SETTLED, FAILED = range(4)

# places in the numbers (1, NUMBERS). Those up to DTYPE_NOISE are set from outside
(
    TOLERANCE, GOAL, FIRST_ITERATION, NOISE, ITERATION, STAGE, N_PAIRS, NEWEST, LOSS, LARGEST, SQUARES, LENGTH,
    STEP, SLOPE, TRIALS, LOW, LOW_LOSS, LOW_SLOPE, HIGH, HIGH_LOSS, HIGH_SLOPE, WIDTH, SCALE, PAIR_S_Y, PAIR_Y_Y,
    EVALUATIONS,
) = range(26)  # fmt: skip
S_G = 26
Y_G = S_G + PAIRS
S_Y = Y_G + PAIRS  # (i, j): s_i y_j, where j is at least as new as i
Y_Y = S_Y + PAIRS * PAIRS
S_FACTOR = Y_Y + PAIRS * PAIRS
Y_FACTOR = S_FACTOR + PAIRS
NUMBERS = Y_FACTOR + PAIRS

START, SEARCHING, LAST_TRIAL = range(3)  # stages

# what `advance` returns
GOES_ON, REACHED_GOAL, CONVERGED, AT_ROUNDING, NO_DESCENT = range(5)


class FirstLayer(NamedTuple):
    """Where W (rows of `pitch`) and b lie in theta, which W begins."""

    D: int
    pitch: int
    bias: int


# ------------------------------------------------------------------------------------------- vectors


@traced
def _take_gradient(theta, row, vectors, affine, D, pitch, bias) -> float:
    """vectors[TRIAL] = the gradient of theta[row], with respect to x; returns its product with the direction."""
    P, L = vectors.shape[1], lanes(vectors)
    slope = var(zeros(vectors))

    def keep(t, value):
        store(vectors, TRIAL, t, value)
        slope.set(fma(value, load(vectors, DIRECTION, t), slope))

    for d in loop(0, D):
        shift, factor = 0.0 - broadcast(affine, 0, d), broadcast(affine, 1, d)
        for h in loop(0, pitch, L):
            keep(d * pitch + h, fma(shift, load(theta, row, bias + h), load(theta, row, d * pitch + h)) * factor)
    for t in loop(D * pitch, P, L):
        keep(t, load(theta, row, t))
    return reduce_add(slope)


@traced
def _propose(theta, row, vectors, step, affine, D, pitch, bias, like):
    """theta[row] = the parameters at x + step d, rounded to the dtype of `like`: what is computed with."""
    P, L = vectors.shape[1], lanes(vectors)

    def trial(t):
        return fma(load(vectors, DIRECTION, t), step, load(vectors, POINT, t))

    for t in loop(D * pitch, P, L):
        store(theta, row, t, trial(t))
    for d in loop(0, D):
        shift, factor = 0.0 - broadcast(affine, 0, d), broadcast(affine, 1, d)
        for h in loop(0, pitch, L):
            weight = trial(d * pitch + h) * factor
            store(theta, row, d * pitch + h, weight)
            add_to(theta, row, bias + h, shift * weight)
    for t in loop(0, P, L):
        store(theta, row, t, round_to(load(theta, row, t), like))


@traced
def _move(vectors, slot, step, numbers):
    """x, g = those of the trial; the pair goes to `slot`. Products of the new pair, and the largest |g|, to numbers."""
    largest, s_y, y_y = (var(zeros(vectors)) for _ in range(3))
    for t in loop(0, vectors.shape[1], lanes(vectors)):
        s, g = load(vectors, DIRECTION, t) * step, load(vectors, TRIAL, t)
        y = g - load(vectors, GRADIENT, t)
        store(vectors, FIRST_PAIR + slot, t, s)
        store(vectors, FIRST_PAIR + PAIRS + slot, t, y)
        store(vectors, GRADIENT, t, g)
        store(vectors, POINT, t, fma(load(vectors, DIRECTION, t), step, load(vectors, POINT, t)))
        s_y.set(fma(s, y, s_y))
        y_y.set(fma(y, y, y_y))
        largest.set(maximum(maximum(g, 0.0 - g), largest.value))
    store_scalar(numbers, 0, PAIR_S_Y, reduce_add(s_y))
    store_scalar(numbers, 0, PAIR_Y_Y, reduce_add(y_y))
    store_scalar(numbers, 0, LARGEST, reduce_max(largest))


@traced
def _products(vectors, i, newest, numbers):
    """Of pair i with the gradient and with the newest y: s g, y g, s y, y y, to numbers."""
    sums = [var(zeros(vectors)) for _ in range(4)]
    for t in loop(0, vectors.shape[1], lanes(vectors)):
        s, y = load(vectors, FIRST_PAIR + i, t), load(vectors, FIRST_PAIR + PAIRS + i, t)
        g, new = load(vectors, GRADIENT, t), load(vectors, FIRST_PAIR + PAIRS + newest, t)
        for total, (a, b) in zip(sums, ((s, g), (y, g), (s, new), (y, new)), strict=True):
            total.set(fma(a, b, total))
    for total, place in zip(sums, (S_G + i, Y_G + i, S_Y + i * PAIRS + newest, Y_Y + i * PAIRS + newest), strict=True):
        store_scalar(numbers, 0, place, reduce_add(total))
    store_scalar(numbers, 0, Y_Y + newest * PAIRS + i, load_scalar(numbers, 0, Y_Y + i * PAIRS + newest))


@traced
def _direct(vectors, pairs, numbers) -> float:
    """d = -scale g + sum of the first `pairs` s and y times their factors; returns d g. numbers[SQUARES] = d d."""
    L = lanes(vectors)
    slope, squares = var(zeros(vectors)), var(zeros(vectors))
    scale = 0.0 - broadcast(numbers, 0, SCALE)
    for t in loop(0, vectors.shape[1], 2 * L):  # two at a time, for each waits for the addition before
        places = (t, t + L)
        g = [load(vectors, GRADIENT, t) for t in places]
        d = [var(value * scale) for value in g]
        for i in loop(0, pairs):
            for row, factor in ((FIRST_PAIR, S_FACTOR), (FIRST_PAIR + PAIRS, Y_FACTOR)):
                weight = broadcast(numbers, 0, factor + i)
                for at, total in zip(places, d, strict=True):
                    total.set(fma(load(vectors, row + i, at), weight, total))
        for at, value, total in zip(places, g, d, strict=True):
            store(vectors, DIRECTION, at, total)
            slope.set(fma(total, value, slope))
            squares.set(fma(total, total, squares))
    store_scalar(numbers, 0, SQUARES, reduce_add(squares))
    return reduce_add(slope)


@traced
def _begin(vectors, numbers):
    """g = that of the trial, which is the start; numbers: the largest |g|, NaN where one is not finite."""
    largest, watch = var(zeros(vectors)), var(zeros(vectors))
    for t in loop(0, vectors.shape[1], lanes(vectors)):
        g = load(vectors, TRIAL, t)
        store(vectors, GRADIENT, t, g)
        largest.set(maximum(maximum(g, 0.0 - g), largest.value))
        watch.set(fma(g, 0.0, watch))
    store_scalar(numbers, 0, LARGEST, reduce_max(largest) + reduce_add(watch))


# ------------------------------------------------------------------------------------------- numbers


@njit(**ENTRY)
def _factors(numbers):
    """What s and y of each pair are multiplied with in d: the two-loop recursion, over products alone."""
    n = numbers[0]
    pairs, newest = int(n[N_PAIRS]), int(n[NEWEST])
    scale = n[SCALE]
    for age in range(pairs):  # from the newest to the oldest; factors of s hold a_i of the text on the way
        i = (newest - age) % PAIRS
        product = n[S_G + i]
        for younger in range(age):
            j = (newest - younger) % PAIRS
            product -= n[S_FACTOR + j] * n[S_Y + i * PAIRS + j]
        n[S_FACTOR + i] = product / n[S_Y + i * PAIRS + i]
    for age in range(pairs - 1, -1, -1):  # back; factors of y hold a_i - b_i
        i = (newest - age) % PAIRS
        product = n[Y_G + i]
        for k in range(pairs):
            j = (newest - k) % PAIRS
            product -= n[S_FACTOR + j] * n[Y_Y + i * PAIRS + j]
        product *= scale
        for older in range(pairs - 1, age, -1):
            j = (newest - older) % PAIRS
            product += n[Y_FACTOR + j] * n[S_Y + j * PAIRS + i]
        n[Y_FACTOR + i] = n[S_FACTOR + i] - product / n[S_Y + i * PAIRS + i]
    for age in range(pairs):
        i = (newest - age) % PAIRS
        a, difference = n[S_FACTOR + i], n[Y_FACTOR + i]
        n[S_FACTOR + i] = -difference
        n[Y_FACTOR + i] = scale * a


@njit(**ENTRY)
def _cubic(a, a_loss, a_slope, b, b_loss, b_slope):
    """Where the cubic through both, with their slopes, is least; not finite where it is nowhere (3.59 of the text)."""
    first = a_slope + b_slope - 3.0 * (a_loss - b_loss) / (a - b)
    second = np.sqrt(first * first - a_slope * b_slope)
    if b < a:
        second = -second
    return b - (b - a) * (b_slope + second - first) / (b_slope - a_slope + 2.0 * second)


@njit(**ENTRY)
def search(n, loss, slope):
    """One trial of a line search, at n[STEP]: ACCEPTED, SETTLED, FAILED, or AGAIN at n[STEP] as it is then.

    A bracket from LOW (the best step so far that lowers the loss enough; 0 is one) to HIGH, which is infinite first.
    A trial whose loss is not finite is HIGH, and what comes next is far from it.
    """
    step, start_loss, start_slope = n[STEP], n[LOSS], n[SLOPE]
    n[TRIALS] += 1.0
    finite = np.isfinite(loss) and np.isfinite(slope)
    if n[STAGE] == LAST_TRIAL:
        return SETTLED if finite and loss < start_loss else FAILED
    enough = finite and loss < start_loss and loss <= start_loss + C1 * step * start_slope and loss <= n[LOW_LOSS]
    if enough and abs(slope) <= -C2 * start_slope:
        return ACCEPTED
    grown = 4.0 * step
    if not enough:
        n[HIGH], n[HIGH_LOSS], n[HIGH_SLOPE] = step, loss if finite else np.inf, slope
    else:
        if slope > n[LOW_SLOPE]:  # where the slope would be 0, were it to go on so
            secant = step - slope * (step - n[LOW]) / (slope - n[LOW_SLOPE])
            grown = min(max(secant, 1.5 * step), grown)
        if (slope >= 0.0) == (n[HIGH] > n[LOW]):
            n[HIGH], n[HIGH_LOSS], n[HIGH_SLOPE] = n[LOW], n[LOW_LOSS], n[LOW_SLOPE]
        n[LOW], n[LOW_LOSS], n[LOW_SLOPE] = step, loss, slope
    low, high = n[LOW], n[HIGH]
    if n[TRIALS] >= MOST_TRIALS or abs(start_slope * (high - low)) <= n[NOISE] * abs(start_loss):
        # there is no more to be had than the loss is known to
        if low == 0.0:
            return FAILED
        if low == step:
            return SETTLED
        n[STEP], n[STAGE] = low, LAST_TRIAL  # its gradient is not at hand
        return AGAIN
    if high == np.inf:
        n[STEP] = grown
        return AGAIN
    width = high - low
    at = low + 0.1 * width
    if np.isfinite(n[HIGH_LOSS]):
        at = low + 0.5 * width
        if abs(width) <= NARROW * n[WIDTH]:
            cubic = _cubic(low, n[LOW_LOSS], n[LOW_SLOPE], high, n[HIGH_LOSS], n[HIGH_SLOPE])
            if np.isfinite(cubic):
                at = cubic
    share = min(max((at - low) / width, 0.1), 0.9)
    n[WIDTH] = abs(width)
    n[STEP] = low + share * width
    return AGAIN


@njit(**ENTRY)
def _open_search(n, slope, step):
    n[SLOPE], n[STEP], n[STAGE], n[TRIALS] = slope, step, SEARCHING, 0.0
    n[LOW], n[LOW_LOSS], n[LOW_SLOPE] = 0.0, n[LOSS], slope
    n[HIGH], n[WIDTH] = np.inf, np.inf


@njit(**ENTRY)
def _descend_steepest(vectors, numbers):
    """A search along -g, without any pairs, over a length as of the last step; 1 at first."""
    n = numbers[0]
    n[N_PAIRS], n[NEWEST], n[SCALE] = 0.0, -1.0, 1.0
    slope = _direct(vectors, 0, numbers)
    _open_search(n, slope, n[LENGTH] / np.sqrt(n[SQUARES]) if slope < 0.0 else 1.0)


@njit(**ENTRY)
def _accept(vectors, numbers):
    """Move to the trial point, and open a search along the next direction."""
    n = numbers[0]
    slot = (int(n[NEWEST]) + 1) % PAIRS
    _move(vectors, slot, n[STEP], numbers)
    if not (n[PAIR_S_Y] > 1e-12 * n[PAIR_Y_Y] and n[PAIR_Y_Y] < np.inf):  # no curvature: H would lose its sign
        _descend_steepest(vectors, numbers)
        return
    n[NEWEST], n[N_PAIRS] = slot, min(n[N_PAIRS] + 1.0, PAIRS)
    n[SCALE] = n[PAIR_S_Y] / n[PAIR_Y_Y]
    _descend_by_pairs(vectors, numbers)


@njit(**ENTRY)
def _descend_by_pairs(vectors, numbers):
    """A search along -H g."""
    n = numbers[0]
    pairs = int(n[N_PAIRS])
    for i in range(pairs):
        _products(vectors, i, int(n[NEWEST]), numbers)
    _factors(numbers)
    slope = _direct(vectors, pairs, numbers)
    if slope < 0.0:
        _open_search(n, slope, 1.0)
    else:  # rounding has the better of it
        _descend_steepest(vectors, numbers)


@njit(**ENTRY)
def advance(theta, row, vectors, numbers, loss, affine, layer, like, losses):
    """Take loss and gradient at the trial point, whose parameters gave them, and propose the next one.

    theta[row] holds the gradient with respect to theta and then the next parameters. affine (2, D): shift and one over
    the factor of each column. losses: the loss after each iteration, from numbers[FIRST_ITERATION] on. Returns
    GOES_ON, or what ends it: then POINT is the best point there is, but for REACHED_GOAL, after which it may go on.
    """
    n = numbers[0]
    n[EVALUATIONS] += 1.0
    slope = _take_gradient(theta, row, vectors, affine, layer.D, layer.pitch, layer.bias)
    outcome = GOES_ON
    if n[STAGE] == START:
        _begin(vectors, numbers)
        n[LOSS] = loss
        if not (np.isfinite(loss) and n[LARGEST] < np.inf):
            return NO_DESCENT
        if n[LARGEST] <= n[TOLERANCE]:
            return CONVERGED
        if n[N_PAIRS] > 0.0:  # from a run before
            _descend_by_pairs(vectors, numbers)
        else:
            _descend_steepest(vectors, numbers)
    else:
        found = search(n, loss, slope)
        if found == ACCEPTED:
            n[LENGTH] = n[STEP] * np.sqrt(n[SQUARES])
        if found in (ACCEPTED, SETTLED):
            n[LOSS] = loss
            _accept(vectors, numbers)
            losses[int(n[ITERATION] - n[FIRST_ITERATION])] = loss
            n[ITERATION] += 1.0
            if n[LARGEST] <= n[TOLERANCE]:
                return CONVERGED
            if n[ITERATION] >= n[GOAL]:
                outcome = REACHED_GOAL
        elif found == FAILED:
            if n[N_PAIRS] == 0.0:
                rounding = np.sqrt(n[NOISE] * abs(n[LOSS]))
                return AT_ROUNDING if n[LARGEST] <= FEW * rounding else NO_DESCENT
            _descend_steepest(vectors, numbers)
    _propose(theta, row, vectors, n[STEP], affine, layer.D, layer.pitch, layer.bias, like)
    return outcome


@njit(**ENTRY)
def point(theta, row, vectors, affine, layer, like):
    """theta[row] = the parameters at the point itself."""
    _propose(theta, row, vectors, 0.0, affine, layer.D, layer.pitch, layer.bias, like)
