"""Sums over the columns of X, leaf by leaf: what their means and variances are made of.

Plain loops: neighbouring columns are neighbours in memory, no sum goes over lanes, and LLVM may vectorise them without
changing a bit.
"""

from numba import njit

from .vectors import ENTRY


@njit(**ENTRY)
def add_columns(X, weights, start, stop, pivot, sums, leaf):
    """sums[leaf] += over rows [start, stop): w (x - pivot), D of them, then w (x - pivot)^2, then w. Float64.

    weights (N,), or of no elements: 1 for every row.
    """
    D = X.shape[1]
    for i in range(start, stop):
        w = 1.0
        if weights.shape[0] > 0:
            w = float(weights[i])
            if w == 0.0:  # whatever the row holds
                continue
        for d in range(D):
            x = float(X[i, d]) - pivot[d]
            sums[leaf, d] += w * x
            sums[leaf, D + d] += w * (x * x)
        sums[leaf, 2 * D] += w
