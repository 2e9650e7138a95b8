"""Where bits cannot be those of other processors, a fit says so: once in a process."""

import threading
import warnings

from ..kernels import vectors
from ..kernels.vectors import backend

NO_FMA = "this processor has no fused multiply-add"

_told = threading.Event()


class OtherBitsWarning(UserWarning):
    """This processor has no fused multiply-add: results are as exact, but not the bits of processors that have it."""


def tell_other_bits(stacklevel: int) -> None:
    """To be called where a fit begins. Without the JIT, which is for looking for faults, nothing is said."""
    if _told.is_set() or backend.jit_disabled() or vectors.fma_is_fused():
        return
    _told.set()
    warnings.warn(
        f"{NO_FMA}: results are as exact as elsewhere, but their last bits are not those of processors that have it, "
        "nor are those of a run that goes on from a checkpoint of theirs",
        OtherBitsWarning,
        stacklevel=stacklevel + 1,
    )
