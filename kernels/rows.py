"""Which rows a step goes over: all of them as they lie, or batch after batch in an order of its own.

A source says where a step's rows begin and how many they are, what its sums are divided by, and adds up a run of them.
`loop.compiled` is made for one of the two.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from .sync import STOP
from .tile import carve
from .vectors import (
    ENTRY,
    body_of,
    if_,
    lanes,
    load,
    load_acquire,
    load_contiguous,
    load_index,
    load_scalar,
    loop,
    minimum,
    prefetch,
    store,
    store_element,
    store_scalar,
    traced,
    var,
    view,
    while_,
)

BEYOND = 1 << 60  # more rows than any: what the stop flag adds to the next one
AHEAD = 8  # rows whose memory is asked for before it is their turn


class Batches(NamedTuple):
    """Rows in batches: step i of an epoch of n goes over X[order[i size:(i + 1) size]], the last over what is left.

    X (N, D); order (n rows) uint32; affine (2, D) of the dtype of X: what a column is measured from, and in: rows are
    copied as (X - affine[0]) * affine[1]. weight: the mean weight of a row.
    """

    X: np.ndarray
    order: np.ndarray
    affine: np.ndarray
    size: int
    weight: float


class Buffers(NamedTuple):
    """What a thread needs beside the tile's arrays: rows of a tile, copied one after the other, x (T + lanes, D), with
    their labels' bytes y, and weights (T,), as `Batches` has them."""

    workspace: np.ndarray
    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray


class Source(NamedTuple):
    """One of the two. All but add_rows, which is made for kernels, are jitted functions.

    features(rows) is X; first(rows, step), count(rows, step); total(rows, count, weight): what the sums of so many rows
    with so much weight are divided by; memory(workspace) is the thread's memory for the tile's arrays.
    """

    name: str
    features: Any
    first: Any
    count: Any
    total: Any
    memory: Any
    add_rows: Callable


def _arrays(kernels, workspace, model, tile_rows, theta, now):
    arrays = carve(workspace, kernels.shapes(*model, tile_rows, lanes(workspace)))
    return [*arrays, view(theta, now, 0, 1, theta.shape[1])] if kernels.reads_theta else arrays


# ------------------------------------------------------------------------------------------- as they lie


@njit(**ENTRY)
def _all_features(X):
    return X


@njit(**ENTRY)
def _from_the_first(X, step):
    return 0


@njit(**ENTRY)
def _all_count(X, step):
    return X.shape[0]


@njit(**ENTRY)
def _total_weight(X, count, weight):
    return weight


@njit(**ENTRY)
def _own_memory(workspace):
    return workspace


def _add_all(kernels):
    tile_body = body_of(kernels.add_tile)

    @traced
    def add_rows(X, y, theta, now, base, row, end, most, D, H, K, tile_rows, workspace, sums, i, sync) -> int:
        """sums[i] += the sums of rows [row, end), tile by tile, until told to stop, or after `most` rows.

        Returns the row after the last. Twin: reference.add_rows.
        """
        at, limit = var(row), minimum(end, row + most)
        for _ in while_(lambda: at.value + load_acquire(sync, STOP) * BEYOND < limit):
            rows = minimum(tile_rows, end - at.value)
            arrays = _arrays(kernels, workspace, (D, H, K), tile_rows, theta, now)
            tile_body(X, y, at.value, rows, H, K, arrays, sums, i)
            at.set(at.value + rows)
        return at.value

    return add_rows


# ------------------------------------------------------------------------------------------- batch after batch


@njit(**ENTRY)
def _features(rows):
    return rows.X


@njit(**ENTRY)
def _first(rows, step):
    n = rows.order.shape[0]
    return step % ((n + rows.size - 1) // rows.size) * rows.size


@njit(**ENTRY)
def _count(rows, step):
    left = rows.order.shape[0] - _first(rows, step)
    return rows.size if rows.size < left else left


@njit(**ENTRY)
def _rows_weight(rows, count, weight):
    return count * rows.weight  # not their own: a gradient must not depend on who else is in the batch


@njit(**ENTRY)
def _memory(buffers):
    return buffers.workspace


def _copy_rows(rows, y, first, count, buffers):
    """Rows order[first:first + count], centred and scaled, and their labels and weights, into the buffers."""
    X, order, affine, _, _ = rows
    _, x, labels, weights = buffers
    D, L = X.shape[1], lanes(X)
    last = order.shape[0] - 1
    weighted = isinstance(y, tuple | list)
    if weighted:
        y, sample_weight = y
    for t in loop(0, count):
        row = load_index(order, first + t)
        later = load_index(order, minimum(first + t + AHEAD, last))
        for _ in if_(D < L):
            for d in loop(0, D):
                value = load_scalar(X, row, d) - load_scalar(affine, 0, d)
                store_scalar(x, t, d, value * load_scalar(affine, 1, d))
            prefetch(X, later, 0)
        for _ in if_(D > L - 1):
            for d in loop(0, D, L):
                at = minimum(d, D - L)  # the last vector ends where the row does
                prefetch(X, later, at)
                value = load_contiguous(X, row, at) - load(affine, 0, at)
                store(x, t, at, value * load(affine, 1, at))
        for byte in loop(0, y.shape[1]):
            store_element(labels, load_scalar(y, row, byte), t, byte)
        if weighted:
            store_element(weights, load_scalar(sample_weight, row), t)
    return (labels, weights) if weighted else labels


def _add_batch(kernels):
    tile_body = body_of(kernels.add_tile)

    @traced
    def add_rows(rows, y, theta, now, base, row, end, most, D, H, K, tile_rows, buffers, sums, i, sync) -> int:
        """As above, of rows [row, end) of the batch that begins at place `base` of the order."""
        at, limit = var(row), minimum(end, row + most)
        for _ in while_(lambda: at.value + load_acquire(sync, STOP) * BEYOND < limit):
            count = minimum(tile_rows, end - at.value)
            targets = _copy_rows(rows, y, base + at.value, count, buffers)
            arrays = _arrays(kernels, buffers.workspace, (D, H, K), tile_rows, theta, now)
            tile_body(buffers.x, targets, row - row, count, H, K, arrays, sums, i)
            at.set(at.value + count)
        return at.value

    return add_rows


WHOLE = Source("", _all_features, _from_the_first, _all_count, _total_weight, _own_memory, _add_all)
BATCHES = Source("batches-", _features, _first, _count, _rows_weight, _memory, _add_batch)
