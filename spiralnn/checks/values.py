"""What a caller gives as an array of real numbers, or of labels, whatever it is made of."""

import contextlib
import sys
from typing import Any, NoReturn

import numpy as np

SHOWN = 80  # characters of a value that is no number


def as_array(name: str, value: Any) -> np.ndarray:
    """value as an array; ValueError or TypeError with its name when values are masked, or it cannot be one."""
    masked = sys.modules.get("numpy.ma")  # not imported for the question: who has masked arrays has the module
    # another thread may be importing it
    if masked is not None and isinstance(value, getattr(masked, "MaskedArray", ())) and masked.is_masked(value):
        where = place(np.argwhere(masked.getmaskarray(value))[0])
        raise ValueError(f"{name} holds masked values; expected an array without missing values: one at {where}")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is ragged, expected an array ({error})") from None
    except TypeError as error:  # of a table whose columns have no type in common
        raise TypeError(f"{name} cannot be made an array ({error})") from None


def real_numbers(name: str, array: np.ndarray, *, of: str = "", column: int | None = None) -> np.ndarray:
    """The array, objects converted to float64; TypeError or ValueError unless it holds real numbers.

    of, column: what the array (N,) is a column of, and which.
    """
    if array.dtype.kind == "O":
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            if not _has_odd_text(array):
                return array.astype(np.float64)
        _refuse(name, array, of or name, () if column is None else (column,))
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}, expected real numbers")
    return array


def is_missing(value: Any) -> bool:
    """Whether a value says that there is none."""
    if value is None:
        return True
    try:
        return bool(value != value)  # NaN and NaT
    except (TypeError, ArithmeticError):  # pandas.NA; a signalling NaN
        return True
    except ValueError:  # an array
        return False


def place(indices: Any) -> str:
    return f"[{', '.join(str(int(i)) for i in indices)}]"


def _has_odd_text(array: np.ndarray) -> bool:
    """Whether there is text that Python takes for a number and hardly anybody else: 1_0, digits of other alphabets."""
    flat = array.ravel()
    if not any(issubclass(kind, str | bytes) for kind in set(map(type, flat))):
        return False
    return any(isinstance(value, str | bytes) and not _is_plain(value) for value in flat)


def _is_plain(text: str | bytes) -> bool:
    return text.isascii() and (b"_" if isinstance(text, bytes) else "_") not in text  # type: ignore[operator]


def _refuse(name: str, array: np.ndarray, of: str, column: tuple[int, ...]) -> NoReturn:
    """TypeError or ValueError for the first of these objects that is no number."""
    expected = f"{name} has dtype {array.dtype}, expected real numbers"
    for index in np.ndindex(array.shape):
        value, where = array[index], place((*index, *column))
        if is_missing(value):
            raise ValueError(f"{of} holds a missing value ({value!r}) at {where}, expected finite numbers")
        try:
            if isinstance(value, str | bytes) and not _is_plain(value):
                raise ValueError
            float(value)
        except OverflowError:  # an integer beyond the range of floats
            raise ValueError(f"{name} holds a number beyond float64 at {where}, expected finite numbers") from None
        except (TypeError, ValueError) as error:
            why = f" ({error})" if str(error) else ""
            raise type(error)(f"{expected}: {repr(value)[:SHOWN]} at {where}{why}") from None
    raise TypeError(f"{expected} one by one")
