"""Seeded problems for the kernel tests, the shapes they come in, and how results are compared."""

from typing import NamedTuple

import numpy as np
import pytest
from numba import config

from spiralnn.engine import plan
from spiralnn.kernels import linear, tile
from spiralnn.kernels.models import Model

JIT = not config.DISABLE_JIT

# Kernels against the float64 reference on the same numbers, relative to the largest entry of an array.
# float64: sums of up to 10^5 terms in another order, an error of eps (1e-16) times a few hundred to a few thousand.
# float32: the same within a tile, 1e-7 times a hundred; chunk sums are float64, so N does not matter.
TOLERANCES = {np.float64: 1e-12, np.float32: 2e-5}

SMALL = 12_000  # weights times rows: what Python walks through in a tenth of a second with the JIT off


class Problem(NamedTuple):
    """Data and parameters: (W, b), or (W, b, W2, b2)."""

    X: np.ndarray
    y: np.ndarray
    params: tuple[np.ndarray, ...]

    def astype(self, dtype):
        return Problem(self.X.astype(dtype), self.y, tuple(p.astype(dtype) for p in self.params))

    def outputs(self):
        """Arrays for the gradients, filled with what must not be left there."""
        return tuple(np.full_like(p, np.nan) for p in self.params)


def problem(N, D, H, K, dtype=np.float64, margin=1e-4, seed=()):
    """A problem with scores of order 1; H = 0 is the linear model.

    No hidden value lies within `margin` of the kink of ReLU, where rounding decides whether a unit is active.
    """
    random = np.random.default_rng([N, D, H, K, *seed])
    sizes = (D, H, K) if H else (D, K)
    params = []
    for n, m in zip(sizes, sizes[1:], strict=False):
        params.append((random.standard_normal((n, m)) * np.sqrt(2 / n)).astype(dtype))
        params.append((random.standard_normal(m) / 3).astype(dtype))
    X = random.standard_normal((N, D)).astype(dtype)
    if H:
        W, b = (p.astype(np.float64) for p in params[:2])
        close = np.arange(N)
        while len(close):
            close = close[(np.abs(X[close] @ W + b) < margin).any(axis=1)]
            X[close] = random.standard_normal((len(close), D))
    return Problem(X, random.integers(0, K, N), tuple(params))


def relative_error(a, b):
    """max |a - b| / max |b|; 0 when both are all zeros."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape
    error, size = np.max(np.abs(a - b)), np.max(np.abs(b))
    return error / size if size else float(error)


# (D, K) whose kernels, made for exactly so few inputs and classes, are tried in the short form of a test; the others of
# this kind take as long to compile, and are tried in its long form.
OFTEN = {(1, 5), (2, 3), (4, 2)}


def small_only(shapes):
    """The shapes (N, D, H, K) themselves; with the JIT off, those that Python is fast enough for."""
    return [_in_its_form(s) for s in shapes if JIT or s[0] * (s[1] + s[3]) * max(s[2], 1) <= SMALL]


def _in_its_form(shape):
    _, D, H, K = shape
    is_seldom = JIT and D and Model(D, H, K).has_few_inputs() and (D, K) not in OFTEN
    return pytest.param(*shape, marks=pytest.mark.long) if is_seldom else shape


def _around(*sizes):
    return [n for size in sizes for n in (size - 1, size, size + 1)]


_TILE = plan.TILE_BYTES // 8  # rows of a float64 tile at most; a float32 tile has twice as many
_CHUNK = plan.LEAF_ROWS
_MANY = linear.MANY_INPUTS
_INPUTS = tile.INPUTS

LINEAR_SHAPES = [
    # few inputs
    *[(N, 2, 0, 3) for N in (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 97, 251, 300)],
    *[(N, 2, 0, 3) for N in _around(_TILE, 2 * _TILE, 4 * _TILE, 2 * _CHUNK, 4 * _CHUNK)],
    *[(45, D, 0, K) for D in (1, 2, 3, 4) for K in (2, 3, 4, 5)],
    # lanes along rows, then along inputs
    *[(N, 5, 0, 4) for N in _around(_TILE, 4 * _CHUNK)],
    *[(N, 40, 0, 4) for N in (1, 2, 3, 4, 5, 7, 31, 97)],
    *[(33, D, 0, 3) for D in (5, 8, 13, *_around(_MANY), 47, 48, 49, 63, 64, 65, 128, 129, 200)],
    *[(41, 7, 0, K) for K in (2, 4, 7, 8, 9, 10, 16, 17, 300)],
    *[(41, 37, 0, K) for K in (2, 4, 5, 8, 9, 17)],
    (1, 1, 0, 2), (2, 129, 0, 300), (1797, 64, 0, 10), (300, 784, 0, 10),
    (100_003, 6, 0, 3), (150_001, 1, 0, 2),  # many chunks, the last one shorter
]  # fmt: skip

TWO_LAYER_SHAPES = [
    # few inputs
    *[(N, 2, 5, 3) for N in (1, 2, 3, 7, 8, 9, 16, 17, 97, 251)],
    *[(N, 2, 6, 3) for N in _around(_TILE, 2 * _TILE, 4 * _TILE, 4 * _CHUNK)],
    *[(37, D, H, K) for D in (1, 2) for K in (2, 3) for H in (1, 7, 8, 9, 16, 17, 100, 128)],
    *[(43, D, 11, K) for D, K in ((1, 4), (1, 5), (2, 4), (3, 2), (3, 3), (4, 2))],
    (300, 2, 100, 3), (40_001, 1, 3, 2), (150_001, 2, 3, 3),
    # general
    *[(N, 3, 5, 4) for N in (1, 2, 3, 7, 8, 9, 16, 17, 97, 251)],
    *[(N, 3, 6, 4) for N in _around(_TILE, 2 * _TILE, 4 * _CHUNK)],
    *[(35, D, 7, 3) for D in (4, 5, 8, 15, 16, 17, 63, 64, 65, *_around(_INPUTS), 2 * _INPUTS + 1)],
    *[(35, 3, H, 4) for H in (1, 7, 8, 9, 16, 17, 100, 128)],
    *[(29, 2, 9, K) for K in (5, 10, 17, 300)],
    (19, 1, 1, 11), (3, _INPUTS + 1, 17, 300), (600, 64, 100, 10),
    (300, 4, 1000, 3),  # so many hidden units that the tile is shorter for them
    (40_001, 3, 2, 4),
]  # fmt: skip

SHAPES = LINEAR_SHAPES + TWO_LAYER_SHAPES
