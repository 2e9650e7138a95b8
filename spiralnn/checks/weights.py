"""Weights of rows, from samples and classes."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..kernels.tree import Forest, Node, add_rows_of_sums
from .arrays import check_finite, writable_view
from .kinds import keys
from .labels import class_counts
from .scalars import finite_number
from .values import as_array, real_numbers

TOTAL_ROWS = 4096  # of a leaf of the tree along which weights are added up by class
WEIGHTLESS = "sample_weight and class_weight leave every row a weight of 0, expected a positive one"


def sample_weights(sample_weight: Any, N: int, dtype: Any) -> np.ndarray | None:
    """Weights as a contiguous array (N,) of a dtype: finite, at least 0, not all 0. None stays None.

    Weights whose largest is far from 1 are scaled by a power of two, which changes neither loss nor gradients, so that
    products with them stay in the range of the dtype.
    """
    if sample_weight is None:
        return None
    weights = as_array("sample_weight", sample_weight)
    if weights.shape != (N,):
        raise ValueError(f"sample_weight has shape {weights.shape}, expected ({N},): one weight a row")
    weights = real_numbers("sample_weight", weights)
    check_finite("sample_weight", weights)
    low, high = float(weights.min()), float(weights.max())
    if low < 0.0:
        row = int(weights.argmin())
        raise ValueError(f"Negative values in data passed to `sample_weight`: {low:g} at [{row}], expected at least 0")
    if high == 0.0:
        raise ValueError("sample_weight is zero in every row, expected a positive weight")
    return scaled_weights(weights, exponent_for(high), dtype)


def exponent_for(high: float) -> int:
    """Of the power of two that brings weights, of which this is the largest, near 1; 0 where they are near enough."""
    return 0 if 2.0**-40 < high < 2.0**40 else -math.frexp(high)[1]


def scaled_weights(weights: np.ndarray, exponent: int, dtype: Any) -> np.ndarray:
    """weights times a power of two, as a contiguous array of a dtype; they themselves where they are that."""
    if exponent:
        weights = np.ldexp(weights.astype(np.float64), exponent)
    return writable_view(np.require(weights, dtype, ["C", "A"]))


def class_totals(labels: np.ndarray, weights: np.ndarray | None, K: int) -> np.ndarray:
    """(K,) float64: the weight of each class, its rows without weights, added up in leaves of TOTAL_ROWS rows."""
    # in parts: each label takes eight bytes to count
    parts = (slice(start, start + TOTAL_ROWS) for start in range(0, len(labels), TOTAL_ROWS))
    if weights is None:
        return sum((class_counts(labels[rows], K) for rows in parts), np.zeros(K, np.int64)).astype(np.float64)
    forest = Forest(add_rows_of_sums)
    for leaf, rows in enumerate(parts):
        forest.add(Node(0, leaf), class_counts(labels[rows], K, weights[rows]))
    return forest.total()


def class_factors(class_weight: Any, classes: np.ndarray, totals: Callable[[], np.ndarray]) -> np.ndarray | None:
    """(K,): the factor on the weights of each class, None where all are 1.

    "balanced" gives class k the factor total / (K total_k), with totals() of the samples' weights by class: all classes
    count the same (King and Zeng, Logistic Regression in Rare Events Data, 2001, as scikit-learn has it).
    """
    class_weight = class_weights(class_weight, classes)
    if class_weight is None:
        return None
    if class_weight == "balanced":
        found = totals()
        total = 0.0
        for value in found.tolist():
            total += value
        return np.divide(total, len(classes) * found, out=np.zeros(len(classes)), where=found > 0.0)
    return np.array([class_weight.get(c, 1.0) for c in keys(classes)])


def class_weights(class_weight: Any, classes: np.ndarray) -> dict[Any, float] | str | None:
    """class_weight checked: None, "balanced", or a dict from `keys` of classes to finite numbers of at least 0."""
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return class_weight
    if not isinstance(class_weight, Mapping):
        raise ValueError(f"class_weight is {class_weight!r}, expected a dict, 'balanced' or None")
    known = dict(zip(keys(classes), classes.tolist(), strict=True))
    found = [finite_number(f"class_weight[{c!r}]", w, minimum=0.0) for c, w in class_weight.items()]
    factors = dict(zip(keys(class_weight), found, strict=True))
    unweighted = [label for key, label in known.items() if key not in factors]
    if unweighted and any(key not in known for key in factors):  # one more of the one, one less of the other: a typo
        raise ValueError(f"The classes, {unweighted}, are not in class_weight, which has {list(class_weight)}")
    return factors


def training_weights(
    sample_weight: Any, class_weight: Any, classes: np.ndarray, labels: np.ndarray, dtype: Any
) -> np.ndarray | None:
    """Weight of each row in the loss, as of `sample_weights`: the sample's times the class's; None where all are 1."""
    weights = sample_weights(sample_weight, len(labels), dtype)
    factors = class_factors(class_weight, classes, lambda: class_totals(labels, weights, len(classes)))
    if factors is None:
        return weights
    by_row = factors[labels]
    if weights is not None:
        by_row *= weights
    if not by_row.any():
        raise ValueError(WEIGHTLESS)
    return sample_weights(by_row, len(labels), dtype)
