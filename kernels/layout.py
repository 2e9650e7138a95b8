"""Between a flat vector of parameters without padding, which optimisers hold, and the padded rows of the kernels."""

from numba import njit

from .vectors import ENTRY


@njit(**ENTRY)
def spread(flat, places, theta, row, like):
    """theta[row, places] = flat, rounded to the dtype of the array like: what is computed with."""
    for i in range(len(places)):
        theta[row, places[i]] = like.dtype.type(flat[i])


@njit(**ENTRY)
def collect(theta, row, places, flat):
    """flat = theta[row, places]."""
    for i in range(len(places)):
        flat[i] = theta[row, places[i]]
