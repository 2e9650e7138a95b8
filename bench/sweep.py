"""Shapes beside the usual ones: efficiency of a step of the network, as D, H and K go through their range.

Nobody but the fused kernels takes part. Each point is checked against the reference before it is timed.
"""

import sys

from implementations import OWN
from problems import problem
from turns import race

D_VALUES = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 65, 96, 128, 192, 256, 384, 512, 784, 1024)
H_VALUES = (8, 12, 16, 24, 32, 48, 64, 65, 100, 128, 200, 256, 384, 512, 1024)
K_VALUES = (2, 3, 4, 5, 7, 10, 16, 20, 32, 50, 100)
# the letter that changes, its values, and the other two
SWEEPS = [
    ("D", D_VALUES, {"H": 100, "K": 3}),
    ("H", H_VALUES, {"D": 28, "K": 10}),
    ("H", H_VALUES, {"D": 2, "K": 3}),
    ("K", K_VALUES, {"D": 28, "H": 100}),
]

STEP_FLOPS = 8e8  # about 10 ms of one core
FEWEST_ROWS, MOST_ROWS = 2_000, 100_000
TURNS = 5
QUICK_EVERY, QUICK_TURNS = 7, 3


def measure(quick):
    """The rows "sweep" of the results: those of a race, and which letter changed ("axis")."""
    fused = [implementation for implementation in OWN if implementation.name != "reference"]
    rows = []
    for axis, values, others in SWEEPS:
        print(f"sweep over {axis}, {others}", file=sys.stderr)
        for value in values[::QUICK_EVERY] if quick else values:
            shape = {axis: value, **others}
            for dtype in ("float64", "float32"):
                given = problem("two_layer", rows_for(**shape), dtype, **shape)
                # nothing to wait for: these threads do not spin
                timed = race(given, "step", fused, QUICK_TURNS if quick else TURNS, pause=0)
                rows += [{"axis": axis, **row} for row in timed]
    return rows


def rows_for(D, H, K):
    """So many rows that a step takes some milliseconds; odd, so that no tile or vector fits them."""
    N = STEP_FLOPS / (H * (4 * D + 6 * K))
    return int(min(max(N, FEWEST_ROWS), MOST_ROWS)) | 1
