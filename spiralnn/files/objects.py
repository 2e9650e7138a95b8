"""Arrays of Python objects as the bytes of a JSON list: plain values as they are, some other types by name.

Those of pandas are what its tables hold as labels: times with a zone, periods, and the intervals that `cut` makes.
"""

import datetime
import decimal
import fractions
import importlib
import json
import uuid
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


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise ModelFileError(f"its classes are objects of pandas, which cannot be had: {error}") from None


def _write_timestamp(value: Any) -> list[Any]:
    """Its unit, and its time zone by name, too, where it has one: its digits say the offset alone."""
    zone = getattr(value.tzinfo, "key", getattr(value.tzinfo, "zone", None))  # of zoneinfo, of pytz
    return [value.isoformat(), value.unit, zone]


def _read_timestamp(kept: list[Any]) -> Any:
    digits, unit, zone = kept
    value = _pandas().Timestamp(digits).as_unit(unit)
    return value if zone is None else value.tz_convert(zone)


NUMPY = "numpy"
FORMS = {
    "bytes": Form(bytes.hex, bytes.fromhex),
    "date": Form(datetime.date.isoformat, datetime.date.fromisoformat),
    "datetime": Form(datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "time": Form(datetime.time.isoformat, datetime.time.fromisoformat),
    "timedelta": Form(lambda v: [v.days, v.seconds, v.microseconds], lambda kept: datetime.timedelta(*kept)),
    "Decimal": Form(str, decimal.Decimal),
    "Fraction": Form(str, fractions.Fraction),
    "UUID": Form(str, uuid.UUID),
    "tuple": Form(lambda v: [_written(part) for part in v], lambda kept: tuple(map(_read, kept))),
    NUMPY: Form(_write_scalar, _read_scalar),
    "Timestamp": Form(_write_timestamp, _read_timestamp),
    "Timedelta": Form(
        lambda v: [v.asm8.astype("i8").item(), v.unit],
        lambda kept: _pandas().Timedelta(np.timedelta64(*kept)),
    ),
    "Period": Form(lambda v: [v.ordinal, v.freqstr], lambda kept: _pandas().Period(ordinal=kept[0], freq=kept[1])),
    "Interval": Form(
        lambda v: [_written(v.left), _written(v.right), v.closed],
        lambda kept: _pandas().Interval(_read(kept[0]), _read(kept[1]), kept[2]),
    ),
}
NAMES: dict[type, str] = {
    bytes: "bytes", datetime.date: "date", datetime.datetime: "datetime", datetime.time: "time",
    datetime.timedelta: "timedelta", decimal.Decimal: "Decimal", fractions.Fraction: "Fraction", uuid.UUID: "UUID",
    tuple: "tuple",
}  # fmt: skip
OF_PANDAS = ("Timestamp", "Timedelta", "Period", "Interval")


def packed(name: str, array: np.ndarray) -> np.ndarray:
    """The bytes; TypeError for objects of other types."""
    try:
        return np.frombuffer(json.dumps(list(map(_written, array))).encode(), np.uint8)
    except TypeError as error:
        raise TypeError(f"{name} holds {error}") from None


def unpacked(content: np.ndarray) -> np.ndarray:
    """The array of what `packed` was given; ModelFileError, ValueError, TypeError or LookupError for other bytes."""
    values = json.loads(content.tobytes())
    if not isinstance(values, list):
        raise ModelFileError("its classes or feature names are no list")
    array = np.empty(len(values), object)
    for i, value in enumerate(values):  # one by one: tuples are no rows
        array[i] = _read(value)
    return array


def _written(value: Any) -> Any:
    if type(value) in PLAIN:
        return value
    form = _form_of(value)
    return {form: FORMS[form].write(value)}


def _form_of(value: Any) -> str:
    kind = type(value)
    if isinstance(value, np.generic) and value.dtype.kind in DTYPE_KINDS:
        return NUMPY
    if kind.__module__.partition(".")[0] == "pandas" and kind.__name__ in OF_PANDAS:
        return kind.__name__
    if kind not in NAMES:
        raise TypeError(
            f"a {kind.__name__} object: without pickle, a model file keeps str, int, float, bool, "
            f"{', '.join(known.__name__ for known in NAMES)}, NumPy's scalars, and of pandas {', '.join(OF_PANDAS)}"
        )
    return NAMES[kind]


def _read(value: Any) -> Any:
    if type(value) in PLAIN:
        return value
    ((form, kept),) = value.items()
    return FORMS[form].read(kept)
