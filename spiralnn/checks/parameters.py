"""Parameters of a model: shapes that fit, finite values, memory to train with."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..resources import available_memory
from .arrays import check_finite
from .values import as_array

PARAMETER_BYTES = 80  # of a parameter in training, about: three states, a gradient, two sums and copies, 8 bytes each
LARGE = 1 << 28  # bytes from which on it is worth asking how many there are


def check_training_memory(model: Any) -> None:
    """MemoryError when the parameters of a model, their sums and gradients are more than this process may take."""
    needed = PARAMETER_BYTES * model.size
    if needed > LARGE and needed > available_memory():
        D, H, K = model
        network = f"hidden_size={H} with " if H else ""
        raise MemoryError(
            f"{network}{D} features and {K} classes need about {needed / 2**30:.3g} GiB to train, "
            f"of which {available_memory() / 2**30:.3g} GiB are available"
        )


def parameter_arrays(
    name: str, params: Sequence[Any], D: int, dtype: Any, *, n_hidden: int | None = None, K: int | None = None
) -> tuple[np.ndarray, ...]:
    """(W, b) or (W, b, W2, b2) as contiguous finite arrays of a dtype, with shapes that fit each other and D.

    b and b2 may also come as rows (1, H), as the case study has them. n_hidden and K are checked when given.
    """
    if not isinstance(params, Sequence) or len(params) not in (2, 4):
        found = f"{len(params)} arrays" if isinstance(params, Sequence) else type(params).__name__
        raise ValueError(f"{name} holds {found}, expected (W, b) or (W, b, W2, b2)")
    names = ("W", "b", "W2", "b2")
    arrays = []
    for part, value in zip(names, params, strict=False):
        array = as_array(f"{name}: {part}", value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name}: {part} has dtype {array.dtype}, expected real numbers")
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
        if part.startswith("b") and array.ndim == 2 and array.shape[0] == 1:
            array = array[0]
        arrays.append(array)
    widths = [D, *(a.size for a in arrays[1::2])]
    if len(arrays) == 4 and n_hidden is not None:
        widths[1] = n_hidden
    if K is not None:
        widths[-1] = K
    expected = [s for n, m in zip(widths, widths[1:], strict=False) for s in ((n, m), (m,))]
    for part, array, shape in zip(names, arrays, expected, strict=False):
        if array.shape != shape:
            raise ValueError(f"{name}: {part} has shape {array.shape}, expected {shape}")
        check_finite(f"{name}: {part}", array)
    if widths[1] < 1:
        raise ValueError(f"{name}: b holds {widths[1]} units, expected at least 1")
    if widths[-1] < 2:
        raise ValueError(f"{name}: {names[len(arrays) - 1]} holds {widths[-1]} class, expected at least 2")
    return tuple(np.ascontiguousarray(a) for a in arrays)


def checked_parameters(name: str, params: Sequence[Any], model: Any, dtype: Any) -> tuple[np.ndarray, ...]:
    """parameter_arrays for those of a model of these sizes."""
    shapes = model.shapes
    if isinstance(params, Sequence) and len(params) != len(shapes):
        raise ValueError(f"{name} holds {len(params)} arrays, expected {len(shapes)}")
    n_hidden = model.H if len(shapes) == 4 else None
    return parameter_arrays(name, params, model.D, dtype, n_hidden=n_hidden, K=model.K)
