"""How N rows are cut into tiles and leaves: a function of the problem's shape alone.

It never depends on the machine or the number of threads, so that sums come out the same to the last bit everywhere.
"""

import math
from typing import NamedTuple

from ..kernels import newton
from ..kernels.models import Model

# A row of a tile's arrays: 384 float64, or 768 float32. Share of the multiply-add rate with few inputs for 256, 384 and
# 512 float64 rows: 1.05, 1.07, 1.03; for 512, 640 and 768 float32 rows: 1.05, 1.07, 1.08 (above 1: see two_layer.py).
# With many inputs 128 of them and 128 hidden units fit the second-level cache: at (784, 128, 10) 256 and 384 float64
# rows reach 0.88 and 0.89.
TILE_BYTES = 3072
FEWEST_ROWS = 64  # of a tile, however much is held for a row
# Hidden values, or scores, of a tile at most. They may leave the second-level cache: at (28, 1024, 10) tiles of 64, 128
# and 256 float64 rows, of 0.5, 1 and 2 MiB, reach 0.86, 0.79 and 0.94, for sums over rows are added up less often.
# Scores are read and written three times: at (2 000, 50, 64, 20 000) float32 768 rows take 252 to 361 ms, 64 rows 151.
HELD_BYTES = 2 * 2**20
ROW_BYTES = 256 * 1024  # rows of a tile of the linear model at most, so that backward finds them in the second level
# From 16 vectors of rows on there are two leaves: at (150, 4, 100, 3) a second one costs one thread 5 % of a step, and
# lets two threads share float64 rows.
SPLIT_BYTES = 1024
# Rows of a leaf at least, beyond two leaves, and parameters a row: fewer sums to add up
LEAF_ROWS, LEAF_PARAMETERS = 512, 64
HESSIAN_PARAMETERS = 16  # of a Hessian, whose sums, of all leaves, are then no more than 16 / D of X
MANY_LEAVES, FEW_LEAVES = 256, 32  # of few rows at most, if their sums take up to LEAF_BYTES, and if they take more
LEAF_BYTES = 4 * 2**20
# Rows of a tile of a batch: copies of the rows and hidden values stay in half of a small second-level cache
BATCH_BYTES, FEWEST_BATCH_ROWS, MOST_BATCH_ROWS = 256 * 1024, 32, 128
SHARED_FLOPS = 40e6  # work of a batch that threads share, at least
LEAF_TILES = 8  # of the largest size, in a leaf of many rows at least


class Plan(NamedTuple):
    """Leaf i is rows [i leaf_rows, (i + 1) leaf_rows); in it tile follows tile. Leaves are what threads share out and
    what is summed along the tree (`kernels.tree`); between tiles a thread looks at the stop flag.
    """

    tile_rows: int
    leaf_rows: int
    n_leaves: int


def plan(N: int, model: Model, itemsize: int, few_inputs: bool | None = None) -> Plan:
    """The plan for N rows of 4 or 8 bytes a number. few_inputs: whether those kernels run; None: the model's own.

    Few rows are a power of two of leaves, for an even share. From some N on leaves have a size of their own, whatever
    N is: then a leaf's rows can be known before N is, and its sums never depend on rows beyond it.
    """
    lanes, P = 64 // itemsize, (model.D + model.K + 1) * (model.H or model.K)
    if few_inputs is None:
        few_inputs = model.has_few_inputs()
    largest = TILE_BYTES // itemsize
    if not few_inputs:
        held = HELD_BYTES // (model.widest() * itemsize)
        if not model.H:
            held = min(held, ROW_BYTES // (model.D * itemsize))
        largest = min(largest, max(FEWEST_ROWS, held // lanes * lanes))
    unit = lanes if few_inputs else 2 * lanes  # with many inputs two vectors share the weights
    return _cut(N, itemsize, P, LEAF_PARAMETERS, largest, unit)


def hessian_plan(N: int, D: int, K: int, itemsize: int) -> Plan:
    """The same for sums that hold the Hessian of the linear model, too: inputs of a tile stay in the second level."""
    lanes, size = 64 // itemsize, newton.size(D, K)
    held = min(HELD_BYTES // (K * itemsize), ROW_BYTES // ((D + 1) * itemsize))
    largest = min(TILE_BYTES // itemsize, max(FEWEST_ROWS, held // lanes * lanes))
    return _cut(N, itemsize, size, HESSIAN_PARAMETERS, largest, 2 * lanes)


def _cut(N: int, itemsize: int, P: int, parameters: int, largest: int, unit: int) -> Plan:
    """For P sums, at most so many of them a row of a leaf: tiles of at most `largest` rows, multiples of unit."""
    most = MANY_LEAVES if 8 * MANY_LEAVES * P <= LEAF_BYTES else FEW_LEAVES
    n_leaves = 1 if N * itemsize < SPLIT_BYTES else 2
    while n_leaves < most and 2 * n_leaves * max(LEAF_ROWS, P // parameters) <= N:
        n_leaves *= 2
    leaf_rows = _rounded_up(math.ceil(N / n_leaves), unit)
    fixed = largest * max(LEAF_TILES, math.ceil(P / parameters / largest))
    if leaf_rows > fixed:
        return Plan(largest, fixed, math.ceil(N / fixed))
    tiles = math.ceil(leaf_rows / largest)
    tile_rows = _rounded_up(math.ceil(leaf_rows / tiles), unit)
    return Plan(tile_rows, leaf_rows, math.ceil(N / leaf_rows))


def batch_plan(B: int, model: Model, itemsize: int) -> Plan:
    """The plan for batches of B rows. Small ones are one leaf: threads that share a batch of less than a millisecond
    wait for each other more than they gain."""
    rows = plan(B, model, itemsize)
    largest = rows.tile_rows
    if model.has_units():
        held = BATCH_BYTES // ((model.D + model.H) * itemsize)
        largest = min(MOST_BATCH_ROWS, max(FEWEST_BATCH_ROWS, held // 16 * 16))
    if model.flops(B) < SHARED_FLOPS:
        tiles = math.ceil(B / largest)
        return Plan(_rounded_up(math.ceil(B / tiles), 16), _rounded_up(B, 16), 1)
    tile_rows = min(largest, rows.leaf_rows)
    return Plan(tile_rows, rows.leaf_rows, rows.n_leaves)


def _rounded_up(n: int, unit: int) -> int:
    return -(-n // unit) * unit
