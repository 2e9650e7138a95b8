"""What labels are: of which kind, present or missing, and in what form those of two arrays are compared."""

import datetime
import math
import numbers
from typing import Any

import numpy as np

from .arrays import check_finite
from .values import as_array, is_missing

TRUTH_VALUES, NUMBERS = "truth values", "numbers"


def label_array(name: str, value: Any) -> np.ndarray:
    """value as an array that holds its labels as they are; TypeError for records and raw bytes, which are none.

    Of a list with strings NumPy makes strings throughout, 'nan' of a NaN, and cuts zeros off their ends.
    """
    labels = as_array(name, value)
    if labels.dtype.kind == "V":
        raise TypeError(f"{name} has dtype {labels.dtype}, expected class labels")
    if labels.dtype.kind == "T":  # strings of any length, some of which may be missing
        return labels.astype(object)
    if labels.dtype.kind not in "US" or not isinstance(value, list | tuple):
        return labels
    objects = np.empty(labels.size, object)
    objects[:] = np.array(value, object).ravel()
    if all(isinstance(label, str) for label in objects):
        objects[:] = [str.__str__(label) for label in objects]  # what NumPy makes of an enum's members is their names
        if not any(label.endswith("\0") for label in objects):
            return objects.astype(str).reshape(labels.shape)
    elif all(isinstance(label, bytes) and not label.endswith(b"\0") for label in objects):
        return labels
    return objects.reshape(labels.shape)


def check_present(name: str, labels: np.ndarray, first_row: int) -> None:
    """ValueError that says where the first missing label stands: NaN, infinity, NaT, None or pandas.NA."""
    if labels.dtype.kind == "f":
        check_finite(name, labels, first_row)
    elif labels.dtype.kind in "mM" and np.isnat(labels).any():
        raise ValueError(f"{name} holds NaT at [{first_row + np.isnat(labels).argmax()}], expected class labels")
    elif labels.dtype.kind == "O":
        for i, label in enumerate(labels):
            if is_missing(label) or (isinstance(label, float) and math.isinf(label)):
                raise ValueError(f"{name} holds {label!r} at [{first_row + i}], expected class labels")


def check_one_kind(name: str, labels: np.ndarray) -> None:
    """TypeError where objects are of several kinds: 1 and True, say, would be one class."""
    kinds = {_kind_of_type(kind) for kind in set(map(type, labels))}
    if len(kinds) > 1:
        listed = ", ".join(sorted(kinds))
        raise TypeError(f"{name} holds labels of different kinds ({listed}), expected labels of one kind")


def kind_of(labels: np.ndarray) -> str:
    """Of labels that are of one kind, the same wherever those of two arrays may be equal."""
    kind = labels.dtype.kind
    found = _kind_of_type(type(labels[0]) if kind == "O" else labels.dtype.type)
    return NUMBERS if found == TRUTH_VALUES else found


def _kind_of_type(kind: type) -> str:
    for types, called in (
        ((bool, np.bool_), TRUTH_VALUES),
        ((datetime.timedelta, np.timedelta64), "timedeltas"),  # to NumPy they are integers, too
        ((datetime.date, np.datetime64), "dates"),
        ((numbers.Number,), NUMBERS),
        ((str,), "labels of type str"),
        ((bytes,), "labels of type bytes"),
    ):
        if issubclass(kind, types):
            return called
    return f"labels of type {kind.__name__}"


def keys(labels: Any) -> list[Any]:
    """Labels as what is equal, and has the same hash, where they mean the same: dates of any unit or library."""
    is_array = isinstance(labels, np.ndarray) and labels.dtype.kind not in "mM"  # which tolist may make integers
    return [_key(label) for label in (labels.tolist() if is_array else labels)]


def _key(label: Any) -> Any:
    if isinstance(label, datetime.date) and getattr(label, "tzinfo", None) is None:
        label = np.datetime64(label, "us")
    elif isinstance(label, datetime.timedelta):
        label = np.timedelta64(label, "us")
    if isinstance(label, np.datetime64 | np.timedelta64):
        kind = label.dtype.kind
        whole = label.astype(f"{kind}8[us]")
        rest = (label - whole).astype("m8[as]")  # of finer units
        return kind, int(whole.astype(np.int64)), int(rest.astype(np.int64))
    return label.item() if isinstance(label, np.generic) else label
