"""A symmetric system of equations: A = U^T U, then two triangular ones. Twin: numpy.linalg.

Golub and Van Loan, Matrix Computations, 2013, section 4.2. Row after row is made of those above it, each addition one
to an element of its own: LLVM may vectorise them without changing a bit, and no library has an order of its own.
"""

import numpy as np
from numba import njit

from .vectors import ENTRY


@njit(**ENTRY)
def factor(A, shift, least, U):
    """U (n, n), upper triangle: that of A + shift I, of which the upper triangle is read. Returns whether it has one.

    It has none where a pivot is not above `least` times the element of the diagonal that it began as: what is left
    of it is rounding. U is then of no use.
    """
    n = A.shape[0]
    for i in range(n):
        row = U[i, i:]
        row[:] = A[i, i:]
        row[0] += shift
        for k in range(i):
            above = U[k, i:]
            multiple = above[0]
            for j in range(n - i):
                row[j] -= multiple * above[j]
        pivot = row[0]
        if not (pivot > least * (A[i, i] + shift) and pivot < np.inf):
            return False
        root = np.sqrt(pivot)
        for j in range(n - i):
            row[j] /= root
    return True


@njit(**ENTRY)
def solve(U, x):
    """x (n,) = (U^T U)^-1 x."""
    n = U.shape[0]
    for k in range(n):
        x[k] /= U[k, k]
        for j in range(k + 1, n):
            x[j] -= x[k] * U[k, j]
    for k in range(n - 1, -1, -1):
        total = x[k]
        for j in range(k + 1, n):
            total -= U[k, j] * x[j]
        x[k] = total / U[k, k]
