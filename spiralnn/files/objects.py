"""Arrays of Python objects as the bytes of a JSON list: plain values as they are, some other types by name."""

import datetime
import decimal
import fractions
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .array_file import DTYPE_KINDS, ModelFileError

PLAIN = (str, int, float, bool)  # what JSON gives back as it was


class Form(NamedTuple):
    """How a value becomes what JSON keeps, and the other way round."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _write_scalar(value: np.generic) -> list[str]:
    array = np.array([value])  # whose strings are one character wide at least
    return [array.dtype.str, array.tobytes().hex()]


def _read_scalar(kept: list[str]) -> Any:
    dtype, content = np.dtype(kept[0]), bytes.fromhex(kept[1])
    if dtype.kind not in DTYPE_KINDS or dtype.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes for a {dtype}")
    return np.ndarray((), dtype, content)[()]


NUMPY = "numpy"
FORMS = {
    "bytes": Form(bytes.hex, bytes.fromhex),
    "date": Form(datetime.date.isoformat, datetime.date.fromisoformat),
    "datetime": Form(datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "timedelta": Form(lambda v: [v.days, v.seconds, v.microseconds], lambda kept: datetime.timedelta(*kept)),
    "Decimal": Form(str, decimal.Decimal),
    "Fraction": Form(str, fractions.Fraction),
    NUMPY: Form(_write_scalar, _read_scalar),
}
NAMES: dict[type, str] = {
    bytes: "bytes", datetime.date: "date", datetime.datetime: "datetime", datetime.timedelta: "timedelta",
    decimal.Decimal: "Decimal", fractions.Fraction: "Fraction",
}  # fmt: skip


def packed(name: str, array: np.ndarray) -> np.ndarray:
    """The bytes; TypeError for objects of other types."""

    def written(value: Any) -> Any:
        if type(value) in PLAIN:
            return value
        form = _form_of(name, value)
        return {form: FORMS[form].write(value)}

    return np.frombuffer(json.dumps(list(map(written, array))).encode(), np.uint8)


def _form_of(name: str, value: Any) -> str:
    if isinstance(value, np.generic) and value.dtype.kind in DTYPE_KINDS:
        return NUMPY
    if type(value) not in NAMES:
        raise TypeError(
            f"{name} holds a {type(value).__name__} object: without pickle, a model file keeps str, int, float, bool, "
            f"{', '.join(kind.__name__ for kind in NAMES)} and NumPy's scalars"
        )
    return NAMES[type(value)]


def unpacked(content: np.ndarray) -> np.ndarray:
    """The array of what `packed` was given; ModelFileError, ValueError, TypeError or LookupError for other bytes."""
    values = json.loads(content.tobytes())
    if not isinstance(values, list):
        raise ModelFileError("its classes or feature names are no list")
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        if type(value) not in PLAIN:
            ((form, kept),) = value.items()
            value = FORMS[form].read(kept)
        array[i] = value
    return array
