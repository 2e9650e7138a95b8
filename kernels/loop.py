"""Steps over data in memory, compiled whole: add_rows, combine and update, by threads that come and go.

Nothing here knows a model or a solver: it is made for a set of tile kernels and an update (`compiled`). Who takes which
part, and how threads wait, is in sync.py; which leaves a part is, and how their sums are added, in tree.py.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from .rows import WHOLE
from .steps import RUNNING, close_of
from .sync import (
    ALONE,
    BASE,
    BITS,
    CALL,
    CALL_SPINS,
    CALLER_SLEEP,
    CLOSED,
    FIRST,
    HELPER_SLEEP,
    LAST,
    LEAVE,
    PARK,
    PARKED,
    PARTS,
    PHASE,
    SLEEPERS,
    SPINS,
    STOP,
    TICKETS,
    WANTED,
    call_helpers,
    count_done,
    enter,
    leave,
    open_next,
    take,
    wait,
    word_at,
)
from .tile import carve
from .updates import apply
from .vectors import ENTRY, add_to, body_of, lanes, load, load_acquire, loop, store, traced, zeros

# Columns that one thread adds up and updates at a time. 8192 float64 of a few rows stay in the second-level cache.
COLUMNS = 8192

OVER, STOPPED, BUSY, GONE = 0, 1, 2, 3  # what `participate` returns
BLOCK, BLOCK_PHASE, PACKED, LEAF, ROW, TOP = range(6)  # places in a cursor: what a thread has in its hands
CURSOR_SIZE = 8

# The sums of a range of rows are a row of float64: gradients laid out as theta (P), then these two, then zeros
LOSS, WEIGHT, EXTRA = 0, 1, 16


class Cut(NamedTuple):
    """How rows are cut, see `spiralnn.engine.plan`: leaf i is rows [i leaf_rows, (i + 1) leaf_rows), tile by tile."""

    tile_rows: int
    leaf_rows: int
    depth: int  # rows of sums that a thread needs for itself


class Memory(NamedTuple):
    """What the steps read and write, of all threads together.

    theta (3, P), state (3, state_rows P): step i reads row i % 3 and writes row (i + 1) % 3, so that what was before a
    step that diverges is still there (other updates have fewer versions). sums (blocks + threads depth, P + 16), losses
    (steps of a call). status (2,): whole steps so far, and RUNNING or what ended them. leaves and, one after the other,
    additions as in `tree.Blocks`; settings (1, n) of the update; numbers (1, n) and solver are those of `steps.py`.
    """

    theta: np.ndarray
    state: np.ndarray
    sums: np.ndarray
    losses: np.ndarray
    status: np.ndarray
    leaves: np.ndarray
    additions: np.ndarray
    settings: np.ndarray
    numbers: np.ndarray
    solver: tuple


@traced
def clear_row(a, i):
    """a[i] = 0."""
    for t in loop(0, a.shape[1], lanes(a)):
        store(a, i, t, zeros(a))


@traced
def add_row(a, to, i, first, last):
    """a[to] += a[i] in columns [first, last)."""
    _add_row(a, to, i, first, last)


def _add_row(a, to, i, first, last):
    for t in loop(first, last, lanes(a)):
        add_to(a, to, t, load(a, i, t))


@traced
def combine(sums, additions, first, last):
    """The additions (to, from, to, from, ...) of rows of sums, in columns [first, last). Twin: reference.combine."""
    for j in loop(0, additions.shape[0], 2):
        _add_row(sums, load_acquire(additions, j), load_acquire(additions, j + 1), first, last)


def packing(kernels):
    """The traced function that lays parameters, theta[now], out for these tile kernels, in a thread's workspace."""
    pack_body = body_of(kernels.pack)

    @traced
    def pack(theta, now, D, H, K, tile_rows, workspace):
        pack_body(theta, now, D, H, K, carve(workspace, kernels.shapes(D, H, K, tile_rows, lanes(workspace))))

    return pack


def compiled(kernels, update, source=WHOLE):
    """The loop for these tile kernels, this update, and rows of this source: a jitted function."""
    pack, apply_update, close = packing(kernels), apply(update), close_of(update)
    add_rows, versions = source.add_rows(kernels), update.versions
    features, first_row, count_rows, total_of, memory_of = source[1:6]

    @njit(**ENTRY)
    def participate(me, steps, wanted, tiles, sync, rows, y, cut, model, n_weights, workspace, cursor, memory):
        """What one thread does of a call: take parts of its steps until all are done.

        Thread 0 is the caller: steps > 0 opens a call of so many, for `wanted` threads; 0 goes on with the one that is
        open. It comes back BUSY after so many tiles, or after waiting for long, to have a look at its signals. Helpers
        stay for PARK microseconds beyond a call. y is the labels' bytes, or a pair of these and weights. workspace
        (1, n) is one array for all that a tile needs: each takes its time to hand over.
        """
        theta, state, sums, losses, status, leaves, additions, settings, numbers, solver = memory
        X = features(rows)
        D = X.shape[1]
        P = theta.shape[1]
        n_blocks = leaves.shape[0]
        n_shares = (P + COLUMNS - 1) // COLUMNS
        spare = n_blocks + me * cut.depth - 1
        if me > 0:
            enter(sync)
        if steps > 0:
            phase = (word_at(sync, PHASE) // 2 + 1) * 2
            sync[WANTED] = wanted
            sync[FIRST] = status[0]
            sync[LAST] = status[0] + steps
            sync[BASE] = phase
            open_next(sync, wanted, phase, 0)
            if wanted > 1:
                call_helpers(sync)
        while True:
            call = word_at(sync, CALL)
            if word_at(sync, STOP) != 0:
                return STOPPED
            phase, part = cursor[BLOCK_PHASE], cursor[BLOCK]
            if part < 0:
                word = word_at(sync, TICKETS)
                alone = me == 0 and sync[WANTED] == 1
                if alone:
                    word = sync[ALONE]
                phase, part = word >> BITS, word & PARTS
                if me >= sync[WANTED] or part >= CLOSED:
                    if me == 0:
                        return OVER
                    if sync[LEAVE] == 0:
                        wait(sync, CALL, call, CALL_SPINS, PARKED, PARK)
                    if word_at(sync, CALL) == call:
                        leave(sync)
                        return GONE
                    continue
                if part < (n_shares if phase & 1 else n_blocks):
                    if alone:
                        sync[ALONE] = word + 1
                    else:
                        word = take(sync)
                        phase, part = word >> BITS, word & PARTS
                if part >= (n_shares if phase & 1 else n_blocks):
                    if part < CLOSED:
                        wait(sync, PHASE, phase, SPINS, SLEEPERS, CALLER_SLEEP if me == 0 else HELPER_SLEEP)
                        if me == 0 and word_at(sync, PHASE) == phase:
                            return BUSY
                    continue
                cursor[LEAF] = -1
            alone = sync[WANTED] == 1
            step = sync[FIRST] + (phase - sync[BASE]) // 2
            now, then = step % versions, (step + 1) % versions
            count = count_rows(rows, step)
            is_last = False
            if phase & 1 == 0:
                if cursor[PACKED] != phase:
                    pack(theta, now, D, model.H, model.K, cut.tile_rows, memory_of(workspace))
                    cursor[PACKED] = phase
                first_leaf = leaves[part, 0]
                leaf, row, top = cursor[LEAF], cursor[ROW], cursor[TOP]
                if leaf < 0:
                    leaf, row, top = first_leaf, first_leaf * cut.leaf_rows, 0
                while leaf < leaves[part, 1]:
                    end = (leaf + 1) * cut.leaf_rows
                    end = end if end < count else count  # as min would be: a function that takes its time to compile
                    into = part if top == 0 else spare + top
                    if row == leaf * cut.leaf_rows:
                        clear_row(sums, into)
                    most = tiles * cut.tile_rows
                    start, row = row, add_rows(
                        rows, y, theta, now, first_row(rows, step), row, end, most, D, model.H, model.K, cut.tile_rows,
                        workspace, sums, into, sync,
                    )  # fmt: skip
                    tiles -= (row - start) // cut.tile_rows
                    if row < end:
                        if word_at(sync, STOP) != 0:
                            return STOPPED
                        cursor[BLOCK], cursor[BLOCK_PHASE] = part, phase
                        cursor[LEAF], cursor[ROW], cursor[TOP] = leaf, row, top
                        return BUSY
                    done = leaf - first_leaf
                    while done & 1:
                        add_row(sums, part if top == 1 else spare + top - 1, spare + top, 0, P + 8)
                        top -= 1
                        done >>= 1
                    top += 1
                    leaf += 1
                cursor[BLOCK] = -1
                is_last = part == n_blocks - 1 if alone else count_done(sync) == n_blocks
                if is_last:
                    combine(sums, additions, P, P + 8)
                    if n_shares > 1:
                        open_next(sync, sync[WANTED], phase + 1, 0)
                        continue
                part = 0
            if phase & 1 or is_last:
                low = part * COLUMNS
                high = low + COLUMNS if low + COLUMNS < P else P
                combine(sums, additions, low, high)
                middle = low if n_weights < low else high if n_weights > high else n_weights
                total = total_of(rows, count, sums[0, P + WEIGHT])
                apply_update(theta, state, now, then, sums, low, middle, high, 1.0 / total, settings, X)
                if phase & 1:
                    is_last = part == n_shares - 1 if alone else count_done(sync) == n_shares
            if is_last:
                loss = sums[0, P + LOSS]  # NaN of any parameter that is not finite
                total = total_of(rows, count, sums[0, P + WEIGHT])
                close(
                    step, sync[FIRST], now, then, loss, total, n_weights, X, theta, state, settings, numbers, status,
                    losses, solver,
                )  # fmt: skip
                phase = (phase // 2 + 1) * 2
                part = 0 if status[1] == RUNNING and step + 1 < sync[LAST] else CLOSED
                open_next(sync, sync[WANTED], phase, part)

    getattr(participate, "py_func", participate).kernel_name = f"{source.name}{kernels.name}-{update.name}"
    return participate

