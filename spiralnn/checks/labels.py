"""Labels: distinct classes, each row's place among them, and their bytes as kernels read them."""

import sys
import warnings
from typing import Any

import numpy as np

from .arrays import CHECKED_ROWS
from .kinds import check_one_kind, check_present, keys, kind_of, label_array
from .values import as_array


def label_view(y: Any, N: int, K: int | None) -> np.ndarray:
    """The caller's own integers, checked to be N labels in [0, K); K = None: at least 0."""
    labels = as_array("y", y)
    if labels.ndim != 1:
        raise ValueError(f"y has shape {labels.shape}, expected ({N},)")
    if labels.shape[0] != N:
        raise ValueError(f"y has {labels.shape[0]} labels, but X has {N} rows")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"y has dtype {labels.dtype}, expected integer labels in [0, {'K' if K is None else K})")
    check_label_range(int(labels.min()), int(labels.max()), K)
    return labels


def check_label_range(low: int, high: int, K: int | None) -> int:
    """The number of classes that integer labels from low to high are of: K, or as many as there must be at least."""
    if low < 0 and K is None:
        raise ValueError(f"y holds label {low}, expected labels of at least 0")
    if K is not None and (low < 0 or high >= K):
        raise ValueError(f"y holds label {low if low < 0 else high}, but there are {K} classes: expected [0, {K})")
    if K is None and high == 0:
        raise ValueError("y holds label 0 alone, expected at least 2 classes, or their number as n_classes")
    return high + 1 if K is None else K


def label_bytes(labels: np.ndarray, K: int) -> np.ndarray:
    """The one form in which kernels take labels in [0, K): their bytes, uint8 (N, 2), or (N, 4) where K > 256.

    Up to 256 classes are told apart by the lowest byte, which both columns hold; four go from the highest to the
    lowest. In either order NumPy does not take them for contiguous, whatever the integers they are a view of, so that
    to Numba all labels are of one type.
    """
    little = labels.dtype == labels.dtype.newbyteorder("<")
    if K > 256 and not (little and labels.itemsize >= 4):
        labels, little = labels.astype("<u4"), True
    first = 3 if K > 256 else 0 if little else labels.itemsize - 1

    class Bytes:
        __array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "data": (labels.__array_interface__["data"][0] + first, False),
            "shape": (len(labels), 4 if K > 256 else 2),
            "strides": (labels.strides[0], -1 if K > 256 else 0),
        }
        owner = labels

    return np.asarray(Bytes())


def label_column(y: Any, N: int, *, stacklevel: int = 3) -> np.ndarray:
    """y as an array (N,) of whatever kind; a column (N, 1) is flattened, with a warning."""
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    labels = label_array("y", y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected: y is read as y.ravel()",
            _data_conversion_warning(),
            stacklevel=stacklevel,
        )
        labels = labels.ravel()
    if labels.ndim != 1:
        raise ValueError(f"y has shape {labels.shape}, expected ({N},): one class label a row")
    if labels.shape[0] != N:
        raise ValueError(f"y has {labels.shape[0]} labels, but X has {N} rows")
    return labels


def class_labels(y: Any, N: int, known: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(classes, labels): the sorted distinct labels, and each row's place among them.

    known: the sorted classes that labels must be of; y need not hold each of them. Integers that are 0, ..., K - 1
    already are read where they lie; any others cost one byte a row (K <= 256).
    """
    labels = label_column(y, N, stacklevel=6)
    classes, places = distinct_labels("y", labels)
    if known is None:
        check_two("y", classes)
        return classes, places
    among = _among(classes, known)
    if len(known) in among:
        row = int((among == len(known))[places].argmax())
        raise ValueError(
            f"y holds label {labels[row : row + 1].tolist()[0]!r}, which is not among the classes {known.tolist()} "
            f"(the first such at [{row}])"
        )
    return known, among.astype(_place_kind(len(known)))[places]


def sorted_classes(classes: Any) -> np.ndarray:
    """The distinct labels in classes, sorted, at least two."""
    labels = label_array("classes", classes)
    if labels.ndim != 1 or not labels.size:
        raise ValueError(f"classes has shape {labels.shape}, expected (K,): every label that will come")
    distinct, _ = distinct_labels("classes", labels)
    check_two("classes", distinct)
    return distinct


def check_two(name: str, classes: np.ndarray) -> None:
    if len(classes) < 2:
        raise ValueError(f"{name} holds {len(classes)} class ({classes.tolist()[0]!r}), expected at least 2 classes")


def _place_kind(K: int) -> Any:
    return np.uint8 if K <= 256 else np.uint32


def distinct_labels(name: str, labels: np.ndarray, first_row: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """As of class_labels, of labels (N,) of whatever kind. first_row: the number of labels[0], for messages."""
    if labels.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {labels.dtype}")
    check_present(name, labels, first_row)
    if labels.dtype.kind == "f":
        _check_whole(name, labels, first_row)
        if float(np.abs(labels).max()) >= 2**53:  # as NumPy reads a list of such integers
            raise ValueError(
                f"{name} holds whole numbers from 2**53 on as floats, which merges neighbours: expected integers"
            )
    if labels.dtype.kind in "iu":
        low, high = int(labels.min()), int(labels.max())
        if high - low < CHECKED_ROWS:  # a table of them: sorting would take ten times as long
            seen = np.zeros(high - low + 1, bool)
            for start in range(0, len(labels), CHECKED_ROWS):
                seen[_above(labels[start : start + CHECKED_ROWS], low)] = True
            if low == 0 and seen.all():
                return np.arange(high + 1, dtype=labels.dtype), labels
            found = np.flatnonzero(seen)
            table: np.ndarray = np.zeros(len(seen), _place_kind(len(found)))
            table[found] = np.arange(len(found))
            classes = np.array([low + place for place in found.tolist()], labels.dtype)
            places = np.empty(len(labels), table.dtype)
            for start in range(0, len(labels), CHECKED_ROWS):
                part = slice(start, start + CHECKED_ROWS)
                places[part] = table[_above(labels[part], low)]
            return classes, places
    try:
        classes, places = np.unique(labels, return_inverse=True)
        hash(classes[0])
    except (TypeError, ValueError) as error:  # ValueError: labels that are arrays
        raise TypeError(f"{name} holds labels that cannot be sorted, expected labels of one kind ({error})") from None
    if labels.dtype.kind == "O":
        check_one_kind(name, labels)
        if any(isinstance(label, float | np.floating) for label in classes):
            _check_whole(name, labels.astype(np.float64), first_row)
    return classes, places.reshape(-1).astype(_place_kind(len(classes)))


def _check_whole(name: str, labels: np.ndarray, first_row: int) -> None:
    fractions = labels != np.floor(labels)
    if fractions.any():
        row = int(fractions.argmax())
        raise ValueError(
            f"Unknown label type: continuous. {name} holds fractions, expected class labels: {labels[row]} at "
            f"[{first_row + row}]"
        )


def _above(labels: np.ndarray, low: int) -> np.ndarray:
    """labels - low, of integers that are less than CHECKED_ROWS above it."""
    if labels.dtype == np.uint64:
        return (labels - np.uint64(low)).astype(np.intp)
    return labels.astype(np.intp) - low


def class_counts(places: np.ndarray, K: int, weights: np.ndarray | None = None) -> np.ndarray:
    """(K,): how many rows each class has, or the sum of their weights."""
    return np.bincount(places.astype(np.intp, copy=False), weights, K)  # as uint64 NumPy takes them from version 2 on


def places_among(name: str, labels: np.ndarray, known: np.ndarray, first_row: int = 0) -> np.ndarray:
    """The place of each label among the sorted classes `known`; len(known) for those that are not there.

    ValueError where they are of another kind: such would never be there. first_row: as of distinct_labels.
    """
    found, places = distinct_labels(name, labels, first_row)
    kinds = [kind_of(found), kind_of(known)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"{name} holds {kinds[0]} ({found.tolist()[0]!r}), but the model was fitted with {kinds[1]} "
            f"({known.tolist()[0]!r}), expected labels of the same kind"
        )
    among = _among(found, known)
    return places if np.array_equal(among, np.arange(len(found))) else among[places]


def _among(found: np.ndarray, known: np.ndarray) -> np.ndarray:
    table = {key: k for k, key in enumerate(keys(known))}
    return np.array([table.get(key, len(known)) for key in keys(found)], _place_kind(len(known) + 1))


def _data_conversion_warning() -> type[Warning]:
    """scikit-learn's own warning class where scikit-learn is loaded, so that its filters apply."""
    return getattr(sys.modules.get("sklearn.exceptions"), "DataConversionWarning", UserWarning)
